//! The bridge and those who mean harm: other users of the machine, web pages, repos and clients. Threats 3, 7, 15,
//! 16.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bridge::{Running, Source};
use crate::stage::until;
use crate::upstream::{Reply, Upstream, body, get, send, send_for, status};

async fn open_repo() -> Upstream {
    Upstream::start(|_| Reply::ok("", "the private index")).await
}

fn url(upstream: &Upstream) -> String {
    format!("{}repo/apps", upstream.url())
}

/// What a shell of user `uid` hears when it sends a request.
async fn as_user(uid: u32, port: u16, request: &str, listens: bool) -> String {
    let read = if listens { "cat <&3" } else { "exec 3>&-" };
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf '%s' \"$1\" >&3; {read}");
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={uid}"), "--clear-groups", "bash", "-c", &script, "bash", request])
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().expect("setpriv is installed"));
    String::from_utf8_lossy(&output.await.expect("no panic").stdout).into_owned()
}

/// Threat 16. Whoever knows the address, and is another user, gets nothing at all.
#[tokio::test]
async fn another_user_gets_no_byte_even_with_the_right_address() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can be somebody else; skipped");
        return;
    }
    let upstream = open_repo().await;
    let source = Source::token("t");
    let bridge = Running::start(&url(&upstream), source.clone()).await;
    let request = format!(
        "GET {}/summary HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
        bridge.key, bridge.port
    );
    assert_eq!(status(&as_user(0, bridge.port, &request, true).await), 200, "this user");
    let (before, asked) = (upstream.heads().len(), source.asked.lock().expect("no panic").len());
    for uid in [65534, 1] {
        for _ in 0..10 {
            assert_eq!(as_user(uid, bridge.port, &request, true).await, "");
            // One that leaves at once: the kernel then prints user 0 for its end of the connection.
            assert_eq!(as_user(uid, bridge.port, &request, false).await, "");
        }
    }
    // One of ours behind them shows that they have all been seen.
    assert_eq!(status(&bridge.get("summary", "").await), 200);
    assert_eq!(upstream.heads().len(), before + 1);
    assert_eq!(source.asked.lock().expect("no panic").len(), asked);
}

