use flatpass_store::KeyPhase::{Published, Retired, Signing};
use flatpass_store::{SealError, StoreError};
use flatpass_token::UnixTime;

use crate::scene::{NOW, Scene, rng};

fn at(seconds: i64) -> UnixTime {
    NOW.plus_seconds(seconds)
}

#[tokio::test]
async fn a_rotation_publishes_before_it_signs_and_keeps_the_old_key_until_its_tokens_are_gone() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    let old = store.signing_keys(NOW).await.unwrap().remove(0);
    assert_eq!(store.signing_keys(NOW).await.unwrap().len(), 1);
    assert_eq!(old.signing_key().unwrap().kid(), old.kid);

    let new = store.rotate_key(at(10), 3600, &mut rng).await.unwrap();
    assert_ne!(new.kid, old.kid);
    let phases = async |now: UnixTime| {
        let keys = store.signing_keys(now).await.unwrap();
        let phase = |kid: &str| keys.iter().find(|key| key.kid == kid).map(|key| key.phase(now));
        let signing = keys.iter().filter(|key| key.phase(now) == Signing).count();
        assert_eq!(signing, 1, "exactly one key signs at any time");
        (phase(&old.kid), phase(&new.kid))
    };
    assert_eq!(phases(at(10)).await, (Some(Signing), Some(Published)));
    assert_eq!(phases(at(3609)).await, (Some(Signing), Some(Published)));
    assert_eq!(phases(at(3610)).await, (Some(Retired), Some(Signing)));
    assert_eq!(phases(at(7209)).await, (Some(Retired), Some(Signing)));
    assert_eq!(phases(at(7210)).await, (None, Some(Signing)));

    let twice = store.rotate_key(at(20), 3600, &mut rng).await;
    assert!(matches!(twice, Err(StoreError::RotationPending(when)) if when == at(3610)), "{twice:?}");
    assert!(
        store.rotate_key(at(3610), 3600, &mut rng).await.is_ok(),
        "when the new key signs, the next may come"
    );
}

#[tokio::test]
async fn a_stolen_key_can_be_put_out_of_force_at_once() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    store.rotate_key(NOW, 3600, &mut rng).await.unwrap();
    let fresh = store.rotate_key(at(5), 0, &mut rng).await.unwrap();
    let keys = store.signing_keys(at(5)).await.unwrap();
    assert_eq!(
        keys.iter().map(|key| (&key.kid, key.phase(at(5)))).collect::<Vec<_>>(),
        [(&fresh.kid, Signing)]
    );
}

#[tokio::test]
async fn a_sealed_key_does_not_open_in_another_keys_row() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    store.rotate_key(NOW, 3600, &mut rng).await.unwrap();
    scene
        .sql("UPDATE signing_keys SET sealed = (SELECT sealed FROM signing_keys ORDER BY active_from DESC LIMIT 1)")
        .await;
    let opened = store.signing_keys(NOW).await;
    assert!(matches!(opened, Err(StoreError::Seal(SealError::Damaged))), "{opened:?}");
}
