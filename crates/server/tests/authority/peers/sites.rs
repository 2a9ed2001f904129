//! Sites that never get online: a licence and its devices.

use flatpass_peer::{add_device, add_licence, remove_device, sites};
use flatpass_store::KeyPhase;
use flatpass_token::{Grant, PEERS, Secret, SiteLicence, Verb};

use super::place::{Place, Said, client, object};
use crate::shop::{PAID, PRO, Shop, rng};
use flatpass_ostree::{Checksum, ObjectKind};

const CARRY: [Verb; 3] = [Verb::Download, Verb::Upgrade, Verb::Export];

async fn licence(shop: &Shop, change: impl FnOnce(&mut SiteLicence)) -> String {
    let mut licence = SiteLicence {
        iss: shop.url.clone(),
        aud: format!("{}{PEERS}", shop.repo_url("apps")),
        sub: "mine".to_owned(),
        iat: shop.now(),
        exp: shop.now().plus_seconds(1000 * 24 * 3600),
        jti: "lic_1".to_owned(),
        devices: 2,
        authorization_details: vec![Grant::for_ids(&flatpass_peer::SITE_VERBS, ["org.test.Paid"])],
    };
    change(&mut licence);
    let keys = shop.store.signing_keys(shop.now()).await.unwrap();
    let key = keys.iter().find(|key| key.phase(shop.now()) == KeyPhase::Signing).unwrap();
    licence.sign(&key.signing_key().unwrap()).unwrap()
}

async fn by_device(place: &Place, secret: &str, commit: &Checksum) -> Said {
    let url = place.url.replace("http://", &format!("http://device:{secret}@"));
    super::place::get(&url, &object(commit, ObjectKind::Commit), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_a_site_have_what_its_licence_says_as_many_and_as_long_as_it_says() {
    let mut shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &CARRY).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    place.peer.mirror(PAID, |_| ()).await.unwrap();
    place.peer.mirror(PRO, |_| ()).await.unwrap();
    let (folder, paid, pro) =
        (place.folder.path().to_owned(), shop.head("apps", PAID), shop.head("apps", PRO));
    let text = licence(&shop, |_| ()).await;
    for (what, bad) in [
        ("another store", licence(&shop, |one| one.iss.push('x')).await),
        ("another repo", licence(&shop, |one| one.aud = format!("{}{PEERS}", shop.repo_url("inside"))).await),
        ("the repo itself", licence(&shop, |one| one.aud = shop.repo_url("apps")).await),
        ("ended", licence(&shop, |one| one.exp = shop.now()).await),
        ("a path", licence(&shop, |one| one.jti = "../x".to_owned()).await),
        ("changed", format!("{}x{}", &text[..text.len() / 2], &text[text.len() / 2 + 1..])),
        ("a token", robot.token(&shop, "apps", PAID, Some("peers")).await),
    ] {
        assert!(add_licence(&folder, &bad, shop.now()).is_err(), "{what}");
    }
    add_licence(&folder, &text, shop.now()).unwrap();
    // It is no token either.
    assert_eq!(place.commit(&paid, Some(&text)).await.status, 401);
    assert_eq!(shop.fetch_commit("apps", &paid, Some(&text)).await, 401);

    let secrets: Vec<_> = (0..3).map(|_| Secret::generate("fps_", &mut rng())).collect();
    add_device(&folder, "mine", "pit-1", &secrets[0], shop.now()).unwrap();
    add_device(&folder, "mine", "pit-2", &secrets[1], shop.now()).unwrap();
    let full = add_device(&folder, "mine", "pit-3", &secrets[2], shop.now()).unwrap_err();
    assert!(full.to_string().contains("for 2 devices"), "{full}");
    // Somebody helps themselves to more in the file.
    let file = folder.join("licences/lic_1.devices.json");
    let more = std::fs::read_to_string(&file).unwrap();
    let third = format!(",\"zzz\":{{\"secret\":\"{}\",\"added_at\":0}}}}", secrets[2].hash().to_text());
    std::fs::write(&file, more.trim_end().strip_suffix('}').unwrap().to_owned() + &third).unwrap();
    assert_eq!(sites(&folder).unwrap()[0].devices.len(), 3);

    // The key that signed it rotates away, then the site goes offline for good.
    shop.store.rotate_key(shop.now(), 0, &mut rng()).await.unwrap();
    crate::shop::soon("the new key is known", async || {
        let before = place.peer.trust().jwks;
        place.peer.refresh().await.unwrap();
        before != place.peer.trust().jwks
    })
    .await;
    shop.stop().await;
    let place = place.restart().await;
    assert_eq!(by_device(&place, secrets[0].expose(), &paid).await.status, 200);
    assert_eq!(by_device(&place, secrets[1].expose(), &paid).await.status, 200);
    assert_eq!(
        by_device(&place, secrets[2].expose(), &paid).await.status,
        401,
        "more than the licence is for"
    );
    assert_eq!(by_device(&place, secrets[0].expose(), &pro).await.status, 403, "another app");
    assert_eq!(by_device(&place, "fps_unknown", &paid).await.status, 401);
    remove_device(&folder, "mine", "pit-1").unwrap();
    let place = place.restart().await;
    assert_eq!(by_device(&place, secrets[0].expose(), &paid).await.status, 401, "it was taken out");

    // The licence outlives what the peer knows of the store, and ends on its day.
    shop.pass_seconds(999 * 24 * 3600);
    assert_eq!(by_device(&place, secrets[1].expose(), &paid).await.status, 200);
    shop.pass_seconds(2 * 24 * 3600);
    assert_eq!(by_device(&place, secrets[1].expose(), &paid).await.status, 401);
    shop.start().await;
    shop.close().await;
}
