//! The device grant (RFC 8628).

use flatpass_store::{DeviceCodes, DeviceGrantError, NewDeviceCodes, RefreshError, Store};
use flatpass_token::UnixTime;
use rand::rngs::StdRng;

use crate::scene::{CLIENT, NOW, Scene, account, rng};

pub(crate) fn asks(name: &str) -> NewDeviceCodes {
    NewDeviceCodes {
        client_id: CLIENT.to_owned(),
        scope: "refs".to_owned(),
        device_name: name.to_owned(),
        details: String::new(),
        address: "192.0.2.9".to_owned(),
    }
}

async fn poll(
    store: &Store,
    codes: &DeviceCodes,
    now: UnixTime,
    rng: &mut StdRng,
) -> Result<flatpass_store::TokenPair, DeviceGrantError> {
    store.exchange_device_code(codes.device_code.expose(), CLIENT, "192.0.2.9", now, rng).await
}

#[tokio::test]
async fn a_person_lets_a_device_in_by_the_code_that_it_shows() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let codes = store.create_device_codes(asks("Kiosk\u{7}"), NOW, &mut rng).await.unwrap();
    assert_eq!((codes.expires_in, codes.interval), (600, 5));
    let typed = codes.user_code.expose().to_ascii_lowercase().replace('-', " ");
    let request = store.device_request(&typed, NOW).await.unwrap().unwrap();
    assert_eq!((request.device_name.as_str(), request.address.as_str()), ("Kiosk", "192.0.2.9"));

    assert!(matches!(poll(store, &codes, NOW, &mut rng).await, Err(DeviceGrantError::Pending)));
    assert!(store.decide_device_request(&typed, &ada.id, true, NOW).await.unwrap());
    // Once decided, a code is nobody's business any more, and the first answer counts.
    assert_eq!(store.device_request(&typed, NOW).await.unwrap(), None);
    assert!(!store.decide_device_request(&typed, &ada.id, false, NOW).await.unwrap());

    let pair = poll(store, &codes, NOW.plus_seconds(5), &mut rng).await.unwrap();
    assert_eq!((&pair.account_id, pair.scope.as_str()), (&ada.id, "refs"));
    let devices = store.list_devices(&ada.id, NOW).await.unwrap();
    assert_eq!(devices.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["Kiosk"]);

    // Threat 10: it is a family like every other.
    let later = NOW.plus_seconds(1000);
    let next = store.refresh(pair.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    store.refresh(next.refresh.expose(), CLIENT, "", later, &mut rng).await.unwrap();
    let stolen = store.refresh(pair.refresh.expose(), CLIENT, "", later, &mut rng).await;
    assert!(matches!(stolen, Err(RefreshError::Reused)), "{stolen:?}");
    assert!(store.list_devices(&ada.id, later).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_device_code_used_twice_ends_what_it_gave_and_another_clients_is_unknown() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let codes = store.create_device_codes(asks("Kiosk"), NOW, &mut rng).await.unwrap();
    store.decide_device_request(codes.user_code.expose(), &ada.id, true, NOW).await.unwrap();
    let code = codes.device_code.expose();
    let other = store.exchange_device_code(code, "another-client", "", NOW, &mut rng).await;
    assert!(matches!(other, Err(DeviceGrantError::Unknown)), "{other:?}");
    // The short code is not the long one.
    let short = store.exchange_device_code(codes.user_code.expose(), CLIENT, "", NOW, &mut rng).await;
    assert!(matches!(short, Err(DeviceGrantError::Unknown)), "{short:?}");
    let pair = poll(store, &codes, NOW, &mut rng).await.unwrap();
    let again = poll(store, &codes, NOW, &mut rng).await;
    assert!(matches!(again, Err(DeviceGrantError::Reused)), "{again:?}");
    assert!(store.access_token(pair.access.expose(), NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_an_expired_and_a_disabled_accounts_code_give_nothing() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let codes = store.create_device_codes(asks("a"), NOW, &mut rng).await.unwrap();
    store.decide_device_request(codes.user_code.expose(), &ada.id, false, NOW).await.unwrap();
    assert!(matches!(poll(store, &codes, NOW, &mut rng).await, Err(DeviceGrantError::Denied)));

    let late = NOW.plus_seconds(600);
    let codes = store.create_device_codes(asks("b"), NOW, &mut rng).await.unwrap();
    assert_eq!(store.device_request(codes.user_code.expose(), late).await.unwrap(), None);
    assert!(!store.decide_device_request(codes.user_code.expose(), &ada.id, true, late).await.unwrap());
    assert!(matches!(poll(store, &codes, late, &mut rng).await, Err(DeviceGrantError::Expired)));
    // Let in, but fetched too late.
    store.decide_device_request(codes.user_code.expose(), &ada.id, true, NOW).await.unwrap();
    assert!(matches!(poll(store, &codes, late, &mut rng).await, Err(DeviceGrantError::Expired)));

    let codes = store.create_device_codes(asks("c"), NOW, &mut rng).await.unwrap();
    store.decide_device_request(codes.user_code.expose(), &ada.id, true, NOW).await.unwrap();
    store.disable_account(&ada.id, NOW).await.unwrap();
    assert!(matches!(poll(store, &codes, NOW, &mut rng).await, Err(DeviceGrantError::AccountDisabled)));
    assert!(!store.decide_device_request(codes.user_code.expose(), &ada.id, true, NOW).await.unwrap());

    let later = NOW.plus_seconds(600 + 2 * 86_400);
    assert_eq!(store.prune(later).await.unwrap().device_codes, 3);
}

#[tokio::test]
async fn a_device_that_asks_too_often_must_wait_longer_each_time() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let codes = store.create_device_codes(asks("a"), NOW, &mut rng).await.unwrap();
    let mut at = async |seconds: i64| match poll(store, &codes, NOW.plus_seconds(seconds), &mut rng)
        .await
        .unwrap_err()
    {
        DeviceGrantError::Pending => "wait",
        DeviceGrantError::SlowDown => "slower",
        other => panic!("{other:?}"),
    };
    assert_eq!(at(0).await, "wait");
    assert_eq!(at(5).await, "wait");
    assert_eq!(at(6).await, "slower");
    // Ten seconds from here on.
    assert_eq!(at(11).await, "slower");
    // And now fifteen.
    assert_eq!(at(26).await, "wait");
}
