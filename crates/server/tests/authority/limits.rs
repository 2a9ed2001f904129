//! What one client may take up (threats 9 and 15).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;

use crate::browser::form;
use crate::oauth::{device, token};
use crate::shop::{FREE, PASSWORD, Shop};

#[tokio::test]
async fn guessing_a_password_is_slowed_down_for_the_address_and_the_account() {
    let limits = "[limits]\nsign_in_per_minute = 4\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let shop = Shop::open_with(limits, |_| ()).await;
    shop.account("ada@example.org").await;
    let browser = shop.browser();
    let page = browser.get("/sign-in").await;
    let csrf = page.hidden_fields("/sign-in").remove(0).1;
    let sign_in = async |from: &str, email: &str, password: &str| {
        let fields = [("csrf", csrf.as_str()), ("email", email), ("password", password)];
        let request = browser.request(Method::POST, "/sign-in").header("x-forwarded-for", from);
        browser.send(form(request, &fields)).await
    };
    for _ in 0..4 {
        assert_eq!(sign_in("192.0.2.1", "ada@example.org", "wrong guess").await.status, 422);
    }
    let refused = sign_in("192.0.2.1", "ADA@example.org", PASSWORD).await;
    assert_eq!(refused.status, 429, "with the right password too");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(
        (1..=16).contains(&wait) && refused.body.contains(&format!("Wait {wait} seconds")),
        "{}",
        refused.body
    );

    let elsewhere = shop.browser();
    let csrf_there = elsewhere.get("/sign-in").await.hidden_fields("/sign-in").remove(0).1;
    let fields = [("csrf", csrf_there.as_str()), ("email", "ada@example.org"), ("password", PASSWORD)];
    let request = elsewhere.request(Method::POST, "/sign-in").header("x-forwarded-for", "192.0.2.2");
    assert_eq!(elsewhere.send(form(request, &fields)).await.status, 303, "guesses lock nobody out elsewhere");
    // Ten networks' worth of tries is what an account takes from everywhere.
    let mut fresh_networks = 0;
    for number in 3..200 {
        let first = sign_in(&format!("192.0.2.{number}"), "ada@example.org", "wrong guess").await.status;
        if first == 429 {
            break;
        }
        fresh_networks += 1;
    }
    assert!((30..150).contains(&fresh_networks), "{fresh_networks}");

    for number in 0..4 {
        let email = format!("nobody{number}@example.org");
        assert_eq!(sign_in("198.51.100.1", &email, "wrong guess").await.status, 422);
    }
    assert_eq!(sign_in("198.51.100.1", "new@example.org", "wrong guess").await.status, 429);
    // What stands before the proxy's own entry is anybody's word.
    assert_eq!(sign_in("203.0.113.5, 198.51.100.1", "new2@example.org", "wrong guess").await.status, 429);
    assert_eq!(sign_in("203.0.113.5", "new3@example.org", "wrong guess").await.status, 422);
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_chooses_their_address() {
    let shop = Shop::open_with("[limits]\nsign_in_per_minute = 2\ntoken_per_minute = 3\n", |_| ()).await;
    let browser = shop.browser();
    let csrf = browser.get("/sign-up").await.hidden_fields("/sign-up").remove(0).1;
    let mut statuses = Vec::new();
    for number in 0..4 {
        let email = format!("new{number}@example.org");
        let fields = [("csrf", csrf.as_str()), ("email", email.as_str()), ("password", "short")];
        let request =
            browser.request(Method::POST, "/sign-up").header("x-forwarded-for", format!("192.0.2.{number}"));
        statuses.push(browser.send(form(request, &fields)).await.status);
    }
    assert_eq!(statuses, [422, 422, 429, 429]);
    for _ in 0..3 {
        assert_eq!(token(&shop, &[("grant_type", "refresh_token")]).await.status, 400);
    }
    let slow_down = token(&shop, &[("grant_type", "refresh_token")]).await;
    assert_eq!((slow_down.status, slow_down.json()["error"].as_str()), (429, Some("slow_down")));
    assert_ne!(slow_down.header("retry-after"), "");
}

/// Each such call may read 64 commits from the disk.
#[tokio::test]
async fn who_does_not_say_who_they_are_asks_for_ref_tokens_only_so_often() {
    let limits = "[limits]\ntoken_per_minute = 3\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let shop = Shop::open_with(limits, |_| ()).await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let browser = shop.browser();
    let ask = async |from: &str, access: Option<&str>| {
        let request = browser.request(Method::POST, "/api/v1/ref-tokens").header("x-forwarded-for", from);
        let request = request.json(&crate::ref_tokens::ask(&shop, "apps", &[FREE]));
        browser.send(access.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
    };
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1", None).await.status, 200);
    }
    let refused = ask("192.0.2.1", None).await;
    assert_eq!((refused.status, refused.header("content-type")), (429, "application/problem+json"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!(
        (1..=21).contains(&wait) && refused.body.contains(&format!("Wait {wait} seconds")),
        "{refused:?}"
    );
    assert_eq!(ask("192.0.2.1", Some(&access)).await.status, 200, "who is signed in is known");
    assert_eq!(ask("192.0.2.2", None).await.status, 200, "others are not hindered");
}

#[tokio::test]
async fn bodies_that_are_too_long_or_too_slow_end() {
    let shop = Shop::open_with("[limits]\nrequest_seconds = 1\n", |_| ()).await;
    let browser = shop.browser();
    let csrf = browser.get("/sign-up").await.hidden_fields("/sign-up").remove(0).1;
    let long = "x".repeat(70_000);
    let fields = [("csrf", csrf.as_str()), ("email", long.as_str())];
    let answer = browser.post("/sign-up", &fields).await;
    assert_eq!(answer.status, 413);
    assert!(answer.header("content-type").starts_with("text/html"), "{answer:?}");
    for (body, status) in [("csrf=a&csrf=b", 400), ("email=%ff", 400), ("email=%zz", 400)] {
        let request = browser
            .request(Method::POST, "/sign-up")
            .header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(browser.send(request.body(body)).await.status, status, "{body}");
    }
    let json = browser.request(Method::POST, "/sign-up").json(&serde_json::json!({ "csrf": csrf }));
    assert_eq!(browser.send(json).await.status, 415);

    let address = shop.config.listen;
    let answer = tokio::task::spawn_blocking(move || {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na";
        slow.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 64];
        let length = slow.read(&mut answer).unwrap();
        String::from_utf8_lossy(answer.get(..length).unwrap()).into_owned()
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_the_end_is_graceful() {
    let shop =
        Shop::open_with("[limits]\nconnections = 2\nidle_seconds = 1\nshutdown_seconds = 5\n", |_| ()).await;
    let address = shop.config.listen;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let served = tokio::task::spawn_blocking(move || {
        let open = || {
            let connection = TcpStream::connect(address).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            connection
        };
        let ask = |connection: &mut TcpStream| {
            connection.write_all(request).unwrap();
            let mut answer = [0; 12];
            connection.read_exact(&mut answer).unwrap();
            answer
        };
        let (mut first, mut second, mut third) = (open(), open(), open());
        assert_eq!(&ask(&mut first), b"HTTP/1.1 200");
        assert_eq!(&ask(&mut second), b"HTTP/1.1 200");
        third.write_all(request).unwrap();
        third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(third.read(&mut [0; 1]).is_err(), "both places are taken");
        drop(first);
        third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = [0; 12];
        third.read_exact(&mut answer).unwrap();
        answer
    });
    assert_eq!(&served.await.unwrap(), b"HTTP/1.1 200");
    let before = std::time::Instant::now();
    shop.close().await;
    assert!(before.elapsed() < Duration::from_secs(4), "idle connections are not waited for");
    assert!(TcpStream::connect(address).is_err());
}
