//! The life of a sign-in: stored before it is used, rotated once, replaced, ended.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use flatpass_authenticator::authority::address::AuthorityUrl;
use flatpass_authenticator::dbus::service::Service;
use flatpass_authenticator::session::Sessions;

use crate::authority::{Authority, Fault, browse};
use crate::client::{Ask, Client};
use crate::stage::{self, Stage};

async fn sign_in(client: &Client, authority: &Authority) {
    authority.world().buys = true;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

#[tokio::test]
async fn a_sign_in_is_a_file_that_nobody_else_can_read() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    sign_in(&stage.client().await, &authority).await;
    let folder = stage.state.path().join("flatpass");
    assert_eq!(std::fs::metadata(&folder).expect("a folder").mode() & 0o7777, 0o700);
    let entries: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    assert_eq!(entries.len(), 2, "a record and its lock, and nothing left over");
    for entry in entries {
        assert_eq!(entry.metadata().expect("a file").mode() & 0o7777, 0o600);
    }
    let record = std::fs::read_to_string(&stage.records()[0]).expect("text");
    let refresh = authority.world().refresh.first().cloned().expect("one");
    assert!(record.contains(&refresh));
    let access = authority.world().access.first().cloned().expect("one");
    assert!(!record.contains(&access), "access tokens stay in memory");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_on_disk_before_its_access_token_is_used() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    let record = stage.records().remove(0);
    authority.world().on_use = Some(Box::new(move |world| {
        let current = world.refresh.first().expect("signed in");
        let stored = std::fs::read_to_string(&record).expect("text");
        assert!(stored.contains(current), "{current} is not in {stored}");
    }));
    for round in 1..4 {
        stage.clock.advance(3601);
        assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0);
        assert_eq!(authority.world().spent.len(), round);
    }
    assert!(!authority.world().reused);
}

#[tokio::test]
async fn two_processes_never_rotate_the_same_token() {
    let (authority, mut stage) = (Authority::start().await, Stage::new().await);
    sign_in(&stage.client().await, &authority).await;
    stage.service.take().expect("running").stop().await;
    // Eight processes, each with nothing in memory, refresh at the same time.
    stage.clock.advance(3601);
    let processes: Vec<_> = (0..8).map(|_| stage::Bus::start()).collect();
    let mut services = Vec::new();
    for bus in &processes {
        let sessions = Sessions::new(stage::environment(stage.state.path(), &stage.clock));
        services.push(Service::start(bus.builder(), sessions, false).await.expect("started"));
    }
    let asking = processes.iter().map(|bus| async {
        let client = Client::new(bus.connect().await).await;
        client.ask(&Ask::paid(&authority.url).quiet()).await.code
    });
    let codes = futures_util::future::join_all(asking).await;
    assert_eq!(codes, [0; 8]);
    assert!(!authority.world().reused, "a token that was rotated already was sent");
    assert_eq!(authority.world().spent.len(), 8);
}

#[tokio::test]
async fn a_client_that_leaves_during_a_rotation_loses_nothing() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    authority.world().faults.insert("/oauth/token", Fault::Late(Duration::from_millis(300)));
    for round in 1..4 {
        stage.clock.advance(3601);
        let hasty = stage.client().await;
        let _request = hasty.begin(&Ask::paid(&authority.url).quiet()).await;
        // The authority has rotated; its answer is on the way when the client goes.
        stage::until("rotated", || authority.world().spent.len() == round).await;
        hasty.connection.close().await.expect("closed");
        let rotated = authority.world().refresh.first().cloned().expect("rotated");
        let record = stage.records().remove(0);
        let stored = || std::fs::read_to_string(&record).expect("text").contains(&rotated);
        stage::until("the rotated token is stored", stored).await;
    }
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0);
    assert!(!authority.world().reused);
}

#[tokio::test]
async fn a_new_sign_in_ends_the_former_one_after_it_is_stored() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    let former = authority.world().refresh.first().cloned().expect("one");
    // The person signs in again because something new must be bought.
    let mut request =
        client.begin(&Ask::paid(&authority.url).refs(&["app/org.test.Other/x86_64/stable"], 2)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
    stage::until("the former is revoked", || authority.world().revoked == [former.clone()]).await;
    assert_eq!(authority.world().refresh.len(), 1);
    let current = authority.world().refresh.first().cloned().expect("one");
    assert!(std::fs::read_to_string(&stage.records()[0]).expect("text").contains(&current));
}

#[tokio::test]
async fn a_sign_in_that_the_store_ended_asks_the_person_again_or_says_so() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    authority.world().sign_out();
    stage.clock.advance(3600 - 200);
    let refused = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(23)));
    assert!(refused.message.contains("flatpass-authenticator login"), "{}", refused.message);
    assert!(stage.records().is_empty(), "it is forgotten");
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

#[tokio::test]
async fn tokens_of_a_former_sign_in_are_not_given_out_after_another_process_signed_out() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0, "from memory");
    let other = Sessions::new(stage::environment(stage.state.path(), &stage.clock));
    let url = AuthorityUrl::parse(&authority.url).expect("valid");
    let signed_out = other.with(&url).expect("a session").sign_out().await.expect("signed out");
    assert_eq!(signed_out, Some(Ok(())));
    assert_eq!(authority.world().revoked.len(), 1);
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 2);
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_stored_is_not_used() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    // A file stands where the folder should be.
    std::fs::write(stage.state.path().join("flatpass"), "").expect("written");
    let client = stage.client().await;
    let response = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!(response.code, 2);
    assert!(response.message.contains("where sign-ins are kept"), "{}", response.message);
}

#[tokio::test]
async fn a_rotated_token_that_could_not_be_stored_is_stored_before_anything_else() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    stage.clock.advance(3601);
    // The temporary file's name is taken by a folder: writing fails, also for root.
    let obstacle = stage.records()[0].with_extension("new");
    std::fs::create_dir(&obstacle).expect("made");
    let response = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!(response.code, 2);
    let (current, bearers) = {
        let world = authority.world();
        (world.refresh.first().cloned().expect("rotated"), world.bearers.len())
    };
    assert!(!std::fs::read_to_string(&stage.records()[0]).expect("text").contains(&current));
    std::fs::remove_dir(&obstacle).expect("removed");
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0);
    assert!(!authority.world().reused);
    assert_eq!(
        authority.world().bearers.len(),
        bearers + 1,
        "the unsaved sign-in's access token was not used"
    );
}
