//! What clients and people call themselves and their devices, as others are shown it.

use flatpass_token::Verb;
use reqwest::Method;
use serde_json::json;

use crate::browser::form;
use crate::oauth::{device, query};
use crate::ref_tokens::entitle;
use crate::shop::{Shop, rng};

/// It looks like another name, and the text after it like another one.
const WICKED: &str = "Ada's\u{202e}\n\u{2066}lap\u{200f}\u{feff}top\u{2028}";
/// A joiner belongs to the spelling of names.
const PLAIN: &str = "Ada's\u{200d}laptop";

fn is_clean(text: &str) -> bool {
    !text.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{feff}', '\u{2028}'])
        && !text.contains("Ada&#39;s\n")
}

#[tokio::test]
async fn no_name_turns_the_text_around_it_or_breaks_its_line() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    entitle(&shop, "ada@example.org", "inside", "*", &[Verb::List]).await;
    let shown = "Ada&#39;slaptop";
    // The consent, by redirect.
    let request = format!("/oauth/authorize?{}", query(&[("device_name", WICKED)]));
    let consent = browser.get(&request).await;
    let sentence = consent.body.replace(&*request, "");
    assert!(sentence.contains(shown), "{sentence}");
    assert!(is_clean(&sentence), "{sentence}");
    // The device itself, in the account.
    let done = browser.submit(&consent, "/oauth/authorize", &[("decision", "allow")]).await;
    let code = done.answer()["code"].clone();
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "flatpass-authenticator"),
        ("code", &code),
        ("redirect_uri", "http://127.0.0.1:4711/callback"),
        ("code_verifier", "a-verifier-of-43-to-128-unreserved-characters"),
    ];
    assert_eq!(crate::oauth::token(&shop, &fields).await.status, 200);
    // The device that shows a code.
    let fields = [("client_id", "flatpass-authenticator"), ("device_name", WICKED)];
    let asked = browser.request(Method::POST, "/oauth/device_authorization");
    let codes = shop.browser().send(form(asked, &fields)).await.json();
    let page = browser.get(&format!("/device?user_code={}", codes["user_code"].as_str().unwrap())).await;
    assert!(page.has("allow") && page.body.contains(shown) && is_clean(&page.body), "{}", page.body);
    // An access token, and one whose name is nothing but that.
    let (access, _) = device(&shop, &browser).await;
    let make = async |name: &str| {
        let body = json!({ "repo_url": shop.repo_url("inside"), "name": name });
        let request = shop.browser().request(Method::POST, "/api/v1/access-tokens").bearer_auth(&access);
        shop.browser().send(request.json(&body)).await
    };
    assert_eq!(make(WICKED).await.json()["name"], "Ada'slaptop");
    assert_eq!(make(PLAIN).await.json()["name"], PLAIN);
    assert_eq!(make("\u{202e}\n").await.status, 400);
    // A group.
    let group = shop.store.add_group("acme", Some(WICKED), shop.now(), &mut rng()).await.unwrap();
    let ada = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    shop.store
        .add_member(&group.id, &ada.id, flatpass_store::Role::Owner, shop.now(), &mut rng())
        .await
        .unwrap();
    for path in ["/account", &format!("/groups/{}", group.id)] {
        let page = browser.get(path).await;
        assert!(
            page.status == 200 && page.body.contains(shown) && is_clean(&page.body),
            "{path}: {}",
            page.body
        );
    }
}
