//! Flathub's two steps, as its sites and its authenticator make them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flatpass_store::SecretFor;
use flatpass_token::Verb;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::flat_manager::{NEXT, SECRET, said, scene, set};
use crate::oauth::device;
use crate::ref_tokens::entitle;
use crate::shop::{FREE, LOCALE, PAID, PRO, Shop, soon};

const UPDATES: &str = "dXBkYXRlIHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGU=";
const DAY: i64 = 86_400;

async fn served() -> Shop {
    let shop = scene().await;
    let off =
        post(&shop.browser(), "/purchases/generate-download-token", None, &json!({ "appids": [] })).await;
    assert_eq!((off.status, &off.json()["detail"]), (404, &json!("not_found")), "off unless set");
    set(&shop, SecretFor::Update, UPDATES).await;
    soon("the two steps are served", async || {
        let body = json!({ "appids": [], "update_token": "x" });
        post(&shop.browser(), "/purchases/generate-download-token", None, &body).await.status == 401
    })
    .await;
    shop
}

async fn post(browser: &Browser, path: &str, access: Option<&str>, body: &Value) -> Page {
    let mut request = browser.request(Method::POST, path).json(body);
    if let Some(access) = access {
        request = request.bearer_auth(access);
    }
    browser.send(request).await
}

async fn download(shop: &Shop, update_token: &str, refs: &[&str]) -> Page {
    let body = json!({ "appids": refs, "update_token": update_token });
    post(&shop.browser(), "/purchases/generate-download-token", None, &body).await
}

