use flatpass_store::{
    NewInvitation, NewRepo, NewSignUp, Registry, RegistryAccess, RegistryRobot, RepoListing, RepoPolicy,
    RepoSource, Role, SecretFor,
};
use flatpass_token::{Secret, SecretHash};

use crate::scene::{CLIENT, NOW, PASSWORD, REDIRECT, Scene, VERIFIER, account, code, repo, rng};

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Threat 14: whoever gets the database and its log, but not the key file, can sign in nowhere and sign nothing.
#[tokio::test]
async fn no_secret_of_any_kind_stands_in_the_database_or_its_log() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    let ada = account(store, "ada@example.org").await;
    repo(store, "apps", &["org.test.Paid"]).await;
    let new_password = "an altogether different sentence";
    store.change_password(&ada.id, PASSWORD, new_password, None, &mut rng).await.unwrap();
    let (session, made) = store.create_session(&ada.id, "Browser", "192.0.2.1", NOW, &mut rng).await.unwrap();
    let code = store.create_code(code(&ada.id), NOW, &mut rng).await.unwrap();
    let first =
        store.exchange_code(code.expose(), CLIENT, REDIRECT, VERIFIER, "", NOW, &mut rng).await.unwrap();
    let second = store.refresh(first.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    let (basic, _) = store.create_access_token(&ada.id, "apps", "robot", None, NOW, &mut rng).await.unwrap();
    let codes = store.create_device_codes(crate::device_grant::asks("kiosk"), NOW, &mut rng).await.unwrap();
    let by_code = store.create_device_codes(crate::device_grant::asks("tv"), NOW, &mut rng).await.unwrap();
    store.decide_device_request(by_code.user_code.expose(), &ada.id, true, NOW).await.unwrap();
    let third =
        store.exchange_device_code(by_code.device_code.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
    let group = store.add_group("acme", None, NOW, &mut rng).await.unwrap();
    let new =
        NewInvitation { role: Role::Member, email: None, max_uses: 1, expires_at: NOW.plus_seconds(60) };
    let (invitation, _) = store.invite(&group.id, new, None, NOW, &mut rng).await.unwrap();
    let verification = store.create_verification(&ada.id, NOW, &mut rng).await.unwrap();
    let new = NewSignUp {
        email: "new@example.org".to_owned(),
        password: PASSWORD.to_owned().into(),
        next: "/account".to_owned(),
        browser: String::new(),
    };
    let (link, _) = store.begin_sign_up(new, NOW, &mut rng).await.unwrap();
    let robot = store.create_robot("kiosks", NOW, &mut rng).await.unwrap();
    let (key, _) = store.create_robot_secret(&robot.id, "", "refs", None, NOW, &mut rng).await.unwrap();
    let fourth =
        store.robot_access(robot.id.as_str(), key.expose(), "", NOW, &mut rng).await.unwrap().unwrap();
    let (next, _) = store.rotate_access_token(basic.expose(), NOW, &mut rng).await.unwrap().unwrap();
    store.ensure_signing_key(NOW, &mut rng).await.unwrap();
    let rotated = store.rotate_key(NOW, 3600, &mut rng).await.unwrap();
    let listing_key = b"what an exported OpenPGP secret key has in it".to_vec();
    let listing = RepoListing { signing_key: Some(listing_key.clone().into()) };
    store.set_repo_listing("apps", Some(&listing), NOW, &mut rng).await.unwrap();
    assert_eq!(store.repo_listing("apps").await.unwrap(), Some(listing.clone()));
    assert!(!format!("{listing:?}").contains("OpenPGP"), "redacted");
    let registry = Registry {
        url: "https://registry.test/".into(),
        namespace: None,
        repositories: None,
        access: RegistryAccess::Broker,
        service: "registry.test".into(),
        robot: None,
        webhook: None,
    };
    let images = NewRepo {
        name: "images".into(),
        source: RepoSource::Registry(registry),
        policy: RepoPolicy::Refs,
        urls: vec![],
        open_token_types: vec![],
    };
    store.add_repo(images, NOW).await.unwrap();
    let robot_password = "what the registry knows the store by";
    let robot =
        RegistryRobot { user: "shop".into(), password: robot_password.to_owned().into(), realm: None };
    store.set_registry_robot("images", Some(&robot), &mut rng).await.unwrap();
    let webhook = store.new_registry_webhook("images", &mut rng).await.unwrap();
    let shared = b"what is shared with flat-manager, and nobody else".to_vec();
    let secret = flatpass_token::SharedSecret::from_bytes(shared.clone().into()).unwrap();
    for purpose in [SecretFor::Download, SecretFor::Update] {
        store.set_flat_manager_secret("apps", purpose, &secret, 60, NOW, &mut rng).await.unwrap();
    }
    let key_file = std::fs::read_to_string(scene.folder.path().join("secret.key")).unwrap();

    let secrets = [&session, &code, &first.access, &first.refresh, &second.access, &second.refresh, &basic];
    let secrets = secrets.into_iter().chain([
        &codes.device_code,
        &third.access,
        &third.refresh,
        &invitation,
        &verification,
        &link,
    ]);
    let secrets = secrets.chain([&key, &fourth.access, &next, &webhook]);
    let secrets = secrets.map(Secret::expose);
    let mut needles: Vec<Vec<u8>> = vec![
        PASSWORD.into(),
        new_password.into(),
        VERIFIER.into(),
        made.csrf.clone().into(),
        key_file.trim().into(),
        listing_key,
        robot_password.into(),
        shared,
    ];
    for secret in secrets {
        // The prefix is no secret; what follows it is.
        needles.push(secret[4..].into());
    }
    // So short a code could be found by trying all, if its plain hash stood there.
    for code in [codes.user_code, by_code.user_code] {
        let letters = code.expose().replace('-', "");
        needles.push(SecretHash::of(&letters).to_text().into());
        needles.push(SecretHash::of(code.expose()).to_text().into());
        needles.push(letters.into());
    }
    // The private scalar stands in the second half of the PKCS #8 form; any 16 bytes of it would give it away.
    for key in store.signing_keys(NOW).await.unwrap() {
        needles.extend(key.pkcs8.chunks(16).skip(2).map(<[u8]>::to_vec));
        assert!(!format!("{key:?}").contains(&format!("{:?}", &key.pkcs8[40..44])), "redacted");
    }
    assert_eq!(rotated.pkcs8.len(), store.signing_keys(NOW).await.unwrap()[0].pkcs8.len());

    let look = |when: &str| {
        let mut bytes = Vec::new();
        for name in ["flatpass.db", "flatpass.db-wal", "flatpass.db-shm"] {
            bytes.extend(std::fs::read(scene.folder.path().join(name)).unwrap_or_default());
        }
        assert!(
            holds(&bytes, b"ada@example.org") && holds(&bytes, b"$argon2id$"),
            "{when}: this is the database"
        );
        assert!(holds(&bytes, second.refresh.hash().to_string().as_bytes()), "{when}: hashes are there");
        for needle in &needles {
            assert!(!holds(&bytes, needle), "{when}: found {:?}", String::from_utf8_lossy(needle));
        }
    };
    look("while it is open");
    store.close().await;
    assert!(!scene.folder.path().join("flatpass.db-wal").exists(), "closing leaves one file");
    look("after it was closed");
}
