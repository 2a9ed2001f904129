//! A device without a browser: the code that it shows, the page where it is typed, and the tokens (RFC 8628).

use reqwest::Method;
use serde_json::Value;

use crate::browser::{Browser, Page, form};
use crate::oauth::{details, token};
use crate::ref_tokens::ask;
use crate::shop::{FREE, PAID, Shop, soon};

pub(crate) async fn begin(shop: &Shop, fields: &[(&str, &str)]) -> Page {
    let browser = shop.browser();
    let mut all = vec![("client_id", "flatpass-authenticator")];
    all.retain(|(name, _)| fields.iter().all(|(other, _)| other != name));
    all.extend(fields);
    browser.send(form(browser.request(Method::POST, "/oauth/device_authorization"), &all)).await
}

pub(crate) async fn poll(shop: &Shop, codes: &Value) -> Page {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", "flatpass-authenticator"),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    token(shop, &fields).await
}

fn error(page: &Page) -> (u16, String) {
    (page.status, page.json()["error"].as_str().unwrap_or_default().to_owned())
}

async fn decide(browser: &Browser, codes: &Value, decision: &str) -> Page {
    let page = browser.get(&format!("/device?user_code={}", codes["user_code"].as_str().unwrap())).await;
    assert!(page.has("allow") && page.has("deny"), "{} {}", page.status, page.body);
    browser.submit(&page, "/device", &[("decision", decision)]).await
}

#[tokio::test]
async fn a_device_without_a_browser_is_let_in_on_another_one() {
    let shop = Shop::open().await;
    let metadata = shop.browser().get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["device_authorization_endpoint"], format!("{}/oauth/device_authorization", shop.url));
    let wanted = details(&shop.repo_url("apps"), &[PAID, FREE]);
    let codes = begin(&shop, &[("device_name", "<Kiosk>"), ("authorization_details", &wanted)]).await.json();
    assert_eq!(codes["verification_uri"], format!("{}/device", shop.url));
    assert_eq!((&codes["expires_in"], &codes["interval"]), (&600.into(), &5.into()));
    assert_eq!(error(&poll(&shop, &codes).await), (400, "authorization_pending".into()));
    assert_eq!(error(&poll(&shop, &codes).await), (400, "slow_down".into()));

    // The link of a QR code leads a stranger by way of the sign-in page to this very device.
    let link = codes["verification_uri_complete"].as_str().unwrap().strip_prefix(&shop.url).unwrap();
    let browser = shop.browser();
    let sign_in = browser.follow(browser.get(link).await).await;
    let link = sign_in.body.split("id=\"to-sign-up\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let sign_up = browser.get(&link.replace("&#38;", "&")).await;
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let page = browser.follow(browser.submit(&sign_up, "/sign-up", &account).await).await;
    assert!(page.body.contains("&#60;Kiosk&#62;") && page.body.contains("127.0.0.1"), "{}", page.body);
    assert!(page.body.contains("2026-09-21"), "when it asked: {}", page.body);
    assert!(page.body.contains("5.00 EUR"), "what it would have to buy");
    // Threat 8: nobody else shows the page in a frame.
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));

    let done = browser.submit(&page, "/device", &[("decision", "allow")]).await;
    assert!(done.has("device-allowed"), "{}", done.body);
    let answer = poll(&shop, &codes).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let answer = answer.json();
    let access = answer["access_token"].as_str();
    let tokens = crate::oauth::ref_tokens(&shop, access, &ask(&shop, "apps", &[FREE])).await.json();
    assert_eq!(tokens["open"][0], FREE);
    assert!(browser.get("/account").await.body.contains("&#60;Kiosk&#62;"));
    assert_eq!(error(&poll(&shop, &codes).await), (400, "invalid_grant".into()), "it works once");
    soon("and then ends what it gave", async || {
        crate::oauth::ref_tokens(&shop, access, &ask(&shop, "apps", &[FREE])).await.status == 401
    })
    .await;
}

/// What is kept of a request that nobody has answered for is small, whatever was sent.
#[tokio::test]
async fn a_request_of_a_device_that_is_long_is_not_kept() {
    let shop = Shop::open().await;
    let blown_up = format!("[{}]", " ".repeat(20_000));
    let refused = begin(&shop, &[("authorization_details", &blown_up)]).await;
    assert_eq!(error(&refused), (400, "invalid_authorization_details".to_owned()));
    assert_eq!(begin(&shop, &[("authorization_details", "[ ]")]).await.status, 200);
}

#[tokio::test]
async fn a_device_that_is_sent_away_or_waits_too_long_is_told_so() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let codes = begin(&shop, &[]).await.json();
    assert!(decide(&browser, &codes, "deny").await.has("device-denied"));
    assert_eq!(error(&poll(&shop, &codes).await), (400, "access_denied".into()));
    let codes = begin(&shop, &[]).await.json();
    shop.pass_seconds(600);
    assert_eq!(error(&poll(&shop, &codes).await), (400, "expired_token".into()));
    for (fields, wrong) in [
        (vec![("client_id", "another")], "invalid_client"),
        (vec![("authorization_details", "x")], "invalid_authorization_details"),
    ] {
        assert_eq!(error(&begin(&shop, &fields).await), (400, wrong.into()));
    }
    let unknown = token(
        &shop,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "flatpass-authenticator"),
            ("device_code", "fpd_unknown"),
        ],
    )
    .await;
    assert_eq!(error(&unknown), (400, "invalid_grant".into()));
}

/// Threats 8 and 9.
#[tokio::test]
async fn a_code_is_looked_at_only_by_who_is_signed_in_and_counted_and_wrong_ones_are_all_alike() {
    let shop = Shop::open_with("[limits]\nsign_in_per_minute = 6\n", |_| ()).await;
    let codes = begin(&shop, &[("device_name", "Kiosk")]).await.json();
    let link = format!("/device?user_code={}", codes["user_code"].as_str().unwrap());
    let stranger = shop.browser().get(&link).await;
    assert_eq!((stranger.status, stranger.body.contains("Kiosk")), (303, false));

    let browser = shop.signed_up("ada@example.org").await;
    let page = browser.get(&link).await;
    assert!(page.has("allow"), "1: {}", page.body);
    // Nobody else's page says yes for a person.
    let user_code = codes["user_code"].as_str().unwrap();
    let forged = [("csrf", "x"), ("user_code", user_code), ("decision", "allow")];
    assert_eq!(browser.post("/device", &forged).await.status, 403);
    assert!(browser.submit(&page, "/device", &[("decision", "deny")]).await.has("device-denied"), "2");
    let without_the_code = |page: &Page, code: &str| {
        assert_eq!(page.status, 422, "{}", page.body);
        page.body.replace(code, "CODE")
    };
    let decided = without_the_code(&browser.get(&link).await, user_code);
    let unknown = without_the_code(&browser.get("/device?user_code=BCDF-GHJK").await, "BCDF-GHJK");
    let no_code = without_the_code(&browser.get("/device?user_code=hello").await, "hello");
    let said = browser.submit(&page, "/device", &[("decision", "allow")]).await;
    let again = without_the_code(&said, user_code);
    assert!(decided == unknown && unknown == no_code && no_code == again);
    let more = browser.get("/device?user_code=BCDF-GHJL").await;
    assert_eq!((more.status, more.header("retry-after").is_empty()), (429, false));
    assert_eq!(browser.get("/device").await.status, 200, "the empty form is not a guess");
}