async fn update_token(shop: &Shop, access: &str) -> String {
    let page = post(&shop.browser(), "/purchases/generate-update-token", Some(access), &json!({})).await;
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{}", page.body);
    page.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_update_token_buys_download_tokens_for_what_is_owned_and_slides() {
    let shop = served().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let nobody = post(&shop.browser(), "/purchases/generate-update-token", None, &json!({})).await;
    assert_eq!((nobody.status, &nobody.json()["detail"]), (401, &json!("not_logged_in")));
    let nobody = post(&shop.browser(), "/purchases/check-purchases", Some("fpa_wrong"), &json!([PAID])).await;
    assert_eq!((nobody.status, &nobody.json()["detail"]), (401, &json!("not_logged_in")));

    let check =
        async |ids: Value| post(&shop.browser(), "/purchases/check-purchases", Some(&access), &ids).await;
    let lacking = check(json!([PAID, PRO, "org.test.Free"])).await;
    assert_eq!(lacking.status, 403);
    assert_eq!(lacking.json()["detail"], "purchase_necessary");
    assert_eq!(lacking.json()["missing_appids"], json!(["org.test.Paid", "org.test.Paid.Pro"]));
    assert_eq!(lacking.header("missing-appids"), "org.test.Paid,org.test.Paid.Pro");
    let message = lacking.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/apps/apps/org.test.Paid"), "{message}");
    for (ids, status, detail) in [
        (json!(["a/"]), 400, "invalid_app_id"),
        (json!({ "appids": [] }), 422, "unreadable"),
        (json!("org.test.Paid"), 422, "unreadable"),
    ] {
        let page = check(ids).await;
        assert_eq!((page.status, &page.json()["detail"]), (status, &json!(detail)));
    }
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    // An extension is owned with its app.
    let owned = check(json!(["org.test.Paid", "org.test.Paid.Locale", LOCALE, FREE])).await;
    assert_eq!((owned.status, owned.json()), (200, json!({ "status": "ok" })));

    let first = update_token(&shop, &access).await;
    assert_eq!(said(&first, UPDATES)["exp"].as_i64(), Some(shop.now().0 + 180 * DAY));
    let page = download(&shop, &first, &[PAID, LOCALE, FREE]).await;
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{}", page.body);
    let answer = page.json();
    assert_eq!(answer["update_token"], answer["update-token"], "both names that it had");
    let token = answer["token"].as_str().unwrap();
    let claims = said(token, SECRET);
    assert_eq!(claims["apps"], json!(["org.test.Paid", "org.test.Paid.Locale"]));
    assert_eq!(claims["exp"].as_i64(), Some(shop.now().0 + DAY));
    assert_eq!(shop.fetch("apps", PAID, Some(token)).await, 200);
    assert_eq!(shop.fetch("apps", PRO, Some(token)).await, 403);
    assert_eq!(
        download(&shop, &first, &[PAID, PRO]).await.json()["missing_appids"],
        json!(["org.test.Paid.Pro"])
    );
    assert_eq!(download(&shop, &first, &["org.test.Paid"]).await.json()["detail"], "invalid_app_id");

    // Used within half a year it goes on for another; not used, it ends.
    shop.pass_seconds(170 * DAY);
    let next = download(&shop, &first, &[PAID]).await.json()["update_token"].as_str().unwrap().to_owned();
    assert_eq!(said(&next, UPDATES)["exp"].as_i64(), Some(shop.now().0 + 180 * DAY));
    assert_eq!(said(&next, UPDATES)["token-id"], said(&first, UPDATES)["token-id"]);
    shop.pass_seconds(170 * DAY);
    assert_eq!(
        download(&shop, &first, &[PAID]).await.json()["detail"],
        "invalid_token",
        "its own time is over"
    );
    assert_eq!(download(&shop, &next, &[PAID]).await.status, 200);
    shop.pass_seconds(181 * DAY);
    assert_eq!(download(&shop, &next, &[PAID]).await.status, 401);
}

#[tokio::test]
async fn an_update_token_is_nothing_else_and_ends_with_its_device_or_account() {
    let shop = served().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    let token = update_token(&shop, &access).await;
    // It opens no gate, is no access token, and a download token buys nothing.
    assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 401);
    let refused = post(&shop.browser(), "/purchases/check-purchases", Some(&token), &json!([PAID])).await;
    assert_eq!(refused.status, 401);
    let bought = download(&shop, &token, &[PAID]).await.json()["token"].as_str().unwrap().to_owned();
    for wrong in ["", "x.y.z", &bought, &format!("{token}x"), &access] {
        assert_eq!(download(&shop, wrong, &[PAID]).await.json()["detail"], "invalid_token", "{wrong}");
    }
    // The account page lists it, and ends it.
    let account = browser.get("/account").await;
    assert!(account.body.contains("Updates of apps"), "{}", account.body);
    let ada = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let devices = shop.store.list_devices(&ada.id, shop.now()).await.unwrap();
    let update = devices.iter().find(|one| one.name.starts_with("Updates of apps")).unwrap();
    assert!(shop.store.revoke_device(&ada.id, &update.id, shop.now()).await.unwrap());
    assert_eq!(download(&shop, &token, &[PAID]).await.status, 401);
    soon("what it bought ended too", async || shop.fetch("apps", PAID, Some(&bought)).await == 401).await;

    // Another secret follows: both are good for a while. When it is said that the old ones end, they do.
    let old = update_token(&shop, &access).await;
    set(&shop, SecretFor::Update, NEXT).await;
    shop.pass_seconds(6);
    soon("the new one signs", async || {
        flatpass_token::read_shared::<Value>(
            &update_token(&shop, &access).await,
            &[crate::flat_manager::secret(NEXT)],
        )
        .is_ok()
    })
    .await;
    let slid = download(&shop, &old, &[PAID]).await;
    assert_eq!(slid.status, 200, "{}", slid.body);
    said(slid.json()["update_token"].as_str().unwrap(), NEXT);
    shop.store.end_flat_manager_secrets("apps", SecretFor::Update, false, shop.now()).await.unwrap();
    soon("the old one ended", async || download(&shop, &old, &[PAID]).await.status == 401).await;
}

