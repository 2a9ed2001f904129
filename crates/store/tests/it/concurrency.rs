//! Threat 12: two requests at once, also from two processes (two stores on one file).

use std::collections::HashSet;
use std::pin::pin;
use std::task::Poll;

use flatpass_store::{
    AppPattern, CodeError, Holder, NewAccount, NewEntitlement, OrderState, PaymentOutcome, Source,
    SourceKind, Store, StoreError, What,
};
use flatpass_token::Verb;
use rand::RngExt;

use crate::scene::{
    CLIENT, NOW, PASSWORD, REDIRECT, Scene, VERIFIER, account, code, device, price, repo, rng,
};

const AT_ONCE: u64 = 12;

/// Runs `work` many times at once, alternating between two open stores, and gives all results.
async fn at_once<T, F>(scene: &Scene, work: impl Fn(Store, u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stores = [scene.store.clone(), scene.opened_again().await];
    let running: Vec<_> = (0..AT_ONCE)
        .map(|number| tokio::spawn(work(stores[(number % 2) as usize].clone(), number)))
        .collect();
    let mut results = Vec::new();
    for one in running {
        results.push(one.await.unwrap());
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clicks_at_once_are_one_order_and_many_messages_one_payment() {
    let scene = Scene::new().await;
    repo(&scene.store, "apps", &["org.test.Paid"]).await;
    let ada = account(&scene.store, "ada@example.org").await.id;

    let buyer = ada.clone();
    let begun =
        at_once(&scene, move |store, number| {
            let buyer = buyer.clone();
            async move {
                store.begin_order(&buyer, "apps", "org.test.Paid", "sandbox", NOW, &mut rng(number)).await
            }
        })
        .await;
    let ids: HashSet<_> = begun.into_iter().map(|order| order.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let order = ids.into_iter().next().unwrap();

    let settled = at_once(&scene, move |store, number| {
        let order = order.clone();
        // Each a message of its own, so the recorded event does not help.
        async move {
            store
                .settle_order(&order, PaymentOutcome::Paid, &format!("evt_{number}"), NOW, &mut rng(number))
                .await
        }
    })
    .await;
    assert!(settled.into_iter().all(|order| order.unwrap().state == OrderState::Paid));
    assert_eq!(scene.store.entitlements(&ada, None, NOW).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_orders_for_one_app_that_are_paid_at_once_one_is_owed_back() {
    let scene = Scene::new().await;
    repo(&scene.store, "apps", &["org.test.Paid"]).await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    let mut orders = Vec::new();
    for minor in [100, 200] {
        price(&scene.store, "apps", "org.test.Paid", minor).await;
        let order = scene
            .store
            .begin_order(&ada, "apps", "org.test.Paid", "sandbox", NOW, &mut rng(minor as u64))
            .await;
        orders.push(order.unwrap().id);
    }
    let both = orders.clone();
    at_once(&scene, move |store, number| {
        let order = both[(number / 2 % 2) as usize].clone();
        async move {
            let event = format!("evt_{order}");
            store.settle_order(&order, PaymentOutcome::Paid, &event, NOW, &mut rng(number)).await.unwrap();
        }
    })
    .await;
    let mut states = Vec::new();
    for order in orders {
        states.push(scene.store.order(&order).await.unwrap().unwrap().state.as_str());
    }
    states.sort_unstable();
    assert_eq!(states, ["paid", "refund_due"]);
    assert_eq!(scene.store.entitlements(&ada, None, NOW).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_code_that_is_redeemed_many_times_at_once_gives_one_entitlement() {
    let scene = Scene::new().await;
    repo(&scene.store, "apps", &[]).await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    let who = ada.clone();
    let given = at_once(&scene, move |store, number| {
        let new = NewEntitlement {
            holder: Holder::Account(who.clone()),
            what: What::Apps { repo: "apps".into(), app: AppPattern::All, branch: None },
            verbs: vec![Verb::Download],
            starts_at: NOW,
            ends_at: None,
            upgrades_until: None,
            source: Source { kind: SourceKind::Code, id: "XMAS-2026".into() },
        };
        async move { store.grant(new, NOW, &mut rng(number)).await }
    })
    .await;
    assert_eq!(given.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in given.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, StoreError::SourceUsed), "{refused:?}");
    }
    assert_eq!(scene.store.entitlements(&ada, None, NOW).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_authorization_code_that_is_exchanged_many_times_at_once_gives_one_device_that_ends() {
    let scene = Scene::new().await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    let secret = scene.store.create_code(code(&ada), NOW, &mut rng(1)).await.unwrap();
    let text = secret.expose().to_owned();
    let exchanged = at_once(&scene, move |store, number| {
        let text = text.clone();
        async move {
            store.exchange_code(&text, CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng(100 + number)).await
        }
    })
    .await;
    assert_eq!(exchanged.iter().filter(|result| result.is_ok()).count(), 1);
    for refused in exchanged.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, CodeError::Reused), "{refused:?}");
    }
    assert!(scene.store.list_devices(&ada, NOW).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_refreshes_at_once_leave_one_refresh_token_in_force() {
    let scene = Scene::new().await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    let pair = device(&scene.store, &ada, NOW, &mut rng(1)).await;
    let text = pair.refresh.expose().to_owned();
    let refreshed = at_once(&scene, move |store, number| {
        let text = text.clone();
        async move { store.refresh(&text, CLIENT, "", NOW, &mut rng(100 + number)).await }
    })
    .await;
    assert!(refreshed.iter().all(Result::is_ok), "a repetition in time is answered");
    assert_eq!(scene.count("SELECT COUNT(*) FROM refresh_tokens WHERE rotated_at IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_address_signed_up_many_times_at_once_is_one_account_and_one_start_makes_one_key() {
    let scene = Scene::new().await;
    let made = at_once(&scene, |store, number| async move {
        let new =
            NewAccount { email: "ada@example.org".into(), password: PASSWORD.to_owned().into(), name: None };
        store.create_account(new, NOW, &mut rng(number)).await
    })
    .await;
    assert_eq!(made.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(made.into_iter().filter_map(Result::err).all(|error| matches!(error, StoreError::EmailTaken)));
    let started =
        at_once(&scene, |store, number| async move { store.ensure_signing_key(NOW, &mut rng(number)).await });
    assert!(started.await.iter().all(Result::is_ok));
    assert_eq!(scene.store.signing_keys(NOW).await.unwrap().len(), 1);
}

/// Polls the work so many times and then drops it; `None` unless it was done by then.
async fn dropped_after<T>(polls: u32, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// A server drops a request whose client went away, or whose time is over, at any await.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_is_dropped_at_any_moment_is_done_whole_or_not_at_all() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let (mut random, mut random_too) = (rng(7), rng(8));
    let apps: Vec<String> = (0..150).map(|number| format!("org.test.App{number}")).collect();
    repo(store, "apps", &apps.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ada = account(store, "ada@example.org").await.id;
    let mut dropped = 0;
    for app in &apps {
        let order = store.begin_order(&ada, "apps", app, "sandbox", NOW, &mut random).await.unwrap();
        let event = format!("evt_{}", order.id);
        let settling = store.settle_order(&order.id, PaymentOutcome::Paid, &event, NOW, &mut random_too);
        dropped += u32::from(dropped_after(random.random_range(0..20), settling).await.is_none());

        // There is one writer: after another write the dropped one has come to its end, whichever it is.
        store.prune(NOW).await.unwrap();
        let state = store.order(&order.id).await.unwrap().unwrap().state;
        let owned = store.entitled(&ada, "apps", app, Verb::Download, NOW).await.unwrap();
        assert_eq!(owned, state == OrderState::Paid, "{state:?}");
        // The provider sends it again.
        store.settle_order(&order.id, PaymentOutcome::Paid, &event, NOW, &mut random).await.unwrap();
        assert!(store.entitled(&ada, "apps", app, Verb::Download, NOW).await.unwrap());
    }
    assert!(dropped > 30, "only {dropped} were dropped");
    assert_eq!(store.entitlements(&ada, None, NOW).await.unwrap().len(), apps.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_exchange_one_device_code_at_once_one_gets_a_pair_and_nobody_keeps_it() {
    let scene = Scene::new().await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    let codes =
        scene.store.create_device_codes(crate::device_grant::asks("x"), NOW, &mut rng(1)).await.unwrap();
    // Of many answers at once one counts.
    let (user_code, person) = (codes.user_code.clone(), ada.clone());
    let answers = at_once(&scene, move |store, _| {
        let (code, person) = (user_code.clone(), person.clone());
        async move { store.decide_device_request(code.expose(), &person, true, NOW).await.unwrap() }
    })
    .await;
    assert_eq!(answers.into_iter().filter(|counted| *counted).count(), 1);

    let results = at_once(&scene, move |store, number| {
        let code = codes.device_code.clone();
        async move { store.exchange_device_code(code.expose(), CLIENT, "", NOW, &mut rng(number)).await }
    })
    .await;
    let given: Vec<_> = results.into_iter().filter_map(Result::ok).collect();
    assert_eq!(given.len(), 1);
    assert!(scene.store.access_token(given[0].access.expose(), NOW).await.unwrap().is_none());
    assert!(scene.store.list_devices(&ada, NOW).await.unwrap().is_empty());
}
