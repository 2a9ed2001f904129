//! The command, as people and the session bus start it.

use std::process::Stdio;

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::authority::{Authority, browse};
use crate::client::{Ask, Client, PAID};
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, until};

async fn login(home: &Home, bus: &Bus, authority: &Authority) -> String {
    authority.world().device = None;
    let mut command = home.command(PROGRAM, bus);
    command.args(["login", &authority.url]);
    let running = tokio::task::spawn_blocking(move || command.output().expect("started"));
    browse(&home.shown().await).await;
    let output = running.await.expect("no panic");
    format!("{:?} {}", output.status.code(), said(&output))
}

#[tokio::test]
async fn a_person_signs_in_ahead_of_time_and_the_running_service_uses_it() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    let _service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    authority.world().owned.insert(PAID.to_owned());
    let ask = Ask::paid(&authority.url).quiet();
    assert_eq!(client.ask(&ask).await.code, 2);
    let none = home.run(&bus, &["status"]).await;
    assert!(said(&none).contains("not signed in anywhere"), "{}", said(&none));

    let text = login(&home, &bus, &authority).await;
    assert!(text.starts_with("Some(0)") && text.contains("You are signed in to 127.0.0.1"), "{text}");
    assert_eq!(client.ask(&ask).await.code, 0);
    let status = home.run(&bus, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["sign_ins"][0]["authority"], authority.url.as_str());
    assert_eq!(status["sign_ins"][0]["kept_in"], "file");
    let refresh = authority.world().refresh.first().cloned().expect("one");
    assert!(!status.to_string().contains(&refresh));

    // As somebody else: the former sign-in is ended.
    let text = login(&home, &bus, &authority).await;
    assert!(text.starts_with("Some(0)"), "{text}");
    assert_eq!(authority.world().revoked, [refresh]);
    assert_eq!(client.ask(&ask).await.code, 0);

    let text = said(&home.run(&bus, &["logout", &authority.url]).await);
    assert!(text.contains("You are signed out"), "{text}");
    assert!(authority.world().refresh.is_empty());
    assert_eq!(client.ask(&ask).await.code, 2);
    let text = said(&home.run(&bus, &["logout", &authority.url]).await);
    assert!(text.contains("You were not signed in"), "{text}");
}

