//! Tokens of a hosted registry, fetched with the store's account there.

use std::time::{Duration, Instant};

use flatpass_store::{Holder, NewEntitlement, Source, SourceKind, What};
use flatpass_token::Verb;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::browser::Page;
use crate::hosted_registry::{HostedRegistry, PASSWORD, USER, set_robot};
use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{FREE, PAID, PRO, Shop, soon};

/// In one repository with the paid app.
const MATE: &str = "app/org.test.Mate/x86_64/stable";

async fn registry() -> HostedRegistry {
    let registry = HostedRegistry::start().await;
    registry.push("shop/free", "stable", FREE, 0);
    registry.push("shop/paid", "stable", PAID, 2);
    registry.push("shop/pro", "stable", PRO, 2);
    registry.push("shop/mixed", "stable", MATE, 0);
    registry.push("shop/mixed", "pro", "app/org.test.Paid.Pro/x86_64/beta", 2);
    registry
}

/// The shop, and Ada, who has bought the paid app.
async fn scene(registry: &HostedRegistry) -> (Shop, String) {
    scene_with(registry, |_| ()).await
}

async fn scene_with(
    registry: &HostedRegistry,
    change: impl FnOnce(&mut flatpass::config::Config),
) -> (Shop, String) {
    let shop = registry.shop_with(change).await;
    shop.set_price("hosted", "org.test.Paid", "5.00").await;
    shop.set_price("hosted", "org.test.Paid.Pro", "25.00").await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "hosted", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    let all = ask(&shop, "hosted", &[PAID, MATE]);
    soon("the registry was looked at, and all is taken up", async || {
        let page = ref_tokens(&shop, None, &all).await.json();
        page["denied"].as_array().unwrap().iter().all(|one| one["reason"] == "sign_in_required")
    })
    .await;
    registry.scopes();
    (shop, access)
}

async fn asked(shop: &Shop, access: Option<&str>, refs: &[&str]) -> Value {
    let page: Page = ref_tokens(shop, access, &ask(shop, "hosted", refs)).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(!page.body.contains(PASSWORD) && !page.body.contains(USER), "{}", page.body);
    page.json()
}

/// The one denial.
fn why(answer: &Value) -> (&str, &str) {
    assert_eq!(answer["tokens"], json!([]), "{answer}");
    let denied = answer["denied"].as_array().unwrap();
    (denied[0]["reason"].as_str().unwrap(), denied[0]["message"].as_str().unwrap())
}

