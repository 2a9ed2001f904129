//! Keys that rotate while people download: no request is refused in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use flatpass_store::RepoTokens;
use flatpass_token::{SigningKey, UnixTime, Verb};
use serde_json::{Value, json};

use crate::identity_provider::IdentityProvider;
use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{PAID, Shop, rng};

/// How many rounds the people have made, and whether they are to go home.
#[derive(Default)]
struct Load {
    rounds: [AtomicUsize; 2],
    is_over: AtomicBool,
}

impl Load {
    /// Waits until each has made one more round.
    async fn goes_on(&self) {
        for rounds in &self.rounds {
            let (before, start) = (rounds.load(SeqCst), Instant::now());
            while rounds.load(SeqCst) == before {
                assert!(
                    start.elapsed() < Duration::from_secs(60) && !self.is_over.load(SeqCst),
                    "they stopped"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Ends the load also when a test fails.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_own_key_rotates_under_load_without_a_refusal() {
    let shop = Arc::new(Shop::open_with("[tokens]\nref_token_seconds = 60\n", |_| ()).await);
    let browser = shop.signed_up("ada@example.org").await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download]).await;
    let access = device(&shop, &browser).await.0;
    let load = Arc::new(Load::default());
    let people: Vec<_> = (0..2)
        .map(|person| {
            let (shop, load, access) = (Arc::clone(&shop), Arc::clone(&load), access.clone());
            tokio::spawn(async move {
                let _over = Over(&load);
                let mut held: Option<(UnixTime, String)> = None;
                while !load.is_over.load(SeqCst) {
                    let made = shop.now();
                    let answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
                    let token = answer["tokens"][0]["token"].as_str().unwrap().to_owned();
                    assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 200);
                    if let Some((made, held)) = &held {
                        let status = shop.fetch("apps", PAID, Some(held)).await;
                        assert!(
                            status == 200 || shop.now() >= made.plus_seconds(60),
                            "{made} {}",
                            shop.now()
                        );
                    }
                    if held.as_ref().is_none_or(|(made, _)| shop.now() >= made.plus_seconds(50)) {
                        held = Some((made, token));
                    }
                    load.rounds[person].fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let signers = async || {
        let keys = shop.store.signing_keys(shop.now()).await.unwrap();
        keys.iter().map(|key| key.kid.clone()).collect::<Vec<_>>()
    };
    let first = signers().await;
    load.goes_on().await;
    shop.store.rotate_key(shop.now(), 90, &mut rng()).await.unwrap();
    for _ in 0..20 {
        load.goes_on().await;
        shop.pass_seconds(10);
    }
    load.goes_on().await;
    assert!(!signers().await.contains(&first[0]), "the first key is gone");
    load.is_over.store(true, SeqCst);
    for person in people {
        person.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuers_key_and_the_kind_of_the_tokens_change_under_load_without_a_refusal() {
    let shop = Arc::new(Shop::open().await);
    let browser = shop.signed_up("ada@example.org").await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download]).await;
    let access = device(&shop, &browser).await.0;
    let own = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
    let own = own["tokens"][0]["token"].as_str().unwrap().to_owned();
    let keys: Arc<Vec<_>> = Arc::new((0..3).map(|_| SigningKey::generate().unwrap()).collect());
    let provider = IdentityProvider::start(&[&keys[0], &keys[1]]).await;
    provider.is_issuer_of(&shop, false).await;
    let (load, signing) = (Arc::new(Load::default()), Arc::new(AtomicUsize::new(0)));
    let people: Vec<_> = (0..2)
        .map(|person| {
            let (shop, load, own) = (Arc::clone(&shop), Arc::clone(&load), own.clone());
            let (provider, keys, signing) = (provider.clone(), Arc::clone(&keys), Arc::clone(&signing));
            tokio::spawn(async move {
                let _over = Over(&load);
                while !load.is_over.load(SeqCst) {
                    let number = load.rounds[person].load(SeqCst);
                    let changes = json!({ "jti": format!("{person}-{number}") });
                    let key = &keys[signing.load(SeqCst)];
                    let token = provider.token(&shop, key, &json!(["engineering"]), &changes);
                    if shop.store.repo("apps").await.unwrap().unwrap().tokens.issuer().is_some() {
                        assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 200);
                    }
                    // What the store gave out before it took those.
                    assert_eq!(shop.fetch("apps", PAID, Some(&own)).await, 200);
                    load.rounds[person].fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    load.goes_on().await;
    signing.store(1, SeqCst);
    load.goes_on().await;
    // The third is published long before it signs, and taken up at the next look at the latest.
    provider.publishes(&[&keys[1], &keys[2]]);
    let probe =
        provider.token(&shop, &keys[2], &json!(["engineering"]), &Value::Object(serde_json::Map::new()));
    let start = Instant::now();
    while shop.fetch("apps", PAID, Some(&probe)).await != 200 {
        assert!(start.elapsed() < Duration::from_secs(30), "the third key is not taken up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    signing.store(2, SeqCst);
    load.goes_on().await;
    load.is_over.store(true, SeqCst);
    for person in people {
        person.await.unwrap();
    }
    // Back to the store's own.
    shop.store.set_repo_tokens("apps", &RepoTokens::Jwt, shop.now()).await.unwrap();
    crate::shop::soon("foreign tokens open nothing", async || {
        shop.fetch("apps", PAID, Some(&probe)).await == 401
    })
    .await;
    assert_eq!(shop.fetch("apps", PAID, Some(&own)).await, 200);
}