/// Threat 16: DNS rebinding, scripts and pictures of a web page, and who guesses.
#[tokio::test]
async fn whoever_does_not_come_from_flatpak_with_the_key_learns_nothing() {
    let upstream = open_repo().await;
    let source = Source::token("t");
    let bridge = Running::start(&url(&upstream), source.clone()).await;
    let (port, key) = (bridge.port, &bridge.key);
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let good = format!("{key}/summary");
    let almost = format!("{}/summary", &key[..key.len() - 1]);
    let mut answers = Vec::new();
    for (path, headers) in [
        ("/", host.as_str()),
        ("/summary", &host),
        ("//summary", &host),
        (&almost, &host),
        (&good.to_ascii_uppercase(), &host),
        (&format!("/x{good}"), &host),
        (&format!("/{good}"), &host),
        (&good.replacen('/', "/%2e/", 1), &host),
        (&good, ""),
        (&good, &format!("Host: localhost:{port}\r\n")),
        (&good, "Host: 127.0.0.1\r\n"),
        (&good, &format!("Host: evil.example:{port}\r\n")),
        (&good, &format!("Host: 127.0.0.1.evil.example:{port}\r\n")),
        (&good, &format!("{host}{host}")),
        (&good, &format!("{host}Host: evil.example\r\n")),
        (&good, &format!("{host}Origin: https://evil.example\r\n")),
        (&good, &format!("{host}Origin: null\r\n")),
        (&good, &format!("{host}Sec-Fetch-Site: cross-site\r\n")),
        (&good, &format!("{host}Sec-Fetch-Mode: no-cors\r\n")),
        (&good, &format!("{host}Sec-Fetch-Dest: image\r\n")),
        (&format!("http://127.0.0.1:{port}{good}"), &host),
        (&format!("http://evil.example{good}"), &host),
    ] {
        let answer = send(port, format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
        assert_eq!(status(&answer), 403, "{path} {headers} {answer}");
        answers.push(answer.lines().filter(|line| !line.starts_with("date:")).collect::<String>());
    }
    for method in ["OPTIONS", "POST", "CONNECT", "TRACE"] {
        let head = format!("{method} {almost} HTTP/1.1\r\n{host}Access-Control-Request-Method: GET\r\n\r\n");
        let answer = send(port, head.as_bytes()).await;
        assert_eq!(status(&answer), 403);
        answers.push(answer.lines().filter(|line| !line.starts_with("date:")).collect::<String>());
    }
    let answer = send(port, format!("GET {good} HTTP/1.0\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&answer), 403);
    answers.dedup();
    assert_eq!(answers, ["HTTP/1.1 403 Forbiddenconnection: closecontent-length: 0"]);
    assert!(upstream.heads().is_empty() && source.asked.lock().expect("no panic").is_empty());
    assert_eq!(status(&bridge.get("summary", "").await), 200);
}

/// Threat 3.
#[tokio::test]
async fn only_files_of_a_repo_are_asked_for_and_only_by_get_and_head() {
    let upstream = open_repo().await;
    let bridge = Running::start(&url(&upstream), Source::token("t")).await;
    for path in [
        "",
        "account",
        "../../account",
        "objects/../../../account",
        "objects/%2e%2e/%2e%2e/account",
        "objects/00/..%2f..%2faccount",
        "objects//00/a.commit",
        "objects/./a.commit",
        "summary/",
        "summary%00",
        "objects\\a",
        "objects/a;b",
        "summary?x=1",
        "index/other?tag=latest",
        "index/static?tag=a\\b",
        "Summary",
    ] {
        let answer = bridge.get(path, "").await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
    }
    // What no request line may have is no request.
    for path in ["summary\tx", "summary\0", "summary x"] {
        assert_ne!(status(&bridge.get(path, "").await), 200, "{path:?}");
    }
    let host = format!("Host: 127.0.0.1:{}\r\n", bridge.port);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"] {
        let head = format!("{method} {}/summary HTTP/1.1\r\n{host}Connection: close\r\n\r\n", bridge.key);
        assert_eq!(status(&send(bridge.port, head.as_bytes()).await), 405, "{method}");
    }
    let with_body = format!("GET {}/summary HTTP/1.1\r\n{host}Content-Length: 3\r\n\r\nabc", bridge.key);
    assert_eq!(status(&send(bridge.port, with_body.as_bytes()).await), 400);
    // A second request that hides in the first one's body.
    let smuggled = format!(
        "GET {0}/summary HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET {0}/config HTTP/1.1\r\n{host}\r\n",
        bridge.key
    );
    assert_ne!(status(&send(bridge.port, smuggled.as_bytes()).await), 200);
    assert!(upstream.heads().is_empty(), "{:?}", upstream.heads());
}

/// Threat 7.
#[tokio::test]
async fn a_redirect_away_from_the_repo_is_followed_without_the_tokens() {
    let elsewhere = Upstream::start(|_| Reply::ok("", "from the bucket")).await;
    let away = format!("{}bucket/a?X-Signature=1", elsewhere.url());
    let upstream = Upstream::start(move |head| match head.split(' ').nth(1).expect("a path") {
        "/repo/apps/objects/00/a.filez" => Reply::redirect(&away),
        "/repo/apps/objects/00/b.filez" => Reply::redirect("/repo/apps/objects/00/c.filez"),
        "/repo/apps/objects/00/d.filez" => Reply::redirect("/other/d"),
        _ => Reply::ok("", "from the repo"),
    })
    .await;
    let bridge = Running::start(&url(&upstream), Source::token("summary-1")).await;
    for more in ["", "Authorization: Bearer own-token\r\n"] {
        let more = format!("{more}Flatpak-Ref: app/a/x/s\r\nRange: bytes=0-3\r\n");
        let answer = bridge.get("objects/00/a.filez", &more).await;
        assert_eq!((status(&answer), body(&answer)), (200, "from the bucket"));
        let head = elsewhere.heads().pop().expect("asked");
        assert!(head.starts_with("get /bucket/a?x-signature=1 "), "{head}");
        assert!(head.contains("range: bytes=0-3"), "{head}");
        assert!(
            !head.contains("authorization") && !head.contains("token") && !head.contains("flatpak-ref"),
            "{head}"
        );
    }
    // Within the repo the token goes along; beside it, on the same host, it does not.
    assert_eq!(body(&bridge.get("objects/00/b.filez", "").await), "from the repo");
    assert!(upstream.heads().pop().expect("asked").contains("authorization: bearer summary-1"));
    assert_eq!(body(&bridge.get("objects/00/d.filez", "").await), "from the repo");
    let head = upstream.heads().pop().expect("asked");
    assert!(head.starts_with("get /other/d ") && !head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_redirect_that_comes_back_or_goes_nowhere_good_is_not_followed_with_or_without_tokens() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        let query = path.split_once("to=").map(|(_, to)| to.to_owned());
        match query {
            Some(to) => Reply::redirect(&to),
            None => Reply::ok("", "secret of the repo"),
        }
    })
    .await;
    let repo = url(&upstream);
    // A host that sends the client back to another file of the repo: no token for a path that somebody else chose.
    let back = format!("{repo}/summary");
    let elsewhere = Upstream::start(move |_| Reply::redirect(&back)).await;
    let first = Upstream::start({
        let (elsewhere, own) = (elsewhere.url(), upstream.url());
        move |head| match head.split(' ').nth(1).expect("a path") {
            "/repo/apps/objects/00/a.filez" => Reply::redirect(&format!("{elsewhere}a")),
            "/repo/apps/objects/00/b.filez" => Reply::redirect("/repo/apps/objects/00/b.filez"),
            "/repo/apps/objects/00/c.filez" => Reply::redirect(&own.replace("http://", "http://user:pw@")),
            "/repo/apps/objects/00/d.filez" => Reply::redirect("http://shop.example/d"),
            "/repo/apps/objects/00/e.filez" => Reply::redirect("file:///etc/passwd"),
            "/repo/apps/objects/00/f.filez" => Reply::redirect("http://[::1"),
            _ => Reply::status("302 Found", "", "without a Location"),
        }
    })
    .await;
    let bridge = Running::start(&url(&first), Source::token("summary-1")).await;
    let answer = bridge.get("objects/00/a.filez", "").await;
    assert_eq!(status(&answer), 200);
    let head = upstream.heads().pop().expect("asked");
    assert!(head.starts_with("get /repo/apps/summary ") && !head.contains("authorization"), "{head}");
    for name in ["b", "c", "d", "e", "f"] {
        let answer = bridge.get(&format!("objects/00/{name}.filez"), "").await;
        assert_eq!(status(&answer), 502, "{name}: {answer}");
        assert!(body(&answer).contains("sends this request on"), "{answer}");
    }
    assert_eq!(
        status(&bridge.get("objects/00/g.filez", "").await),
        302,
        "it says nowhere, so there is nothing to hide"
    );
    // Round and round through the bridge itself.
    let own = format!("http://127.0.0.1:{}{}/summary", bridge.port, bridge.key);
    let loops = Upstream::start(move |_| Reply::redirect(&own)).await;
    let other = flatpass_authenticator::authority::address::RepoUrl::parse(&url(&loops)).expect("valid");
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(9);
    let (_, added) = bridge.book.add(&bridge.remote.store, &other, &mut rng).await.expect("added");
    let answer = get(bridge.port, &format!("/{}/summary", added.key.expose()), "").await;
    assert_eq!(status(&answer), 502);
}

/// Threat 15: the repo's side.
#[tokio::test]
async fn a_repo_that_hangs_lies_or_floods_holds_nobody_up_for_ever() {
    let upstream = Upstream::start(|head| match head.split(' ').nth(1).expect("a path").rsplit('/').next().expect("a name") {
        "silent.filez" => Reply::Silence(Vec::new()),
        "stops.filez" => Reply::Silence(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()),
        "short.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec()),
        "long.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_vec()),
        "both.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd".to_vec()),
        "cut.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nab".to_vec()),
        "head.filez" => {
            let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
            head.extend(b"X-Flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(20_000));
            Reply::Bytes(head)
        }
        "split.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nETag: \"a\rSet-Cookie: x=y\"\r\nContent-Length: 0\r\n\r\n".to_vec()),
        _ => Reply::Bytes(b"220 mail.example ESMTP\r\n".to_vec()),
    })
    .await;
    let bridge = Running::with(&url(&upstream), Source::token("t"), |limits| {
        limits.upstream_head = Duration::from_millis(300);
        limits.upstream_silence = Duration::from_millis(300);
    })
    .await;
    let ask = |name: &str| {
        let path = format!("objects/00/{name}.filez");
        let bridge = &bridge;
        async move { bridge.get(&path, "").await }
    };
    let answer = ask("silent").await;
    assert_eq!(status(&answer), 504);
    assert!(body(&answer).contains("did not answer in time"), "{answer}");
    for name in ["stops", "short"] {
        let answer = ask(name).await;
        assert!(
            answer.contains("content-length: 100") && body(&answer) == "abc",
            "the client sees that it is not all: {answer}"
        );
    }
    let answer = ask("long").await;
    assert_eq!((status(&answer), body(&answer)), (200, "abc"));
    assert_eq!(body(&ask("short").await), "abc", "what was too much is nobody's answer");
    let answer = ask("cut").await;
    assert!(answer.contains("abcde") && !answer.ends_with("0\r\n\r\n"), "no right end: {answer}");
    for name in ["both", "head", "smtp"] {
        let answer = ask(name).await;
        assert_eq!(status(&answer), 502, "{name}: {answer}");
    }
    let answer = ask("split").await;
    assert!(!answer.to_ascii_lowercase().contains("\nset-cookie") && !answer.contains('\u{b}'), "{answer}");
}

