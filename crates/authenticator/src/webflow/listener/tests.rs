//! What another user or a hostile page on this machine can do to a web flow: nothing.

use super::*;

const PATH: &str = "/unguessable";

async fn listening() -> LoopbackListener {
    LoopbackListener::bind(PATH.to_owned(), SecretText::new("the-state".to_owned())).await.expect("loopback")
}

async fn ask(
    listener: &LoopbackListener,
    method: Method,
    path_and_query: &str,
    host: Option<&str>,
) -> (u16, String) {
    let url = listener.redirect_uri().join(path_and_query).expect("a path");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let mut request = client.request(method, url);
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a page"))
}

#[tokio::test]
async fn the_listener_answers_only_its_own_path_state_method_and_host() {
    let mut listener = listening().await;
    let port = listener.redirect_uri().port().expect("a port");
    let right = format!("{PATH}?code=c&state=the-state");
    for (method, path, host, status) in [
        (Method::GET, "/?code=c&state=the-state", None, 404),
        (Method::GET, "/unguessable/?code=c&state=the-state", None, 404),
        (Method::GET, "/favicon.ico", None, 404),
        (Method::GET, "/unguessable", None, 400),
        (Method::GET, "/unguessable?code=c", None, 400),
        (Method::GET, "/unguessable?code=c&state=other", None, 400),
        (Method::GET, "/unguessable?code=c&state=the-state&state=other", None, 400),
        (Method::GET, "/unguessable?code=c&code=d&state=the-state", None, 400),
        (Method::POST, right.as_str(), None, 405),
        (Method::GET, right.as_str(), Some("evil.example".to_owned()), 421),
        (Method::GET, right.as_str(), Some(format!("localhost:{port}")), 421),
    ] {
        let (answered, page) = ask(&listener, method, path, host.as_deref()).await;
        assert_eq!(answered, status, "{path}");
        assert!(!page.contains("flatpass-done"), "{path}");
    }
    // None of that has used the listener up.
    let waiting = tokio::spawn(async move {
        let (callback, browser) = listener.callback().await;
        browser.show(Page::Done);
        (callback, listener)
    });
    let url = format!("http://127.0.0.1:{port}{right}&iss=https%3A%2F%2Fshop.example");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let first = client.get(&url).send().await.expect("an answer");
    assert_eq!(first.status().as_u16(), 200);
    assert!(first.text().await.expect("a page").contains("flatpass-done"));
    let second = client.get(&url).send().await.expect("an answer");
    assert_eq!(second.status().as_u16(), 410, "one use");
    let (callback, listener) = waiting.await.expect("no panic");
    assert_eq!(callback.code.as_deref(), Some("c"));
    assert_eq!(callback.iss.as_deref(), Some("https://shop.example"));
    listener.finish().await;
    assert!(client.get(&url).send().await.is_err(), "closed at the end");
}

#[tokio::test]
async fn a_dropped_listener_is_closed_and_a_waiting_browser_learns_it() {
    let mut listener = listening().await;
    let url = listener.redirect_uri().join("?code=c&state=the-state").expect("a path");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let browsing = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { client.get(url).send().await.expect("an answer").text().await.expect("a page") }
    });
    let (_callback, browser) = listener.callback().await;
    drop(listener);
    drop(browser);
    assert!(browsing.await.expect("no panic").contains("data-result=\"failed\""));
    // The accepting task ends at its next turn.
    tokio::task::yield_now().await;
    assert!(client.get(url).send().await.is_err());
}

#[tokio::test]
async fn endless_headers_are_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = listening().await;
    let port = listener.redirect_uri().port().expect("a port");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected");
    let _broken =
        stream.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n", "a".repeat(40_000)).as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}
