//! Requests as Flatpak makes them, over a real bus.

use std::time::Duration;

use crate::authority::{Authority, browse};
use crate::client::{self, Ask, COMMIT, Client, INTERFACE, NAME, PAID, PATH, REQUEST_INTERFACE};
use crate::stage::{self, Stage, until};
use flatpass_authenticator::dbus::service::{Service, ServiceError};
use flatpass_authenticator::session::Sessions;
use serde_json::json;

const LOCALE: &str = "runtime/org.test.Paid.Locale/x86_64/stable";
const FREE: &str = "app/org.test.Free/x86_64/stable";

/// Signs in by way of a request for the paid app, which the person buys on the way.
async fn sign_in_and_buy(client: &Client, authority: &Authority) {
    authority.world().buys = true;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    assert_eq!(browse(&url).await.0, 200);
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

#[tokio::test]
async fn a_person_signs_in_and_buys_on_one_page_and_has_a_token() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    authority.world().buys = true;
    authority.world().open.insert(FREE.to_owned());
    let ask = Ask::paid(&authority.url).refs(&[PAID, LOCALE, FREE], 2);
    let mut request = client.begin(&ask).await;
    let url = request.webflow().await;
    assert!(url.starts_with(&format!("{}oauth/authorize?", authority.url)), "{url}");
    let (status, page) = browse(&url).await;
    assert_eq!(status, 200);
    assert!(page.contains("id=\"flatpass-done\" data-result=\"done\""), "{page}");
    request.done().await;
    let response = request.response().await;
    assert_eq!(response.code, 0);
    let token = response.token(PAID).expect("a token");
    assert!(token.starts_with("ref-"));
    assert_eq!(response.token(LOCALE), Some(token), "one token for the app and its extension");
    assert_eq!(response.token(FREE), Some(""), "an open ref needs none");
    let details = authority.world().details.clone();
    let repo = format!("{}repo/apps", authority.url);
    assert_eq!(details, [json!([{"type": "flatpak_refs", "repo_url": repo, "refs": [PAID]}])]);
    let first = authority.world().asked[0].clone();
    assert_eq!(first["refs"].as_array().expect("refs").len(), 3, "all refs in one call");
    assert!(first.to_string().contains(COMMIT));
}

#[tokio::test]
async fn the_second_request_is_answered_from_memory_for_two_minutes() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in_and_buy(&client, &authority).await;
    let calls = || authority.calls("/api/v1/ref-tokens");
    let before = calls();
    let ask = Ask::paid(&authority.url).quiet();
    let first = client.ask(&ask).await;
    for _ in 0..20 {
        assert_eq!(client.ask(&ask).await.tokens, first.tokens);
    }
    assert_eq!(calls(), before, "no further call");
    stage.clock.advance(121);
    let renewed = client.ask(&ask).await;
    assert_eq!(renewed.code, 0);
    assert_ne!(renewed.tokens, first.tokens);
    assert_eq!(calls(), before + 1);
}

#[tokio::test]
async fn twenty_requests_at_once_make_one_call_and_one_refresh() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in_and_buy(&client, &authority).await;
    stage.clock.advance(3601);
    let (asked, refreshed) = (authority.calls("/api/v1/ref-tokens"), authority.calls("/oauth/token"));
    let ask = Ask::paid(&authority.url).quiet();
    let all = futures_util::future::join_all((0..20).map(|_| client.ask(&ask))).await;
    assert!(all.iter().all(|response| response.code == 0));
    assert_eq!(authority.calls("/api/v1/ref-tokens"), asked + 1);
    assert_eq!(authority.calls("/oauth/token"), refreshed + 1);
    assert!(!authority.world().reused);
}

#[tokio::test]
async fn a_token_that_was_refused_is_not_given_again() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    sign_in_and_buy(&client, &authority).await;
    let ask = Ask::paid(&authority.url).quiet();
    let cached = client.ask(&ask).await;
    let mut again = ask.refs(&[PAID], i32::MAX);
    again.refs[0].1 = String::new();
    let fresh = client.ask(&again).await;
    assert_eq!(fresh.code, 0);
    assert_ne!(fresh.tokens, cached.tokens);
    let last = authority.world().asked.last().cloned().expect("asked");
    assert_eq!(last["refs"], json!([{"ref": PAID}]), "that is no token type, and there is no commit");
}