#[tokio::test]
async fn who_may_have_all_of_a_repository_gets_the_registrys_own_token_for_it_and_nothing_more() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    let answer = asked(&shop, Some(&access), &[PAID, PRO, FREE, MATE]).await;
    assert_eq!(answer["registry"], json!(registry.url));
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2, "{answer}");
    for (token, name, repository) in [(&tokens[0], FREE, "shop/free"), (&tokens[1], PAID, "shop/paid")] {
        assert_eq!((&token["refs"], &token["expires_in"]), (&json!([name]), &json!(300)));
        let token = token["token"].as_str().unwrap();
        assert!(registry.lets_in(token, repository).await && !registry.lets_in(token, "shop/pro").await);
    }
    let denied = answer["denied"].as_array().unwrap();
    assert_eq!((&denied[0]["ref"], &denied[0]["reason"]), (&json!(PRO), &json!("purchase_required")));
    // It is free, but whoever opens its repository opens what is sold too.
    assert_eq!((&denied[1]["ref"], &denied[1]["reason"]), (&json!(MATE), &json!("purchase_required")));
    let mut scopes = registry.scopes();
    scopes.sort();
    assert_eq!(scopes, ["repository:shop/free:pull", "repository:shop/paid:pull"]);

    let nobody = asked(&shop, None, &[PAID, FREE]).await;
    assert_eq!(nobody["tokens"][0]["refs"], json!([FREE]));
    assert_eq!(nobody["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(registry.scopes(), [""; 0], "what is kept serves everybody");
}

#[tokio::test]
async fn a_right_that_ends_or_has_ended_ends_what_is_given() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let new = NewEntitlement {
        holder: Holder::Account(account.id),
        what: What::Apps {
            repo: "hosted".to_owned(),
            app: "org.test.Paid.Pro".parse().unwrap(),
            branch: None,
        },
        verbs: vec![Verb::Download, Verb::Upgrade],
        starts_at: shop.now(),
        ends_at: Some(shop.now().plus_seconds(90)),
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(new, shop.now(), &mut crate::shop::rng()).await.unwrap();
    let answer = asked(&shop, Some(&access), &[PRO]).await;
    assert_eq!(answer["tokens"][0]["expires_in"], 90, "{answer}");
    shop.pass_seconds(90);
    let answer = asked(&shop, Some(&access), &[PRO]).await;
    assert_eq!(why(&answer).0, "purchase_required");
    assert!(why(&answer).1.contains("ended on"), "{answer}");
}

#[tokio::test]
async fn any_number_of_callers_fetch_one_token_and_hold_up_nobody() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    registry.close();
    let body = ask(&shop, "hosted", &[PAID]);
    let all = join_all((0..40).map(|_| ref_tokens(&shop, Some(&access), &body)));
    let meanwhile = async {
        soon("the registry is asked", async || registry.hold(|held| !held.looked.is_empty())).await;
        let start = Instant::now();
        let other = ref_tokens(&shop, None, &ask(&shop, "apps", &[FREE])).await.json();
        assert_eq!(other["open"], json!([FREE]));
        assert!(start.elapsed() < Duration::from_secs(5), "nobody waits for another repo's registry");
        registry.open();
    };
    let (answers, ()) = tokio::join!(all, meanwhile);
    let tokens: Vec<_> = answers.iter().map(|page| page.json()["tokens"][0]["token"].clone()).collect();
    assert!(tokens.iter().all(|token| token.is_string() && *token == tokens[0]), "{tokens:?}");
    assert_eq!(registry.scopes(), ["repository:shop/paid:pull"]);

    // While half of its life is left it serves on; then there is another one.
    for (seconds, left, fetched) in [(149, 151, 0), (1, 300, 1), (100, 200, 0)] {
        shop.pass_seconds(seconds);
        let answer = asked(&shop, Some(&access), &[PAID]).await;
        assert_eq!(answer["tokens"][0]["expires_in"], left, "{answer}");
        assert_eq!(registry.scopes().len(), fetched);
    }
    // A clock that is set back makes none of it last longer.
    asked(&shop, None, &[FREE]).await;
    shop.pass_seconds(-3600);
    asked(&shop, None, &[FREE]).await;
    assert_eq!(registry.scopes(), ["repository:shop/free:pull"; 2]);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_waited_for_a_little_and_then_there_is_a_sentence() {
    let registry = registry().await;
    let (shop, access) = scene_with(&registry, |config| config.limits.request_seconds = 2).await;
    registry.close();
    let start = Instant::now();
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let (reason, message) = why(&answer);
    assert_eq!(reason, "unavailable");
    assert!(message.contains("cannot be reached") && message.contains("Try again later"), "{message}");
    registry.open();
    // Whoever went there has come back; nobody goes a second time.
    soon("it is there", async || asked(&shop, Some(&access), &[PAID]).await["tokens"][0].is_object()).await;
    assert_eq!(registry.scopes().len(), 1);
}

#[tokio::test]
async fn failures_are_remembered_for_a_while_and_a_registrys_wish_is_heard() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    asked(&shop, Some(&access), &[PAID]).await;
    registry.scopes();
    let slow_down = (429, vec![("Retry-After", "100".to_owned())], String::new());
    registry.hold(|held| held.answer = Some(slow_down));
    shop.pass_seconds(160);
    // The token that is left serves on.
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(answer["tokens"][0]["expires_in"], 140, "{answer}");
    assert_eq!(registry.scopes().len(), 1);
    let answer = asked(&shop, Some(&access), &[PAID, FREE]).await;
    assert_eq!((&answer["tokens"][0]["refs"], &answer["denied"][0]["ref"]), (&json!([PAID]), &json!(FREE)));
    registry.hold(|held| held.answer = None);
    shop.pass_seconds(99);
    assert_eq!(why(&asked(&shop, None, &[FREE]).await).0, "unavailable");
    assert_eq!(registry.scopes(), [""; 0], "not before the registry wants to be asked");
    shop.pass_seconds(1);
    assert!(asked(&shop, None, &[FREE]).await["tokens"][0].is_object());

    // A fault about one repository says nothing about the others.
    registry.hold(|held| held.withheld.push("shop/paid".to_owned()));
    shop.pass_seconds(600);
    let answer = asked(&shop, Some(&access), &[PAID, FREE]).await;
    assert_eq!(answer["tokens"][0]["refs"], json!([FREE]), "{answer}");
    let message = answer["denied"][0]["message"].as_str().unwrap();
    assert!(message.contains("gives") && message.contains("Ask whoever runs the store"), "{message}");
    registry.scopes();
    shop.pass_seconds(1);
    asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(registry.scopes(), [""; 0]);
    shop.pass_seconds(1);
    asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(registry.scopes().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_a_new_one_at_once() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    registry.hold(|held| held.password = "another".to_owned());
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    let (reason, message) = why(&answer);
    assert_eq!(reason, "unavailable");
    assert!(message.contains("no token") && message.contains("Ask whoever runs the store"), "{message}");
    assert_eq!(registry.scopes().len(), 1);
    asked(&shop, Some(&access), &[FREE]).await;
    assert_eq!(registry.scopes(), [""; 0], "accounts are locked for less than a try for each repository");
    set_robot(&shop, "another").await;
    assert!(asked(&shop, Some(&access), &[PAID]).await["tokens"][0].is_object());
    shop.store.set_registry_robot("hosted", None, &mut crate::shop::rng()).await.unwrap();
    assert_eq!(
        why(&asked(&shop, Some(&access), &[PAID]).await).0,
        "unavailable",
        "what was kept is gone too"
    );
}

#[tokio::test]
async fn no_other_token_server_than_the_first_gets_the_password_even_after_a_restart() {
    let registry = registry().await;
    let (mut shop, access) = scene(&registry).await;
    let collector = HostedRegistry::start().await;
    for restarted in [false, true] {
        registry.hold(|held| held.realm = Some(format!("{}token", collector.url)));
        if restarted {
            shop.stop().await;
            shop.start().await;
        }
        assert_eq!(why(&asked(&shop, Some(&access), &[PAID]).await).0, "unavailable");
        assert!(collector.hold(|held| held.asked.is_empty()));
    }
    // A token server that is not on this machine and not https gets nothing either.
    set_robot(&shop, PASSWORD).await;
    registry.hold(|held| held.realm = Some("http://192.0.2.1/token".to_owned()));
    assert_eq!(why(&asked(&shop, Some(&access), &[PAID]).await).0, "unavailable");
}

#[tokio::test]
async fn a_token_that_is_the_password_in_disguise_stays_here() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    for token in
        [PASSWORD.replace(' ', ""), STANDARD.encode(PASSWORD), STANDARD.encode(format!("{USER}:{PASSWORD}"))]
    {
        let body = json!({ "token": token }).to_string();
        registry.hold(|held| held.answer = Some((200, Vec::new(), body)));
        let answer = asked(&shop, Some(&access), &[PAID]).await;
        assert_eq!(why(&answer).0, "unavailable");
        assert!(!answer.to_string().contains(&token), "{answer}");
        shop.pass_seconds(600);
    }
}

