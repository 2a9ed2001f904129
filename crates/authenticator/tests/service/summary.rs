//! `RequestSummaryToken`, over a real bus: the rules of `RequestRefTokens` for the index of a private repo.

use std::process::Stdio;

use crate::authority::{Authority, Fault, Index, browse};
use crate::client::{self, Ask, Client, INTERFACE, NAME, PATH, SummaryAsk};
use crate::stage::{Stage, until};

const ENDPOINT: &str = "/api/v1/summary-tokens";

async fn sign_in(client: &Client, authority: &Authority) {
    let mut request = client.begin_summary(&SummaryAsk::of(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

#[tokio::test]
async fn a_person_signs_in_on_one_page_and_the_client_has_a_token_for_the_index() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let mut request = client.begin_summary(&SummaryAsk::of(&authority.url)).await;
    let url = request.webflow().await;
    assert!(!url.contains("authorization_details"), "nothing is for sale here: {url}");
    let (status, page) = browse(&url).await;
    assert!(status == 200 && page.contains("data-result=\"done\""), "{page}");
    request.done().await;
    let response = request.response().await;
    let (token, keep_for) = response.summary.expect("a token");
    assert!(authority.world().summary_tokens.contains(&token));
    assert_eq!(keep_for, 3600 - 300);
    // Tokens for refs and for the index share the sign-in.
    authority.world().owned.insert(client::PAID.to_owned());
    assert_eq!(client.ask(&Ask::paid(&authority.url).quiet()).await.code, 0);
}

#[tokio::test]
async fn a_summary_token_is_given_again_until_shortly_before_it_expires_or_was_refused() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    let quiet = SummaryAsk::of(&authority.url).with(&["no-interaction"]);
    let before = authority.calls(ENDPOINT);
    let first = client.ask_summary(&quiet).await.summary.expect("a token");
    stage.clock.advance(3600 - 301);
    let again = client.ask_summary(&quiet).await.summary.expect("a token");
    assert_eq!((again.0.as_str(), again.1), (first.0.as_str(), 1));
    assert_eq!(authority.calls(ENDPOINT), before, "no further call");
    stage.clock.advance(2);
    let renewed = client.ask_summary(&quiet).await.summary.expect("a token");
    assert_ne!(renewed.0, first.0);
    let fresh = quiet.clone().with(&["no-interaction", "fresh"]);
    let all = futures_util::future::join_all((0..20).map(|_| client.ask_summary(&fresh))).await;
    assert!(
        all.iter().all(|response| response.summary.as_ref().is_some_and(|(token, _)| *token != renewed.0))
    );
    // The test's clock stands still, so that each of the twenty is as late as the others.
    assert!(authority.calls(ENDPOINT) <= before + 21);
    assert_eq!(authority.calls("/oauth/authorize"), 1);
}

#[tokio::test]
async fn an_index_that_needs_no_token_gives_the_empty_one() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    authority.world().index = Index::Public;
    sign_in(&client, &authority).await;
    let response = client.ask_summary(&SummaryAsk::of(&authority.url)).await;
    assert_eq!(response.summary, Some((String::new(), 300)));
}

#[tokio::test]
async fn who_may_not_see_the_index_gets_the_stores_sentence_and_no_page() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let quiet = SummaryAsk::of(&authority.url).with(&["no-interaction"]);
    let refused = client.ask_summary(&quiet).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(23)));
    let login =
        format!("Sign in first: run `flatpass-authenticator login {}`, then try again.", authority.url);
    assert_eq!(refused.message, login);
    sign_in(&client, &authority).await;

    authority.world().index = Index::Outsider;
    let ask = SummaryAsk::of(&authority.url).with(&["fresh"]);
    let refused = client.ask_summary(&ask).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert_eq!(refused.message, "You are no member of apps. Ask the store for an invitation.");
    // What was lost is not given from memory either.
    assert_eq!(client.ask_summary(&quiet).await.code, 2);

    authority.world().index = Index::Member;
    assert_eq!(client.ask_summary(&quiet).await.code, 0);
    authority.world().sign_out();
    let refused = client.ask_summary(&quiet.clone().with(&["no-interaction", "fresh"])).await;
    assert_eq!((refused.code, refused.message), (2, login));
    assert!(stage.records().is_empty());
}

/// Threat 5.
#[tokio::test]
async fn an_index_that_the_authority_does_not_list_gets_nothing() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    for uri in ["https://evil.example/repo/apps".to_owned(), format!("{}repo/appsx", authority.url)] {
        let ask = SummaryAsk { remote_uri: uri.clone(), ..SummaryAsk::of(&authority.url) };
        let response = client.ask_summary(&ask).await;
        assert_eq!((response.code, response.error_code), (2, Some(24)), "{uri}");
        assert!(response.message.contains("does not know the repository"), "{}", response.message);
    }
    let asked = authority.calls(ENDPOINT);
    for uri in ["http://evil.example/repo/apps", "https://shop.example/repo/../apps", "file:///srv/repo"] {
        let ask = SummaryAsk { remote_uri: uri.to_owned(), ..SummaryAsk::of(&authority.url) };
        assert_eq!(client.ask_summary(&ask).await.code, 2);
    }
    let ask = SummaryAsk { url: "http://shop.example/".to_owned(), ..SummaryAsk::of(&authority.url) };
    assert!(client.ask_summary(&ask).await.message.contains("https"));
    assert_eq!(authority.calls(ENDPOINT), asked, "the authority was not even asked");
}

