//! The bridge as a program, with the authenticator on a bus: sign-in to index, ref tokens under its address, sockets,
//! memory, log.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use flatpass_authenticator::authority::address::{AuthorityUrl, RepoUrl};
use flatpass_authenticator::bridge::book::{Book, Bridged, Page};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};

use crate::authority::{Authority, browse};
use crate::client::{Ask, Client, PAID, SummaryAsk};
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, Process, Stage, until};
use crate::upstream::{Reply, Upstream, body, get, status};

async fn add(book: &Book, store: &str, repo: &str, seed: u64) -> (Page, Bridged) {
    let store = AuthorityUrl::parse(store).expect("valid");
    let repo = RepoUrl::parse(repo).expect("valid");
    book.add(&store, &repo, &mut StdRng::seed_from_u64(seed)).await.expect("added")
}

fn is_open(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The bridge, which listens when this returns.
async fn start(home: &Home, bus: &Bus, port: u16) -> Process {
    let log = std::fs::File::create(home.path("bridge.log")).expect("a file");
    let child = home
        .command(PROGRAM, bus)
        .args(["--verbose", "bridge"])
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("started");
    let process = Process(child);
    until("the bridge listens", || is_open(port)).await;
    process
}

async fn sign_in(client: &Client, authority: &Authority) {
    let mut request = client.begin_summary(&SummaryAsk::of(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

/// A random port, so that tests that run at the same time do not meet.
fn seed() -> u64 {
    u64::from(std::process::id())
        + std::sync::atomic::AtomicU64::fetch_add(&NEXT, 1, std::sync::atomic::Ordering::SeqCst)
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

#[tokio::test]
async fn a_private_index_is_fetched_with_the_persons_sign_in_and_no_secret_leaves_the_bridge() {
    let (authority, home) = (Authority::start().await, Home::new());
    authority.world().device = None;
    std::fs::create_dir(home.path("repo")).expect("a folder");
    std::fs::write(home.path("repo/summary"), "the private index").expect("written");
    {
        let mut world = authority.world();
        (world.repo, world.is_private) = (Some(home.path("repo")), true);
    }
    // The bridge is the one that starts the authenticator.
    let bus = Bus::start_in(&home);
    assert!(said(&home.run(&bus, &["install"]).await).contains("flatpass-bridge.socket"));
    let (page, remote) = add(
        &Book::new(home.path("state/flatpass")),
        &authority.url,
        &format!("{}repo/apps", authority.url),
        seed(),
    )
    .await;
    let port = page.port.expect("chosen");
    let mut bridge = start(&home, &bus, port).await;
    let path = format!("/{}/summary", remote.key.expose());

    let answer = get(port, &path, "").await;
    assert_eq!(status(&answer), 401);
    assert!(
        body(&answer).contains(&format!("run `flatpass-authenticator login {}`", authority.url)),
        "{answer}"
    );
    let client = Client::new(bus.connect().await).await;
    sign_in(&client, &authority).await;
    let answer = get(port, &path, "").await;
    assert_eq!((status(&answer), body(&answer)), (200, "the private index"));

    // The device is signed out on the account page: at once, and the log says what to do.
    authority.world().sign_out();
    let answer = get(port, &path, "").await;
    assert_eq!(status(&answer), 401, "{answer}");
    assert!(body(&answer).contains("flatpass-authenticator login"), "{answer}");

    kill_process(Pid::from_child(&bridge.0), Signal::TERM).expect("sent");
    until("it ends", || bridge.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(bridge.0.wait().expect("ended").code(), Some(0));
    let log = std::fs::read_to_string(home.path("bridge.log")).expect("a log");
    assert!(log.contains("flatpass-authenticator login"), "{log}");
    let world = authority.world();
    let secrets = world.access.iter().chain(&world.refresh).chain(&world.spent).chain(&world.summary_tokens);
    for secret in secrets.filter(|secret| !secret.is_empty()).chain([&remote.key.expose().to_owned()]) {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
    assert!(!log.contains("summary-"), "{log}");
    assert!(world.asked.iter().all(|asked| !asked.to_string().contains(remote.key.expose())));
}

/// Flatpak asks for ref tokens under the bridge's address.
#[tokio::test]
async fn a_ref_token_under_the_bridges_address_is_the_repos_and_the_store_never_hears_that_address() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    authority.world().owned.insert(PAID.to_owned());
    let book = Book::new(stage.state.path().join("flatpass"));
    let repo = format!("{}repo/apps", authority.url);
    let (page, remote) = add(&book, &authority.url, &repo, seed()).await;
    let (other_page, other) =
        add(&book, "https://shop.example/", "https://shop.example/repo/apps", seed()).await;
    let (address, others) = (page.address(&remote).expect("one"), other_page.address(&other).expect("one"));
    let port = page.port.expect("chosen");
    let ask = |uri: &str| Ask::paid(&authority.url).quiet().remote(uri);

    // Nobody listens: whoever came there first would get the token.
    let refused = client.ask(&ask(&address)).await;
    assert_eq!(refused.code, 2);
    assert!(refused.message.contains("The bridge does not run"), "{}", refused.message);

    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("free");
    let given = client.ask(&ask(&address)).await;
    assert!(given.token(PAID).is_some_and(|token| token.starts_with("ref-")), "{given:?}");
    assert_eq!(client.ask(&ask(&repo)).await.token(PAID), given.token(PAID), "it is the same repo");
    let asked = authority.calls("/api/v1/ref-tokens");
    for wrong in [
        others,
        format!("{address}x"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/repo/apps"),
    ] {
        let refused = client.ask(&ask(&wrong)).await;
        assert_eq!((refused.code, refused.error_code), (2, Some(24)), "{wrong}");
        assert!(refused.message.contains("is not one that your bridge knows"), "{}", refused.message);
    }
    // A loopback address is nobody's for a store elsewhere.
    let elsewhere = Ask {
        url: "https://shop.invalid/".to_owned(),
        ..ask(&format!("http://127.0.0.1:{}/repo", port - 1))
    };
    assert!(client.ask(&elsewhere).await.message.contains("is not one that your bridge knows"));
    assert_eq!(authority.calls("/api/v1/ref-tokens"), asked, "the store was not even asked");
    let world = authority.world();
    assert!(world.asked.iter().all(|asked| !asked.to_string().contains(remote.key.expose())));
    assert!(world.asked.iter().all(|asked| !asked.to_string().contains(&port.to_string())));
    drop(listener);
}

/// Threat 16: another user sits on the port while the bridge does not run.
#[tokio::test]
async fn no_token_is_given_while_another_user_holds_the_bridges_port() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can be somebody else; skipped");
        return;
    }
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    authority.world().owned.insert(PAID.to_owned());
    let (page, remote) = add(
        &Book::new(stage.state.path().join("flatpass")),
        &authority.url,
        &format!("{}repo/apps", authority.url),
        seed(),
    )
    .await;
    let (port, address) = (page.port.expect("chosen"), page.address(&remote).expect("one"));
    let squat = |host: &str| {
        let script = format!("import socket,time; s=socket.create_server(('{host}',{port})); time.sleep(60)");
        let mut command = Command::new("python3");
        command.args(["-c", &script]).uid(65534).gid(65534).current_dir("/").stdin(Stdio::null());
        Process(command.spawn().expect("started"))
    };
    for host in ["127.0.0.1", "0.0.0.0"] {
        let squatter = squat(host);
        until("the port is taken", || is_open(port)).await;
        let refused = client.ask(&Ask::paid(&authority.url).quiet().remote(&address)).await;
        assert_eq!((refused.code, refused.error_code), (2, Some(24)), "{host}");
        assert!(refused.message.contains("is held by another user's program"), "{}", refused.message);
        // And the bridge says why it cannot start.
        let home = Home::new();
        std::fs::create_dir_all(home.path("state/flatpass")).expect("a folder");
        std::fs::copy(
            Book::new(stage.state.path().join("flatpass")).path(),
            home.path("state/flatpass/bridge.json"),
        )
        .expect("copied");
        let output = home.run(&stage.bus, &["bridge"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("is held by another user's program"), "{}", said(&output));
        let text = said(&home.run(&stage.bus, &["bridge", "status"]).await);
        assert!(text.contains("ANOTHER USER'S PROGRAM"), "{text}");
        drop(squatter);
        until("the port is free", || !is_open(port)).await;
    }
}

#[tokio::test]
async fn half_a_gigabyte_and_a_slow_reader_do_not_grow_the_bridge() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const SIZE: u64 = 500 * 1024 * 1024;
    let (home, bus) = (Home::new(), Bus::start());
    let upstream = Upstream::start(|_| Reply::Zeros(SIZE)).await;
    let repo = format!("{}repo/apps", upstream.url());
    let (page, remote) =
        add(&Book::new(home.path("state/flatpass")), "http://127.0.0.1:9/", &repo, seed()).await;
    let port = page.port.expect("chosen");
    let bridge = start(&home, &bus, port).await;
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
        line.split_ascii_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number")
    };
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let head = format!(
        "GET /{}/objects/00/a.filez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer own\r\nConnection: close\r\n\r\n",
        remote.key.expose()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut buffer = vec![0; 256 * 1024];
    let mut got = stream.read(&mut buffer).await.expect("read") as u64;
    let before = peak();
    // The reader pauses: the repo is not read any further than the kernel's buffers hold.
    let mut last = u64::MAX;
    while last != upstream.written() {
        last = upstream.written();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(last < 64 * 1024 * 1024, "{last} bytes were fetched for nobody");
    loop {
        match stream.read(&mut buffer).await.expect("read") {
            0 => break,
            count => got += count as u64,
        }
    }
    assert!(got > SIZE, "{got}");
    let grown = peak() - before;
    println!("the bridge's peak is {} KiB, {grown} KiB of it while {SIZE} bytes went through", peak());
    assert!(grown < 8 * 1024, "it grew by {grown} KiB");
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_served_and_the_bridge_ends_when_nobody_comes() {
    let (home, bus) = (Home::new(), Bus::start());
    let upstream = Upstream::start(|_| Reply::ok("", "the app")).await;
    let repo = format!("{}repo/apps", upstream.url());
    let (page, remote) =
        add(&Book::new(home.path("state/flatpass")), "http://127.0.0.1:9/", &repo, seed()).await;
    let port = page.port.expect("chosen");
    let activate = |listen: &str| -> Child {
        home.command("systemd-socket-activate", &bus)
            .args([
                "--listen",
                listen,
                "-E",
                "HOME",
                "-E",
                "XDG_STATE_HOME",
                "-E",
                "DBUS_SESSION_BUS_ADDRESS",
            ])
            .args([PROGRAM, "--verbose", "bridge", "--idle-exit", "1"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.path("bridge.log")).expect("a file"))
            .spawn()
            .expect("systemd-socket-activate is installed")
    };
    let mut process = Process(activate(&format!("127.0.0.1:{port}")));
    let path = format!("/{}/summary", remote.key.expose());
    // The first connection waits in the socket until the bridge is there.
    until("the socket is there", || listens(port)).await;
    let answer = get(port, &path, "Authorization: Bearer own\r\n").await;
    assert_eq!((status(&answer), body(&answer)), (200, "the app"));
    until("it ends by itself", || process.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(process.0.wait().expect("ended").code(), Some(0));

    // A socket that other machines can reach is not served.
    let mut process = Process(activate(&format!("0.0.0.0:{port}")));
    until("the socket is there", || listens(port)).await;
    let _first = std::net::TcpStream::connect(("127.0.0.1", port));
    until("it ends", || process.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(process.0.wait().expect("ended").code(), Some(1));
    let log = std::fs::read_to_string(home.path("bridge.log")).expect("a log");
    assert!(log.contains("listens on 127.0.0.1 only"), "{log}");
}

/// Whether there is a listener, without waking it.
fn listens(port: u16) -> bool {
    use flatpass_authenticator::bridge::peer::{Listener, listener};
    listener(port).expect("read") != Listener::Nobody
}

#[tokio::test]
async fn the_bridge_says_what_it_serves_and_stops_serving_it() {
    let (home, bus) = (Home::new(), Bus::start());
    let book = Book::new(home.path("state/flatpass"));
    let output = home.run(&bus, &["bridge"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("remote-add --bridge"), "{}", said(&output));
    let repo = "https://shop.example/repo/apps";
    let (page, remote) = add(&book, "https://shop.example/", repo, seed()).await;
    let text = said(&home.run(&bus, &["bridge", "status"]).await);
    assert!(text.contains("nobody listens") && text.contains(repo), "{text}");
    let json = home.run(&bus, &["bridge", "status", "--json"]).await.stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["remotes"][0]["address"].as_str(), page.address(&remote).as_deref());
    assert_eq!(
        (json["listener"].as_str(), json["port"].as_u64()),
        (Some("nobody"), page.port.map(u64::from))
    );
    let output = home.run(&bus, &["bridge", "remove", "https://shop.example/repo/other"]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = said(&home.run(&bus, &["bridge", "remove", repo]).await);
    assert!(text.contains("does not serve https://shop.example/repo/apps any more"), "{text}");
    assert!(book.read().expect("read").remotes.is_empty());
    // What systemd has to say about the units.
    assert!(said(&home.run(&bus, &["install"]).await).contains("flatpass-bridge.service"));
    let units = ["flatpass-bridge.socket", "flatpass-bridge.service"]
        .map(|name| home.path(&format!("data/systemd/user/{name}")));
    if let Ok(judged) = home.command("systemd-analyze", &bus).args(["verify", "--user"]).args(units).output()
    {
        assert!(judged.status.success() && said(&judged).is_empty(), "{}", said(&judged));
    }
}