#[tokio::test]
async fn a_token_that_opens_more_than_was_asked_for_stays_here() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    // Nothing can be read in it, but it opens what else is sold.
    registry.hold(|held| held.ignores_scope = true);
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(why(&answer).0, "unavailable");
    assert!(!answer.to_string().contains("hosted."), "{answer}");
    // What the registry lets everybody have proves nothing against a token.
    shop.pass_seconds(600);
    registry.hold(|held| {
        held.open = vec!["shop/pro".to_owned(), "shop/free".to_owned(), "shop/mixed".to_owned()];
    });
    assert_eq!(asked(&shop, Some(&access), &[PAID]).await["tokens"].as_array().unwrap().len(), 1);
    // It says itself that it is for more, though the registry does not show it.
    shop.pass_seconds(600);
    registry.hold(|held| (held.ignores_scope, held.open) = (false, Vec::new()));
    let claims =
        json!({ "access": [{ "type": "repository", "name": "shop/paid", "actions": ["pull", "push"] }] });
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let body = json!({ "token": token }).to_string();
    registry.hold(|held| held.answer = Some((200, Vec::new(), body)));
    registry.scopes();
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(why(&answer).0, "unavailable");
    assert!(!answer.to_string().contains(&token), "{answer}");
    assert_eq!(registry.hold(|held| held.looked.len()), 1, "and it is shown to nobody");
}

