//! OCI remotes with no store: the registry's own challenge, credentials of other programs, and a person.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use flatpass_authenticator::registry::files::{AuthFile, AuthForm};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Client, OciAsk, REQUEST_INTERFACE, close};
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, Stage};
use crate::token_registry::{DIGEST, TokenFault, TokenRegistry, auth, basic};

const APP: &str = "app/org.test.Paid/x86_64/stable";
const LOCALE: &str = "runtime/org.test.Paid.Locale/x86_64/stable";
const FREE: &str = "app/org.test.Free/x86_64/stable";

fn ask(registry: &TokenRegistry) -> OciAsk {
    OciAsk::of(&format!("oci+http://{}/apps", registry.host), &registry.url).image(APP, "shop/paid", DIGEST)
}

/// A stage whose person has this file of credentials.
async fn stage_with(file: &serde_json::Value) -> (Stage, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("auth.json");
    std::fs::write(&path, file.to_string()).expect("written");
    (Stage::with(|environment| environment.auth_files = vec![current(path)]).await, folder)
}

fn current(path: PathBuf) -> AuthFile {
    AuthFile { path, form: AuthForm::Current }
}

#[tokio::test]
async fn open_images_need_no_token_and_others_get_an_anonymous_one_before_anybody_is_asked() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    registry.books().open.insert("shop/free".to_owned());
    registry.books().anonymous.insert("shop/paid".to_owned());
    let client = stage.client().await;
    let ask = ask(&registry).image(FREE, "shop/free", DIGEST).image(LOCALE, "shop/paid", DIGEST);
    let response = client.ask_oci(&ask).await;
    assert_eq!((response.code, response.message.as_str()), (0, ""));
    assert_eq!(response.token(FREE), Some(""));
    assert_eq!(response.token(APP), response.token(LOCALE), "one token for one repository");
    assert_ne!(response.token(APP), Some(""));
    assert!(registry.passwords_seen().is_empty());
    assert_eq!(registry.calls("/token"), 1);
    let queries: Vec<String> = registry.books().log.iter().map(|(_, path, _)| path.clone()).collect();
    let scope = "scope=repository%3Ashop%2Fpaid%3Apull";
    assert!(
        queries.iter().any(|path| path.ends_with(scope)),
        "pulling alone, whatever the challenge says: {queries:?}"
    );
    // From memory, until shortly before its end.
    assert_eq!(client.ask_oci(&ask).await.tokens, response.tokens);
    assert_eq!(registry.calls("/token"), 1);
    stage.clock.advance(241);
    assert_ne!(client.ask_oci(&ask).await.tokens, response.tokens);
    let fresh = OciAsk { fresh: true, ..ask };
    assert_eq!(client.ask_oci(&fresh).await.code, 0);
    assert_eq!(registry.calls("/token"), 3, "what was refused is not given again");
}

#[tokio::test]
async fn credentials_of_files_open_what_nobody_may_have() {
    let registry = TokenRegistry::start().await;
    registry.user("ann", "pw", &["shop/paid"]);
    let file = json!({ "auths": {
        (registry.host.as_str()): { "auth": auth("ann", "wrong") },
        (format!("{}/shop", registry.host)): { "auth": auth("ann", "pw") },
    }});
    let (stage, _folder) = stage_with(&file).await;
    let response = stage.client().await.ask_oci(&ask(&registry)).await;
    assert_eq!((response.code, response.message.as_str()), (0, ""));
    assert_eq!(registry.passwords_seen(), [basic("ann", "pw")], "the nearest one, and no other");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_not_for_each_repository() {
    let registry = TokenRegistry::start().await;
    registry.user("ann", "pw", &[]);
    let file = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "wrong") } } });
    let (stage, _folder) = stage_with(&file).await;
    let mut many = ask(&registry).quiet();
    for number in 0..30 {
        many = many.image(
            &format!("app/org.test.App{number}/x86_64/stable"),
            &format!("shop/app{number}"),
            DIGEST,
        );
    }
    let refused = stage.client().await.ask_oci(&many).await;
    assert!(refused.message.contains("does not accept"), "{}", refused.message);
    assert_eq!(registry.passwords_seen(), [basic("ann", "wrong")]);
}

