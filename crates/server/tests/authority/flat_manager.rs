//! A repo that flat-manager publishes to: its tokens open exactly what was bought, at our gate and at flat-manager's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flatpass_store::{
    AppPattern, Holder, NewEntitlement, NewRepo, RepoPolicy, RepoSource, RepoTokens, SecretFor, Source,
    SourceKind, What,
};
use flatpass_token::{NO_PREFIX, SharedSecret, Verb, read_shared};
use serde_json::{Value, json};

use crate::flat_manager_server::FlatManager;
use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{DASHED, DASHED_LOCALE, FREE, LOCALE, PAID, PRO, START, Shop, UNSOLD, rng, soon};

pub(crate) const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";
pub(crate) const NEXT: &str = "bmV4dCBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyE=";
const DAY: i64 = 86_400;

pub(crate) fn secret(text: &str) -> SharedSecret {
    SharedSecret::from_base64(text).unwrap()
}

/// A shop whose repo `apps` flat-manager calls `stable`.
pub(crate) async fn scene() -> Shop {
    let shop = Shop::open().await;
    shop.store.set_flat_manager_name("apps", "stable").await.unwrap();
    set(&shop, SecretFor::Download, SECRET).await;
    shop.store.set_repo_tokens("apps", &RepoTokens::FlatManager, shop.now()).await.unwrap();
    shop
}

pub(crate) async fn set(shop: &Shop, purpose: SecretFor, text: &str) {
    let secret = secret(text);
    shop.store.set_flat_manager_secret("apps", purpose, &secret, DAY, shop.now(), &mut rng()).await.unwrap();
}

pub(crate) fn said(token: &str, by: &str) -> Value {
    read_shared(token, &[Arc::new(secret(by))]).unwrap_or_else(|error| panic!("{error}: {token}"))
}

fn only_token(answer: &Value) -> String {
    assert_eq!(answer["tokens"].as_array().map(Vec::len), Some(1), "{answer}");
    answer["tokens"][0]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_opens_exactly_the_bought_apps_at_the_gate_and_at_flat_manager() {
    let shop = scene().await;
    let theirs = FlatManager::start(SECRET).await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let both = [Verb::Download, Verb::Upgrade];
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &both).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.My-App", &both).await;
    let wanted = [FREE, PAID, DASHED, PRO, UNSOLD];
    let mut answer = Value::Null;
    soon("the tokens are flat-manager's", async || {
        answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &wanted)).await.json();
        answer["tokens"][0]["token"]
            .as_str()
            .is_some_and(|token| token.starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."))
    })
    .await;
    assert_eq!((&answer["open"], &answer["tokens"][0]["refs"]), (&json!([FREE]), &json!([PAID, DASHED])));
    assert_eq!(answer["tokens"][0]["expires_in"], 3600);
    let token = only_token(&answer);
    let claims = said(&token, SECRET);
    // The extensions that the repo has of these go with them, whether or not they were asked for.
    let apps = ["org.test.My-App", "org.test.My_App.Locale", "org.test.Paid", "org.test.Paid.Locale"];
    assert_eq!(claims["apps"], json!(apps));
    assert_eq!((&claims["scope"], &claims["repos"]), (&json!(["download"]), &json!(["stable"])));
    assert_eq!(claims["prefixes"], json!([NO_PREFIX]), "flat-manager opens all to who has no prefix");
    assert_eq!(claims["exp"].as_i64(), Some(shop.now().0 + 3600));

    for (name, is_mine) in
        [(PAID, true), (LOCALE, true), (DASHED, true), (DASHED_LOCALE, true), (PRO, false), (UNSOLD, false)]
    {
        let id = name.split('/').nth(1).unwrap();
        assert_eq!(theirs.gives(id, &token, shop.now().0), is_mine, "flat-manager: {name}");
        assert_eq!(shop.fetch("apps", name, None).await, 401, "{name}");
        let expected = if is_mine { 200 } else { 403 };
        assert_eq!(shop.fetch("apps", name, Some(&token)).await, expected, "the gate: {name}");
    }
    // Nothing was asked of another branch, and the gate knows branches.
    assert_eq!(shop.fetch("apps", "app/org.test.Paid/x86_64/beta", Some(&token)).await, 403);
    // A bad token does not break what is free.
    assert_eq!(shop.fetch("apps", FREE, Some("broken")).await, 200);
    assert_eq!(shop.fetch("apps", PAID, Some("broken")).await, 401);
    assert_eq!(shop.fetch("inside", PAID, Some(&token)).await, 401, "another repo has no such secret");

    // The device is signed out: that holds for these tokens too.
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let gone = shop.store.list_devices(&account.id, shop.now()).await.unwrap().remove(0);
    assert!(shop.store.revoke_device(&account.id, &gone.id, shop.now()).await.unwrap());
    soon("the token ended with the device", async || shop.fetch("apps", PAID, Some(&token)).await == 401)
        .await;
}

