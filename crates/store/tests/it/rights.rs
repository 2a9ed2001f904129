use flatpass_store::{
    AccountId, AppPattern, Holder, NewEntitlement, NewPlanItem, Role, Source, SourceKind, Store, StoreError,
    StoreOptions, What,
};
use flatpass_token::{
    AccessTable, CommitMade, KeySet, RefName, UnixTime, Verb, VerifiedToken, Verifier, VerifierConfig,
};

use crate::scene::{NOW, Scene, account, repo, rng};

fn seed(text: &str) -> u64 {
    text.bytes().fold(3, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()))
}

fn right(account_id: &AccountId, app: &str, verbs: &[Verb]) -> NewEntitlement {
    NewEntitlement {
        holder: Holder::Account(account_id.clone()),
        what: What::Apps { repo: "apps".into(), app: app.parse::<AppPattern>().unwrap(), branch: None },
        verbs: verbs.to_vec(),
        starts_at: NOW,
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".into() },
    }
}

async fn give(store: &Store, account_id: &AccountId, app: &str, verbs: &[Verb], until: Option<UnixTime>) {
    let new = NewEntitlement { ends_at: until, ..right(account_id, app, verbs) };
    store.grant(new, NOW, &mut rng(seed(app))).await.unwrap();
}

#[tokio::test]
async fn an_entitlement_covers_its_app_its_verbs_its_repo_and_its_time_and_no_more() {
    let scene = Scene::new().await;
    let store = &scene.store;
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    let eve = account(store, "eve@example.org").await;
    give(store, &ada.id, "org.test.Paid", &[Verb::Download], Some(NOW.plus_seconds(100))).await;
    give(store, &ada.id, "org.acme.*", &[Verb::Download, Verb::Upgrade], None).await;
    give(store, &ada.id, "org.test.Nothing", &[], None).await;
    let may = async |who: &AccountId, repo: &str, app: &str, verb, at: i64| {
        store.entitled(who, repo, app, verb, NOW.plus_seconds(at)).await.unwrap()
    };
    assert!(may(&ada.id, "apps", "org.test.Paid", Verb::Download, 0).await);
    assert!(may(&ada.id, "apps", "org.test.Paid", Verb::Download, 99).await);
    assert!(!may(&ada.id, "apps", "org.test.Paid", Verb::Download, 100).await);
    assert!(!may(&ada.id, "apps", "org.test.Paid", Verb::Download, -1).await);
    assert!(!may(&ada.id, "apps", "org.test.Paid", Verb::Upgrade, 0).await);
    assert!(!may(&ada.id, "apps", "org.test.Paid.Pro", Verb::Download, 0).await);
    assert!(!may(&ada.id, "other", "org.test.Paid", Verb::Download, 0).await);
    assert!(!may(&ada.id, "apps", "org.test.Nothing", Verb::Download, 0).await);
    assert!(!may(&eve.id, "apps", "org.test.Paid", Verb::Download, 0).await);
    assert!(may(&ada.id, "apps", "org.acme.Tool", Verb::Upgrade, 0).await);

    let all = store.entitlements(&ada.id, Some("apps"), NOW).await.unwrap();
    let acme = all.iter().find(|given| given.app.to_string() == "org.acme.*").unwrap();
    assert!(store.revoke_entitlement(&acme.id, NOW).await.unwrap());
    assert!(!store.revoke_entitlement(&acme.id, NOW).await.unwrap());
    assert!(!may(&ada.id, "apps", "org.acme.Tool", Verb::Upgrade, 0).await);
    store.disable_account(&ada.id, NOW).await.unwrap();
    assert!(!may(&ada.id, "apps", "org.test.Paid", Verb::Download, 0).await);
}

/// What a gate would make of the repo's access tokens for this secret.
async fn verified(store: &Store, secret: &str, now: UnixTime) -> Option<VerifiedToken> {
    let verifier = Verifier::new(
        VerifierConfig::new("https://shop.example/", "https://shop.example/repo/apps"),
        KeySet::new(),
    );
    verifier.set_access_tokens(
        store.access_grants("apps", now).await.unwrap().into_iter().collect::<AccessTable>(),
    );
    verifier.verify_access_secret(secret, now).ok()
}

/// Whether it opens what the ref had when the rights began.
fn opens(token: &VerifiedToken, name: &str) -> bool {
    opens_made_at(token, name, NOW)
}

fn opens_made_at(token: &VerifiedToken, name: &str, at: UnixTime) -> bool {
    let commit = CommitMade { checksum: &[7; 32], at };
    token.allows_commit(Verb::Download, &RefName::parse(name).unwrap(), commit)
}

