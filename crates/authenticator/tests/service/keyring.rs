//! Sign-ins in a real keyring.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use zbus::zvariant::{ObjectPath, OwnedObjectPath};

use crate::authority::{Authority, browse};
use crate::client::{Ask, Client, OciAsk, PAID};
use crate::program::{Home, said};
use crate::registries::sign_in;
use crate::stage::{self, Bus, Process};
use crate::token_registry::{DIGEST, TokenRegistry};

const KEYRING: &str = "org.freedesktop.secrets";

/// gnome-keyring with an unlocked default collection.
async fn keyring(home: &Home, bus: &Bus) -> Process {
    let mut command: Command = home.command("gnome-keyring-daemon", bus);
    command.args(["--foreground", "--unlock", "--components=secrets"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("gnome-keyring is installed");
    child.stdin.take().expect("piped").write_all(b"password").expect("written");
    let process = Process(child);
    let connection = bus.connect().await;
    let ready = async {
        loop {
            let reply = connection
                .call_method(
                    Some(KEYRING),
                    "/org/freedesktop/secrets",
                    Some("org.freedesktop.Secret.Service"),
                    "ReadAlias",
                    &"default",
                )
                .await;
            if let Ok(reply) = reply {
                let path: OwnedObjectPath = reply.body().deserialize().expect("a path");
                if path.as_str() != "/" {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(stage::PATIENCE, ready).await.expect("the keyring is ready");
    process
}

async fn lock(bus: &Bus) {
    let collection = ObjectPath::try_from("/org/freedesktop/secrets/aliases/default").expect("a path");
    let reply = bus
        .connect()
        .await
        .call_method(
            Some(KEYRING),
            "/org/freedesktop/secrets",
            Some("org.freedesktop.Secret.Service"),
            "Lock",
            &vec![collection],
        )
        .await
        .expect("locked");
    let (locked, _prompt): (Vec<OwnedObjectPath>, OwnedObjectPath) = reply.body().deserialize().expect("aoo");
    assert_eq!(locked.len(), 1);
}

/// Counts the password prompts that the keyring asks the desktop for. None of them is answered.
async fn prompter(bus: &Bus) -> Arc<AtomicUsize> {
    let connection = bus.connect().await;
    let mut messages = zbus::MessageStream::from(&connection);
    connection.request_name("org.gnome.keyring.SystemPrompter").await.expect("the name");
    let prompts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&prompts);
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if message.header().interface().is_some_and(|name| name.as_str().ends_with(".Prompter")) {
                counter.fetch_add(1, Ordering::SeqCst);
                let error = zbus::fdo::Error::Failed("no prompt".to_owned());
                let _gone = connection.reply_dbus_error(&message.header(), error).await;
            }
        }
    });
    prompts
}

#[tokio::test]
async fn a_sign_in_is_kept_in_the_keyring_and_survives_a_restart_and_a_locked_keyring_says_so() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    authority.world().buys = true;
    authority.world().device = None;
    let _keyring = keyring(&home, &bus).await;
    let service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let (_, page) = browse(&request.webflow().await).await;
    assert!(page.contains("data-result=\"done\""), "{page}");
    request.done().await;
    assert_eq!(request.response().await.code, 0);
    let status = home.run(&bus, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["sign_ins"][0]["kept_in"], "keyring");
    let refresh = authority.world().refresh.first().cloned().expect("one");
    let texts = home.texts("state");
    assert!(!texts.is_empty() && texts.iter().all(|text| !text.contains(&refresh)), "no secret in a file");

    drop(service);
    let service = home.serve(&bus).await;
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0);
    assert_eq!(authority.world().spent.len(), 1, "it was read from the keyring, and rotated");

    drop(service);
    let _service = home.serve(&bus).await;
    lock(&bus).await;
    let prompts = prompter(&bus).await;
    let locked = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!(locked.code, 2);
    assert!(locked.message.starts_with("Your keyring is locked"), "{}", locked.message);
    assert!(!authority.world().reused);

    assert_eq!(prompts.load(Ordering::SeqCst), 0, "nobody is asked for a password at night");

    // A person at a terminal is asked.
    let status = home.run(&bus, &["logout", &authority.url]).await;
    assert_ne!(prompts.load(Ordering::SeqCst), 0);
    assert!(said(&status).contains("signed out"), "{}", said(&status));
}

#[tokio::test]
async fn a_registrys_password_is_kept_in_the_keyring_and_nobody_is_prompted_at_night() {
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.user("ann", "secret password", &["shop/paid"]);
    let _keyring = keyring(&home, &bus).await;
    let output = sign_in(&home, &bus, &registry.host, "ann", "secret password").await;
    assert!(said(&output).contains("in your keyring"), "{}", said(&output));
    assert!(home.texts("state").iter().all(|text| !text.contains("secret password")));
    let _service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    let ask = OciAsk::of("oci+http://127.0.0.1:1/", &registry.url).image(PAID, "shop/paid", DIGEST).quiet();
    assert_eq!(client.ask_oci(&ask).await.code, 0);
    lock(&bus).await;
    let prompts = prompter(&bus).await;
    let locked = client.ask_oci(&OciAsk { fresh: true, ..ask }).await;
    assert_eq!(locked.code, 2);
    assert!(locked.message.starts_with("Your keyring is locked"), "{}", locked.message);
    assert_eq!(prompts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_a_keyring_a_sign_in_is_kept_in_a_file() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    authority.world().buys = true;
    authority.world().device = None;
    let _service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
    let refresh = authority.world().refresh.first().cloned().expect("one");
    assert!(home.texts("state").iter().any(|text| text.contains(&refresh)));
}
