use flatpass_store::{CodeError, RefreshError, StoreOptions};

use crate::scene::{CLIENT, NOW, REDIRECT, Scene, VERIFIER, account, code, device, rng};

#[tokio::test]
async fn a_code_gives_a_device_once_and_its_second_use_takes_it_away() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let code = store.create_code(code(&ada.id), NOW, &mut rng).await.unwrap();
    let pair =
        store.exchange_code(code.expose(), CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng).await.unwrap();
    assert_eq!((pair.account_id.clone(), pair.scope.as_str()), (ada.id.clone(), "refs"));
    let info = store.access_token(pair.access.expose(), NOW).await.unwrap().unwrap();
    assert_eq!((info.account_id, info.client_id.as_str()), (ada.id.clone(), CLIENT));
    let listed = store.list_devices(&ada.id, NOW).await.unwrap();
    assert_eq!(listed.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["Ada's laptop"]);

    let again = store.exchange_code(code.expose(), CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng).await;
    assert!(matches!(again, Err(CodeError::Reused)), "{again:?}");
    assert!(store.access_token(pair.access.expose(), NOW).await.unwrap().is_none());
    let refreshed = store.refresh(pair.refresh.expose(), CLIENT, "", NOW, &mut rng).await;
    assert!(matches!(refreshed, Err(RefreshError::Revoked)), "{refreshed:?}");
    assert!(store.list_devices(&ada.id, NOW).await.unwrap().is_empty());
}

/// Threat 8: an intercepted code is worth nothing without the verifier, and one guess spends it.
#[tokio::test]
async fn a_code_is_bound_to_client_redirect_and_verifier_and_one_wrong_use_spends_it() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let other = "M".repeat(43);
    for (client, redirect, verifier) in [
        ("another-client", REDIRECT, VERIFIER),
        (CLIENT, "http://127.0.0.1:4711/done/", VERIFIER),
        (CLIENT, REDIRECT, other.as_str()),
        (CLIENT, REDIRECT, ""),
        // The challenge itself is not the verifier: `plain` is not accepted.
        (CLIENT, REDIRECT, crate::scene::CHALLENGE),
    ] {
        let secret = store.create_code(code(&ada.id), NOW, &mut rng).await.unwrap();
        let wrong = store.exchange_code(secret.expose(), client, redirect, verifier, "", NOW, &mut rng).await;
        assert!(matches!(wrong, Err(CodeError::Mismatch)), "{client} {redirect} {verifier}: {wrong:?}");
        let right = store.exchange_code(secret.expose(), CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng).await;
        assert!(matches!(right, Err(CodeError::Reused)), "{right:?}");
    }
    let secret = store.create_code(code(&ada.id), NOW, &mut rng).await.unwrap();
    let later = NOW.plus_seconds(60);
    let late = store.exchange_code(secret.expose(), CLIENT, REDIRECT, VERIFIER, "", later, &mut rng).await;
    assert!(matches!(late, Err(CodeError::Expired)), "{late:?}");
    let unknown = store.exchange_code("fpc_unknown", CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng).await;
    assert!(matches!(unknown, Err(CodeError::Unknown)), "{unknown:?}");
    assert!(store.list_devices(&ada.id, NOW).await.unwrap().is_empty());
}

/// Threat 10.
#[tokio::test]
async fn a_stolen_refresh_token_ends_the_device_when_the_second_of_the_two_holders_uses_it() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let first = device(store, &ada.id, NOW, &mut rng).await;
    let bystander = device(store, &ada.id, NOW, &mut rng).await;

    let second = store.refresh(first.refresh.expose(), CLIENT, "192.0.2.9", NOW, &mut rng).await.unwrap();
    assert_eq!(second.grant_id, first.grant_id);
    let third =
        store.refresh(second.refresh.expose(), CLIENT, "", NOW.plus_seconds(3000), &mut rng).await.unwrap();
    let later = NOW.plus_seconds(3100);
    let stolen = store.refresh(second.refresh.expose(), CLIENT, "", later, &mut rng).await;
    assert!(matches!(stolen, Err(RefreshError::Reused)), "{stolen:?}");
    let honest = store.refresh(third.refresh.expose(), CLIENT, "", later, &mut rng).await;
    assert!(matches!(honest, Err(RefreshError::Revoked)), "{honest:?}");
    for pair in [&first, &second, &third] {
        assert!(store.access_token(pair.access.expose(), later).await.unwrap().is_none());
    }
    assert!(
        store.refresh(bystander.refresh.expose(), CLIENT, "", later, &mut rng).await.is_ok(),
        "only that device"
    );
}