#[tokio::test]
async fn without_interaction_no_web_page_is_shown_and_the_sentence_says_what_to_do() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let refused = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(23)));
    assert_eq!(
        refused.message,
        format!("Sign in first: run `flatpass-authenticator login {}`, then try again.", authority.url)
    );
    sign_in_and_buy(&client, &authority).await;
    authority.world().owned.clear();
    stage.clock.advance(121);
    let refused = client.ask(&Ask::paid(&authority.url).quiet()).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert_eq!(
        refused.message,
        format!(
            "org.test.Paid costs 5 EUR. Buy it first at {}apps/apps/org.test.Paid, then try again.",
            authority.url
        )
    );
}

#[tokio::test]
async fn what_a_page_cannot_change_is_refused_with_the_stores_sentence_and_no_page() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let unknown = "app/org.test.Unknown/x86_64/stable";
    let refused = client.ask(&Ask::paid(&authority.url).refs(&[PAID, unknown], 2)).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert!(refused.message.starts_with("There is no org.test.Unknown here."), "{}", refused.message);
}

#[tokio::test]
async fn a_person_who_does_not_buy_is_told_so_once() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    let response = request.response().await;
    assert_eq!((response.code, response.error_code), (2, Some(24)));
    assert_eq!(response.message, "org.test.Paid costs 5 EUR.");
}

#[tokio::test]
async fn cancelling_on_the_page_or_at_the_prompt_is_a_cancelled_request() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    authority.world().denies = Some("access_denied");
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let (_, page) = browse(&request.webflow().await).await;
    assert!(page.contains("id=\"flatpass-done\" data-result=\"cancelled\""), "{page}");
    request.done().await;
    assert_eq!(request.response().await.code, 1);

    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    request.close().await;
    // No WebflowDone: libflatpak would abort.
    assert_eq!(request.response().await.code, 1);
    assert!(stage.records().is_empty());
    closed(&redirect_uri(&url)).await;
}

#[tokio::test]
async fn a_web_flow_that_nobody_finishes_ends_and_says_so() {
    let authority = Authority::start().await;
    let stage = Stage::with(|environment| environment.limits.webflow = Duration::from_millis(300)).await;
    let client = stage.client().await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    request.done().await;
    let response = request.response().await;
    assert_eq!((response.code, response.error_code), (2, Some(23)));
    assert!(response.message.contains("was not finished in time"), "{}", response.message);
    closed(&redirect_uri(&url)).await;
}

#[tokio::test]
async fn two_clients_at_once_need_one_sign_in_and_each_ends_well() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().buys = true;
    let (one, two) = (stage.client().await, stage.client().await);
    let mut first = one.begin(&Ask::paid(&authority.url)).await;
    let url = first.webflow().await;
    let mut second = two.begin(&Ask::paid(&authority.url)).await;
    until("the second has asked", || authority.calls("/api/v1/ref-tokens") == 2).await;
    browse(&url).await;
    first.done().await;
    assert_eq!(first.response().await.code, 0);
    // The second hears of no web flow at all.
    assert_eq!(second.response().await.code, 0);
    assert_eq!(authority.calls("/oauth/authorize"), 1);
    assert_eq!(authority.world().refresh.len(), 1);
}

#[tokio::test]
async fn when_the_first_client_leaves_the_second_shows_the_same_page() {
    for vanishes in [false, true] {
        let (authority, stage) = (Authority::start().await, Stage::new().await);
        authority.world().buys = true;
        let (one, two) = (stage.client().await, stage.client().await);
        let mut first = one.begin(&Ask::paid(&authority.url)).await;
        let url = first.webflow().await;
        let mut second = two.begin(&Ask::paid(&authority.url)).await;
        until("the second has asked", || authority.calls("/api/v1/ref-tokens") == 2).await;
        if vanishes {
            one.connection.close().await.expect("closed");
        } else {
            first.close().await;
            assert_eq!(first.response().await.code, 1);
        }
        assert_eq!(second.webflow().await, url);
        browse(&url).await;
        second.done().await;
        assert_eq!(second.response().await.code, 0);
    }
}

#[tokio::test]
async fn a_client_that_waited_for_anothers_purchase_then_gets_its_own_page() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().buys = true;
    let (one, two) = (stage.client().await, stage.client().await);
    let mut first = one.begin(&Ask::paid(&authority.url)).await;
    let url = first.webflow().await;
    let other = "app/org.test.Other/x86_64/stable";
    let mut second = two.begin(&Ask::paid(&authority.url).refs(&[other], 2)).await;
    until("the second has asked", || authority.calls("/api/v1/ref-tokens") == 2).await;
    browse(&url).await;
    first.done().await;
    assert_eq!(first.response().await.code, 0);
    let next = second.webflow().await;
    assert_ne!(next, url);
    browse(&next).await;
    second.done().await;
    assert_eq!(second.response().await.code, 0);
}

