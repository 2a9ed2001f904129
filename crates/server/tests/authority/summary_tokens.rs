//! Tokens for the list of a private repo.

use flatpass_store::{Holder, NewEntitlement, Source, SourceKind, What};
use flatpass_token::{UnixTime, Verb};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Page;
use crate::oauth::device;
use crate::ref_tokens::entitle;
use crate::shop::{Shop, rng};

async fn summary_token(shop: &Shop, access: Option<&str>, repo_url: &str) -> Page {
    let browser = shop.browser();
    let request = browser.request(Method::POST, "/api/v1/summary-tokens");
    let request = request.json(&json!({ "repo_url": repo_url }));
    browser.send(access.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await
}

/// What the token says; who may check its signature does so elsewhere.
fn claims(page: &Page) -> Value {
    use base64::Engine;
    let body = page.json();
    let payload = body["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn list(shop: &Shop, app: &str, branch: Option<&str>, ends_at: Option<UnixTime>) {
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let new = NewEntitlement {
        holder: Holder::Account(account.id),
        what: What::Apps {
            repo: "inside".to_owned(),
            app: app.parse().unwrap(),
            branch: branch.map(str::to_owned),
        },
        verbs: vec![Verb::List],
        starts_at: shop.now(),
        ends_at,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
}

#[tokio::test]
async fn a_token_says_what_the_account_may_list_and_no_more() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let inside = shop.repo_url("inside");
    list(&shop, "org.test.Paid", None, Some(shop.now().plus_seconds(1000))).await;
    list(&shop, "org.test.My-App", Some("stable"), None).await;
    list(&shop, "org.test.Paid", Some("beta"), None).await;
    list(&shop, "com.acme.tools.*", None, None).await;
    list(&shop, "com.acme.*", None, None).await;
    list(&shop, "com.acme.tools.Saw", Some("stable"), None).await;
    // What may be downloaded and not listed is not in it.
    entitle(&shop, "ada@example.org", "inside", "org.test.Free", &[Verb::Download]).await;
    let answer = summary_token(&shop, Some(&access), &inside).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    let said = answer.json();
    assert_eq!((&said["repo"], &said["expires_in"]), (&json!("inside"), &json!(1000)), "the earliest end");
    let claims = claims(&answer);
    let grant = |ids: Value, prefixes: Value, branch: &str| {
        let mut grant =
            json!({ "type": "flatpak", "actions": ["list"], "branches": [branch], "arches": ["*"] });
        for (name, list) in [("ids", ids), ("prefixes", prefixes)] {
            if list != json!([]) {
                grant[name] = list;
            }
        }
        grant
    };
    let expected = json!([
        grant(json!(["org.test.Paid", "org.test.Paid.Locale"]), json!(["com.acme"]), "*"),
        grant(json!(["org.test.My-App", "org.test.My_App.Locale"]), json!([]), "stable"),
    ]);
    assert_eq!(claims["authorization_details"], expected);
    assert_eq!(claims["exp"], json!(shop.now().plus_seconds(1000)));
    assert_eq!(claims["aud"], inside);
    assert!(claims["sid"].as_str().unwrap().starts_with("dev_"));
    let summary = reqwest::Client::new().get(format!("{inside}/summary"));
    let opened = summary.bearer_auth(said["token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(opened.status(), 200);
}

#[tokio::test]
async fn a_public_list_needs_no_token_and_who_is_no_member_gets_none() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let public = summary_token(&shop, Some(&access), &shop.repo_url("apps")).await.json();
    assert_eq!((&public["repo"], &public["token"]), (&json!("apps"), &json!("")));
    entitle(&shop, "ada@example.org", "inside", "*", &[Verb::Download, Verb::Upgrade]).await;
    let there = summary_token(&shop, Some(&access), &shop.repo_url("inside")).await;
    let not_there = summary_token(&shop, Some(&access), &shop.repo_url("nothing")).await;
    assert_eq!((there.status, &there.body), (403, &not_there.body));
    assert!(there.body.contains("/problems/not-a-member"));
    let foreign = summary_token(&shop, Some(&access), "https://evil.example/repo/inside").await;
    assert!(foreign.status == 404 && foreign.body.contains("unknown-repo"), "{}", foreign.body);
    assert_eq!(summary_token(&shop, None, &shop.repo_url("inside")).await.status, 401);
    assert_eq!(summary_token(&shop, Some("fpa_x"), &shop.repo_url("inside")).await.status, 401);
}

#[tokio::test]
async fn what_does_not_fit_into_one_token_is_refused_and_never_rounded_up() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    for number in 0..300 {
        list(&shop, &format!("org.example.application{number:03}"), None, None).await;
    }
    let refused = summary_token(&shop, Some(&access), &shop.repo_url("inside")).await;
    assert!(refused.status == 409 && refused.body.contains("too-much-to-list"), "{}", refused.body);
    // A wider right makes one of them all.
    list(&shop, "org.example.*", None, None).await;
    let given = claims(&summary_token(&shop, Some(&access), &shop.repo_url("inside")).await);
    assert_eq!(given["authorization_details"][0]["prefixes"], json!(["org.example"]));
    assert_eq!(given["authorization_details"].as_array().unwrap().len(), 1);
}
