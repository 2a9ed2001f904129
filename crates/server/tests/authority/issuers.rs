//! Repos whose tokens a company's identity provider issues.

use std::time::{Duration, Instant};

use flatpass_token::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Page;
use crate::identity_provider::{CLIENT, Canned, IdentityProvider, SECRET};
use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::ask;
use crate::shop::{FREE, LOCALE, PAID, PRO, Shop, rng, soon};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn engineers() -> Value {
    json!(["engineering"])
}

async fn get(shop: &Shop, name: &str, token: &str) -> Page {
    let browser = shop.browser();
    let hex = shop.head("apps", name).to_string();
    let path = format!("/repo/apps/objects/{}/{}.commit", &hex[..2], &hex[2..]);
    browser.send(browser.request(Method::GET, &path).bearer_auth(token)).await
}

#[tokio::test]
async fn its_groups_open_what_the_rules_say_and_no_other_token_opens_anything() {
    let (shop, own) = (Shop::open().await, key());
    let provider = IdentityProvider::start(&[&own]).await;
    provider.is_issuer_of(&shop, false).await;
    let token = provider.token(&shop, &own, &json!(["bowling", "engineering"]), &json!({}));
    assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 200);
    assert_eq!(shop.fetch("apps", LOCALE, Some(&token)).await, 200, "an app with its extensions");
    assert_eq!(shop.fetch("apps", PRO, Some(&token)).await, 403);
    assert_eq!(shop.fetch("apps", FREE, None).await, 200);
    for groups in [json!(["bowling"]), json!([]), Value::Null, json!("engineering!")] {
        let token = provider.token(&shop, &own, &groups, &json!({}));
        assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 403, "{groups}");
    }
    for changes in [
        json!({ "aud": shop.repo_url("inside") }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": shop.now().plus_seconds(-60) }),
        json!({ "nonce": "n" }),
    ] {
        let token = provider.token(&shop, &own, &engineers(), &changes);
        assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 401, "{changes}");
    }
    let forged = provider.token(&shop, &key(), &engineers(), &json!({}));
    assert_eq!(shop.fetch("apps", PAID, Some(&forged)).await, 401);
    // A token of a person who left the group of rules: none is left.
    let rules = shop.store.issuer_rules("acme").await.unwrap();
    shop.store.remove_issuer_rule("acme", &rules[0].id).await.unwrap();
    soon("the rule opens nothing any more", async || shop.fetch("apps", PAID, Some(&token)).await == 403)
        .await;
}

#[tokio::test]
async fn flatpak_is_told_that_the_tokens_are_to_be_had_elsewhere() {
    let (shop, own) = (Shop::open().await, key());
    let provider = IdentityProvider::start(&[&own]).await;
    provider.is_issuer_of(&shop, false).await;
    let access = device(&shop, &shop.signed_up("ada@example.org").await).await.0;
    for access in [None, Some(access.as_str())] {
        let answer = ref_tokens(&shop, access, &ask(&shop, "apps", &[PAID, FREE, "no ref"])).await.json();
        assert_eq!((&answer["token_kind"], &answer["open"]), (&json!("issuer"), &json!([FREE])));
        assert_eq!(answer["tokens"], json!([]));
        let denied = answer["denied"].as_array().unwrap();
        let of = |name: &str| denied.iter().find(|one| one["ref"] == name).unwrap();
        assert_eq!(
            (&of(PAID)["reason"], &of("no ref")["reason"]),
            (&json!("elsewhere"), &json!("not_found"))
        );
        let message = of(PAID)["message"].as_str().unwrap();
        assert!(message.contains(&provider.url) && message.contains("access token"), "{message}");
    }
}

#[tokio::test]
async fn its_keys_rotate_without_a_refusal_and_hold_while_it_is_away() {
    let (shop, old, new) = (Shop::open().await, key(), key());
    let provider = IdentityProvider::start(&[&old]).await;
    provider.is_issuer_of(&shop, false).await;
    let by_old = provider.token(&shop, &old, &engineers(), &json!({}));
    assert_eq!(shop.fetch("apps", PAID, Some(&by_old)).await, 200);
    let asked = provider.asked();
    assert!(asked.iter().filter(|path| path.ends_with("/keys")).count() <= 2, "{asked:?}");
    // Away: what is known holds, and who comes with a key that is not known is not told that their token is bad.
    provider.hold(|held| held.answer = Some((500, Vec::new(), String::new())));
    let another = provider.token(&shop, &old, &engineers(), &json!({ "jti": "2" }));
    assert_eq!(shop.fetch("apps", PAID, Some(&another)).await, 200);
    provider.hold(|held| held.answer = None);
    provider.publishes(&[&old, &new]);
    let by_new = provider.token(&shop, &new, &engineers(), &json!({}));
    // At most once in ten seconds it is asked because of a token.
    let start = Instant::now();
    while shop.fetch("apps", PAID, Some(&by_new)).await != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "the new key is not taken up");
        assert_eq!(shop.fetch("apps", PAID, Some(&by_old)).await, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shop.fetch("apps", PAID, Some(&by_old)).await, 200);
    let asked = provider.asked();
    assert!(asked.iter().filter(|path| path.ends_with("/keys")).count() <= 3, "{asked:?}");
}

#[tokio::test]
async fn an_issuer_that_calls_itself_otherwise_or_has_no_keys_opens_nothing() {
    let (shop, own) = (Shop::open().await, key());
    let provider = IdentityProvider::start(&[&own]).await;
    provider.hold(|held| held.calls_itself = Some("https://login.acme.example".to_owned()));
    provider.is_issuer_of(&shop, false).await;
    let token = provider.token(&shop, &own, &engineers(), &json!({}));
    let refused = get(&shop, PAID, &token).await;
    assert!(matches!(refused.status, 401 | 503), "{}", refused.body);
    assert!(!provider.asked().iter().any(|path| path.ends_with("/keys")));
    assert_eq!(shop.fetch("apps", FREE, None).await, 200, "what is free needs nobody");
}