/// Threat 15: the client's side.
#[tokio::test]
async fn a_client_that_is_slow_to_ask_or_never_reads_is_given_up() {
    let upstream = Upstream::start(|_| Reply::Zeros(1 << 40)).await;
    let bridge = Running::with(&url(&upstream), Source::token("t"), |limits| {
        limits.head = Duration::from_millis(300);
        limits.reading = Duration::from_millis(300);
        limits.connections = 4;
    })
    .await;
    // Half a head, and a connection on which nothing ever comes: more of them than are served at once.
    let half = format!("GET {}/summary HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nX: ", bridge.key, bridge.port);
    let slow = (0..8).map(|at| {
        let (port, half) = (bridge.port, if at % 2 == 0 { half.clone() } else { String::new() });
        async move { send_for(port, half.as_bytes(), Duration::from_secs(10)).await }
    });
    for answer in futures_util::future::join_all(slow).await {
        assert!(answer.is_some_and(|answer| !answer.contains("200")), "it is closed");
    }
    assert!(upstream.heads().is_empty());
    let endless = format!("{half}{}", "a".repeat(256 * 1024));
    let answer = send(bridge.port, endless.as_bytes()).await;
    assert!([0, 400, 431].contains(&status(&answer)), "{answer}");

    let head =
        format!("GET {}/objects/00/a.filez HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", bridge.key, bridge.port);
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", bridge.port)).await.expect("connected");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.expect("sent");
        deaf.push(stream);
    }
    // All four places are taken; they are free again once the four are given up.
    until("all are asked for", || upstream.heads().len() == 4).await;
    let answer = send(bridge.port, head.replace("GET", "PUT").as_bytes()).await;
    assert_eq!(status(&answer), 405);
    let stopped = upstream.written();
    assert!(stopped < 200 << 20, "what nobody reads is not fetched: {stopped}");
    drop(deaf);
}
