//! Repos whose tokens are random secrets that only the store can say anything about.

use flatpass_store::{AccountId, RepoTokens};
use flatpass_token::Verb;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Page, form};
use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{FREE, PAID, PRO, Shop, rng, soon};

const ADA: &str = "ada@example.org";
const BOUGHT: &[Verb] = &[Verb::Download, Verb::Upgrade];

impl Shop {
    async fn takes(&self, repo: &str, tokens: RepoTokens) {
        self.store.set_repo_tokens(repo, &tokens, self.now()).await.unwrap();
        // The answer of a form waits until the server has taken the change up.
        self.browser()
            .post("/oauth/revoke", &[("client_id", "flatpass-authenticator"), ("token", "x")])
            .await;
    }
}

/// Ada, who bought the app, with an access token of her device.
async fn ada(shop: &Shop) -> String {
    let browser = shop.signed_up(ADA).await;
    entitle(shop, ADA, "apps", "org.test.Paid", BOUGHT).await;
    device(shop, &browser).await.0
}

async fn token_for_paid(shop: &Shop, access: &str) -> String {
    let answer = ref_tokens(shop, Some(access), &ask(shop, "apps", &[PAID])).await.json();
    answer["tokens"][0]["token"].as_str().unwrap().to_owned()
}

async fn introspect(
    shop: &Shop,
    by: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    token: &str,
) -> Page {
    let browser = shop.browser();
    let request = by(browser.request(Method::POST, "/oauth/introspect"));
    browser.send(form(request, &[("token", token)])).await
}

async fn account(shop: &Shop) -> AccountId {
    shop.store.account_by_email(ADA).await.unwrap().unwrap().id
}

#[tokio::test]
async fn its_tokens_are_secrets_that_open_what_was_granted_and_are_kept_as_hashes() {
    let shop = Shop::open().await;
    shop.takes("apps", RepoTokens::Opaque).await;
    let access = ada(&shop).await;
    let answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID, PRO, FREE])).await.json();
    assert_eq!((&answer["token_kind"], &answer["open"]), (&json!("opaque"), &json!([FREE])));
    assert_eq!(answer["denied"][0]["reason"], "purchase_required");
    let token = answer["tokens"][0]["token"].as_str().unwrap();
    assert!(token.starts_with("fpx_") && token.len() == 36 && !token.contains('.'), "{token}");
    assert_eq!(shop.fetch("apps", PAID, Some(token)).await, 200);
    assert_eq!(shop.fetch("apps", PRO, Some(token)).await, 403);
    let mut other = token.to_owned();
    other.replace_range(35.., if token.ends_with('A') { "B" } else { "A" });
    assert_eq!(shop.fetch("apps", PAID, Some(&other)).await, 401);
    assert_eq!(shop.fetch("inside", PAID, Some(token)).await, 401, "it is for one repo");
    for file in ["flatpass.db", "flatpass.db-wal"] {
        let bytes = std::fs::read(shop.repo_path(file)).unwrap_or_default();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{file}");
    }
    // After its time it is refused, and after a while forgotten.
    shop.pass_seconds(3600);
    assert_eq!(shop.fetch("apps", PAID, Some(token)).await, 401);
    assert_eq!(shop.store.prune(shop.now()).await.unwrap().ref_tokens, 1);
}

#[tokio::test]
async fn a_private_list_is_opened_by_one_and_strangers_cannot_tell_such_a_repo_from_none() {
    let shop = Shop::open().await;
    shop.takes("inside", RepoTokens::Opaque).await;
    let access = ada(&shop).await;
    entitle(&shop, ADA, "inside", "*", &[Verb::List, Verb::Download]).await;
    let browser = shop.browser();
    let request = browser.request(Method::POST, "/api/v1/summary-tokens").bearer_auth(&access);
    let answer = browser.send(request.json(&json!({ "repo_url": shop.repo_url("inside") }))).await.json();
    assert_eq!(answer["token_kind"], "opaque");
    let get = async |path: String, token: &str| {
        let page = browser.send(browser.request(Method::GET, &path).bearer_auth(token)).await;
        (page.status, page.body)
    };
    let token = answer["token"].as_str().unwrap();
    assert_eq!(get("/repo/inside/summary".into(), token).await.0, 200);
    for invented in ["fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH", "fpx_", "x.y.z", token] {
        let there = get("/repo/inside/summary".into(), invented).await;
        let nowhere = get("/repo/nothing/summary".into(), invented).await;
        if invented == token {
            assert_eq!(nowhere.0, 401);
        } else {
            assert_eq!((there.0, there.1.replace("inside", "nothing")), nowhere, "{invented}");
        }
    }
    // Nor by the kind of its tokens.
    let stranger = device(&shop, &shop.signed_up("eve@example.org").await).await.0;
    for repo in ["inside", "nothing"] {
        let answer = ref_tokens(&shop, Some(&stranger), &ask(&shop, repo, &[PAID])).await.json();
        assert_eq!(answer["token_kind"], Value::Null, "{repo}");
    }
}

