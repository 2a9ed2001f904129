//! A shop's repository, made by the real `flatpak`, `ostree` and `gpg` in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) const PAID: &str = "app/org.test.Paid/x86_64/stable";
pub(crate) const GIFT: &str = "app/org.test.Gift/x86_64/stable";

pub(crate) struct Shop {
    folder: TempDir,
    key: String,
}

impl Shop {
    /// Free, paid and gift apps on two architectures, two commits of the paid one, deltas between them, all signed.
    pub(crate) fn build() -> Self {
        let folder = tempfile::Builder::new().prefix("flatpass-ostree-").tempdir().unwrap();
        let mut shop = Self { folder, key: String::new() };
        shop.make_key();
        shop.run("ostree", &["init", "--repo=repo", "--mode=archive-z2", "--collection-id=org.test.Shop"]);
        shop.export("org.test.Free", &[], 1);
        shop.export("org.test.Paid", &["--token-type=2"], 1);
        shop.export("org.test.Paid", &["--token-type=2", "--arch=aarch64"], 1);
        shop.export("org.test.Paid.Locale", &["--token-type=2", "--runtime"], 1);
        shop.export("org.test.Draft", &[], 1);
        // A publisher sets the token type when the build is copied to the shop.
        let draft = "--src-ref=app/org.test.Draft/x86_64/stable";
        shop.run("flatpak", &["build-commit-from", "--token-type=1", draft, "repo", GIFT]);
        shop.run("ostree", &["refs", "--repo=repo", "--delete", "app/org.test.Draft/x86_64/stable"]);
        shop.update();
        shop.export("org.test.Paid", &["--token-type=2"], 2);
        shop.update();
        shop
    }

    fn make_key(&mut self) {
        fs::create_dir(self.path("gpg")).unwrap();
        self.run("chmod", &["700", "gpg"]);
        let name = "shop@example.org";
        self.run(
            "gpg",
            &["--batch", "--passphrase", "", "--quick-gen-key", name, "ed25519", "sign", "never"],
        );
        let keys = self.run("gpg", &["--batch", "--with-colons", "--list-secret-keys"]);
        let line = keys.lines().find(|line| line.starts_with("fpr:")).unwrap();
        self.key = line.trim_matches(':').rsplit(':').next().unwrap().to_owned();
    }

    fn sign(&self) -> String {
        format!("--gpg-sign={}", self.key)
    }

    /// Exports one version of an app or, with `--runtime`, an extension.
    pub(crate) fn export(&self, id: &str, options: &[&str], version: u8) {
        let build = self.path("build").join(format!("{id}-{version}"));
        fs::create_dir_all(build.join("files/bin")).unwrap();
        fs::create_dir_all(build.join("export")).unwrap();
        let runtime = options.contains(&"--runtime");
        let group = if runtime { "Runtime" } else { "Application" };
        let arch = options.iter().find_map(|option| option.strip_prefix("--arch=")).unwrap_or("x86_64");
        let metadata =
            format!("[{group}]\nname={id}\nruntime=org.test.Platform/{arch}/stable\ncommand=play\n");
        fs::write(build.join("metadata"), metadata).unwrap();
        fs::write(build.join("files/bin/play"), format!("#!/bin/sh\necho {id} {version}\n")).unwrap();
        fs::write(build.join("files/level"), vec![version; 50_000]).unwrap();
        if runtime {
            fs::create_dir_all(build.join("usr")).unwrap();
        }
        let sign = self.sign();
        let build = build.to_str().unwrap().to_owned();
        let first = ["build-export", "--disable-sandbox", "--gpg-homedir=gpg", &sign];
        self.run("flatpak", &[first.as_slice(), options, &["repo", &build, "stable"]].concat());
    }

    /// Makes deltas and summaries anew.
    pub(crate) fn update(&self) {
        let options = [
            "build-update-repo",
            "--generate-static-deltas",
            "--title=A shop",
            "--authenticator-name=org.flatpass.Authenticator",
            "--authenticator-install",
            "--authenticator-option=url=https://shop.example/",
            "--gpg-homedir=gpg",
            &self.sign(),
            "repo",
        ];
        self.run("flatpak", &options);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// A file of the repository.
    pub(crate) fn read(&self, relative: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.repo().join(relative)).unwrap()
    }

    /// What `ostree --repo=repo …` prints.
    pub(crate) fn ostree(&self, arguments: &[&str]) -> String {
        self.run("ostree", &[&["--repo=repo"], arguments].concat())
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("GNUPGHOME", self.path("gpg"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("OSTREE_DUMMY_SIGN_ENABLED", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .output()
            .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{program} {arguments:?}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // The agent that gpg starts would outlive the directory.
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.path("gpg")).args(["--kill", "all"]).output();
    }
}

/// Every file below `folder`, as paths relative to it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
