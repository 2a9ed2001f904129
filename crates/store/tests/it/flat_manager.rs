use flatpass_store::{SecretFor, StoreError};
use flatpass_token::SharedSecret;

use crate::scene::{NOW, Scene, account, repo, rng};

const DAY: i64 = 86_400;

fn secret(letter: u8) -> SharedSecret {
    SharedSecret::from_bytes(vec![letter; 40].into()).unwrap()
}

#[tokio::test]
async fn secrets_are_sealed_follow_each_other_with_an_overlap_and_go_with_their_repo() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &[]).await;
    assert_eq!(store.flat_manager("apps", NOW).await.unwrap(), None);
    let missing = store.set_flat_manager_name("gone", "stable").await;
    assert!(matches!(missing, Err(StoreError::NoRepo(_))));

    let before = store.change_counter().await.unwrap();
    let set = async |letter: u8, at, rng: &mut rand::rngs::StdRng| {
        let (purpose, secret) = (SecretFor::Download, secret(letter));
        store.set_flat_manager_secret("apps", purpose, &secret, DAY, at, rng).await.unwrap();
    };
    set(b'a', NOW, &mut rng).await;
    assert!(store.change_counter().await.unwrap() > before, "servers take it up");
    let read = async |at| scene.opened_again().await.flat_manager("apps", at).await.unwrap().unwrap();
    let known = read(NOW).await;
    assert_eq!((known.name.as_str(), known.url.as_deref()), ("apps", None));
    assert_eq!(known.signing(SecretFor::Download, NOW).unwrap().expose(), [b'a'; 40]);
    assert_eq!(known.signing(SecretFor::Update, NOW), None);

    // The new one is accepted at once, and signs when everybody knows it; the old one is good a day longer.
    set(b'b', NOW, &mut rng).await;
    let known = read(NOW).await;
    let letters =
        |at| known.accepted(SecretFor::Download, at).map(|secret| secret.expose()[0]).collect::<Vec<_>>();
    assert_eq!(letters(NOW), [b'a', b'b']);
    assert_eq!(known.signing(SecretFor::Download, NOW).unwrap().expose()[0], b'a');
    let later = known.next_change(NOW).unwrap();
    assert!(later > NOW && later <= NOW.plus_seconds(10));
    assert_eq!(known.signing(SecretFor::Download, later).unwrap().expose()[0], b'b');
    assert_eq!(letters(later.plus_seconds(DAY - 1)), [b'a', b'b']);
    assert_eq!(letters(later.plus_seconds(DAY)), [b'b']);
    assert_eq!(store.prune(later).await.unwrap().shared_secrets, 0);
    // The same again is no exchange. The one before again is one.
    set(b'b', later, &mut rng).await;
    assert_eq!(read(later).await, known);
    set(b'a', later, &mut rng).await;
    let back = read(later).await;
    assert_eq!(back.signing(SecretFor::Download, later.plus_seconds(10)).unwrap().expose()[0], b'a');
    assert_eq!(store.end_flat_manager_secrets("apps", SecretFor::Download, false, later).await.unwrap(), 1);
    let alone = read(later).await;
    assert_eq!(alone.secrets.len(), 1);
    assert_eq!(alone.signing(SecretFor::Download, later).unwrap().expose()[0], b'a', "it waits for nobody");

    set(b'c', later, &mut rng).await;
    let much_later = later.plus_seconds(2 * DAY);
    assert_eq!(store.prune(much_later).await.unwrap().shared_secrets, 1);
    assert_eq!(read(later).await.secrets.len(), 1, "what has ended is gone for good");

    store.set_flat_manager_name("apps", "stable").await.unwrap();
    store.set_flat_manager_url("apps", Some("http://127.0.0.1:8080")).await.unwrap();
    let known = read(later).await;
    assert_eq!((known.name.as_str(), known.url.as_deref()), ("stable", Some("http://127.0.0.1:8080")));

    // In another row a sealed secret does not open, neither for another repo nor for another purpose.
    repo(store, "other", &[]).await;
    store.set_flat_manager_url("other", None).await.unwrap();
    scene.sql("UPDATE flat_manager_secrets SET repo = 'other'").await;
    assert!(matches!(store.flat_manager("other", later).await, Err(StoreError::Seal(_))));
    scene.sql("UPDATE flat_manager_secrets SET repo = 'apps', purpose = 'update'").await;
    assert!(matches!(store.flat_manager("apps", later).await, Err(StoreError::Seal(_))));
    store.remove_repo("apps", NOW).await.unwrap();
    assert_eq!(scene.count("SELECT COUNT(*) FROM flat_manager_secrets").await, 0);
}

#[tokio::test]
async fn a_device_with_an_update_token_lives_as_long_as_it_is_used() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let bob = account(store, "bob@example.org").await;
    let (half_a_year, name) = (180 * DAY, "Updates of apps");
    let made = async |rng: &mut rand::rngs::StdRng| {
        store.create_update_device(&ada.id, name, "192.0.2.1", half_a_year, NOW, rng).await.unwrap()
    };
    let device = made(&mut rng).await;
    let used =
        async |at| store.use_update_device(&device, &ada.id, "192.0.2.2", half_a_year, at).await.unwrap();
    assert_eq!(store.use_update_device(&device, &bob.id, "", half_a_year, NOW).await.unwrap(), None);
    let listed = store.list_devices(&ada.id, NOW).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, name), "the account page shows it");
    // For years, as long as it is used.
    let mut at = NOW;
    for _ in 0..12 {
        at = at.plus_seconds(179 * DAY);
        let access = used(at).await.unwrap();
        assert_eq!((&access.grant_id, &access.account_id), (&device, &ada.id));
    }
    assert_eq!(store.list_devices(&ada.id, at).await.unwrap()[0].last_address, "192.0.2.2");
    assert_eq!(used(at.plus_seconds(181 * DAY)).await, None);

    let device = made(&mut rng).await;
    let used = async || store.use_update_device(&device, &ada.id, "", half_a_year, NOW).await.unwrap();
    assert!(used().await.is_some());
    assert!(store.revoke_device(&ada.id, &device, NOW).await.unwrap());
    assert_eq!(used().await, None);
}
