//! The keeper of a private bus: a process whose standard input is a pipe from the process that wants the bus.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand::CryptoRng;
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::webflow::pkce::random_text;

/// Time for the daemon to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is kept of the daemon's complaints, in bytes.
const MAX_COMPLAINT_BYTES: u64 = 4096;
/// A Unix socket's path has at most 107 bytes.
const MAX_FOLDER_BYTES: usize = 80;

/// Why there is no bus. `Display` is a sentence for a person.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The folder.
    #[error("Cannot make a folder for a private bus: {0}. Set XDG_RUNTIME_DIR to a folder of your own.")]
    Folder(io::Error),
    /// The daemon.
    #[error("Cannot start dbus-daemon: {0}. Install it (Debian and Fedora: the package dbus-daemon).")]
    Daemon(io::Error),
    /// The system.
    #[error("Cannot keep a private bus: {0}.")]
    System(#[from] io::Error),
}

/// Runs a bus until standard input ends, SIGTERM comes or the daemon ends; then nothing is left of it. The daemon
/// writes the bus's address to standard output.
///
/// # Errors
/// [`KeeperError`].
pub async fn keep(rng: &mut impl CryptoRng, runtime_folder: Option<PathBuf>) -> Result<(), KeeperError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let folder = Folder::make(rng, runtime_folder).map_err(KeeperError::Folder)?;
    let config = folder.0.join("bus.conf");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&config)
        .map_err(KeeperError::Folder)?;
    file.write_all(configuration(&folder.0).as_bytes()).map_err(KeeperError::Folder)?;
    drop(file);
    let mut daemon = Command::new("dbus-daemon")
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .arg(format!("--config-file={}", config.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(KeeperError::Daemon)?;
    let mut nothing = [0; 64];
    let end_of_input = async { while input.read(&mut nothing).await.is_ok_and(|count| count > 0) {} };
    // Its complaints are of interest when it fails, which is when it ends by itself.
    let complaints = daemon.stderr.take();
    let complaining = tokio::spawn(async move {
        let mut text = Vec::new();
        if let Some(mut complaints) = complaints {
            let _broken = (&mut complaints).take(MAX_COMPLAINT_BYTES).read_to_end(&mut text).await;
            let _rest = tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await;
        }
        text
    });
    tokio::select! {
        () = end_of_input => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
        _ = daemon.wait() => {
            let text = complaining.await.unwrap_or_default();
            let _closed = io::stderr().write_all(&text);
        }
    }
    end(&mut daemon).await;
    Ok(())
}

async fn end(daemon: &mut Child) {
    if let Some(pid) = daemon.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _gone = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(PATIENCE, daemon.wait()).await.is_err() {
        let _gone = daemon.kill().await;
    }
}

/// The bus's configuration: one socket; only this user, who proves it by the socket's credentials; no services that
/// could be started; nobody may listen to what is meant for others.
fn configuration(folder: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#,
        folder.display()
    )
}

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    /// Makes a folder of mode 0700 below the run-time folder, or below `/tmp`.
    fn make(rng: &mut impl CryptoRng, runtime_folder: Option<PathBuf>) -> io::Result<Self> {
        let name = format!("flatpass-bus-{}", random_text(rng).get(..16).unwrap_or("x"));
        let places =
            runtime_folder.filter(|folder| is_plain(folder)).into_iter().chain([PathBuf::from("/tmp")]);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in places {
            let folder = place.join(&name);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Neither XML nor a bus address would take anything in this path for something else, and a socket fits below it.
fn is_plain(folder: &Path) -> bool {
    folder.is_absolute()
        && folder.to_str().is_some_and(|path| {
            path.len() <= MAX_FOLDER_BYTES
                && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        })
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a folder stays");
        }
    }
}
