//! The REST API that upstream's sample authenticator speaks, in the order in which it calls it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::shop::{FREE, LOCALE, PAID, PRO, Shop, soon};

const DONE: &str = "redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fdone&state=1a2b";

async fn call(shop: &Shop, path: &str, token: &str, body: &Value) -> Page {
    let browser = shop.browser();
    browser.send(browser.request(Method::POST, path).bearer_auth(token).json(body)).await
}

async fn login(browser: &Browser, path: &str) -> String {
    let page = browser.follow(browser.get(&format!("{path}?{DONE}")).await).await;
    let back = browser.submit(&page, "/api/login", &[("decision", "allow")]).await;
    assert!(back.location().unwrap().starts_with("http://127.0.0.1:4711/done?"), "{back:?}");
    assert_eq!(back.answer()["state"], "1a2b");
    back.answer()["token"].clone()
}

#[tokio::test]
async fn upstreams_flow_signs_in_sells_and_gives_a_token_that_opens_the_gate() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    // Nobody is signed in yet: the page leads to sign-up and back.
    let sign_in = browser.follow(browser.get(&format!("/api/login?{DONE}")).await).await;
    let link = sign_in.body.split("id=\"to-sign-up\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let sign_up = browser.get(&link.replace("&#38;", "&")).await;
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let consent = browser.follow(browser.submit(&sign_up, "/sign-up", &account).await).await;
    assert!(consent.has("allow"), "{}", consent.body);
    let denied = browser.submit(&consent, "/api/login", &[("decision", "deny")]).await;
    assert!(!denied.answer().contains_key("token"));
    let token = login(&browser, "/login").await;

    // Its client sends app ids, with .Locale, .Debug and .Sources taken off.
    let ids = json!({ "ids": ["org.test.Paid", "org.test.Free", "org.test.Gone", "org.test.Paid.Pro"] });
    let answer = call(&shop, "/api/v1/get_tokens", &token, &ids).await.json();
    assert_eq!(answer["tokens"], json!({ "org.test.Free": "" }), "an empty token says that none is needed");
    assert_eq!(answer["denied"], json!(["org.test.Gone", "org.test.Paid", "org.test.Paid.Pro"]));

    let begun = call(&shop, "/api/v1/begin_purchase", &token, &json!({ "id": "org.test.Paid" })).await.json();
    let start = begun["start_uri"].as_str().unwrap();
    assert!(!start.contains('?'), "its client replaces the query");
    let start = url::Url::parse(&shop.url).unwrap().join(start).unwrap();
    let offer = browser.get(&format!("{}?{DONE}", start.path())).await;
    assert!(offer.body.contains("5.00 EUR"), "{}", offer.body);
    let pay = browser.follow(browser.submit(&offer, "/apps/apps/org.test.Paid", &[]).await).await;
    assert!(pay.header("content-security-policy").contains("form-action 'self' http://127.0.0.1:4711;"));
    let action = format!(
        "/sandbox/{}",
        pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap()
    );
    let back = browser.follow(browser.submit(&pay, &action, &[("outcome", "paid")]).await).await;
    let answer = back.answer();
    assert_eq!(answer["state"], "1a2b");
    let thanks = answer["redirect_uri"].strip_prefix(&shop.url).unwrap();
    assert!(browser.get(thanks).await.body.contains("Thank you"));

    let answer = call(&shop, "/api/v1/get_tokens", &token, &ids).await.json();
    let signed = answer["tokens"]["org.test.Paid"].as_str();
    for name in [PAID, LOCALE] {
        assert_eq!(shop.fetch("apps", name, None).await, 401);
        assert_eq!(shop.fetch("apps", name, signed).await, 200);
    }
    assert_eq!(shop.fetch("apps", PRO, signed).await, 403);
    assert_eq!(shop.fetch("apps", FREE, Some("")).await, 200);
    assert_eq!(answer["denied"], json!(["org.test.Gone", "org.test.Paid.Pro"]));

    // It is a device like any other.
    let account = browser.get("/account").await;
    let action = account.body.split("action=\"/account/devices/").nth(1).unwrap().split('"').next().unwrap();
    browser.submit(&account, &format!("/account/devices/{action}"), &[]).await;
    assert_eq!(call(&shop, "/api/v1/get_tokens", &token, &ids).await.status, 401);
}

#[tokio::test]
async fn bad_calls_of_the_sample_api_are_told() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let token = login(&browser, "/api/login").await;
    let many: Vec<_> = (0..1001).map(|number| format!("org.test.App{number}")).collect();
    for (path, body, status) in [
        ("/api/v1/get_tokens", json!({}), 400),
        ("/api/v1/get_tokens", json!({ "ids": "org.test.Paid" }), 400),
        ("/api/v1/get_tokens", json!({ "ids": many }), 400),
        ("/api/v1/get_tokens", json!({ "ids": ["", "/", "a/b/c/d/e", "\u{0}"] }), 200),
        ("/api/v1/begin_purchase", json!({ "id": ["x"] }), 400),
        ("/api/v1/begin_purchase", json!({ "id": "org.test.Gone" }), 404),
        ("/api/v1/begin_purchase", json!({ "id": "org.test.Free" }), 404),
    ] {
        assert_eq!(call(&shop, path, &token, &body).await.status, status, "{path} {body}");
        assert_eq!(call(&shop, path, "fpa_unknown", &body).await.status, 401);
    }
}

#[tokio::test]
async fn an_app_that_is_offered_and_not_published_yet_is_given_to_nobody() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let token = login(&browser, "/api/login").await;
    shop.set_price("apps", "org.test.Soon", "100.00").await;
    soon("the offer is there", async || browser.get("/apps/apps/org.test.Soon").await.status == 200).await;
    let answer = call(&shop, "/api/v1/get_tokens", &token, &json!({ "ids": ["org.test.Soon"] })).await.json();
    assert_eq!(answer, json!({ "tokens": {}, "denied": ["org.test.Soon"] }));
}