#[tokio::test]
async fn a_token_server_that_is_rude_to_nobody_is_asked_as_somebody() {
    let registry = TokenRegistry::start().await;
    registry.user("ann", "pw", &["shop/paid"]);
    let file = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "pw") } } });
    let (stage, _folder) = stage_with(&file).await;
    let client = stage.client().await;
    for status in [400, 401, 403, 404] {
        registry.books().says_to_nobody = Some(status);
        let response = client.ask_oci(&OciAsk { fresh: true, ..ask(&registry) }).await;
        assert_eq!((response.code, response.message.as_str()), (0, ""), "{status}");
    }
    registry.books().says_to_nobody = Some(500);
    assert_eq!(client.ask_oci(&OciAsk { fresh: true, ..ask(&registry) }).await.code, 2);
}

#[tokio::test]
async fn a_credential_helper_is_asked_with_the_registrys_host_and_only_if_it_is_needed() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.books().refresh.insert("identity".to_owned(), "ann".to_owned());
    registry.books().rights.insert(("ann".to_owned(), "shop/paid".to_owned()));
    registry.books().open.insert("shop/free".to_owned());
    let helper = home.path("docker-credential-stage");
    let script = format!(
        "#!/bin/sh\nread -r server || true\necho \"$1 $server\" >> {}\necho '{{\"ServerURL\":\"\",\"Username\":\"<token>\",\"Secret\":\"identity\"}}'\n",
        home.path("asked").display()
    );
    std::fs::write(&helper, script).expect("written");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).expect("executable");
    std::fs::create_dir(home.path(".docker")).expect("a folder");
    std::fs::write(home.path(".docker/config.json"), r#"{"credsStore":"stage"}"#).expect("written");
    let search = std::env::var("PATH").expect("a path");
    let path = format!("{}:{search}", home.path("").display());
    let _service = home.serve_with(&bus, &[("PATH", &path)]).await;
    let client = Client::new(bus.connect().await).await;
    let free = OciAsk::of("oci+http://127.0.0.1:1/", &registry.url).image(FREE, "shop/free", DIGEST);
    assert_eq!(client.ask_oci(&free).await.code, 0);
    assert!(!home.path("asked").exists());
    registry.books().rights.insert(("ann".to_owned(), "shop/more".to_owned()));
    let response = client.ask_oci(&ask(&registry).image(LOCALE, "shop/more", DIGEST).quiet()).await;
    assert_eq!((response.code, response.message.as_str()), (0, ""));
    let asked = std::fs::read_to_string(home.path("asked")).expect("asked");
    assert_eq!(asked, format!("get {}\n", registry.host));
    assert!(registry.passwords_seen().is_empty(), "an identity token goes in a form");
}

#[tokio::test]
async fn a_person_is_asked_again_after_a_wrong_password_and_what_is_to_be_remembered_is() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    registry.user("ann", "pw", &["shop/paid", "shop/more"]);
    registry.user("bob", "pw", &[]);
    let client = stage.client().await;
    let two = ask(&registry).image(LOCALE, "shop/more", DIGEST);
    let mut request = client.begin_oci(&two).await;
    let (realm, error) = request.question().await;
    assert!(realm.starts_with(&registry.host) && realm.contains("registry login"), "{realm}");
    assert_eq!(error, None);
    request.reply("ann", "guess", false).await.expect("taken");
    let (_, error) = request.question().await;
    assert_eq!(error, Some(format!("{} does not accept that: wrong user or password", registry.host)));
    request.reply("bob", "pw", false).await.expect("taken");
    let (_, error) = request.question().await;
    assert_eq!(error, Some(format!("The account bob may not download {LOCALE}.")));
    request.reply("ann", "pw", true).await.expect("taken");
    let response = request.response().await;
    assert_eq!(response.code, 0, "{}", response.message);
    assert!(response.token(APP).is_some() && response.token(APP) != response.token(LOCALE));
    // Remembered, in a file here; so another day nobody is asked.
    stage.clock.advance(1000);
    assert_eq!(client.ask_oci(&two.quiet()).await.code, 0);
    let texts: Vec<String> =
        stage.records().iter().map(|path| std::fs::read_to_string(path).expect("text")).collect();
    assert!(texts.iter().any(|text| text.contains("\"ann\"")), "{texts:?}");
}

