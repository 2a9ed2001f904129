use std::time::{Duration, Instant};

use flatpass_store::{NewAccount, PasswordError, StoreError, StoreOptions};

use crate::scene::{NOW, PASSWORD, Scene, account, cheap, code, device, rng};

#[tokio::test]
async fn an_address_belongs_to_one_account_however_it_is_written() {
    let scene = Scene::new().await;
    let ada = account(&scene.store, " Ada@Example.org").await;
    assert_eq!(ada.email, "ada@example.org");
    let again =
        NewAccount { email: "ADA@example.ORG ".into(), password: PASSWORD.to_owned().into(), name: None };
    let refused = scene.store.create_account(again, NOW, &mut rng(2)).await;
    assert!(matches!(refused, Err(StoreError::EmailTaken)), "{refused:?}");
    assert_eq!(scene.store.account_by_email("aDa@example.org").await.unwrap(), Some(ada.clone()));
    assert_eq!(scene.store.check_password("ADA@example.org", PASSWORD).await.unwrap(), Some(ada));
}

#[tokio::test]
async fn a_password_is_judged_by_its_length_alone() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let attempt = async |email: &str, password: &str| {
        let new = NewAccount { email: email.into(), password: password.to_owned().into(), name: None };
        store.create_account(new, NOW, &mut rng(password.len() as u64)).await
    };
    let short = attempt("a@example.org", "1234567").await;
    assert!(matches!(short, Err(StoreError::Password(PasswordError::TooShort))), "{short:?}");
    let long = attempt("a@example.org", &"x".repeat(1025)).await;
    assert!(matches!(long, Err(StoreError::Password(PasswordError::TooLong))), "{long:?}");
    // Characters count, not bytes, and the whole password counts.
    let longest = "ä".repeat(1024);
    attempt("a@example.org", &longest).await.unwrap();
    assert!(store.check_password("a@example.org", &longest).await.unwrap().is_some());
    let cut: String = longest.chars().take(1023).collect();
    assert!(store.check_password("a@example.org", &cut).await.unwrap().is_none());
    attempt("b@example.org", "        ").await.unwrap();
}

#[tokio::test]
async fn wrong_absent_and_disabled_accounts_get_the_same_answer() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let ada = account(store, "ada@example.org").await;
    let eve = account(store, "eve@example.org").await;
    store.disable_account(&eve.id, NOW).await.unwrap();
    for (email, password) in [
        ("ada@example.org", "something else"),
        ("ada@example.org", ""),
        ("nobody@example.org", PASSWORD),
        ("eve@example.org", PASSWORD),
        ("not an address", PASSWORD),
        ("", ""),
    ] {
        assert_eq!(store.check_password(email, password).await.unwrap(), None, "{email} {password}");
    }
    let endless = "x".repeat(1_000_000);
    assert_eq!(store.check_password("ada@example.org", &endless).await.unwrap(), None);
    assert_eq!(store.check_password("ada@example.org", PASSWORD).await.unwrap(), Some(ada));
}

/// Threats 9 and 17: without the dummy hash, the absent account answers a hundred times sooner.
#[tokio::test]
async fn an_absent_account_takes_as_long_as_a_wrong_password() {
    let scene = Scene::with(StoreOptions::default()).await;
    account(&scene.store, "ada@example.org").await;
    let cases = ["ada@example.org", "nobody@example.org", "nobody"];
    let mut fastest = [Duration::MAX; 3];
    // In turns, and only the fastest counts, because other programs may be busy meanwhile.
    for _ in 0..8 {
        for (email, best) in cases.iter().zip(&mut fastest) {
            let start = Instant::now();
            assert_eq!(scene.store.check_password(email, "a wrong password").await.unwrap(), None);
            *best = start.elapsed().min(*best);
        }
    }
    let [present, absent, malformed] = fastest;
    assert!(absent * 4 > present && malformed * 4 > present, "{present:?}, {absent:?}, {malformed:?}");
}

#[tokio::test]
async fn a_flood_of_sign_ins_is_turned_away_instead_of_filling_the_memory() {
    let options = StoreOptions { password_parallel: 1, password_waiting: 2, ..StoreOptions::default() };
    let scene = Scene::with(options).await;
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let store = scene.store.clone();
            tokio::spawn(async move { store.check_password("nobody@example.org", "some password").await })
        })
        .collect();
    let (mut answered, mut busy) = (0, 0);
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(None) => answered += 1,
            Err(StoreError::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(answered >= 3 && busy >= 1, "answered {answered}, busy {busy}");
    assert!(scene.store.check_password("nobody@example.org", "some password").await.is_ok(), "it recovers");
}

