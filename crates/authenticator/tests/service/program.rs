//! The program itself, in a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::stage::{Bus, Process, until};

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_flatpass-authenticator");

/// A person's home folder, with a browser that only writes down what it is asked to show.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        for below in ["run", "data", "state"] {
            std::fs::create_dir(folder.path().join(below)).expect("a folder");
        }
        let home = Self { folder };
        std::fs::set_permissions(home.path("run"), PermissionsExt::from_mode(0o700)).expect("private");
        let script =
            format!("#!/bin/sh\necho \"$1\" > {0}.new\nmv {0}.new {0}\n", home.path("shown").display());
        std::fs::write(home.path("browser"), script).expect("written");
        std::fs::set_permissions(home.path("browser"), PermissionsExt::from_mode(0o755)).expect("executable");
        home
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// A command with nothing of the real environment but the search path.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, bus: &Bus) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("BROWSER", self.path("browser"))
            .env("FLATPAK_USER_DIR", self.path("flatpak"))
            .env("DBUS_SESSION_BUS_ADDRESS", &bus.address)
            .stdin(Stdio::null());
        command
    }

    /// The service, which has its name on the bus when this returns.
    pub(crate) async fn serve(&self, bus: &Bus) -> Process {
        self.serve_with(bus, &[]).await
    }

    /// The service with more in its environment.
    pub(crate) async fn serve_with(&self, bus: &Bus, environment: &[(&str, &str)]) -> Process {
        let log = std::fs::File::create(self.path("log")).expect("a file");
        let child = self
            .command(PROGRAM, bus)
            .args(["--verbose", "serve", "--replace"])
            .envs(environment.iter().copied())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("started");
        let process = Process(child);
        let connection = bus.connect().await;
        let proxy = zbus::fdo::DBusProxy::new(&connection).await.expect("the bus");
        let named = async {
            let name = zbus::names::BusName::try_from(crate::client::NAME).expect("a name");
            loop {
                if let Ok(owner) = proxy.get_connection_unix_process_id(name.clone()).await
                    && owner == process.0.id()
                {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(crate::stage::PATIENCE, named).await.expect("it is on the bus");
        process
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, bus: &Bus, arguments: &[&str]) -> Output {
        let mut command = self.command(PROGRAM, bus);
        command.args(arguments);
        tokio::task::spawn_blocking(move || command.output().expect("started")).await.expect("no panic")
    }

    /// The page that the browser was last asked to show; it is forgotten then.
    pub(crate) async fn shown(&self) -> String {
        let path = self.path("shown");
        until("a page is shown", || path.exists()).await;
        let url = std::fs::read_to_string(&path).expect("text");
        std::fs::remove_file(&path).expect("removed");
        url.trim().to_owned()
    }

    /// The files below a folder, and what is in them.
    pub(crate) fn texts(&self, below: &str) -> Vec<String> {
        fn walk(folder: &Path, texts: &mut Vec<String>) {
            let Ok(entries) = std::fs::read_dir(folder) else { return };
            for entry in entries {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, texts);
                } else {
                    texts.push(String::from_utf8_lossy(&std::fs::read(&path).expect("read")).into_owned());
                }
            }
        }
        let mut texts = Vec::new();
        walk(&self.path(below), &mut texts);
        texts
    }
}

/// What a program wrote, both ways.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