/// Threat 1, for access tokens: the app with its extensions, and no other app that is sold.
#[tokio::test]
async fn an_access_token_opens_what_its_account_owns_and_not_an_app_sold_below_it() {
    let scene = Scene::with(StoreOptions { ..crate::scene::cheap() }).await;
    let (store, mut rng) = (&scene.store, rng(5));
    repo(store, "apps", &["org.test.Paid", "org.test.Paid.Pro", "org.test.Solo"]).await;
    let ada = account(store, "ada@example.org").await;
    give(store, &ada.id, "org.test.Paid", &[Verb::List, Verb::Download], None).await;
    give(store, &ada.id, "org.test.Solo", &[Verb::Download], None).await;
    give(store, &ada.id, "org.test.my-app", &[Verb::Download], None).await;
    let (secret, made) =
        store.create_access_token(&ada.id, "apps", "robot", None, NOW, &mut rng).await.unwrap();

    let token = verified(store, secret.expose(), NOW).await.unwrap();
    assert_eq!((token.subject(), token.id()), (ada.id.as_str(), made.id.as_str()));
    let lists = |name: &str| token.allows(Verb::List, &RefName::parse(name).unwrap());
    assert!(lists("app/org.test.Paid/x86_64/stable") && !lists("app/org.test.Solo/x86_64/stable"));
    assert!(opens(&token, "app/org.test.Paid/x86_64/stable"));
    assert!(opens(&token, "runtime/org.test.Paid.Locale/x86_64/stable"));
    assert!(!opens(&token, "app/org.test.Paid.Pro/x86_64/stable"));
    assert!(!opens(&token, "runtime/org.test.Paid.Pro.Locale/x86_64/stable"));
    assert!(opens(&token, "runtime/org.test.Solo.Debug/x86_64/stable"));
    assert!(!opens(&token, "app/org.test.Solo.Debug/x86_64/stable"), "an app with the name of an extension");
    assert!(!opens(&token, "app/org.test.Solo.Unsold/x86_64/stable"), "an app that is given by hand only");
    assert!(opens(&token, "runtime/org.test.my_app.Locale/x86_64/stable"));
    assert!(!opens(&token, "app/org.test.my_app/x86_64/stable"));
    assert!(!opens(&token, "app/org.test.Other/x86_64/stable"));
    assert!(!token.allows(Verb::Upgrade, &RefName::parse("app/org.test.Paid/x86_64/stable").unwrap()));

    give(store, &ada.id, "org.test.Paid.Pro", &[Verb::Download], None).await;
    let token = verified(store, secret.expose(), NOW).await.unwrap();
    assert!(opens(&token, "app/org.test.Paid.Pro/x86_64/stable"));
    assert!(opens(&token, "runtime/org.test.Paid.Locale/x86_64/stable"));
}

#[tokio::test]
async fn a_right_in_an_access_token_ends_at_its_own_time_although_the_database_is_not_asked_again() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(6));
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    give(store, &ada.id, "org.test.Rented", &[Verb::Download], Some(NOW.plus_seconds(100))).await;
    give(store, &ada.id, "org.test.Owned", &[Verb::Download], None).await;
    let (secret, _) =
        store.create_access_token(&ada.id, "apps", "laptop", None, NOW, &mut rng).await.unwrap();
    let verifier = Verifier::new(
        VerifierConfig::new("https://shop.example/", "https://shop.example/repo/apps"),
        KeySet::new(),
    );
    verifier.set_access_tokens(store.access_grants("apps", NOW).await.unwrap().into_iter().collect());
    for (after, rented) in [(0, true), (99, true), (100, false), (100_000, false)] {
        let token = verifier.verify_access_secret(secret.expose(), NOW.plus_seconds(after)).unwrap();
        assert_eq!(opens(&token, "app/org.test.Rented/x86_64/stable"), rented, "{after}");
        assert_eq!(opens(&token, "runtime/org.test.Rented.Locale/x86_64/stable"), rented, "{after}");
        assert!(opens(&token, "app/org.test.Owned/x86_64/stable"));
    }
}