#[tokio::test]
async fn without_interaction_nobody_is_asked_and_the_sentence_says_what_to_do() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    let client = stage.client().await;
    let refused = client.ask_oci(&ask(&registry).quiet()).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(23)));
    assert_eq!(
        refused.message,
        format!(
            "The registry {0} wants to know who downloads {APP}. Run `flatpass-authenticator registry login {0}`, then try again.",
            registry.host
        )
    );
    registry.user("ann", "pw", &[]);
    let may_not = client.ask_oci(&ask(&registry).option("auth", &auth("ann", "pw")).quiet()).await;
    assert_eq!((may_not.code, may_not.error_code), (2, Some(24)));
    assert!(may_not.message.starts_with("The account ann may not download"), "{}", may_not.message);
    let wrong = client.ask_oci(&ask(&registry).option("auth", &auth("ann", "no")).quiet()).await;
    assert_eq!(wrong.error_code, Some(23));
    assert!(wrong.message.contains("does not accept the remote\u{2019}s option auth"), "{}", wrong.message);
}

#[tokio::test]
async fn an_answer_to_no_question_and_one_of_another_program_are_refused_and_close_ends_the_question() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    registry.user("ann", "pw", &["shop/paid"]);
    let client = stage.client().await;
    let mut request = client.begin_oci(&ask(&registry)).await;
    request.question().await;
    let other = stage.bus.connect().await;
    let body = ("ann", "pw", std::collections::HashMap::<&str, zbus::zvariant::Value<'_>>::new());
    let stranger = other.call_method(
        Some(crate::client::NAME),
        &request.path,
        Some(REQUEST_INTERFACE),
        "BasicAuthReply",
        &body,
    );
    assert!(stranger.await.is_err());
    request.reply("ann", "guess", false).await.expect("taken");
    request.question().await;
    close(&client.connection, &request.path).await.expect("closed");
    assert_eq!(request.response().await.code, 1);
    assert_eq!(registry.passwords_seen(), [basic("ann", "guess")]);
}

#[tokio::test]
async fn a_registry_that_knows_passwords_only_is_told_of_and_nobody_is_asked() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    registry.books().challenge = Some("Basic realm=\"stage\"".to_owned());
    let refused = stage.client().await.ask_oci(&ask(&registry).option("auth", &auth("ann", "pw"))).await;
    assert_eq!(refused.code, 2);
    assert!(refused.message.contains("(HTTP Basic), which Flatpak cannot send"), "{}", refused.message);
    assert!(registry.passwords_seen().is_empty());
}