#[tokio::test]
async fn a_client_that_leaves_the_bus_closes_its_listener_and_its_request() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    let path = request.path.clone();
    client.connection.clone().close().await.expect("closed");
    closed(&redirect_uri(&url)).await;
    let other = stage.bus.connect().await;
    let gone = async {
        while client::close(&other, &path).await.expect_err("not ours").to_string().contains("AccessDenied") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(stage::PATIENCE, gone).await.expect("the object is removed");
    assert!(stage.records().is_empty());
}

#[tokio::test]
async fn only_the_owner_can_close_a_request() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().buys = true;
    let (client, other) = (stage.client().await, stage.client().await);
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let url = request.webflow().await;
    let error = client::close(&other.connection, &request.path).await.expect_err("refused");
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    let reply = other
        .connection
        .call_method(
            Some(NAME),
            &request.path,
            Some(REQUEST_INTERFACE),
            "BasicAuthReply",
            &("user", "password", std::collections::HashMap::<&str, zbus::zvariant::Value<'_>>::new()),
        )
        .await;
    assert!(reply.is_err());
    browse(&url).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
}

#[tokio::test]
async fn the_interface_has_version_2_and_refuses_handles_that_are_none() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let reply = client
        .connection
        .call_method(
            Some(NAME),
            PATH,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(INTERFACE, "version"),
        )
        .await
        .expect("a property");
    let value: zbus::zvariant::OwnedValue = reply.body().deserialize().expect("a variant");
    assert_eq!(u32::try_from(value), Ok(2));
    for token in ["", "a/b", "a.b", "../x"] {
        let error = client.call(token, &Ask::paid(&authority.url)).await.expect_err("refused");
        assert!(error.to_string().contains("InvalidArgs"), "{error}");
    }
    // The same handle twice: the second call changes nothing for the first.
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    request.webflow().await;
    let error = client.call("1", &Ask::paid(&authority.url)).await.expect_err("refused");
    assert!(error.to_string().contains("in use"), "{error}");
    request.close().await;
    assert_eq!(request.response().await.code, 1);
}

#[tokio::test]
async fn arguments_that_are_wrong_end_in_a_sentence() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let good = Ask::paid(&authority.url);
    let many: Vec<String> = (0..10_001).map(|n| format!("app/org.test.App{n}/x86_64/stable")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (ask, expected) in [
        (Ask { url: String::new(), ..good.clone() }, "does not say which store"),
        (Ask { url: "http://shop.example/".to_owned(), ..good.clone() }, "https"),
        (Ask { url: "not a url".to_owned(), ..good.clone() }, "not a web address"),
        (good.clone().refs(&["../../etc/passwd"], 2), "not the name of an app"),
        (good.clone().refs(&many, 2), "Too many apps"),
        (good.clone().remote("oci+https://shop.example/"), "no token can be sent to"),
        (good.clone().remote("file:///repo"), "cannot be used with Flatpass"),
    ] {
        let response = client.ask(&ask).await;
        assert_eq!(response.code, 2);
        assert!(response.message.contains(expected), "{}", response.message);
    }
    assert_eq!(authority.calls("/api/v1/ref-tokens"), 0);
}

#[tokio::test]
async fn a_service_that_ends_answers_everybody_first() {
    let (authority, mut stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    request.webflow().await;
    let taken = Service::start(
        stage.bus.builder(),
        Sessions::new(stage::environment(stage.state.path(), &stage.clock)),
        false,
    )
    .await;
    assert!(matches!(taken, Err(ServiceError::NameTaken)));
    let replacement = Service::start(
        stage.bus.builder(),
        Sessions::new(stage::environment(stage.state.path(), &stage.clock)),
        true,
    )
    .await
    .expect("it takes the name");
    let mut service = stage.service.take().expect("running");
    tokio::time::timeout(stage::PATIENCE, service.replaced()).await.expect("it learns so");
    service.stop().await;
    request.done().await;
    let response = request.response().await;
    assert_eq!(response.code, 2);
    assert!(response.message.contains("stopped"), "{}", response.message);
    // The next request is the new one's.
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    request.webflow().await;
    drop(replacement);
}

fn redirect_uri(url: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    let (_, redirect_uri) =
        url.query_pairs().find(|(name, _)| name == "redirect_uri").expect("a redirect URI");
    redirect_uri.into_owned()
}

/// Waits until nobody listens there any more.
async fn closed(redirect_uri: &str) {
    let url = url::Url::parse(redirect_uri).expect("a URL");
    let address = (url.host_str().expect("a host").to_owned(), url.port().expect("a port"));
    let closing = async {
        while tokio::net::TcpStream::connect(address.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(stage::PATIENCE, closing).await.expect("the listener is closed");
}