#[tokio::test]
async fn an_access_token_opens_no_newer_commits_than_its_account_may_have() {
    let scene = Scene::new().await;
    let store = &scene.store;
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    give(store, &ada.id, "org.test.Kept", &[Verb::List, Verb::Download], None).await;
    give(store, &ada.id, "org.test.Whole", &NewEntitlement::USUAL, None).await;
    let until = NewEntitlement {
        upgrades_until: Some(NOW.plus_seconds(100)),
        ..right(&ada.id, "org.test.Updated", &NewEntitlement::USUAL)
    };
    store.grant(until, NOW, &mut rng(6)).await.unwrap();
    let (secret, _) =
        store.create_access_token(&ada.id, "apps", "robot", None, NOW, &mut rng(5)).await.unwrap();
    let token = verified(store, secret.expose(), NOW).await.unwrap();
    for (app, last) in [("Kept", Some(0)), ("Updated", Some(100)), ("Whole", None)] {
        let name = format!("app/org.test.{app}/x86_64/stable");
        assert!(token.allows(Verb::List, &RefName::parse(&name).unwrap()), "{app} is seen whatever it has");
        let last = last.unwrap_or(1_000_000);
        assert!(opens_made_at(&token, &name, NOW.plus_seconds(last)), "{app}");
        assert_eq!(opens_made_at(&token, &name, NOW.plus_seconds(last + 1)), app == "Whole", "{app}");
    }
}

#[tokio::test]
async fn an_access_token_without_any_entitlement_opens_nothing_not_even_the_list() {
    let scene = Scene::new().await;
    let store = &scene.store;
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    let (secret, _) =
        store.create_access_token(&ada.id, "apps", "robot", None, NOW, &mut rng(5)).await.unwrap();
    let token = verified(store, secret.expose(), NOW).await.unwrap();
    assert!(Verb::ALL.iter().all(|verb| !token.allows_any(*verb)));
}

#[tokio::test]
async fn an_access_token_ends_with_its_time_its_revocation_its_repo_or_its_account() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(5));
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    let eve = account(store, "eve@example.org").await;
    let end = Some(NOW.plus_seconds(10));
    let (timed, _) = store.create_access_token(&ada.id, "apps", "timed", end, NOW, &mut rng).await.unwrap();
    let (first, made) =
        store.create_access_token(&ada.id, "apps", "revoked", None, NOW, &mut rng).await.unwrap();
    let (second, _) =
        store.create_access_token(&ada.id, "apps", "lasting", None, NOW, &mut rng).await.unwrap();
    let (eves, _) = store.create_access_token(&eve.id, "apps", "of eve", None, NOW, &mut rng).await.unwrap();

    assert!(verified(store, timed.expose(), NOW.plus_seconds(9)).await.is_some());
    assert!(verified(store, timed.expose(), NOW.plus_seconds(10)).await.is_none());

    assert!(!store.revoke_access_token(Some(&eve.id), &made.id, NOW).await.unwrap(), "it is not hers");
    assert!(store.revoke_access_token(Some(&ada.id), &made.id, NOW).await.unwrap());
    assert!(verified(store, first.expose(), NOW).await.is_none());
    let names = |tokens: Vec<flatpass_store::AccessToken>| {
        tokens.into_iter().map(|token| token.name).collect::<Vec<_>>()
    };
    let mut mine = names(store.list_access_tokens(Some(&ada.id), NOW).await.unwrap());
    mine.sort();
    assert_eq!(mine, ["lasting", "timed"]);
    assert_eq!(store.list_access_tokens(None, NOW).await.unwrap().len(), 3);

    store.disable_account(&eve.id, NOW).await.unwrap();
    assert!(verified(store, eves.expose(), NOW).await.is_none());
    assert!(verified(store, second.expose(), NOW).await.is_some());
    store.remove_repo("apps", NOW).await.unwrap();
    repo(store, "apps", &[]).await;
    assert!(
        verified(store, second.expose(), NOW).await.is_none(),
        "a repo that returns does not revive tokens"
    );
    let nowhere = store.create_access_token(&ada.id, "none", "x", None, NOW, &mut rng).await;
    assert!(matches!(nowhere, Err(StoreError::NoRepo(_))), "{nowhere:?}");
}