#[tokio::test]
async fn where_flat_manager_itself_gives_out_there_is_a_token_for_all_of_an_app_or_none() {
    let shop = scene().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    // Only the branch stable of an app that has another one.
    let new = NewEntitlement {
        holder: Holder::Account(account.id),
        what: What::Apps {
            repo: "apps".to_owned(),
            app: "org.test.Paid".parse::<AppPattern>().unwrap(),
            branch: Some("stable".to_owned()),
        },
        verbs: vec![Verb::Download, Verb::Upgrade],
        starts_at: shop.now(),
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
    let asked = async |repo: &str| ref_tokens(&shop, Some(&access), &ask(&shop, repo, &[PAID])).await.json();
    soon("our gate alone gives out", async || asked("apps").await["tokens"][0]["token"].is_string()).await;
    let token = only_token(&asked("apps").await);
    assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 200);
    assert_eq!(shop.fetch("apps", "app/org.test.Paid/x86_64/beta", Some(&token)).await, 403);

    // The same repo, which clients may also have from flat-manager's own address.
    let new = NewRepo {
        name: "direct".to_owned(),
        source: RepoSource::Ostree(shop.repo_path("apps")),
        policy: RepoPolicy::Refs,
        urls: vec!["https://fm.example/repo/stable".to_owned()],
        open_token_types: vec![0, 1],
    };
    shop.store.add_repo(new, START).await.unwrap();
    shop.set_price("direct", "org.test.Paid", "5.00").await;
    shop.store
        .set_flat_manager_secret("direct", SecretFor::Download, &secret(SECRET), DAY, shop.now(), &mut rng())
        .await
        .unwrap();
    shop.store.set_repo_tokens("direct", &RepoTokens::FlatManager, shop.now()).await.unwrap();
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let part = NewEntitlement {
        holder: Holder::Account(account.id),
        what: What::Apps {
            repo: "direct".to_owned(),
            app: "org.test.Paid".parse::<AppPattern>().unwrap(),
            branch: Some("stable".to_owned()),
        },
        verbs: vec![Verb::Download, Verb::Upgrade],
        starts_at: shop.now(),
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(part, shop.now(), &mut rng()).await.unwrap();
    let body = json!({ "repo_url": "https://fm.example/repo/stable", "refs": [{ "ref": PAID }] });
    let mut answer = Value::Null;
    soon("the repo is there", async || {
        answer = ref_tokens(&shop, Some(&access), &body).await.json();
        answer["denied"][0]["reason"].is_string()
    })
    .await;
    assert_eq!(answer["tokens"], json!([]), "flat-manager would give the other branch too");
    let message = answer["denied"][0]["message"].as_str().unwrap();
    assert!(message.contains("all of an app or nothing") && message.contains("Buy the rest"), "{message}");
    entitle(&shop, "ada@example.org", "direct", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    let answer = ref_tokens(&shop, Some(&access), &body).await.json();
    assert_eq!(said(&only_token(&answer), SECRET)["repos"], json!(["direct"]));
}

/// A secret follows another while people fetch tokens and use them, old and new ones, at the gate; then flat-manager is
/// restarted with the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_secret_is_exchanged_under_load_and_no_request_is_refused() {
    let shop = scene().await;
    let theirs = FlatManager::start(SECRET).await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    let body = ask(&shop, "apps", &[PAID]);
    soon("there are tokens", async || {
        ref_tokens(&shop, Some(&access), &body).await.json()["tokens"][0]["token"].is_string()
    })
    .await;
    let old = only_token(&ref_tokens(&shop, Some(&access), &body).await.json());
    assert_eq!(shop.fetch("apps", PAID, Some(&old)).await, 200);
    let (over, refused, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let load = async |with_old: bool| {
        while !over.load(Ordering::Relaxed) {
            let token = match with_old {
                true => old.clone(),
                false => only_token(&ref_tokens(&shop, Some(&access), &body).await.json()),
            };
            if shop.fetch("apps", PAID, Some(&token)).await != 200 {
                refused.fetch_add(1, Ordering::Relaxed);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let exchange = async {
        let more = async |count: u64| {
            let from = done.load(Ordering::Relaxed);
            while done.load(Ordering::Relaxed) < from + count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        more(30).await;
        set(&shop, SecretFor::Download, NEXT).await;
        more(30).await;
        // The new one signs when every server knows it.
        shop.pass_seconds(6);
        more(60).await;
        let new = only_token(&ref_tokens(&shop, Some(&access), &body).await.json());
        said(&new, NEXT);
        // flat-manager itself knows one secret at a time: the gate is what makes the change smooth.
        assert!(
            theirs.gives("org.test.Paid", &old, shop.now().0)
                && !theirs.gives("org.test.Paid", &new, shop.now().0)
        );
        theirs.restart_with(NEXT);
        assert!(
            theirs.gives("org.test.Paid", &new, shop.now().0)
                && !theirs.gives("org.test.Paid", &old, shop.now().0)
        );
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(true), load(false), load(false), exchange);
    assert!(done.load(Ordering::Relaxed) >= 120);
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {}", done.load(Ordering::Relaxed));

    // A secret that leaked is ended at once.
    shop.store.end_flat_manager_secrets("apps", SecretFor::Download, false, shop.now()).await.unwrap();
    soon("the old one ended", async || shop.fetch("apps", PAID, Some(&old)).await == 401).await;
}