#[tokio::test]
async fn a_store_that_fails_or_is_too_old_ends_in_a_sentence() {
    for (fault, expected) in [
        (Fault::Status(500), "has a problem of its own"),
        (Fault::Html, "is not understood"),
        (
            Fault::Body("application/json", r#"{"token":"a b","expires_in":60}"#.to_owned()),
            "characters that no token has",
        ),
        (
            Fault::Body("application/json", r#"{"token":"ab","expires_in":0}"#.to_owned()),
            "has expired before",
        ),
        (Fault::Hang, "did not answer in time"),
        (Fault::Huge, "far too large"),
    ] {
        let (authority, stage) = (Authority::start().await, Stage::new().await);
        authority.world().faults.insert(ENDPOINT, fault);
        let response = stage.client().await.ask_summary(&SummaryAsk::of(&authority.url)).await;
        assert_eq!(response.code, 2);
        assert!(response.message.contains(expected), "{}", response.message);
    }
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().metadata.push(("flatpass_summary_tokens_endpoint", serde_json::Value::Null));
    let response = stage.client().await.ask_summary(&SummaryAsk::of(&authority.url)).await;
    assert!(response.message.contains("cannot keep a list of apps private"), "{}", response.message);
}

#[tokio::test]
async fn two_clients_need_one_sign_in_and_only_the_owner_closes() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let (one, two) = (stage.client().await, stage.client().await);
    let mut first = one.begin_summary(&SummaryAsk::of(&authority.url)).await;
    let url = first.webflow().await;
    let mut second = two.begin_summary(&SummaryAsk::of(&authority.url)).await;
    until("the second has asked", || authority.calls(ENDPOINT) == 2).await;
    let error = client::close(&two.connection, &first.path).await.expect_err("refused");
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    // The first leaves the bus: the second shows the same page.
    one.connection.close().await.expect("closed");
    assert_eq!(second.webflow().await, url);
    browse(&url).await;
    second.done().await;
    assert!(second.response().await.summary.is_some());
    assert_eq!(authority.calls("/oauth/authorize"), 1);
    for token in ["", "a/b", "../x"] {
        let error = two.call_summary(token, &SummaryAsk::of(&authority.url)).await.expect_err("refused");
        assert!(error.to_string().contains("InvalidArgs"), "{error}");
    }
    let mut closed = two.begin_summary(&SummaryAsk::of(&authority.url).with(&["fresh"])).await;
    assert!(closed.response().await.summary.is_some());
}

#[tokio::test]
async fn a_client_can_find_out_how_to_call_it() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let reply = client
        .connection
        .call_method(Some(NAME), PATH, Some("org.freedesktop.DBus.Introspectable"), "Introspect", &())
        .await
        .expect("introspected");
    let xml: String = reply.body().deserialize().expect("text");
    let (_, method) = xml.split_once("<method name=\"RequestSummaryToken\">").expect("the method");
    let (method, _) = method.split_once("</method>").expect("its end");
    let found: Vec<&str> = method.lines().map(str::trim).filter(|line| line.starts_with("<arg ")).collect();
    let expected: Vec<String> = [
        ("handle_token", "s", "in"),
        ("authenticator_options", "a{sv}", "in"),
        ("remote", "s", "in"),
        ("remote_uri", "s", "in"),
        ("options", "a{sv}", "in"),
        ("parent_window", "s", "in"),
        ("handle", "o", "out"),
    ]
    .iter()
    .map(|(name, kind, direction)| {
        format!("<arg name=\"{name}\" type=\"{kind}\" direction=\"{direction}\"/>")
    })
    .collect();
    assert_eq!(found, expected);
    assert!(xml.contains(&format!("<interface name=\"{INTERFACE}\">")));
}

/// The small client in `tests/stage`, written from the reference page alone.
#[tokio::test]
async fn a_program_with_gobject_introspection_fetches_the_index_with_a_token() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let repo = tempfile::tempdir().expect("a folder");
    std::fs::write(repo.path().join("summary"), b"the private index").expect("written");
    {
        let mut world = authority.world();
        (world.repo, world.is_private) = (Some(repo.path().to_owned()), true);
    }
    let run = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/stage/gi_summary_token.py");
        let mut command = std::process::Command::new("/usr/bin/python3");
        command
            .args([script, &authority.url, &format!("{}repo/apps", authority.url), "--no-interaction"])
            .env("DBUS_SESSION_BUS_ADDRESS", &stage.bus.address)
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().expect("python3-gi is installed"))
    };
    let output = run().await.expect("no panic");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((said["ok"].as_bool(), said["error_code"].as_i64()), (Some(false), Some(23)), "{said}");
    let client = stage.client().await;
    sign_in(&client, &authority).await;
    let output = run().await.expect("no panic");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["ok"].as_bool(), Some(true), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((said["version"].as_i64(), said["without"].as_i64()), (Some(2), Some(401)), "{said}");
    assert_eq!((said["with"].as_i64(), said["bytes"].as_i64()), (Some(200), Some(17)), "{said}");
}