#[tokio::test]
async fn an_index_that_points_at_a_collector_gets_nothing_of_another_hosts() {
    let (registry, collector) = (TokenRegistry::start().await, TokenRegistry::start().await);
    registry.user("ann", "pw", &["shop/paid"]);
    let file = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "pw") } } });
    let (stage, _folder) = stage_with(&file).await;
    let client = stage.client().await;
    // The collector says that it is the registry, as loudly as it can.
    collector.books().challenge =
        Some(format!(r#"Bearer realm="http://{}/token",service="{}""#, collector.host, registry.host));
    let index = format!("oci+http://{}/apps", registry.host);
    let pointed = OciAsk::of(&index, &collector.url)
        .image(APP, "shop/paid", DIGEST)
        .option("auth", &auth("ann", "pw"))
        .quiet();
    let refused = client.ask_oci(&pointed).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(23)));
    assert!(
        refused.message.contains(&format!("option auth is for {}", registry.host)),
        "{}",
        refused.message
    );
    assert!(collector.passwords_seen().is_empty());
    // Also when it names the real token server: the token would go to the collector.
    collector.books().challenge =
        Some(format!(r#"Bearer realm="http://{0}/token",service="{0}""#, registry.host));
    assert_eq!(client.ask_oci(&pointed).await.code, 2);
    assert!(registry.passwords_seen().is_empty() && collector.passwords_seen().is_empty());
    // The person may say that it is meant for it.
    let meant = pointed.option("auth-registry", &collector.host);
    client.ask_oci(&meant).await;
    assert!(!registry.passwords_seen().is_empty());
}

#[tokio::test]
async fn a_hostile_realm_gets_no_password() {
    let (registry, elsewhere) = (TokenRegistry::start().await, TokenRegistry::start().await);
    registry.user("ann", "pw", &["shop/paid"]);
    let file = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "pw") } } });
    let (stage, _folder) = stage_with(&file).await;
    let client = stage.client().await;
    let good = format!("http://{}/token", registry.host);
    for challenge in [
        r#"Bearer realm="http://collector.example/token",service="x""#.to_owned(),
        r#"Bearer realm="//collector.example/token""#.to_owned(),
        r#"Bearer realm="https://user:pw@collector.example/token""#.to_owned(),
        r#"Bearer realm="file:///etc/passwd""#.to_owned(),
        r#"Bearer realm="javascript:alert(1)""#.to_owned(),
        r#"Bearer service="x""#.to_owned(),
        format!(r#"Bearer realm="{good}",realm="http://{}/token""#, elsewhere.host),
        format!(r#"Bearer realm="{good}" service="x""#),
        format!(r#"Bearer realm="{good}"#),
        format!("Bearer realm=\"{good}\",service=\"{}\"", "x".repeat(9000)),
        "Negotiate".to_owned(),
        String::new(),
    ] {
        registry.books().challenge = Some(challenge.clone());
        let refused = client.ask_oci(&ask(&registry)).await;
        assert_eq!(refused.code, 2, "{challenge}");
        assert!(registry.passwords_seen().is_empty() && elsewhere.passwords_seen().is_empty(), "{challenge}");
    }
    // Not over TLS, so it may not name another host: what listens on a port here can be anybody's.
    registry.books().challenge = None;
    registry.books().realm = Some("https://127.0.0.2:9/token".to_owned());
    let refused = client.ask_oci(&ask(&registry)).await;
    assert_eq!(refused.code, 2);
    assert!(registry.passwords_seen().is_empty());
}

#[tokio::test]
async fn a_token_server_that_redirects_floods_or_lies_is_not_followed() {
    let (registry, elsewhere) = (TokenRegistry::start().await, TokenRegistry::start().await);
    let file = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "pw") } } });
    let (stage, _folder) = stage_with(&file).await;
    let client = stage.client().await;
    let lines = r#"{"token":"a\r\nX-Evil: yes"}"#.to_owned();
    for fault in [
        TokenFault::Redirect(format!("http://{}/token", elsewhere.host)),
        TokenFault::Redirect("/token?again".to_owned()),
        TokenFault::Endless,
        TokenFault::Body("application/json", lines),
        TokenFault::Body("application/json", "[".repeat(100_000)),
        TokenFault::Body("application/json", r#"{"token":""}"#.to_owned()),
        TokenFault::Body("application/json", format!(r#"{{"token":"{}"}}"#, "a".repeat(20_000))),
        TokenFault::Body("text/html", "<html>please sign in</html>".to_owned()),
    ] {
        registry.books().token_fault = Some(fault);
        let refused = client.ask_oci(&ask(&registry)).await;
        assert_eq!(refused.code, 2);
        assert_eq!(elsewhere.books().log.len(), 0, "{}", refused.message);
    }
    // A lying content type is no reason to refuse what is right.
    registry.books().anonymous.insert("shop/paid".to_owned());
    registry.books().token_fault = None;
    assert_eq!(client.ask_oci(&ask(&registry)).await.code, 0);
}

#[tokio::test]
async fn a_registry_that_sends_manifests_on_keeps_the_token_and_names_no_realm_for_others() {
    let (registry, elsewhere) = (TokenRegistry::start().await, TokenRegistry::start().await);
    let file = json!({ "auths": {
        (registry.host.as_str()): { "auth": auth("ann", "pw") },
        (elsewhere.host.as_str()): { "auth": auth("eve", "pw") },
    }});
    let (stage, _folder) = stage_with(&file).await;
    let client = stage.client().await;
    registry.books().moved = Some(format!("http://{}", elsewhere.host));
    let refused = client.ask_oci(&ask(&registry)).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert!(refused.message.contains("sends requests on"), "{}", refused.message);
    assert!(elsewhere.passwords_seen().is_empty() && elsewhere.calls("/token") == 0);
    elsewhere.books().open.insert("shop/paid".to_owned());
    assert_eq!(client.ask_oci(&ask(&registry)).await.token(APP), Some(""));
    // Only who has a token is sent on: the token stays at home.
    {
        let mut books = registry.books();
        books.anonymous.insert("shop/paid".to_owned());
        books.moved_with_token = books.moved.take();
    }
    let fresh = OciAsk { fresh: true, ..ask(&registry) };
    assert!(client.ask_oci(&fresh).await.token(APP).is_some_and(|token| !token.is_empty()));
    assert!(elsewhere.books().log.iter().all(|(_, _, sent)| sent.is_none()));
    // Who is sent back from there comes as a stranger: it is not the registry that says where to.
    elsewhere.books().moved = Some(format!("http://{}", registry.host));
    registry.books().log.clear();
    assert_eq!(client.ask_oci(&fresh).await.code, 2);
    let log = registry.books().log.clone();
    let with_token =
        log.iter().filter(|(_, _, sent)| sent.as_deref().is_some_and(|sent| sent.starts_with("Bearer ")));
    assert_eq!(with_token.count(), registry.calls("/token"), "each token was shown once: {log:?}");
    assert!(elsewhere.books().log.iter().all(|(_, _, sent)| sent.is_none()));
}

#[tokio::test]
async fn a_registry_of_the_network_gets_nothing_in_clear_text() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    registry.books().open.insert("shop/free".to_owned());
    let client = stage.client().await;
    // An address of the network as far as anybody can tell from it, and this machine's all the same.
    let far = registry.url.replace("127.0.0.1", "0.0.0.0");
    let ask = OciAsk::of("oci+https://shop.example/", &far).option("auth", &auth("ann", "pw"));
    let open = client.ask_oci(&ask.clone().image(FREE, "shop/free", DIGEST)).await;
    assert_eq!(open.token(FREE), Some(""), "{}", open.message);
    let refused = client.ask_oci(&ask.image(APP, "shop/paid", DIGEST)).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert!(refused.message.contains("reached over http"), "{}", refused.message);
    assert_eq!(registry.calls("/token"), 0);
}

#[tokio::test]
async fn an_address_of_a_registry_that_could_be_read_in_two_ways_gets_no_token() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (remote_uri, registry) in [
        ("oci+https://shop.example/", "ftp://registry.example/"),
        ("oci+https://shop.example/", "http://registry.example@127.0.0.1/"),
        ("oci+https://shop.example/", ""),
    ] {
        let ask = OciAsk::of(remote_uri, registry).image(APP, "shop/paid", DIGEST);
        let refused = client.ask_oci(&ask).await;
        assert_eq!(refused.code, 2, "{registry}");
        assert!(refused.message.contains("no token can be sent to"), "{}", refused.message);
    }
}