#[tokio::test]
async fn commands_that_fail_say_what_to_do_and_have_an_exit_code() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    authority.world().device = None;
    authority.world().denies = Some("access_denied");
    let text = login(&home, &bus, &authority).await;
    assert!(text.starts_with("Some(3)") && text.contains("Cancelled"), "{text}");
    for (arguments, code, expected) in [
        (&["login", "http://shop.example/"][..], 1, "https"),
        (&["login", "https://shop.invalid/"], 1, "Cannot reach shop.invalid"),
        (&["login"], 2, "Usage"),
        (&["remote-add", "--no-gpg-verify", "http://shop.example/repo"], 1, "https"),
        (&["remote-add", "/nonexistent.flatpakrepo"], 1, "Cannot read"),
    ] {
        let output = home.run(&bus, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
    let help = said(&home.run(&bus, &["--help"]).await);
    for word in
        ["login", "logout", "status", "remote-add", "serve", "install", "FLATPASS_CA_FILE", "Examples"]
    {
        assert!(help.contains(word), "{word}");
    }
}

#[tokio::test]
async fn sigterm_answers_the_open_requests_and_ends_cleanly() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    let mut service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    request.webflow().await;
    let pid = Pid::from_child(&service.0);
    kill_process(pid, Signal::TERM).expect("sent");
    request.done().await;
    let response = request.response().await;
    assert!(response.message.contains("stopped"), "{}", response.message);
    until("it ends", || service.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(service.0.wait().expect("ended").code(), Some(0));
}

/// Threat 14.
#[tokio::test]
async fn the_log_holds_no_secret_even_when_it_is_long() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    {
        let mut world = authority.world();
        (world.device, world.buys, world.access_seconds) = (None, true, 1);
    }
    let service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    browse(&url).await;
    request.done().await;
    let response = request.response().await;
    let mut again = Ask::paid(&authority.url).quiet();
    again.refs[0].2 = i32::MAX;
    assert_eq!(client.ask(&again).await.code, 0);
    drop(service);
    let log = std::fs::read_to_string(home.path("log")).expect("a log");
    assert!(log.contains("a web flow is needed"), "{log}");
    let url = url::Url::parse(&url).expect("a URL");
    let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let world = authority.world();
    let secrets = world.access.iter().chain(&world.refresh).chain(&world.spent).chain(response.tokens.keys());
    for secret in secrets.chain([&state]) {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
    assert!(!world.spent.is_empty() && !response.tokens.is_empty());
}

#[tokio::test]
async fn the_session_bus_starts_an_installed_authenticator() {
    let (authority, home) = (Authority::start().await, Home::new());
    authority.world().open.insert(PAID.to_owned());
    let bus = Bus::start_in(&home);
    let text = said(&home.run(&bus, &["install"]).await);
    assert!(text.contains("dbus-1/services/org.flatpass.Authenticator.service"), "{text}");
    // systemd has a say where it is installed.
    let unit = home.path("data/systemd/user/flatpass-authenticator.service");
    if let Ok(judged) = home.command("systemd-analyze", &bus).args(["verify", "--user"]).arg(unit).output() {
        assert!(judged.status.success() && said(&judged).is_empty(), "{}", said(&judged));
    }
    let client = Client::new(bus.connect().await).await;
    zbus::fdo::DBusProxy::new(&client.connection)
        .await
        .expect("the bus")
        .reload_config()
        .await
        .expect("reloaded");
    assert_eq!(client.ask(&Ask::paid(&authority.url)).await.token(PAID), Some(""));
    // In place of Flatpak's own, and beside a first authenticator that goes on.
    let text = said(&home.run(&bus, &["install", "--for-oci"]).await);
    assert!(text.contains("org.flatpak.Authenticator.Oci.service"), "{text}");
    let oci = home.path("data/dbus-1/services/org.flatpak.Authenticator.Oci.service");
    let service = std::fs::read_to_string(&oci).expect("written");
    assert!(service.contains(&format!("Exec={PROGRAM} serve --for-oci")), "{service}");
    let text = said(&home.run(&bus, &["install", "--remove"]).await);
    assert!(!oci.exists(), "{text}");
    // Flatpak's own file stays.
    std::fs::write(&oci, "[D-BUS Service]\nExec=/usr/libexec/flatpak-oci-authenticator\n").expect("written");
    let text = said(&home.run(&bus, &["install", "--for-oci"]).await);
    assert!(text.contains("belongs to Flatpak"), "{text}");
    home.run(&bus, &["install", "--remove"]).await;
    assert!(oci.exists());
    std::fs::remove_file(&oci).expect("removed");
    home.run(&bus, &["install"]).await;
    let text = said(&home.run(&bus, &["install", "--remove"]).await);
    assert!(text.contains("Removed"), "{text}");
    assert!(home.texts("data/dbus-1").is_empty() && home.texts("data/systemd").is_empty());
}

#[tokio::test]
async fn remote_add_sets_up_flatpak_with_the_key_and_without_secrets_in_its_arguments() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    // A flatpak in front of the real one, which writes down its arguments.
    let bin = home.path("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let script = format!(
        "#!/bin/sh\necho \"$@\" > {}\nPATH=${{PATH#*:}} exec flatpak \"$@\"\n",
        home.path("arguments").display()
    );
    std::fs::write(bin.join("flatpak"), script).expect("written");
    std::fs::set_permissions(bin.join("flatpak"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("executable");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path"));

    let key = signed_repo(&home, &bus);
    authority.world().repo = Some(home.path("repo"));
    let url = authority.url.replace("http://", "http://device:S3cret@") + "repo/apps";
    let add = |arguments: &[&str]| {
        let mut command = home.command(PROGRAM, &bus);
        command.env("PATH", &path).args(["remote-add", "--user"]).args(arguments);
        command
    };
    let without_key = add(&["-"]);
    let output = piped(without_key, &url).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--gpg-import"), "{}", said(&output));

    let output = piped(add(&["-", "shop", "--no-gpg-verify"]), &url).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let arguments = std::fs::read_to_string(home.path("arguments")).expect("run");
    assert!(!arguments.contains("S3cret"), "{arguments}");
    let config = std::fs::read_to_string(home.path("flatpak/repo/config")).expect("configured");
    assert!(config.contains(&format!("url={url}\n")), "{config}");
    assert!(config.contains("xa.authenticator-name=org.flatpass.Authenticator\n"), "{config}");
    assert!(config.contains(&format!("xa.authenticator-options.url={}\n", authority.url)), "{config}");
    assert!(config.contains("gpg-verify=false\n"), "{config}");

    // From the store's file, with the key in it; the name is the file's.
    let file = home.path("apps.flatpakrepo");
    let text = format!("[Flatpak Repo]\nTitle=A shop\nUrl={}repo/apps\nGPGKey={key}\n", authority.url);
    std::fs::write(&file, text).expect("written");
    // Another key that the store names now takes no place of the one that the person has.
    let other = format!("[Flatpak Repo]\nTitle=A shop\nUrl={}repo/apps\nGPGKey=AAAA\n", authority.url);
    authority.world().machines.flatpakrepo = Some(other);
    let output = piped(add(&[file.to_str().expect("text")]), "").await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let config = std::fs::read_to_string(home.path("flatpak/repo/config")).expect("configured");
    let remote = config.split("[remote \"apps\"]").nth(1).expect("the remote");
    assert!(remote.contains("gpg-verify=true") && remote.contains("xa.title=A shop"), "{remote}");

    authority.world().machines.flatpakrepo = None;

    // With the key in a file of its own: signatures are checked then, too.
    let file = home.path("key.gpg");
    std::fs::write(&file, base64::engine::general_purpose::STANDARD.decode(&key).expect("base64"))
        .expect("written");
    let import = format!("--gpg-import={}", file.display());
    let output = piped(add(&[&import, &format!("{}repo/apps", authority.url), "signed"]), "").await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let config = std::fs::read_to_string(home.path("flatpak/repo/config")).expect("configured");
    let remote = config.split("[remote \"signed\"]").nth(1).expect("the remote");
    assert!(remote.contains("gpg-verify=true") && remote.contains("gpg-verify-summary=true"), "{remote}");

    let output = piped(add(&["--no-gpg-verify", &format!("{}repo/other", authority.url)]), "").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("does not know the repository"), "{}", said(&output));
}

/// Runs a command with something on its standard input.
async fn piped(mut command: std::process::Command, input: &str) -> std::process::Output {
    use std::io::Write as _;
    let input = input.to_owned();
    let work = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        // A program that does not read its input has closed it.
        let _closed = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("ended")
    };
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// Makes an empty repository whose summary is signed with a new key. Gives the key as it stands in a `.flatpakrepo`.
fn signed_repo(home: &Home, bus: &Bus) -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = home.command(program, bus).args(arguments).output().expect("it is installed");
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let repo = home.path("repo");
    let repo = repo.to_str().expect("text");
    let who = "shop@shop.example";
    run("gpg", &["--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", who]);
    run("ostree", &["init", "--mode=archive", &format!("--repo={repo}")]);
    run("flatpak", &["build-update-repo", &format!("--gpg-sign={who}"), repo]);
    let key = run("gpg", &["--batch", "--export", who]);
    run("gpgconf", &["--kill", "all"]);
    base64::engine::general_purpose::STANDARD.encode(key)
}
