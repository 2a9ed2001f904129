//! What tokens open, at a peer and at the store.

use flatpass_peer::{PeerError, Settings};
use flatpass_store::RepoTokens;
use flatpass_token::{Claims, Grant, SigningKey, Verb};
use serde_json::json;

use super::place::{Place, client, get, object};
use crate::shop::{FREE, LOCALE, MEMBERS, PAID, PRO, Shop, commit, update_summary};
use flatpass_ostree::{ObjectKind, RepoPath};

const BOTH: [Verb; 2] = [Verb::Download, Verb::Upgrade];
const CARRY: [Verb; 3] = [Verb::Download, Verb::Upgrade, Verb::Export];

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_gives_what_the_store_would_and_a_hostile_one_can_do_nothing_with_what_it_is_shown() {
    let shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &CARRY).await;
    let ada = client(&shop, "ada").await;
    ada.may(&shop, "apps", "org.test.Paid", &BOTH).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let (free, paid, pro) = (shop.head("apps", FREE), shop.head("apps", PAID), shop.head("apps", PRO));

    assert_eq!(place.commit(&free, None).await.status, 200);
    let nobody = place.commit(&paid, None).await;
    assert_eq!(nobody.status, 401, "{}", nobody.words());
    assert!(nobody.challenge.starts_with("Bearer realm="), "{}", nobody.challenge);

    let for_peers = ada.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&pro, Some(&for_peers)).await.status, 403, "another app");
    let had = place.commit(&paid, Some(&for_peers)).await;
    assert_eq!(had.status, 200, "{}", had.words());
    assert_eq!(place.commit(&paid, None).await.status, 401, "what is here now is not for everybody");

    // What a hostile peer holds now.
    let replayed = get(&shop.repo_url("apps"), &object(&paid, ObjectKind::Commit), Some(&for_peers)).await;
    assert_eq!(replayed.status, 401);
    assert!(replayed.challenge.contains("The token is for another repository."), "{}", replayed.challenge);

    // A client that sends one token to both gets it for these commits and for minutes.
    let mirrors = ada.token(&shop, "apps", PAID, Some("mirrors")).await;
    assert_eq!(place.commit(&paid, Some(&mirrors)).await.status, 200);
    assert_eq!(shop.fetch_commit("apps", &paid, Some(&mirrors)).await, 200);
    assert_eq!(shop.fetch_commit("apps", &pro, Some(&mirrors)).await, 403);
    commit(&shop.repo_path("apps"), PAID, 2);
    update_summary(&shop.repo_path("apps"));
    assert_eq!(shop.fetch("apps", PAID, Some(&mirrors)).await, 403, "the next commit of the same app");
    shop.pass_seconds(601 + 5);
    assert_eq!(shop.fetch_commit("apps", &paid, Some(&mirrors)).await, 401, "ten minutes later");

    // One for the store itself is not to be shown to a peer at all.
    let wide = ada.token(&shop, "apps", PAID, None).await;
    let said = place.commit(&paid, Some(&wide)).await;
    assert_eq!(said.status, 401);
    assert!(said.challenge.contains("opens too much to be shown to a peer"), "{}", said.challenge);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn narrow_tokens_name_each_commit_and_end_in_minutes_whatever_the_right_is() {
    let shop = Shop::open().await;
    let ada = client(&shop, "ada").await;
    ada.may(&shop, "apps", "org.test.Paid", &CARRY).await;
    let refs =
        [json!({ "ref": PAID }), json!({ "ref": LOCALE }), json!({ "ref": MEMBERS }), json!({ "ref": PRO })];
    for (purpose, audience, most) in [
        ("peers", format!("{}#peers", shop.repo_url("apps")), 600),
        ("mirrors", shop.repo_url("apps"), 600),
        ("export", shop.repo_url("apps"), 3600),
    ] {
        let answer = ada.ask(&shop, "apps", &refs, Some(purpose)).await;
        let denied: Vec<_> = answer["denied"].as_array().unwrap().iter().map(|one| &one["ref"]).collect();
        let exports = purpose == "export";
        // What everybody who is signed in may have is carried on by nobody without the right to.
        assert_eq!(denied, if exports { vec![PRO, MEMBERS] } else { vec![PRO] }, "{answer}");
        for issued in answer["tokens"].as_array().unwrap() {
            let token = flatpass_token::UnverifiedToken::parse(issued["token"].as_str().unwrap()).unwrap();
            let claims = token.claims().unwrap();
            assert_eq!((&claims.aud, claims.iat.seconds_until(claims.exp)), (&audience, most));
            for grant in &claims.authorization_details {
                let commits = grant.commits.as_ref().unwrap();
                let heads = [PAID, LOCALE, MEMBERS].map(|name| shop.head("apps", name).to_hex());
                assert!(!commits.is_empty() && commits.iter().all(|one| heads.contains(one)), "{commits:?}");
            }
        }
    }
    let odd = ada.ask(&shop, "apps", &refs, Some("everything")).await;
    assert_eq!(odd["status"], 400, "{odd}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_says_what_is_wrong_with_a_token_and_with_its_own_clock() {
    let shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &CARRY).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let paid = shop.head("apps", PAID);
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&paid, Some(&token)).await.status, 200);
    let stranger = SigningKey::generate().unwrap();
    let forged = stranger.sign(&Claims {
        iss: format!("{}/", shop.url),
        aud: format!("{}#peers", shop.repo_url("apps")),
        sub: "acc".to_owned(),
        client_id: "x".to_owned(),
        sid: None,
        iat: shop.now(),
        exp: shop.now().plus_seconds(600),
        nbf: None,
        jti: "x".to_owned(),
        authorization_details: vec![Grant::for_everything(&Verb::ALL)],
    });
    let hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9.e30.c2ln";
    for (bad, words) in [
        ("fpo_4f8a7e0b", "Tokens of other kinds can only be checked online"),
        (hs256, "Tokens of other kinds can only be checked online"),
        (&forged.unwrap(), "signed with a key that is not known here"),
    ] {
        let said = place.commit(&paid, Some(bad)).await;
        assert_eq!(said.status, 401, "{bad}");
        assert!(said.words().contains(words) && said.challenge.contains(words), "{}", said.words());
    }

    // Two minutes of difference are nothing, an hour is the clock's fault.
    for (hours, words) in [(-1, "This peer's clock is behind"), (1, "and this peer's clock says")] {
        place.clock.advance_millis(hours * 3_600_000);
        let said = place.commit(&paid, Some(&token)).await;
        assert_eq!(said.status, 401);
        assert!(said.words().contains(words), "{}", said.words());
        place.clock.advance_millis(-hours * 3_600_000);
    }
    for seconds in [-119, 119] {
        place.clock.advance_millis(seconds * 1000);
        assert_eq!(place.commit(&paid, Some(&token)).await.status, 200, "{seconds}");
        place.clock.advance_millis(-seconds * 1000);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_follow_the_store_and_a_peer_that_was_offline_for_too_long_takes_no_tokens() {
    let mut shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &CARRY).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let paid = shop.head("apps", PAID);
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&paid, Some(&token)).await.status, 200);
    let before = place.peer.trust().jwks;
    shop.store.rotate_key(shop.now(), 3600, &mut crate::shop::rng()).await.unwrap();
    crate::shop::soon("the peer has the new key", async || {
        place.peer.refresh().await.unwrap();
        place.peer.trust().jwks != before
    })
    .await;
    shop.pass_seconds(3600);
    let newer = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&paid, Some(&newer)).await.status, 200);

    // Offline, over a restart, as long as its settings say.
    place.peer.refresh().await.unwrap();
    shop.stop().await;
    assert!(matches!(place.peer.refresh().await, Err(PeerError::Unreachable { .. })));
    let place = place.restart().await;
    assert_eq!(place.commit(&paid, Some(&newer)).await.status, 200);
    shop.pass_seconds(30 * 24 * 3600);
    let said = place.commit(&paid, Some(&newer)).await;
    assert_eq!(said.status, 401);
    assert!(said.words().contains("This peer was offline for too long"), "{}", said.words());
    assert_eq!(place.commit(&shop.head("apps", FREE), None).await.status, 404, "it is not here");

    shop.start().await;
    place.peer.refresh().await.unwrap();
    let again = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&paid, Some(&again)).await.status, 200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_peer_is_made_of_what_a_network_could_forge_or_of_what_is_not_there() {
    let shop = Shop::open().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = |store: &str, repo: &str| Settings {
        store: store.parse().unwrap(),
        repo: repo.to_owned(),
        credentials: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        max_size: 1 << 30,
        offline_for_days: 30,
        announce: false,
    };
    let init = async |store: &str, repo: &str| {
        flatpass_peer::init(&folder.path().join("peer"), &settings(store, repo), shop.now()).await
    };
    let url = format!("{}/", shop.url);
    assert!(matches!(init("http://192.0.2.1/", "apps").await, Err(PeerError::Insecure(_))));
    assert!(matches!(init("http://shop.example/", "apps").await, Err(PeerError::Insecure(_))));
    assert!(matches!(init(&url, "gone").await, Err(PeerError::Refused(_))));
    // A private repo is not there for strangers.
    assert!(matches!(init(&url, "inside").await, Err(PeerError::Refused(_))));
    let other_name = url.replace("127.0.0.1", "localhost");
    assert!(matches!(init(&other_name, "apps").await, Err(PeerError::Answer { .. })));
    // Of tokens that only the store can check no peer is made, nor does the store give some for one.
    for tokens in [RepoTokens::Opaque, RepoTokens::FlatManager] {
        shop.store.set_repo_tokens("apps", &tokens, shop.now()).await.unwrap();
        is_in_force(&shop, &tokens).await;
        let error = init(&url, "apps").await.unwrap_err().to_string();
        assert!(error.contains("can only be checked online"), "{error}");
        let nobody = client(&shop, &format!("x-{tokens}")).await;
        let answer = nobody.ask(&shop, "apps", &[json!({ "ref": PAID })], Some("peers")).await;
        assert!(answer["detail"].as_str().unwrap().contains("can only be checked online"), "{answer}");
    }
    shop.store.set_repo_tokens("apps", &RepoTokens::Jwt, shop.now()).await.unwrap();
    assert!(!folder.path().join("peer").exists());
    is_in_force(&shop, &RepoTokens::Jwt).await;
    init(&url, "apps").await.unwrap();
    assert!(matches!(init(&url, "apps").await, Err(PeerError::Exists(_))));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_its_store_does_not_want_any_more_serves_nothing_until_it_does() {
    let shop = Shop::open().await;
    let mut place = Place::open(&shop, "apps", None).await;
    let free = shop.head("apps", FREE);
    assert_eq!(place.commit(&free, None).await.status, 200);
    shop.store.set_repo_tokens("apps", &RepoTokens::Opaque, shop.now()).await.unwrap();
    is_in_force(&shop, &RepoTokens::Opaque).await;
    assert!(matches!(place.peer.refresh().await, Err(PeerError::OnlyOnline { .. })));
    for _ in 0..2 {
        assert_eq!(place.commit(&free, None).await.status, 404);
        assert_eq!(place.get(&RepoPath::Summary, None).await.status, 404);
        // Nor after a restart.
        place = place.restart().await;
    }
    shop.store.set_repo_tokens("apps", &RepoTokens::Jwt, shop.now()).await.unwrap();
    is_in_force(&shop, &RepoTokens::Jwt).await;
    place.peer.refresh().await.unwrap();
    assert_eq!(place.commit(&free, None).await.status, 200);
    shop.close().await;
}

async fn is_in_force(shop: &Shop, tokens: &RepoTokens) {
    crate::shop::soon("the kind of token is in force", async || {
        let said = reqwest::get(format!("{}/api/v1/peers/apps", shop.url)).await.unwrap();
        said.text().await.unwrap().contains(&format!("\"tokens\":\"{tokens}\""))
    })
    .await;
}