#[tokio::test]
async fn a_registry_with_passwords_only_is_told_apart_and_one_that_asks_for_nothing_is_open() {
    let registry = registry().await;
    let (shop, access) = scene(&registry).await;
    registry.hold(|held| held.challenge = Some("Basic realm=\"hosted\"".to_owned()));
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    let (reason, message) = why(&answer);
    assert_eq!(reason, "unavailable");
    assert!(
        message.contains("passwords only") && message.contains("Ask whoever runs the store"),
        "{message}"
    );
    assert_eq!(registry.scopes(), [""; 0], "and nobody gets the password for nothing");
    registry.hold(|held| held.is_public = true);
    shop.pass_seconds(600);
    let answer = asked(&shop, Some(&access), &[PAID, PRO]).await;
    assert_eq!((&answer["open"], &answer["tokens"]), (&json!([PAID]), &json!([])));
}

#[tokio::test]
async fn a_repository_that_is_not_wholly_seen_is_opened_to_those_only_who_have_a_right_of_their_own() {
    let registry = registry().await;
    let (shop, access) = scene_with(&registry, |config| config.registries.look_seconds = 1).await;
    registry.damage("shop/free", "next");
    registry.damage("shop/paid", "next");
    soon("nobody gets what is free beside it", async || {
        let answer = asked(&shop, None, &[FREE]).await;
        answer["tokens"] == json!([]) && why(&answer).0 == "unavailable"
    })
    .await;
    let answer = asked(&shop, Some(&access), &[FREE]).await;
    let (reason, message) = why(&answer);
    assert_eq!(reason, "unavailable");
    assert!(message.contains("cannot read all of its repository"), "{message}");
    let answer = asked(&shop, Some(&access), &[PAID]).await;
    assert_eq!(answer["tokens"][0]["refs"], json!([PAID]), "{answer}");
    registry.untag("shop/free", "next");
    soon("all of it is seen again", async || {
        asked(&shop, None, &[FREE]).await["tokens"][0]["refs"] == json!([FREE])
    })
    .await;
}

#[tokio::test]
async fn a_repo_that_becomes_another_part_of_its_registry_shows_and_gives_nothing_of_the_old_one() {
    let registry = registry().await;
    let (shop, _) = scene(&registry).await;
    let index = format!("{}/index/static", shop.repo_url("hosted"));
    let shown = async || reqwest::get(&index).await.unwrap().text().await.unwrap();
    assert!(shown().await.contains(FREE));
    assert_eq!(asked(&shop, None, &[FREE]).await["tokens"][0]["refs"], json!([FREE]));
    registry.push("shop/later", "stable", "app/org.test.Later/x86_64/stable", 0);
    // It cannot even be asked what it has now.
    registry.close();
    let repo = shop.store.repo("hosted").await.unwrap().unwrap();
    let mut other = repo.source.registry().unwrap().clone();
    other.repositories = Some(vec!["shop/later".to_owned()]);
    shop.store.set_registry("hosted", &other).await.unwrap();
    let is_gone = async || {
        let answer = asked(&shop, None, &[FREE]).await;
        answer["tokens"] == json!([]) && answer["open"] == json!([]) && !shown().await.contains(FREE)
    };
    soon("nothing of it is shown and given", is_gone).await;
    registry.open();
    soon("the registry was looked at", async || shown().await.contains("org.test.Later")).await;
    assert!(is_gone().await);
}