#[tokio::test]
async fn the_page_sells_asks_and_goes_back_to_the_program_and_nowhere_else() {
    let shop = served().await;
    let browser = shop.signed_up("ada@example.org").await;
    // As the program writes it.
    let page = format!("/purchase?refs={PAID};{LOCALE}&return=http://127.0.0.1:4711/");
    let offer = browser.get(&page).await;
    assert!(offer.body.contains("5.00 EUR"), "{}", offer.body);
    assert!(offer.header("content-security-policy").contains("http://127.0.0.1:4711"));
    let pay = browser.follow(browser.submit(&offer, "/apps/apps/org.test.Paid", &[]).await).await;
    let action = pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap();
    let paid = browser.submit(&pay, &format!("/sandbox/{action}"), &[("outcome", "paid")]).await;
    let consent = browser.follow(paid).await;
    assert!(consent.has("allow") && consent.has("deny"), "{}", consent.body);
    let denied = browser.submit(&consent, "/purchase", &[("decision", "deny")]).await;
    assert_eq!(denied.location(), Some("http://127.0.0.1:4711/cancel"));
    let forged = browser
        .post("/purchase", &[("decision", "allow"), ("refs", PAID), ("return", "http://127.0.0.1:4711")]);
    assert_eq!(forged.await.status, 403, "a form of another site");
    let allowed = browser.submit(&consent, "/purchase", &[("decision", "allow")]).await;
    assert!(allowed.location().unwrap().starts_with("http://127.0.0.1:4711/success?token="), "{allowed:?}");
    let token = allowed.answer()["token"].clone();
    assert_eq!(download(&shop, &token, &[PAID, LOCALE]).await.status, 200);

    for elsewhere in
        ["https://evil.example/", "http://127.0.0.1@evil.example:1/", "http://localhost:1/", "//evil.example"]
    {
        let page = browser.get(&format!("/purchase?refs={PAID}&return={elsewhere}")).await;
        assert_eq!(page.status, 400, "{elsewhere}");
    }
    // Another site cannot let this browser make one.
    let request = browser
        .request(Method::POST, "/purchases/generate-update-token")
        .header("origin", "https://evil.example");
    assert_eq!(browser.send(request).await.status, 401);
    let request =
        browser.request(Method::POST, "/purchases/generate-update-token").header("origin", &shop.url);
    assert_eq!(browser.send(request).await.status, 200, "a page of this site may");
}

/// Both secrets follow others while devices buy download tokens, with the update token that they had before and with the one that they got last.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn both_secrets_are_exchanged_under_load_and_no_request_is_refused() {
    let shop = served().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    let first = update_token(&shop, &access).await;
    let (over, refused, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let load = async |keeps_the_first: bool| {
        let mut token = first.clone();
        while !over.load(Ordering::Relaxed) {
            let page = download(&shop, &token, &[PAID]).await;
            let bought = (page.status == 200).then(|| page.json());
            let opens = match &bought {
                Some(answer) => shop.fetch("apps", PAID, answer["token"].as_str()).await == 200,
                None => false,
            };
            if !opens {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(answer) = bought.filter(|_| !keeps_the_first) {
                token = answer["update_token"].as_str().unwrap().to_owned();
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        token
    };
    let exchange = async {
        let more = async |count: u64| {
            let from = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) < from + count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        more(20).await;
        set(&shop, SecretFor::Update, NEXT).await;
        more(20).await;
        set(&shop, SecretFor::Download, UPDATES).await;
        more(20).await;
        // The new ones sign when every server knows them.
        shop.pass_seconds(6);
        more(40).await;
        over.store(true, Ordering::Relaxed);
    };
    let (last, _, ()) = tokio::join!(load(false), load(true), exchange);
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {}", done.load(Ordering::Relaxed));
    said(&last, NEXT);
    let bought = download(&shop, &last, &[PAID]).await.json();
    said(bought["token"].as_str().unwrap(), UPDATES);
}