#[tokio::test]
async fn images_that_no_registry_could_have_are_refused_before_anything_is_sent() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    let client = stage.client().await;
    for (repository, digest) in [
        ("../../token", DIGEST),
        ("shop/paid?x", DIGEST),
        ("Shop/Paid", DIGEST),
        ("", DIGEST),
        ("shop/paid", "nonsense"),
        ("shop/paid", ""),
    ] {
        let ask = OciAsk::of("oci+http://127.0.0.1:1/", &registry.url).image(APP, repository, digest);
        let refused = client.ask_oci(&ask).await;
        assert_eq!(refused.code, 2, "{repository} {digest}");
    }
    assert_eq!(registry.books().log.len(), 0);
}

#[tokio::test]
async fn thirty_repositories_are_asked_for_one_by_one_each_with_its_own_token() {
    let (registry, stage) = (TokenRegistry::start().await, Stage::new().await);
    let mut ask = OciAsk::of("oci+http://127.0.0.1:1/", &registry.url);
    for number in 0..30 {
        let repository = format!("shop/app{number}");
        registry.books().anonymous.insert(repository.clone());
        ask = ask.image(&format!("app/org.test.App{number}/x86_64/stable"), &repository, DIGEST);
    }
    let response = stage.client().await.ask_oci(&ask).await;
    assert_eq!((response.code, response.tokens.len()), (0, 30));
    assert_eq!(registry.calls("/token"), 30);
}

