use flatpass_store::{
    Holder, NewRepo, Registry, RegistryAccess, RegistryRobot, RepoPolicy, RepoRole, RepoSource, Role,
    StoreError,
};
use flatpass_token::{Secret, SecretHash};

use crate::scene::{NOW, PASSWORD, Scene, account, repo, rng};

fn registry(namespace: Option<&str>) -> Registry {
    Registry {
        url: "https://registry.test/".into(),
        namespace: namespace.map(str::to_owned),
        repositories: None,
        access: RegistryAccess::Realm,
        service: "registry.test".into(),
        robot: None,
        webhook: None,
    }
}

fn named(name: &str, registry: Registry) -> NewRepo {
    NewRepo {
        name: name.into(),
        source: RepoSource::Registry(registry),
        policy: RepoPolicy::Refs,
        urls: vec![],
        open_token_types: vec![0],
    }
}

#[tokio::test]
async fn a_registry_is_kept_with_its_robot_and_webhook_and_goes_with_its_repo() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let mut expected = registry(Some("shop"));
    let added = store.add_repo(named("images", expected.clone()), NOW).await.unwrap();
    assert_eq!(added.source.registry(), Some(&expected));
    assert_eq!(added.source.to_string(), "oci://registry.test/shop");
    let robot = RegistryRobot {
        user: "robot$shop".into(),
        password: "hunter2 hunter2".to_owned().into(),
        realm: None,
    };
    assert!(!format!("{robot:?}").contains("hunter2"), "redacted");
    let before = store.change_counter().await.unwrap();
    store.set_registry_robot("images", Some(&robot), &mut rng).await.unwrap();
    let secret = store.new_registry_webhook("images", &mut rng).await.unwrap();
    assert!(store.change_counter().await.unwrap() >= before + 2, "servers take it up");
    (expected.access, expected.service) = (RegistryAccess::Broker, "Harbor".into());
    expected.repositories = Some(vec!["shop/free".into()]);
    store.set_registry("images", &expected).await.unwrap();

    let again = scene.opened_again().await;
    let found = again.registry_robot("images").await.unwrap().unwrap();
    assert_eq!((found.user.as_str(), found.password.as_str()), ("robot$shop", "hunter2 hunter2"));
    let found = again.repo("images").await.unwrap().unwrap();
    let found = found.source.registry().unwrap();
    assert_eq!((found.robot.as_deref(), found.access), (Some("robot$shop"), RegistryAccess::Broker));
    assert!(found.webhook == Some(SecretHash::of(secret.expose())));
    assert!(found.covers("shop/free") && !found.covers("shop/paid") && !found.covers("shopping/free"));

    // The first token server that is to have the password stays the only one, until there is another password.
    assert_eq!(store.registry_robot("images").await.unwrap().unwrap().realm, None);
    assert_eq!(store.bind_registry_robot("images", "auth.test").await.unwrap(), "auth.test");
    assert_eq!(store.bind_registry_robot("images", "collector.test").await.unwrap(), "auth.test");
    let found = scene.opened_again().await.registry_robot("images").await.unwrap().unwrap();
    assert_eq!(found.realm.as_deref(), Some("auth.test"));
    store.set_registry_robot("images", Some(&robot), &mut rng).await.unwrap();
    assert_eq!(store.bind_registry_robot("images", "auth2.test").await.unwrap(), "auth2.test");

    // A password does not open for another address: it could be sent there.
    scene.sql("UPDATE registries SET url = 'https://collector.test/'").await;
    assert!(matches!(store.registry_robot("images").await, Err(StoreError::Seal(_))));

    store.set_registry_robot("images", None, &mut rng).await.unwrap();
    store.end_registry_webhook("images").await.unwrap();
    assert!(store.registry_robot("images").await.unwrap().is_none());
    let none = store.bind_registry_robot("images", "auth.test").await;
    assert!(matches!(none, Err(StoreError::NoRegistry(_))));
    store.remove_repo("images", NOW).await.unwrap();
    repo(store, "images", &[]).await;
    let none = store.set_registry_robot("images", Some(&robot), &mut rng).await;
    assert!(matches!(none, Err(StoreError::NoRegistry(_))));
    assert!(store.registry_robot("images").await.unwrap().is_none(), "it is another repo now");
}

#[tokio::test]
async fn no_repository_belongs_to_two_repos_and_no_service_to_two_registries() {
    let scene = Scene::new().await;
    let store = &scene.store;
    store.add_repo(named("one", registry(Some("shop"))), NOW).await.unwrap();
    let listed = |names: &[&str]| Registry {
        repositories: Some(names.iter().map(|&name| name.to_owned()).collect()),
        ..registry(None)
    };
    for overlapping in
        [registry(None), registry(Some("shop")), registry(Some("shop/paid")), listed(&["shop/a"])]
    {
        let refused = store.add_repo(named("two", overlapping), NOW).await;
        assert!(matches!(refused, Err(StoreError::RegistryOverlap(other)) if other == "one"));
        assert_eq!(store.repo("two").await.unwrap(), None, "and no half of it is there");
    }
    store.add_repo(named("beside", registry(Some("shopping"))), NOW).await.unwrap();
    store.add_repo(named("named", listed(&["other/a"])), NOW).await.unwrap();
    assert!(matches!(
        store.set_registry("named", &listed(&["other/a", "shop/b"])).await,
        Err(StoreError::RegistryOverlap(_))
    ));
    let elsewhere = Registry { url: "https://elsewhere.test/".into(), ..registry(None) };
    let refused = store.add_repo(named("two", elsewhere.clone()), NOW).await;
    assert!(matches!(refused, Err(StoreError::ServiceTaken { .. })));
    let elsewhere = Registry { service: "elsewhere".into(), ..elsewhere };
    store.add_repo(named("two", elsewhere), NOW).await.unwrap();
}