#[tokio::test]
async fn a_client_that_lost_the_answer_may_repeat_within_the_retry_time_only() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let retry = StoreOptions::default().refresh_retry_seconds;

    let first = device(store, &ada.id, NOW, &mut rng).await;
    let lost = store.refresh(first.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    let at_the_end = NOW.plus_seconds(retry);
    let got = store.refresh(first.refresh.expose(), CLIENT, "", at_the_end, &mut rng).await.unwrap();
    // The answer that was lost is out of force: whoever found it gives themselves away.
    let next = store.refresh(got.refresh.expose(), CLIENT, "", at_the_end, &mut rng).await.unwrap();
    let thief = store.refresh(lost.refresh.expose(), CLIENT, "", at_the_end, &mut rng).await;
    assert!(matches!(thief, Err(RefreshError::Reused)), "{thief:?}");
    let after = store.refresh(next.refresh.expose(), CLIENT, "", at_the_end, &mut rng).await;
    assert!(matches!(after, Err(RefreshError::Revoked)), "{after:?}");

    // Too late.
    let first = device(store, &ada.id, NOW, &mut rng).await;
    store.refresh(first.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    // Repeating does not lengthen the time.
    store.refresh(first.refresh.expose(), CLIENT, "", NOW.plus_seconds(retry - 1), &mut rng).await.unwrap();
    let late = store.refresh(first.refresh.expose(), CLIENT, "", NOW.plus_seconds(retry + 1), &mut rng).await;
    assert!(matches!(late, Err(RefreshError::Reused)), "{late:?}");

    // In time, but the successor was used: this is no lost answer.
    let first = device(store, &ada.id, NOW, &mut rng).await;
    let second = store.refresh(first.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    store.refresh(second.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    let used = store.refresh(first.refresh.expose(), CLIENT, "", NOW.plus_seconds(1), &mut rng).await;
    assert!(matches!(used, Err(RefreshError::Reused)), "{used:?}");
}

#[tokio::test]
async fn a_device_ends_when_it_is_idle_too_long_and_in_any_case_after_its_whole_time() {
    const DAY: i64 = 86_400;
    let options = StoreOptions {
        refresh_idle_seconds: 10 * DAY,
        refresh_absolute_seconds: 25 * DAY,
        ..crate::scene::cheap()
    };
    let scene = Scene::with(options).await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let idle = device(store, &ada.id, NOW, &mut rng).await;
    let mut busy = device(store, &ada.id, NOW, &mut rng).await;
    for day in [9, 18, 24] {
        busy = store
            .refresh(busy.refresh.expose(), CLIENT, "", NOW.plus_seconds(day * DAY), &mut rng)
            .await
            .unwrap();
    }
    let expired =
        store.refresh(idle.refresh.expose(), CLIENT, "", NOW.plus_seconds(10 * DAY), &mut rng).await;
    assert!(matches!(expired, Err(RefreshError::Expired)), "{expired:?}");
    let listed = store.list_devices(&ada.id, NOW.plus_seconds(24 * DAY)).await.unwrap();
    assert_eq!(listed.iter().map(|device| &device.id).collect::<Vec<_>>(), [&busy.grant_id]);
    let over = store.refresh(busy.refresh.expose(), CLIENT, "", NOW.plus_seconds(25 * DAY), &mut rng).await;
    assert!(matches!(over, Err(RefreshError::Expired)), "{over:?}");

    assert!(
        store.access_token(busy.access.expose(), NOW.plus_seconds(24 * DAY + 3599)).await.unwrap().is_some()
    );
    assert!(
        store.access_token(busy.access.expose(), NOW.plus_seconds(24 * DAY + 3600)).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn signing_out_ends_a_device_at_once_and_only_for_who_may() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let eve = account(store, "eve@example.org").await;
    let one = device(store, &ada.id, NOW, &mut rng).await;
    let two = device(store, &ada.id, NOW, &mut rng).await;

    assert!(!store.revoke_device(&eve.id, &one.grant_id, NOW).await.unwrap());
    assert!(!store.revoke_token(one.refresh.expose(), "another-client", NOW).await.unwrap());
    assert!(!store.revoke_token("fpr_nothing", CLIENT, NOW).await.unwrap());
    let stranger = store.refresh(one.refresh.expose(), "another-client", "", NOW, &mut rng).await;
    assert!(matches!(stranger, Err(RefreshError::OtherClient)), "{stranger:?}");
    assert!(store.access_token(one.access.expose(), NOW).await.unwrap().is_some(), "nothing has changed yet");

    assert!(store.revoke_device(&ada.id, &one.grant_id, NOW).await.unwrap());
    assert!(!store.revoke_device(&ada.id, &one.grant_id, NOW).await.unwrap());
    assert!(
        store.revoke_token(two.access.expose(), CLIENT, NOW).await.unwrap(),
        "an access token ends its family"
    );
    for pair in [&one, &two] {
        assert!(store.access_token(pair.access.expose(), NOW).await.unwrap().is_none());
        let refreshed = store.refresh(pair.refresh.expose(), CLIENT, "", NOW, &mut rng).await;
        assert!(matches!(refreshed, Err(RefreshError::Revoked)), "{refreshed:?}");
    }
    let kinds = store.access_token(one.refresh.expose(), NOW).await.unwrap();
    assert!(kinds.is_none(), "a refresh token is not an access token");
}

#[tokio::test]
async fn pruning_forgets_what_has_ended_and_nothing_else() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let kept = device(store, &ada.id, NOW, &mut rng).await;
    let gone = device(store, &ada.id, NOW, &mut rng).await;
    store.revoke_device(&ada.id, &gone.grant_id, NOW).await.unwrap();
    store.create_session(&ada.id, "", "", NOW, &mut rng).await.unwrap();
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    assert_eq!(store.prune(NOW.plus_seconds(1)).await.unwrap(), flatpass_store::Pruned::default());

    let month = NOW.plus_seconds(31 * 86_400);
    let pruned = store.prune(month).await.unwrap();
    assert_eq!((pruned.sessions, pruned.codes, pruned.devices, pruned.keys), (1, 2, 1, 0));
    assert!(store.refresh(kept.refresh.expose(), CLIENT, "", month, &mut rng).await.is_ok());
    assert_eq!(store.signing_keys(month).await.unwrap().len(), 1);
}
