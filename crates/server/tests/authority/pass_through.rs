//! Calls of flat-manager-client on their way through the store.

use flatpass_token::SharedSecret;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, COOKIE, HOST, LOCATION};
use reqwest::{Body, Client, Method, Response};
use serde_json::json;

use crate::flat_manager::SECRET;
use crate::flat_manager_server::FlatManager;
use crate::shop::{Shop, soon};

const LARGE: usize = 24 << 20;

async fn scene() -> (Shop, FlatManager, Client) {
    let shop = Shop::open().await;
    let theirs = FlatManager::start(SECRET).await;
    let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let off = http
        .get(format!("{}/flat-manager/apps/api/v1/build/7", shop.url))
        .bearer_auth("x")
        .send()
        .await
        .unwrap();
    assert_eq!(off.status(), 404, "off unless set");
    assert_eq!(
        http.get(format!("{}/api/v1/build/7", shop.url)).bearer_auth("x").send().await.unwrap().status(),
        404
    );
    shop.store.set_flat_manager_url("apps", Some(&theirs.url)).await.unwrap();
    soon("calls are passed", async || {
        http.get(format!("{}/flat-manager/apps/api/v1/build/7", shop.url))
            .bearer_auth("x")
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
    (shop, theirs, http)
}

fn at(response: &Response) -> &str {
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn a_client_publishes_through_the_store_as_if_it_were_flat_manager() {
    let (shop, theirs, http) = scene().await;
    // A client that keeps the path of the address, and one that keeps its host only.
    for base in [format!("{}/flat-manager/apps", shop.url), shop.url.clone()] {
        let post = |url: String| http.post(url).bearer_auth("publisher");
        let created =
            post(format!("{base}/api/v1/build")).json(&json!({ "repo": "stable" })).send().await.unwrap();
        assert_eq!(created.status(), 200);
        let build = at(&created).to_owned();
        assert_eq!(build, format!("{base}/api/v1/build/7"));
        let missing = http
            .request(Method::GET, format!("{build}/missing_objects"))
            .bearer_auth("publisher")
            .header(CONTENT_ENCODING, "identity")
            .body(r#"{"wanted":["a.filez"]}"#)
            .send()
            .await
            .unwrap();
        assert_eq!(missing.json::<serde_json::Value>().await.unwrap(), json!({ "missing": ["a.filez"] }));
        let uploaded = post(format!("{build}/upload")).body(vec![7; LARGE]).send().await.unwrap();
        assert_eq!(uploaded.status(), 200);
        let pieces = futures_util::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 65_536])));
        let body =
            Body::wrap(http_body_util::StreamBody::new(futures_util::StreamExt::map(pieces, |piece| {
                piece.map(|piece| hyper::body::Frame::data(bytes::Bytes::from(piece)))
            })));
        assert_eq!(
            post(format!("{base}/api/v1/delta/upload/stable")).body(body).send().await.unwrap().status(),
            200
        );
        let commit = post(format!("{build}/commit")).json(&json!({})).send().await.unwrap();
        let job = at(&commit).to_owned();
        assert_eq!(job, format!("{base}/api/v1/job/9"));
        let log = http.get(job).bearer_auth("publisher").body(r#"{"log-offset":0}"#).send().await.unwrap();
        assert_eq!(log.bytes().await.unwrap().len(), 64 * 65_536);
    }
    let heard = theirs.heard();
    let upload = heard.iter().find(|one| one.path.ends_with("/upload")).unwrap();
    assert_eq!((upload.bytes, upload.headers[AUTHORIZATION].as_bytes()), (LARGE, &b"Bearer publisher"[..]));
    let delta = heard.iter().find(|one| one.path.ends_with("/delta/upload/stable")).unwrap();
    assert_eq!(delta.bytes, 64 * 65_536);
    // Errors are flat-manager's own too.
    let refused = http.post(format!("{}/flat-manager/apps/api/v1/build", shop.url)).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.text().await.unwrap().contains("invalid-token"));
}

#[tokio::test]
async fn nothing_else_is_passed_and_nothing_of_the_store_goes_along() {
    let (shop, theirs, http) = scene().await;
    let before = theirs.heard().len();
    let base = format!("{}/flat-manager/apps", shop.url);
    for (method, path) in [
        (Method::POST, "/api/v1/tokens/get_list"),
        (Method::POST, "/api/v1/prune"),
        (Method::GET, "/api/v1/delta/worker"),
        (Method::GET, "/build-repo/1/summary"),
        (Method::GET, "/repo/stable/summary"),
        (Method::DELETE, "/api/v1/build/7"),
        (Method::GET, "/api/v1/build/7%2f..%2f..%2ftokens"),
        (Method::GET, "/api/v1/build/%37"),
        (Method::GET, "//evil.example/status"),
        (Method::GET, "/@evil.example/status"),
        (Method::GET, "/metrics"),
        // It would show the logs of all jobs.
        (Method::GET, "/status"),
        (Method::GET, "/status/1"),
    ] {
        let answer = http.request(method, format!("{base}{path}")).bearer_auth("x").send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    for other in ["inside", "nobody"] {
        let url = format!("{}/flat-manager/{other}/api/v1/build", shop.url);
        assert_eq!(http.post(url).bearer_auth("x").send().await.unwrap().status(), 404, "{other}");
    }
    // A customer's token is not exchanged for a wider one.
    let secret = SharedSecret::from_base64(SECRET).unwrap();
    for (scope, expected) in
        [(json!(["download"]), 403), (json!([]), 403), (json!(["build", "download"]), 200)]
    {
        let token =
            secret.sign(&json!({ "sub": "acc_ada", "exp": 4_000_000_000_i64, "scope": scope })).unwrap();
        let heard = theirs.heard().len();
        let answer =
            http.post(format!("{base}/api/v1/token_subset")).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{scope}");
        assert_eq!(theirs.heard().len() - heard, usize::from(expected == 200));
    }
    let before = before + 1;
    assert_eq!(theirs.heard().len(), before, "{:?}", theirs.heard());

    let browser = shop.signed_up("ada@example.org").await;
    let request = browser
        .request(Method::GET, "/flat-manager/apps/api/v1/build/7?x=%2f")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("x-forwarded-host", "evil.example")
        .bearer_auth("publisher");
    assert_eq!(browser.send(request).await.status, 200);
    let heard = theirs.heard().pop().unwrap();
    assert_eq!((heard.method.as_str(), heard.path.as_str()), ("GET", "/api/v1/build/7?x=%2f"));
    assert!(!heard.headers.contains_key(COOKIE), "the session is the store's own");
    assert!(!heard.headers.contains_key("x-secret") && !heard.headers.contains_key("x-forwarded-host"));
    assert_eq!(heard.headers[HOST].to_str().unwrap(), theirs.url.trim_start_matches("http://"));
    // What flat-manager answers is no page of the store.
    let answer = http.get(format!("{base}/api/v1/build/7")).bearer_auth("x").send().await.unwrap();
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));

    // It is down: a sentence, and no hanging.
    shop.store.set_flat_manager_url("apps", Some("http://127.0.0.1:9")).await.unwrap();
    soon("it is told that flat-manager is down", async || {
        let answer = http.post(format!("{base}/api/v1/build")).bearer_auth("x").send().await.unwrap();
        answer.status() == 502 && answer.text().await.unwrap().contains("unreachable")
    })
    .await;
    shop.store.set_flat_manager_url("apps", None).await.unwrap();
    soon("it is off again", async || {
        http.get(format!("{base}/api/v1/build/7")).bearer_auth("x").send().await.unwrap().status() == 404
    })
    .await;
}