#[tokio::test]
async fn a_role_counts_for_accounts_and_members_of_groups_until_it_is_taken_away() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &[]).await;
    repo(store, "other", &[]).await;
    let (ada, ben) = (account(store, "ada@example.org").await, account(store, "ben@example.org").await);
    let group = store.add_group("makers", None, NOW, &mut rng).await.unwrap();
    store.add_member(&group.id, &ben.id, Role::Member, NOW, &mut rng).await.unwrap();
    let of = async |who, repo| store.repo_role(who, repo, NOW).await.unwrap();
    let (one, all) = (Holder::Account(ada.id.clone()), Holder::Group(group.id.clone()));
    assert!(store.set_repo_role("apps", &one, Some(RepoRole::Publisher), NOW).await.unwrap());
    assert!(!store.set_repo_role("apps", &one, Some(RepoRole::Publisher), NOW).await.unwrap());
    assert!(store.set_repo_role("apps", &all, Some(RepoRole::Operator), NOW).await.unwrap());
    assert_eq!(of(&ada.id, "apps").await, Some(RepoRole::Publisher));
    assert_eq!(of(&ben.id, "apps").await, Some(RepoRole::Operator));
    assert_eq!((of(&ada.id, "other").await, of(&ben.id, "other").await), (None, None));
    assert_eq!(store.repo_roles("apps").await.unwrap().len(), 2);
    store.disable_account(&ada.id, NOW).await.unwrap();
    assert_eq!(of(&ada.id, "apps").await, None, "nobody who is disabled");
    assert!(store.set_repo_role("apps", &all, None, NOW).await.unwrap());
    assert_eq!(of(&ben.id, "apps").await, None);
    let gone = store.set_repo_role("gone", &one, Some(RepoRole::Publisher), NOW).await;
    assert!(matches!(gone, Err(StoreError::NoRepo(_))));
}

#[tokio::test]
async fn a_login_and_its_refresh_token_last_as_long_as_their_secret_and_no_password_is_one() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await;
    let robot = store.create_robot("ci", NOW, &mut rng).await.unwrap();
    let (token, made) =
        store.create_access_token(&ada.id, "apps", "docker", None, NOW, &mut rng).await.unwrap();
    let (key, device) = store.create_robot_secret(&robot.id, "", "x", None, NOW, &mut rng).await.unwrap();
    let login = async |secret: &str| store.registry_login(secret, "192.0.2.1", NOW).await.unwrap();
    for no in [PASSWORD, "", "fpt_", "fpk_unknown", made.id.as_str()] {
        assert!(login(no).await.is_none(), "{no}");
    }
    let by_token = login(token.expose()).await.unwrap();
    assert_eq!((&by_token.account_id, by_token.repo.as_deref()), (&ada.id, Some("apps")));
    let by_key = login(key.expose()).await.unwrap();
    assert_eq!((&by_key.account_id, by_key.repo.as_deref()), (&robot.id, None));
    assert_eq!(store.robot_secrets(&robot.id, NOW).await.unwrap()[0].last_address, "192.0.2.1");

    let again = async |refresh: &Secret, service: &str, at| {
        store.registry_refresh(refresh.expose(), service, "", at).await.unwrap()
    };
    let first = store.registry_refresh_token(&by_token, "registry.test", &mut rng).unwrap();
    let second = store.registry_refresh_token(&by_key, "registry.test", &mut rng).unwrap();
    assert!(!first.expose().contains(&token.expose()[4..]) && first.expose() != second.expose());
    assert_eq!(again(&first, "registry.test", NOW).await.unwrap().account_id, ada.id);
    assert_eq!(again(&second, "registry.test", NOW).await.unwrap().account_id, robot.id);
    assert!(again(&first, "other.test", NOW).await.is_none(), "it is for one service");
    let damaged = Secret::from(first.expose().replace("fpo_v1.", "fpo_v1.A"));
    assert!(again(&damaged, "registry.test", NOW).await.is_none());

    // Rotated: the old secret goes on for an hour, and what came from it does too.
    let (new, _) = store.rotate_access_token(token.expose(), NOW, &mut rng).await.unwrap().unwrap();
    assert!(again(&first, "registry.test", NOW.plus_seconds(3599)).await.is_some());
    assert!(again(&first, "registry.test", NOW.plus_seconds(3601)).await.is_none());
    let third = store.registry_refresh_token(&login(new.expose()).await.unwrap(), "s", &mut rng).unwrap();
    store.revoke_access_token(None, &made.id, NOW).await.unwrap();
    assert!(again(&third, "s", NOW).await.is_none() && login(new.expose()).await.is_none());
    store.revoke_device(&robot.id, &device.id, NOW).await.unwrap();
    assert!(again(&second, "registry.test", NOW).await.is_none());
    let (token, _) = store.create_access_token(&ada.id, "apps", "", None, NOW, &mut rng).await.unwrap();
    let last = store.registry_refresh_token(&login(token.expose()).await.unwrap(), "s", &mut rng).unwrap();
    store.disable_account(&ada.id, NOW).await.unwrap();
    assert!(again(&last, "s", NOW).await.is_none());
}