#[tokio::test]
async fn it_ends_at_once_with_the_right_the_device_the_account_or_by_itself() {
    for way in ["right", "device", "account", "itself"] {
        let shop = Shop::open().await;
        shop.takes("apps", RepoTokens::Opaque).await;
        let access = ada(&shop).await;
        let token = token_for_paid(&shop, &access).await;
        assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 200);
        shop.pass_seconds(1);
        let revoked = match way {
            "right" => {
                let held = flatpass_store::Holder::Account(account(&shop).await);
                let held = shop.store.held_by(&held, shop.now()).await.unwrap();
                for one in held {
                    shop.store.revoke_entitlement(&one.id, shop.now()).await.unwrap();
                }
                "x"
            }
            "device" => &access,
            "account" => {
                shop.store.disable_account(&account(&shop).await, shop.now()).await.unwrap();
                "x"
            }
            _ => &token,
        };
        let fields = [("client_id", "flatpass-authenticator"), ("token", revoked)];
        assert_eq!(shop.browser().post("/oauth/revoke", &fields).await.status, 200);
        let status = shop.fetch("apps", PAID, Some(&token)).await;
        assert!(matches!((way, status), ("right", 403) | (_, 401)), "{way}: {status}");
        if way == "itself" {
            assert_eq!(shop.fetch("apps", PAID, Some(&token_for_paid(&shop, &access).await)).await, 200);
        }
    }
}

#[tokio::test]
async fn a_gate_elsewhere_is_told_what_a_token_is_by_the_secret_of_a_robot_that_may_know_it() {
    let shop = Shop::open().await;
    let robot = shop.store.create_robot("gate", shop.now(), &mut rng()).await.unwrap();
    let (secret, _) = shop
        .store
        .create_robot_secret(&robot.id, "", "ref-tokens", None, shop.now(), &mut rng())
        .await
        .unwrap();
    let access = ada(&shop).await;
    for (tokens, prefix) in [(RepoTokens::Jwt, "ey"), (RepoTokens::Opaque, "fpx_")] {
        shop.takes("apps", tokens).await;
        let token = token_for_paid(&shop, &access).await;
        assert!(token.starts_with(prefix));
        let by_robot = |secret: &str| {
            let (id, secret) = (robot.id.0.clone(), secret.to_owned());
            move |request: reqwest::RequestBuilder| request.basic_auth(id, Some(secret))
        };
        let told = introspect(&shop, by_robot(secret.expose()), &token).await;
        assert_eq!((told.status, told.json()), (200, json!({ "active": false })));
        assert!(shop.store.set_introspector("apps", &robot.id, true, shop.now()).await.unwrap());
        let told = introspect(&shop, by_robot(secret.expose()), &token).await.json();
        let grant = &told["authorization_details"][0];
        assert_eq!(
            (&told["active"], &told["aud"], &told["sub"], &told["token_type"]),
            (&json!(true), &json!(shop.repo_url("apps")), &json!(account(&shop).await), &json!("Bearer"))
        );
        assert_eq!((&grant["ids"], &grant["type"]), (&json!(["org.test.Paid"]), &json!("flatpak")));
        assert!(told["exp"].is_i64());
        let wrong = introspect(&shop, by_robot("fpk_wrong"), &token).await;
        assert_eq!((wrong.status, wrong.header("www-authenticate").starts_with("Basic")), (401, true));
        // Who has it may look at it, too; others may not.
        let own = introspect(&shop, |request| request.bearer_auth(&access), &token).await.json();
        assert_eq!(own["active"], true);
        let eve = format!("eve-{prefix}@example.org");
        let eve = device(&shop, &shop.signed_up(&eve).await).await.0;
        let none = introspect(&shop, |request| request.bearer_auth(&eve), &token).await.json();
        assert_eq!(none, json!({ "active": false }));
        assert!(shop.store.set_introspector("apps", &robot.id, false, shop.now()).await.unwrap());
    }
    let token = token_for_paid(&shop, &access).await;
    shop.store.disable_account(&account(&shop).await, shop.now()).await.unwrap();
    shop.store.set_introspector("apps", &robot.id, true, shop.now()).await.unwrap();
    soon("the token is not active any more", async || {
        let by = |request: reqwest::RequestBuilder| request.basic_auth(&robot.id.0, Some(secret.expose()));
        introspect(&shop, by, &token).await.json() == json!({ "active": false })
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_kind_refuses_no_token_that_was_given_out_before() {
    let shop = Shop::open().await;
    let access = ada(&shop).await;
    let signed = token_for_paid(&shop, &access).await;
    shop.takes("apps", RepoTokens::Opaque).await;
    assert_eq!(shop.fetch("apps", PAID, Some(&signed)).await, 200);
    let secret = token_for_paid(&shop, &access).await;
    assert!(secret.starts_with("fpx_"));
    shop.pass_seconds(120);
    shop.takes("apps", RepoTokens::Jwt).await;
    assert_eq!(shop.fetch("apps", PAID, Some(&secret)).await, 200);
    assert!(token_for_paid(&shop, &access).await.starts_with("ey"));
    // Which sort of tokens comes from where is not for the bearer to say.
    shop.takes("apps", RepoTokens::FlatManager).await;
    assert_eq!(shop.fetch("apps", PAID, Some(&secret)).await, 401);
}