#[tokio::test]
async fn a_session_is_found_by_its_secret_until_it_ends() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let ada = account(store, "ada@example.org").await;
    let (secret, made) =
        store.create_session(&ada.id, "Browser\r\n/1", "192.0.2.1", NOW, &mut rng(1)).await.unwrap();
    let found = store.session(secret.expose(), NOW).await.unwrap().unwrap();
    assert_eq!((&found.id, &found.account_id, &found.csrf), (&made.id, &ada.id, &made.csrf));
    assert_eq!(found.user_agent, "Browser/1");
    assert!(!secret.expose().contains(&found.csrf) && found.csrf.len() == 43);
    let (other, second) = store.create_session(&ada.id, "", "", NOW, &mut rng(2)).await.unwrap();
    assert_ne!(second.csrf, made.csrf);

    let end = made.expires_at;
    assert!(store.session(secret.expose(), end.plus_seconds(-1)).await.unwrap().is_some());
    assert!(store.session(secret.expose(), end).await.unwrap().is_none());
    for wrong in ["", "fps_", made.id.as_str(), &secret.hash().to_string(), &format!("{} ", secret.expose())]
    {
        assert!(store.session(wrong, NOW).await.unwrap().is_none(), "{wrong:?}");
    }
    store.end_other_sessions(&ada.id, &second.id).await.unwrap();
    assert!(store.session(secret.expose(), NOW).await.unwrap().is_none());
    assert!(store.session(other.expose(), NOW).await.unwrap().is_some());
    store.end_session(&second.id).await.unwrap();
    store.end_session(&second.id).await.unwrap();
    assert!(store.session(other.expose(), NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_change_of_password_ends_the_other_sessions_and_needs_the_old_password() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let ada = account(store, "ada@example.org").await;
    let (here, kept) = store.create_session(&ada.id, "", "", NOW, &mut rng(1)).await.unwrap();
    let (there, _) = store.create_session(&ada.id, "", "", NOW, &mut rng(2)).await.unwrap();

    let guess = store
        .change_password(&ada.id, "a guess of it", "another sentence", Some(&kept.id), &mut rng(3))
        .await;
    assert!(matches!(guess, Err(StoreError::WrongPassword)), "{guess:?}");
    let weak = store.change_password(&ada.id, PASSWORD, "short", Some(&kept.id), &mut rng(3)).await;
    assert!(matches!(weak, Err(StoreError::Password(PasswordError::TooShort))), "{weak:?}");
    assert!(store.session(there.expose(), NOW).await.unwrap().is_some(), "a refusal changes nothing");

    store.change_password(&ada.id, PASSWORD, "another sentence", Some(&kept.id), &mut rng(3)).await.unwrap();
    assert!(store.session(here.expose(), NOW).await.unwrap().is_some());
    assert!(store.session(there.expose(), NOW).await.unwrap().is_none());
    assert!(store.check_password("ada@example.org", PASSWORD).await.unwrap().is_none());
    assert!(store.check_password("ada@example.org", "another sentence").await.unwrap().is_some());
}

#[tokio::test]
async fn a_disabled_account_can_do_nothing_from_then_on() {
    let scene = Scene::with(cheap()).await;
    let store = &scene.store;
    let mut rng = rng(1);
    let ada = account(store, "ada@example.org").await;
    let (session, _) = store.create_session(&ada.id, "", "", NOW, &mut rng).await.unwrap();
    let pair = device(store, &ada.id, NOW, &mut rng).await;
    let unused = store.create_code(code(&ada.id), NOW, &mut rng).await.unwrap();
    let before = store.change_counter().await.unwrap();
    store.disable_account(&ada.id, NOW).await.unwrap();

    assert!(store.change_counter().await.unwrap() > before, "gates must hear of it");
    assert!(store.session(session.expose(), NOW).await.unwrap().is_none());
    assert!(store.access_token(pair.access.expose(), NOW).await.unwrap().is_none());
    assert!(store.refresh(pair.refresh.expose(), crate::scene::CLIENT, "", NOW, &mut rng).await.is_err());
    let exchanged = store
        .exchange_code(
            unused.expose(),
            crate::scene::CLIENT,
            crate::scene::REDIRECT,
            crate::scene::VERIFIER,
            "",
            NOW,
            &mut rng,
        )
        .await;
    assert!(exchanged.is_err(), "{exchanged:?}");
    assert!(store.create_session(&ada.id, "", "", NOW, &mut rng).await.is_err());
    assert_eq!(store.refused_tokens(NOW.plus_seconds(60), 3600).await.unwrap(), vec![(ada.id.clone(), NOW)]);
    assert_eq!(store.refused_tokens(NOW.plus_seconds(3601), 3600).await.unwrap(), vec![]);
}