/// `registry login` with a password from standard input.
pub(crate) async fn sign_in(home: &Home, bus: &Bus, host: &str, user: &str, password: &str) -> Output {
    let mut command = home.command(PROGRAM, bus);
    command.args(["registry", "login", host, "--user", user, "--password-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let password = format!("{password}\n");
    let run = move || {
        let mut child = command.spawn().expect("started");
        child.stdin.take().expect("piped").write_all(password.as_bytes()).expect("written");
        child.wait_with_output().expect("ended")
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test]
async fn a_sign_in_ahead_of_time_is_tried_and_remembered_and_forgotten() {
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.user("ann", "pa:ss wörd", &["shop/paid"]);
    let wrong = sign_in(&home, &bus, &registry.host, "ann", "no").await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("does not accept that: wrong user or password"), "{}", said(&wrong));
    assert!(home.texts("state").iter().all(|text| !text.contains("ann")), "nothing is kept");
    let right = sign_in(&home, &bus, &registry.host, "ann", "pa:ss wörd").await;
    assert!(said(&right).contains("in a file that only you can read"), "{}", said(&right));
    let list = home.run(&bus, &["registry", "list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    assert_eq!(
        (&list["registries"][0]["user"], &list["registries"][0]["kept_in"]),
        (&json!("ann"), &json!("file"))
    );

    let _service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    assert_eq!(client.ask_oci(&ask(&registry).quiet()).await.code, 0);

    let out = home.run(&bus, &["registry", "logout", &registry.host]).await;
    assert!(said(&out).contains("You are signed out"), "{}", said(&out));
    let fresh = OciAsk { fresh: true, ..ask(&registry).quiet() };
    assert_eq!(client.ask_oci(&fresh).await.code, 2);
}

#[tokio::test]
async fn a_refresh_token_is_kept_in_the_passwords_place_and_the_next_one_after_each_use() {
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.user("ann", "secret password", &["shop/paid"]);
    registry.books().rotates = true;
    let right = sign_in(&home, &bus, &registry.host, "ann", "secret password").await;
    assert_eq!(right.status.code(), Some(0), "{}", said(&right));
    assert!(home.texts("state").iter().all(|text| !text.contains("secret password")));
    let _service = home.serve(&bus).await;
    let client = Client::new(bus.connect().await).await;
    for _ in 0..3 {
        let fresh = OciAsk { fresh: true, ..ask(&registry).quiet() };
        let response = client.ask_oci(&fresh).await;
        assert_eq!((response.code, response.message.as_str()), (0, ""));
    }
    assert_eq!(registry.passwords_seen().len(), 1, "the password was sent once");
}

#[tokio::test]
async fn a_registry_that_asks_nobody_or_knows_passwords_only_has_nothing_to_sign_in_to() {
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.books().challenge = Some("Basic realm=\"stage\"".to_owned());
    let basic = sign_in(&home, &bus, &registry.host, "ann", "pw").await;
    assert!(said(&basic).contains("(HTTP Basic)"), "{}", said(&basic));
    registry.books().open.insert(String::new());
    let open = sign_in(&home, &bus, &registry.host, "ann", "pw").await;
    assert!(said(&open).contains("asks nobody who they are"), "{}", said(&open));
    let none = sign_in(&home, &bus, "http://registry.example/", "ann", "pw").await;
    assert!(said(&none).contains("reached over http"), "{}", said(&none));
    assert!(registry.passwords_seen().is_empty());
}