#[tokio::test]
async fn asked_about_tokens_it_is_believed_as_far_as_it_makes_sense() {
    let shop = Shop::open().await;
    let provider = IdentityProvider::start(&[]).await;
    provider.is_issuer_of(&shop, true).await;
    let says = |changes: Value| {
        let mut whole = json!({
            "active": true, "iss": provider.url, "aud": shop.repo_url("apps"), "sub": "u-17",
            "exp": shop.now().plus_seconds(600), "groups": ["engineering"],
        });
        for (name, value) in changes.as_object().unwrap() {
            whole[name] = value.clone();
        }
        provider.hold(|held| held.says = whole);
    };
    says(json!({}));
    assert_eq!(shop.fetch("apps", PAID, Some("opaque+token/1=")).await, 200);
    let (path, authorization, body) = provider.hold(|held| held.asked.remove(0));
    assert_eq!(path, "/realms/staff/introspect");
    let sent = crate::shop::basic_of(&authorization);
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    assert_eq!(sent, format!("{}:{}", encoded(CLIENT), encoded(SECRET)));
    assert!(body.contains("token=opaque%2Btoken%2F1%3D"), "{body}");
    assert_eq!(shop.fetch("apps", PRO, Some("opaque+token/1=")).await, 403);
    assert!(provider.asked().is_empty(), "once is enough for a while");
    for (number, changes) in [
        json!({ "active": false }),
        json!({ "iss": "https://evil.example" }),
        json!({ "aud": shop.repo_url("inside") }),
        json!({ "exp": shop.now().plus_seconds(-60) }),
        json!({ "token_type": "refresh_token" }),
    ]
    .into_iter()
    .enumerate()
    {
        says(changes.clone());
        assert_eq!(shop.fetch("apps", PAID, Some(&format!("lie{number}"))).await, 401, "{changes}");
    }
    provider.asked();
    // What cannot be a token is not sent to anybody.
    assert_eq!(shop.fetch("apps", PAID, Some("not%a%token")).await, 401);
    assert!(provider.asked().is_empty());
    // Another secret: the next question comes with it.
    let secret = flatpass_token::Secret::from("new".to_owned());
    shop.store.set_issuer_secret("acme", None, &secret, &mut rng()).await.unwrap();
    says(json!({}));
    soon("it is asked with the new secret", async || {
        let number = rand::random::<u64>();
        assert_eq!(
            shop.fetch("apps", PAID, Some(&format!("t{number}"))).await,
            200,
            "none is refused in between"
        );
        provider
            .hold(|held| held.asked.iter().any(|(_, sent, _)| crate::shop::basic_of(sent).ends_with(":new")))
    })
    .await;
}

#[tokio::test]
async fn an_issuer_that_gives_no_good_answer_is_a_503_with_a_sentence_and_a_metric_and_nothing_opens() {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shop = Shop::open_with(&format!("[metrics]\nlisten = \"{metrics}\"\n"), |_| ()).await;
    let provider = IdentityProvider::start(&[]).await;
    provider.is_issuer_of(&shop, true).await;
    let good = json!({
        "active": true, "aud": shop.repo_url("apps"), "sub": "u", "groups": ["engineering"],
    });
    provider.hold(|held| held.says = good.clone());
    assert_eq!(shop.fetch("apps", PAID, Some("known")).await, 200);
    let json =
        |body: String| -> Canned { (200, vec![("content-type", "application/json".to_owned())], body) };
    let elsewhere = vec![("location", format!("{}/introspect", provider.url))];
    let mut asked = 0;
    for (number, answer) in [
        (302, elsewhere.clone(), String::new()),
        (307, elsewhere, String::new()),
        json(format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(70_000))),
        json("{\"active\":true".to_owned()),
        (200, vec![("content-type", "text/html".to_owned())], good.to_string()),
        (401, Vec::new(), String::new()),
        (500, Vec::new(), good.to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        provider.hold(|held| held.answer = Some(answer.clone()));
        let refused = get(&shop, PAID, &format!("t{number}")).await;
        assert_eq!(refused.status, 503, "{answer:?}");
        assert_eq!(
            (refused.header("retry-after"), refused.header("cache-control")),
            ("5", "private, no-store")
        );
        assert!(refused.body.contains("cannot be found out now"), "{}", refused.body);
        asked += provider.asked().len();
    }
    assert!(asked < 7, "while it fails not everybody asks: {asked}");
    assert_eq!(shop.fetch("apps", PAID, Some("known")).await, 200, "what is known goes on");
    let numbers =
        async || reqwest::get(format!("http://{metrics}/metrics")).await.unwrap().text().await.unwrap();
    let text = numbers().await;
    for line in [
        "flatpass_token_lookup_up{source=\"issuer:acme\"} 0",
        "flatpass_token_lookup_outages_total{source=\"issuer:acme\"} 1",
        "flatpass_token_lookups_total{source=\"issuer:acme\",outcome=\"unreachable\"} 7",
        "flatpass_token_lookup_up{source=\"store\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    provider.hold(|held| held.answer = None);
    soon("it is asked again", async || {
        let number = rand::random::<u64>();
        shop.fetch("apps", PAID, Some(&format!("again{number}"))).await == 200
    })
    .await;
    assert!(numbers().await.contains("flatpass_token_lookup_up{source=\"issuer:acme\"} 1"));
    // Where the shop itself listens there are no numbers.
    assert_eq!(shop.browser().get("/metrics").await.status, 404);
}
