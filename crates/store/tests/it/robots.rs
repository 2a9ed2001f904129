//! Robots and their secrets.

use flatpass_store::StoreError;

use crate::scene::{NOW, Scene, account, rng};

#[tokio::test]
async fn a_robot_gets_access_for_a_secret_in_force_and_several_may_be() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let robot = store.create_robot("kiosks", NOW, &mut rng).await.unwrap();
    assert_eq!(robot.email, "robot/kiosks");
    let again = store.create_robot("kiosks", NOW, &mut rng).await;
    assert!(matches!(again, Err(StoreError::RobotExists(_))), "{again:?}");
    for bad in ["", "Kiosks", "a b", "a@example.org", "../x", "%"] {
        let refused = store.create_robot(bad, NOW, &mut rng).await;
        assert!(matches!(refused, Err(StoreError::RobotName(_))), "{bad}: {refused:?}");
    }
    let until = NOW.plus_seconds(100);
    let (old, listed) =
        store.create_robot_secret(&robot.id, "lobby", "refs", Some(until), NOW, &mut rng).await.unwrap();
    assert_eq!((listed.expires_at, listed.last_used_at), (Some(until), None));
    let (new, _) = store.create_robot_secret(&robot.id, "lobby", "refs", None, NOW, &mut rng).await.unwrap();

    let id = robot.id.as_str();
    let first = store.robot_access(id, old.expose(), "192.0.2.5", NOW, &mut rng).await.unwrap().unwrap();
    assert_eq!(first.access_expires_in, 100, "it does not outlive the secret");
    let second = store.robot_access(id, new.expose(), "", NOW, &mut rng).await.unwrap().unwrap();
    assert_eq!(second.access_expires_in, 3600);
    let info = store.access_token(second.access.expose(), NOW).await.unwrap().unwrap();
    assert_eq!((&info.account_id, info.client_id.as_str(), info.scope.as_str()), (&robot.id, id, "refs"));
    let secrets = store.robot_secrets(&robot.id, NOW).await.unwrap();
    let used = secrets.iter().find(|one| one.id == listed.id).unwrap();
    assert_eq!((used.last_used_at, used.last_address.as_str()), (Some(NOW), "192.0.2.5"));

    // Pruning leaves what is in force, though it has no refresh token.
    store.prune(NOW.plus_seconds(50)).await.unwrap();
    assert_eq!(store.robot_secrets(&robot.id, NOW).await.unwrap().len(), 2);

    // Its time is over; and the other is revoked.
    assert!(store.robot_access(id, old.expose(), "", until, &mut rng).await.unwrap().is_none());
    assert!(store.access_token(first.access.expose(), until).await.unwrap().is_none());
    assert!(store.revoke_device(&robot.id, &info.grant_id, NOW).await.unwrap());
    assert!(store.robot_access(id, new.expose(), "", NOW, &mut rng).await.unwrap().is_none());
    assert!(store.access_token(second.access.expose(), NOW).await.unwrap().is_none());
}

#[tokio::test]
async fn a_secret_is_of_one_robot_and_a_person_is_none_and_a_robot_cannot_sign_in() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    let other = store.create_robot("other", NOW, &mut rng).await.unwrap();
    let robot = store.create_robot("kiosks", NOW, &mut rng).await.unwrap();
    let (secret, _) = store.create_robot_secret(&robot.id, "", "refs", None, NOW, &mut rng).await.unwrap();
    for id in [other.id.as_str(), ada.id.as_str(), "", "robot/kiosks"] {
        let given = store.robot_access(id, secret.expose(), "", NOW, &mut rng).await.unwrap();
        assert!(given.is_none(), "{id}");
    }
    let for_a_person = store.create_robot_secret(&ada.id, "", "refs", None, NOW, &mut rng).await;
    assert!(matches!(for_a_person, Err(StoreError::NoAccount)), "{for_a_person:?}");
    for password in ["", "!", secret.expose()] {
        assert_eq!(store.check_password("robot/kiosks", password).await.unwrap(), None);
    }
    assert_eq!(store.account_of_holder("robot/kiosks").await.unwrap().as_ref(), Some(&robot));
    assert_eq!(store.account_of_holder("ada@example.org").await.unwrap().as_ref(), Some(&ada));
    let odd = account(store, "robot/kiosks@example.org").await;
    assert_eq!(store.account_of_holder("robot/kiosks@example.org").await.unwrap(), Some(odd));

    store.remove_robot(&robot.id, NOW).await.unwrap();
    let given = store.robot_access(robot.id.as_str(), secret.expose(), "", NOW, &mut rng).await.unwrap();
    assert!(given.is_none());
    let names: Vec<_> = store.robots().await.unwrap().into_iter().map(|one| one.email).collect();
    assert_eq!(names, ["robot/other"]);
    let next = store.create_robot("kiosks", NOW, &mut rng).await.unwrap();
    assert_ne!(next.id, robot.id, "the name is free for another robot");
}
