//! A scratch store, a scratch repository, and the programs that work on them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flatpass_store::{Sealer, Store};
use flatpass_token::{Claims, Grant, Verb};
use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_flatpass");

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }
}

/// Runs `flatpass` with only these variables of its own.
pub(crate) fn run(arguments: &[&str], stdin: &str, variables: &[(&str, &str)]) -> Done {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .env_remove("FLATPASS_CONFIG")
        .env_remove("FLATPASS_URL")
        .env_remove("FLATPASS_LISTEN")
        .env_remove("FLATPASS_DATABASE")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs another program, which must succeed.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A store in a folder that is gone at the end.
pub(crate) struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::at("https://shop.example/", "127.0.0.1:8080")
    }

    pub(crate) fn at(url: &str, listen: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(&["init", folder.path().to_str().unwrap(), "--url", url, "--listen", listen], "", &[]).ok();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder().join("flatpass.toml")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &str) -> Done {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        run(&all, stdin, &[])
    }

    /// A ref token of this store that lives for `seconds` from now.
    pub(crate) fn sign(&self, audience: &str, app: &str, seconds: i64) -> String {
        let now = flatpass_gate::Clock::system().now().unix();
        let sealer = Sealer::from_key_file(&self.folder().join("secret.key")).unwrap();
        let url = format!("sqlite:{}", self.folder().join("flatpass.db").display());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let key = runtime.block_on(async {
            let store = Store::open(&url, sealer).await.unwrap();
            store.signing_keys(now).await.unwrap().remove(0).signing_key().unwrap()
        });
        let claims = Claims {
            iss: "https://shop.example".into(),
            aud: audience.into(),
            sub: "acc_test".into(),
            sid: None,
            client_id: "flatpass-authenticator".into(),
            iat: now.plus_seconds(seconds.min(0) - 10),
            exp: now.plus_seconds(seconds),
            nbf: None,
            jti: "test".into(),
            authorization_details: vec![Grant::for_ids(&[Verb::Download], [app])],
        };
        key.sign(&claims).unwrap()
    }
}

/// `flatpass serve`, ended with the test whatever becomes of it.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(shop: &Shop) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["--config", shop.config().to_str().unwrap(), "serve"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Ends it as a service manager does, and gives its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        tool("kill", &["-TERM", &self.0.id().to_string()]);
        self.0.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A scratch OSTree repository, made with flatpak's own tools, and a key to sign it with.
pub(crate) struct Repository {
    folder: tempfile::TempDir,
    path: String,
    key_id: String,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("the repo").display().to_string();
        tool("ostree", &["init", "--mode=archive-z2", &format!("--repo={path}")]);
        Self { folder, path, key_id: "shop@example.org".to_owned() }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The signing key; it is made when it is first asked for.
    pub(crate) fn key_id(&self) -> &str {
        let home = self.gnupg();
        if !home.exists() {
            use std::os::unix::fs::DirBuilderExt as _;
            fs::DirBuilder::new().mode(0o700).create(&home).unwrap();
            self.in_home(
                "gpg",
                &["--batch", "--passphrase", "", "--quick-gen-key", &self.key_id, "rsa2048", "sign"],
            );
        }
        &self.key_id
    }

    fn gnupg(&self) -> PathBuf {
        self.folder.path().join("gnupg")
    }

    fn in_home(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program)
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("GNUPGHOME", self.gnupg())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub(crate) fn flatpak(&self, arguments: &[&str]) {
        self.in_home("flatpak", arguments);
    }

    /// Runs what `flatpass repo check` printed, as a person copies it into a shell.
    pub(crate) fn shell(&self, shop: &Shop, command: &str) {
        let folder = Path::new(PROGRAM).parent().unwrap().display().to_string();
        let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
        let script =
            format!("set -e\nexport PATH='{path}' FLATPASS_CONFIG='{}'\n{command}", shop.config().display());
        self.in_home("sh", &["-c", &script]);
    }

    /// Publishes a new commit of an app.
    pub(crate) fn export(&self, app: &str, token_type: Option<i32>) {
        let metadata =
            format!("[Application]\nname={app}\nruntime=org.test.Platform/x86_64/stable\ncommand=x\n");
        self.build_export(app, &metadata, token_type, &[]);
    }

    /// Publishes the `.Locale` of an app, open as its author forgot about it.
    pub(crate) fn export_locale(&self, app: &str) {
        let metadata =
            format!("[Runtime]\nname={app}.Locale\n\n[ExtensionOf]\nref=app/{app}/x86_64/stable\n");
        self.build_export(&format!("{app}.Locale"), &metadata, None, &["--runtime", "--files=files"]);
    }

    fn build_export(&self, id: &str, metadata: &str, token_type: Option<i32>, options: &[&str]) {
        let build = self.folder.path().join(format!("build-{id}"));
        let _ = fs::remove_dir_all(&build);
        fs::create_dir_all(build.join("files")).unwrap();
        fs::create_dir_all(build.join("export")).unwrap();
        fs::write(build.join("metadata"), metadata).unwrap();
        let kind = token_type.map(|number| format!("--token-type={number}"));
        let mut arguments = vec!["build-export", "--disable-sandbox", "--arch=x86_64", "--no-update-summary"];
        arguments.extend(kind.as_deref());
        arguments.extend(options);
        let build = build.display().to_string();
        // Another timestamp each time, or the commit would be the same.
        let stamp = format!("--timestamp={}", self.stamp());
        arguments.extend([stamp.as_str(), &self.path, &build, "stable"]);
        self.flatpak(&arguments);
    }

    fn stamp(&self) -> String {
        let file = self.folder.path().join("stamp");
        let number: u32 = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        fs::write(&file, (number + 1).to_string()).unwrap();
        format!("2026-01-01T00:{:02}:{:02}Z", number / 60, number % 60)
    }
}
