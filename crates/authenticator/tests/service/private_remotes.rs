//! Remotes with a secret of this device in their address: added, rotated, removed, with the real flatpak.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use crate::authority::{Authority, Fault, browse};
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, Process, until};

/// A private repo, and a person whose flatpak writes down its arguments.
pub(crate) struct Private {
    pub(crate) authority: Authority,
    pub(crate) bus: Bus,
    pub(crate) home: Home,
}

impl Private {
    pub(crate) async fn new() -> Self {
        let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
        let repo = home.path("repo");
        let made = home
            .command("ostree", &bus)
            .args(["init", "--mode=archive", &format!("--repo={}", repo.display())])
            .status();
        assert!(made.expect("installed").success());
        let made = home.command("flatpak", &bus).arg("build-update-repo").arg(&repo).output();
        assert!(made.expect("installed").status.success());
        {
            let mut world = authority.world();
            (world.repo, world.is_private, world.device) = (Some(repo), true, None);
        }
        let bin = home.path("bin");
        std::fs::create_dir(&bin).expect("a folder");
        let script = format!(
            "#!/bin/sh\ncat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' >> {0}/argv\n\
             test -e {0}/refuse && exit 1\nPATH=${{PATH#*:}} exec flatpak \"$@\"\n",
            home.path("").display()
        );
        std::fs::write(bin.join("flatpak"), script).expect("written");
        std::fs::set_permissions(bin.join("flatpak"), PermissionsExt::from_mode(0o755)).expect("executable");
        Self { authority, bus, home }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = format!("{}:{}", self.home.path("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = self.home.command(PROGRAM, &self.bus);
        command
            .env("PATH", path)
            .env("FLATPAK_SYSTEM_DIR", self.home.path("system"))
            .env_remove("BROWSER")
            .args(arguments);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().expect("run")).await.expect("no panic")
    }

    /// What the real flatpak lists of the remote `shop`.
    pub(crate) async fn can_list(&self) -> bool {
        let mut command = self.home.command("flatpak", &self.bus);
        command.args(["remote-ls", "--user", "shop"]);
        let listed = tokio::task::spawn_blocking(move || command.output().expect("run")).await;
        listed.expect("no panic").status.success()
    }

    pub(crate) async fn add(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let where_it_is = format!("{}apps", self.authority.url.trim_start_matches("http://"));
        let all = [&["remote-add", "--no-gpg-verify"][..], arguments, &[&where_it_is, "shop"]].concat();
        let output = self.run(&all).await;
        (output.status.code(), said(&output))
    }

    /// The remote's configuration file.
    pub(crate) fn config(&self, installation: &str) -> String {
        std::fs::read_to_string(self.home.path(installation).join("repo/config")).unwrap_or_default()
    }

    /// The one secret that stands in the configuration.
    fn secret(&self, installation: &str) -> String {
        let config = self.config(installation);
        let start = config.split_once("://device:").expect("a secret").1;
        start.split_once('@').expect("an address").0.to_owned()
    }

    pub(crate) fn is_good(&self, secret: &str) -> bool {
        self.authority.world().machines.secrets.contains(secret)
    }
}

#[tokio::test]
async fn a_private_remote_is_added_with_a_secret_of_this_device_that_no_argument_shows() {
    let private = Private::new().await;
    let (code, text) = private.add(&["--user"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is private") && text.contains("BCDF-GHJK"), "{text}");
    assert!(text.contains("Only you can read it"), "a temporary folder is one's own: {text}");
    let secret = private.secret("flatpak");
    let url = private.authority.url.replace("://", &format!("://device:{secret}@")) + "repo/apps";
    assert!(private.config("flatpak").contains(&format!("url={url}\n")), "{}", private.config("flatpak"));
    assert!(private.is_good(&secret));
    assert!(private.authority.world().machines.names[0].ends_with(" (user)"));
    assert!(private.can_list().await);

    // For everybody, in the name of the sign-in that is there now; who can read it is said before.
    let system = private.home.path("system");
    std::fs::create_dir(&system).expect("a folder");
    std::fs::set_permissions(private.home.path(""), PermissionsExt::from_mode(0o755)).expect("open");
    let (code, text) = private.add(&["--system", "--verbose"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("every user and every program of this computer can read"), "{text}");
    assert!(text.contains("Every user of this computer can read it"), "{text}");
    assert!(!text.contains("BCDF-GHJK"), "signed in already: {text}");
    assert!(private.authority.world().machines.names[1].ends_with(" (system)"));
    let argv = std::fs::read_to_string(private.home.path("argv")).expect("noted");
    assert!(argv.contains("remote-add"), "{argv}");
    for secret in [secret, private.secret("system")] {
        assert!(!argv.contains(&secret) && !text.contains(&secret), "threat 14");
    }
    assert_eq!(private.authority.world().machines.secrets.len(), 2);

    // Signing in again does not end the sign-in that the remotes depend on.
    let again = private.run(&["login", &private.authority.url]).await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(private.authority.world().revoked.is_empty());

    let (code, text) = private.add(&["--user"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("already"), "{text}");
    let (code, text) = private.add(&["--user", "--if-not-exists"]).await;
    assert_eq!((code, text.contains("already")), (Some(0), true), "{text}");
    assert_eq!(private.authority.world().machines.secrets.len(), 2, "nothing was made in vain");
}

#[tokio::test]
async fn a_person_with_a_browser_adds_a_private_remote_with_the_stores_key() {
    let private = Private::new().await;
    let url = &private.authority.url;
    let file = format!("[Flatpak Repo]\nTitle=A shop\nUrl={url}repo/apps\nAuthenticatorName=org.evil.A\n");
    private.authority.world().machines.flatpakrepo = Some(file);
    let mut command =
        private.command(&["remote-add", "--user", "--no-gpg-verify", &format!("{url}repo/apps")]);
    command.env("BROWSER", private.home.path("browser"));
    let running = tokio::task::spawn_blocking(move || command.output().expect("run"));
    browse(&private.home.shown().await).await;
    let output = running.await.expect("no panic");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let config = private.config("flatpak");
    assert!(config.contains("[remote \"apps\"]") && config.contains("xa.title=A shop"), "{config}");
    assert!(config.contains("xa.authenticator-name=org.flatpass.Authenticator"), "{config}");
    assert!(private.is_good(&private.secret("flatpak")));
}

#[tokio::test]
async fn a_secret_that_is_of_no_use_is_ended_and_none_is_made_for_nothing() {
    let private = Private::new().await;
    let no_key = private.run(&["remote-add", "--user", &format!("{}apps", private.authority.url)]).await;
    assert!(said(&no_key).contains("--gpg-import"), "{}", said(&no_key));
    assert!(private.authority.world().machines.names.is_empty(), "none is made without the key");

    std::fs::write(private.home.path("refuse"), "").expect("written");
    let (code, text) = private.add(&["--user"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("flatpak did not add the remote"), "{text}");
    assert_eq!(private.authority.world().machines.names.len(), 1);
    assert!(private.authority.world().machines.secrets.is_empty(), "flatpak refused, so it was ended");
    std::fs::remove_file(private.home.path("refuse")).expect("removed");

    private.authority.world().machines.outsider = true;
    let (code, text) = private.add(&["--user"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("Ask example.org[2J to be let in."), "{text}");
    private.authority.world().machines.outsider = false;

    // Threat 5: an address that is not the one that was asked for.
    for evil in ["https://device:s@evil.example/repo/apps", "https://device:a%0ab@evil.example/", "x"] {
        let body = serde_json::json!({"id": "1", "secret": "s", "name": "n", "url": evil}).to_string();
        private
            .authority
            .world()
            .faults
            .insert("/api/v1/access-tokens", Fault::Body("application/json", body));
        let (code, text) = private.add(&["--user"]).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("is not understood"), "{text}");
    }
    assert!(!private.config("flatpak").contains("shop"), "nothing was added");
}

#[tokio::test]
async fn a_remote_gets_a_new_secret_in_place_and_the_former_one_ends() {
    let private = Private::new().await;
    assert_eq!(private.add(&["--user"]).await.0, Some(0));
    let (old, before) = (private.secret("flatpak"), private.config("flatpak"));
    let before = format!("# mine\n{before}\n[remote \"other\"]\nurl = file:///r \n");
    std::fs::write(private.home.path("flatpak/repo/config"), &before).expect("written");
    std::fs::remove_file(private.home.path("argv")).expect("removed");

    let output = private.run(&["--verbose", "remote-rotate", "shop"]).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let new = private.secret("flatpak");
    assert_eq!(private.config("flatpak"), before.replace(&old, &new), "nothing else changed");
    assert!(private.is_good(&new) && !private.is_good(&old) && !text.contains(&new));
    assert!(private.can_list().await);

    // When the store cannot be told that the former one is over, the remote works all the same.
    private.authority.world().faults.insert("/api/v1/access-tokens/revoke", Fault::Status(503));
    let output = private.run(&["remote-rotate", "--user", "shop"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("ends within the hour"), "{}", said(&output));
    assert!(private.is_good(&private.secret("flatpak")));
    private.authority.world().faults.clear();

    let output = private.run(&["remote-remove", "shop"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!private.config("flatpak").contains("shop"));
    assert_eq!(private.authority.world().machines.secrets.iter().cloned().collect::<Vec<_>>(), [new]);
}

#[tokio::test]
async fn what_cannot_be_rotated_is_left_as_it_is() {
    let private = Private::new().await;
    assert_eq!(private.add(&["--user"]).await.0, Some(0));
    let config = private.config("flatpak");
    let refused = async |expected: &str, arguments: &[&str]| {
        let output = private.run(arguments).await;
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    refused("There is no remote other", &["remote-rotate", "other"]).await;
    refused("There is no remote shop", &["remote-rotate", "--system", "shop"]).await;

    // Threat 5: the secret is for the repository's own server, whatever the configuration says of a store.
    let thief = Authority::start().await;
    let path = private.home.path("flatpak/repo/config");
    let option = "xa.authenticator-options.url=";
    let stolen =
        config.replace(&format!("{option}{}", private.authority.url), &format!("{option}{}", thief.url));
    std::fs::write(&path, &stolen).expect("written");
    refused("another server", &["remote-rotate", "shop"]).await;
    assert!(thief.world().calls.is_empty());
    std::fs::write(&path, &config).expect("written");

    // A file that may not be written: before anything is asked for. (Root may write everything.)
    private.authority.world().machines.secrets.clear();
    refused("Remove the remote and add it again", &["remote-rotate", "shop"]).await;
    assert_eq!(private.config("flatpak"), config);
    std::fs::write(&path, config.replace("device:", "").replace(&private.secret("flatpak"), "x"))
        .expect("written");
    refused("characters that do not survive", &["remote-rotate", "shop"]).await;
}

/// Threat 13. The old secret works for an hour yet, the new one already.
#[tokio::test]
async fn a_rotation_that_is_killed_at_any_moment_leaves_a_remote_that_works() {
    let private = Private::new().await;
    assert_eq!(private.add(&["--user"]).await.0, Some(0));
    // At the steps that another side can hold up: the question, the answer, and the end of the former secret.
    for (path, fault) in [
        ("/api/v1/access-tokens/rotate", Fault::Hang),
        ("/api/v1/access-tokens/rotate", Fault::Late(Duration::from_secs(3600))),
        ("/api/v1/access-tokens/revoke", Fault::Hang),
        ("/api/v1/access-tokens/revoke", Fault::Late(Duration::from_secs(3600))),
    ] {
        let before = private.authority.calls(path);
        private.authority.world().faults.insert(path, fault);
        let running = Process(
            private
                .command(&["remote-rotate", "shop"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("started"),
        );
        until("it has come that far", || private.authority.calls(path) > before).await;
        drop(running);
        assert!(private.is_good(&private.secret("flatpak")));
        private.authority.world().faults.clear();
    }
    // And wherever it happens to be.
    for delay in 0..40 {
        let running = Process(
            private
                .command(&["remote-rotate", "shop"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("started"),
        );
        tokio::time::sleep(Duration::from_millis(delay)).await;
        drop(running);
        assert!(private.is_good(&private.secret("flatpak")), "killed after {delay} ms");
    }
    let output = private.run(&["remote-rotate", "shop"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let left: Vec<_> = std::fs::read_dir(private.home.path("flatpak/repo")).expect("a folder").collect();
    let names: Vec<_> = left.into_iter().map(|entry| entry.expect("an entry").file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("flatpass")), "{names:?}");
}