#[tokio::test]
async fn what_gates_must_know_raises_the_counter_also_for_another_process_and_sign_ins_do_not() {
    let scene = Scene::new().await;
    let (store, other, mut rng) = (&scene.store, scene.opened_again().await, rng(5));
    let mut last = other.change_counter().await.unwrap();
    let mut rose = async |what: &str, expected: bool| {
        let counter = other.change_counter().await.unwrap();
        assert_eq!(counter > last, expected, "{what}");
        last = counter;
    };
    let ada = account(store, "ada@example.org").await;
    store.create_session(&ada.id, "", "", NOW, &mut rng).await.unwrap();
    let pair = crate::scene::device(store, &ada.id, NOW, &mut rng).await;
    store.refresh(pair.refresh.expose(), crate::scene::CLIENT, "", NOW, &mut rng).await.unwrap();
    rose("sign-ins", false).await;
    repo(store, "apps", &[]).await;
    rose("a repo", true).await;
    crate::scene::price(store, "apps", "org.test.Paid", 500).await;
    rose("an offer", true).await;
    give(store, &ada.id, "org.test.Paid", &[Verb::Download], None).await;
    rose("an entitlement", true).await;
    let entitlement = store.entitlements(&ada.id, None, NOW).await.unwrap().remove(0);
    store.revoke_entitlement(&entitlement.id, NOW).await.unwrap();
    rose("a revocation", true).await;
    let (_, token) = store.create_access_token(&ada.id, "apps", "x", None, NOW, &mut rng).await.unwrap();
    rose("an access token", true).await;
    store.revoke_access_token(None, &token.id, NOW).await.unwrap();
    rose("its end", true).await;
    let order = store.begin_order(&ada.id, "apps", "org.test.Paid", "sandbox", NOW, &mut rng).await.unwrap();
    rose("an order", false).await;
    let paid = flatpass_store::PaymentOutcome::Paid;
    store.settle_order(&order.id, paid, "evt_1", NOW, &mut rng).await.unwrap();
    rose("a payment", true).await;
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    rose("a key", true).await;
    let group = store.add_group("acme", None, NOW, &mut rng).await.unwrap();
    store.add_member(&group.id, &ada.id, Role::Member, NOW, &mut rng).await.unwrap();
    rose("a member", true).await;
    store.remove_member(&group.id, &ada.id, None, NOW).await.unwrap();
    rose("its end", true).await;
    store.add_plan("pro", None, NOW, &mut rng).await.unwrap();
    let item =
        NewPlanItem { repo: "apps".into(), app: AppPattern::All, branch: None, verbs: vec![Verb::List] };
    store.include_in_plan("pro", item, NOW, &mut rng).await.unwrap();
    rose("an item of a plan", true).await;
    store.exclude_from_plan("pro", "apps", &AppPattern::All, None, NOW).await.unwrap();
    rose("its end", true).await;
    store.remove_plan("pro", NOW).await.unwrap();
    rose("a plan's end", true).await;
    store.remove_group(&group.id, NOW).await.unwrap();
    rose("a group's end", true).await;
    store.revoke_device(&ada.id, &pair.grant_id, NOW).await.unwrap();
    rose("a device that was signed out", true).await;
    store.remove_offer("apps", "org.test.Paid").await.unwrap();
    rose("an offer's end", true).await;
    store.remove_repo("apps", NOW).await.unwrap();
    rose("a repo's end", true).await;
}

#[tokio::test]
async fn repos_and_offers_refuse_names_ids_and_prices_that_cannot_be() {
    let scene = Scene::new().await;
    let store = &scene.store;
    repo(store, "apps", &["org.test.Paid"]).await;
    for bad in ["", "Apps", "-a", ".hidden", "a/b", "a b", "ä", "..", &"x".repeat(65)] {
        let new = flatpass_store::NewRepo {
            name: bad.to_owned(),
            source: flatpass_store::RepoSource::Ostree("/srv".into()),
            policy: flatpass_store::RepoPolicy::Open,
            urls: vec![],
            open_token_types: vec![],
        };
        let refused = store.add_repo(new, NOW).await;
        assert!(matches!(refused, Err(StoreError::RepoName(_))), "{bad:?}: {refused:?}");
    }
    let offer = |minor, currency: &str| flatpass_store::Offer {
        price: flatpass_store::Money { minor, currency: currency.into() },
        title: " Paid app ".into(),
    };
    assert!(matches!(
        store.set_offer("none", "org.test.Paid", offer(1, "EUR"), NOW).await,
        Err(StoreError::NoRepo(_))
    ));
    assert!(matches!(
        store.set_offer("apps", "org.test", offer(1, "EUR"), NOW).await,
        Err(StoreError::AppPattern(_))
    ));
    assert!(matches!(
        store.set_offer("apps", "org.test.Paid", offer(0, "EUR"), NOW).await,
        Err(StoreError::Money(_))
    ));
    assert!(matches!(
        store.set_offer("apps", "org.test.Paid", offer(1, "eur"), NOW).await,
        Err(StoreError::Money(_))
    ));
    let stored = store.set_offer("apps", "org.test.Paid", offer(1999, "EUR"), NOW).await.unwrap();
    assert_eq!((stored.title.as_str(), stored.price.to_string().as_str()), ("Paid app", "19.99 EUR"));
    assert_eq!(store.offers("apps").await.unwrap(), vec![stored]);
}
