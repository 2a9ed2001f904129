//! The client against a registry made of scripted answers, over real sockets.

#![cfg(feature = "client")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flatpass_oci::client::{
    Access, Asked, HttpLimits, Login, Realm, RegistryAddress, RegistryClient, RegistryError, TokenExchange,
    TokenRequest,
};
use flatpass_oci::{Digest, MAX_DOCUMENT_BYTES, MediaType, Reference, RepositoryName, Scope, Tag};
use flatpass_token::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// One request as it came: its head, in lower case but for the first line, and its body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    head: String,
    body: String,
}

impl Seen {
    fn authorization(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("authorization: "))
    }
}

/// A server whose answers a function makes; one connection for each.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str, &Seen) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (own, requests) = (url.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let request = loop {
                    if let Some(request) = read(&bytes) {
                        break request;
                    }
                    let mut piece = [0; 4096];
                    match stream.read(&mut piece).await.unwrap() {
                        0 => break Seen { line: String::new(), head: String::new(), body: String::new() },
                        count => bytes.extend_from_slice(&piece[..count]),
                    }
                };
                let said = answer(&own, &request);
                requests.lock().unwrap().push(request);
                let _ = stream.write_all(said.as_bytes()).await;
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

fn read(bytes: &[u8]) -> Option<Seen> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, head) = head.split_once("\r\n")?;
    let head: String = head
        .split("\r\n")
        .map(|field| {
            let (name, value) = field.split_once(": ").unwrap_or((field, ""));
            format!("{}: {value}\n", name.to_ascii_lowercase())
        })
        .collect();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if body.len() < length.unwrap_or(0) {
        return None;
    }
    let line = line.strip_suffix(" HTTP/1.1")?.to_owned();
    Some(Seen { line, head, body: body.to_owned() })
}

fn answer(status: u16, fields: &[(&str, &str)], body: &str) -> String {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{fields}\r\n{body}")
}

fn challenge(realm: &str) -> String {
    let bearer =
        format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:evil/all:pull,push,delete\"");
    answer(
        401,
        &[("WWW-Authenticate", &bearer)],
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}"#,
    )
}

fn name() -> RepositoryName {
    RepositoryName::parse("shop/app").unwrap()
}

fn tag() -> Tag {
    Tag::parse("stable").unwrap()
}

fn robot() -> Access {
    Access::Login { user: "robot".to_owned(), password: Secret::from("pw".to_owned()), realms: None }
}

fn client(url: &str, access: Access) -> RegistryClient {
    RegistryClient::new(RegistryAddress::parse(url).unwrap(), access, &HttpLimits::default()).unwrap()
}

const INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

fn manifest_answer() -> String {
    let digest = Digest::of(INDEX.as_bytes()).to_string();
    answer(200, &[("Content-Type", MediaType::INDEX), ("Docker-Content-Digest", &digest)], INDEX)
}

const BASIC: &str = "Basic cm9ib3Q6cHc=";

#[tokio::test]
async fn a_token_is_asked_for_once_with_the_narrowest_scope_and_used_until_its_end() {
    let server = Server::start(|own, seen| {
        if seen.line.starts_with("GET /token") {
            answer(200, &[], r#"{"access_token":"T","expires_in":300}"#)
        } else if seen.authorization() == Some("Bearer T") {
            manifest_answer()
        } else {
            challenge(&format!("{own}/token?kept=1"))
        }
    })
    .await;
    let client = client(&server.url, robot());
    for _ in 0..3 {
        client.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    }
    let lines = server.lines();
    let manifest = "GET /v2/shop/app/manifests/stable";
    let token = "GET /token?kept=1&service=reg&scope=repository%3Ashop%2Fapp%3Apull&account=robot";
    assert_eq!(lines, [manifest, token, manifest, manifest, manifest]);
    let seen = server.seen();
    assert_eq!(seen[0].authorization(), None);
    assert_eq!(seen[1].authorization(), Some(BASIC));
    assert_eq!(seen[2].authorization(), Some("Bearer T"));
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_not_used_again() {
    let count = Arc::new(Mutex::new(0));
    let server = Server::start(move |own, seen| {
        let mut count = count.lock().unwrap();
        if seen.line.starts_with("GET /token") {
            *count += 1;
            answer(200, &[], &format!(r#"{{"token":"T{count}","expires_in":10}}"#))
        } else if seen.authorization() == Some(&format!("Bearer T{count}")) {
            manifest_answer()
        } else {
            challenge(&format!("{own}/token"))
        }
    })
    .await;
    let client = client(&server.url, Access::Anonymous);
    client.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    client.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    let tokens: Vec<_> =
        server.seen().iter().filter_map(|seen| seen.authorization().map(str::to_owned)).collect();
    assert_eq!(tokens, ["Bearer T1", "Bearer T2"]);
}

#[tokio::test]
async fn redirects_elsewhere_get_no_credentials() {
    let elsewhere = Server::start(|_, _| manifest_answer()).await;
    let to = elsewhere.url.clone();
    let server = Server::start(move |own, seen| {
        if seen.line.starts_with("GET /token") {
            answer(200, &[], r#"{"token":"T"}"#)
        } else if seen.authorization() != Some("Bearer T") {
            challenge(&format!("{own}/token"))
        } else if seen.line.contains("again") {
            answer(307, &[("Location", &format!("{to}/bucket/x?signed=1"))], "")
        } else {
            answer(307, &[("Location", "/v2/again")], "")
        }
    })
    .await;
    let client = client(&server.url, robot());
    client.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "GET /bucket/x?signed=1");
    assert_eq!(seen[0].authorization(), None);
    let last = server.seen().pop().unwrap();
    assert_eq!((last.line.as_str(), last.authorization()), ("GET /v2/again", Some("Bearer T")));
}

#[tokio::test]
async fn a_challenge_of_somebody_else_after_a_redirect_is_not_obeyed() {
    let collector = Server::start(|own, _| challenge(&format!("{own}/token"))).await;
    let to = collector.url.clone();
    let server = Server::start(move |_, _| answer(302, &[("Location", &format!("{to}/x"))], "")).await;
    let refused = client(&server.url, robot()).manifest(&name(), &Reference::Tag(tag())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Refused { status: 401, .. }), "{refused}");
    assert!(collector.seen().iter().all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn a_password_goes_to_no_other_token_server_than_the_one_it_is_for() {
    let collector = Server::start(|_, _| answer(200, &[], r#"{"token":"T"}"#)).await;
    let realm = format!("{}/token", collector.url);
    let server = Server::start(move |_, _| challenge(&realm)).await;
    let access = Access::Login {
        user: "robot".to_owned(),
        password: Secret::from("pw".to_owned()),
        realms: Some(vec!["auth.example".to_owned()]),
    };
    let refused = client(&server.url, access).manifest(&name(), &Reference::Tag(tag())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotForThisRealm { .. }), "{refused}");
    assert!(collector.seen().is_empty());
}

#[tokio::test]
async fn a_registry_that_names_another_token_server_later_gets_no_password_sent_there() {
    let collector = Server::start(|_, _| answer(200, &[], r#"{"token":"T"}"#)).await;
    let evil = format!("{}/token", collector.url);
    let turned = Arc::new(Mutex::new(false));
    let turn = Arc::clone(&turned);
    let server = Server::start(move |own, seen| {
        if *turned.lock().unwrap() {
            return challenge(&evil);
        }
        match seen.authorization() {
            Some("Bearer T") => manifest_answer(),
            Some(_) => answer(200, &[], r#"{"token":"T"}"#),
            None => challenge(&format!("{own}/token")),
        }
    })
    .await;
    let client = client(&server.url, robot());
    client.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    *turn.lock().unwrap() = true;
    let refused = client.manifest(&name(), &Reference::Tag(tag())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::NotForThisRealm { .. }), "{refused}");
    assert!(collector.seen().is_empty());
}

#[tokio::test]
async fn a_registry_that_wants_the_password_itself_later_does_not_get_it() {
    let turned = Arc::new(Mutex::new(false));
    let turn = Arc::clone(&turned);
    let server = Server::start(move |own, seen| {
        if *turned.lock().unwrap() {
            return answer(401, &[("WWW-Authenticate", "Basic realm=x")], "");
        }
        match seen.authorization() {
            Some("Bearer T") => manifest_answer(),
            Some(_) => answer(200, &[], r#"{"token":"T"}"#),
            None => challenge(&format!("{own}/token")),
        }
    })
    .await;
    let first = client(&server.url, robot());
    first.manifest(&name(), &Reference::Tag(tag())).await.unwrap();
    *turn.lock().unwrap() = true;
    // Nor does a client that was made after it turned, where the password is bound to a token server.
    let bound = Access::Login {
        user: "robot".to_owned(),
        password: Secret::from("pw".to_owned()),
        realms: Some(vec!["auth.example".to_owned()]),
    };
    let before = server.seen().len();
    for client in [first, client(&server.url, bound)] {
        let refused = client.manifest(&name(), &Reference::Tag(tag())).await.unwrap_err();
        assert!(matches!(refused, RegistryError::NoTokenServerAnyMore { .. }), "{refused}");
    }
    let basic = |authorization: &str| authorization.starts_with("Basic");
    assert!(!server.seen().iter().skip(before).any(|seen| seen.authorization().is_some_and(basic)));
}

#[test]
fn token_servers_are_https_or_on_this_machine() {
    for good in
        ["https://auth.example/token", "http://127.0.0.1:5001/t", "http://localhost/t", "http://[::1]/t"]
    {
        assert!(Realm::parse(good, "reg").is_ok(), "{good}");
    }
    for bad in [
        "http://auth.example/token",
        "http://10.0.0.1/t",
        "https://user:pw@auth.example/",
        "https://user@auth.example/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "/token",
        "",
        "data:text/plain,x",
    ] {
        assert!(matches!(Realm::parse(bad, "reg"), Err(RegistryError::InsecureRealm { .. })), "{bad}");
    }
}

#[test]
fn what_is_asked_for_is_read_from_all_fields_and_a_token_goes_before_a_password() {
    let headers = |fields: &[&str]| {
        let mut map = http::HeaderMap::new();
        for field in fields {
            map.append("www-authenticate", field.parse().unwrap());
        }
        map
    };
    let asked =
        Asked::read(&headers(&["Basic realm=x", "Bearer realm=\"https://a/t\", service=s"]), "reg").unwrap();
    let Asked::Token { realm, service } = asked else { panic!("a token") };
    assert_eq!((realm.url().as_str(), service.as_deref()), ("https://a/t", Some("s")));
    assert_eq!(Asked::read(&headers(&["Basic realm=x"]), "reg").unwrap(), Asked::Basic);
    for bad in [
        &[][..],
        &["Bearer"],
        &["Negotiate abc"],
        &["Bearer realm=\"http://a.example/\""],
        &["Bearer realm=a, realm=b"],
    ] {
        assert!(Asked::read(&headers(bad), "reg").is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn contents_that_are_not_what_their_digest_says_are_refused() {
    let other = Digest::of(b"another");
    let said = other.to_string();
    let server = Server::start(move |_, seen| {
        if seen.line.contains("stable") {
            answer(200, &[("Content-Type", MediaType::INDEX), ("Docker-Content-Digest", &said)], INDEX)
        } else {
            answer(200, &[("Content-Type", MediaType::INDEX)], INDEX)
        }
    })
    .await;
    let client = client(&server.url, Access::Anonymous);
    for reference in [Reference::Tag(tag()), Reference::Digest(other)] {
        let refused = client.manifest(&name(), &reference).await.unwrap_err();
        assert!(matches!(refused, RegistryError::WrongDigest { .. }), "{refused}");
    }
    let right = Reference::Digest(Digest::of(INDEX.as_bytes()));
    assert!(client.manifest(&name(), &right).await.is_ok());
}

#[tokio::test]
async fn bodies_without_end_and_lists_in_a_circle_are_cut_off() {
    let server = Server::start(|_, seen| {
        if seen.line.contains("manifests") {
            let large = "x".repeat(MAX_DOCUMENT_BYTES + 1);
            format!(
                "HTTP/1.1 200 X\r\nContent-Type: {}\r\nConnection: close\r\n\r\n{large}",
                MediaType::INDEX
            )
        } else if seen.line.contains("_catalog") {
            answer(200, &[("Link", "</v2/_catalog?n=100>; rel=\"next\"")], r#"{"repositories":["a"]}"#)
        } else {
            answer(
                200,
                &[("Link", "<http://other.example/v2/x/tags/list>; rel=next")],
                r#"{"tags":["a","-bad"]}"#,
            )
        }
    })
    .await;
    let client = client(&server.url, Access::Anonymous);
    let refused = client.manifest(&name(), &Reference::Tag(tag())).await.unwrap_err();
    assert!(matches!(refused, RegistryError::TooLarge { .. }), "{refused}");
    let refused = client.repositories().await.unwrap_err();
    assert!(matches!(refused, RegistryError::TooMany { .. }), "{refused}");
    // A page elsewhere is no page of this registry.
    assert_eq!(client.tags(&name()).await.unwrap(), [Tag::parse("a").unwrap()]);
}

#[tokio::test]
async fn pages_are_followed_and_words_of_refusals_kept() {
    let server = Server::start(|_, seen| {
        if seen.line == "GET /v2/_catalog?n=100" {
            let link = "</v2/_catalog?last=a&n=100>; rel=\"next\"";
            answer(200, &[("Link", link)], r#"{"repositories":["a"]}"#)
        } else if seen.line == "GET /v2/_catalog?last=a&n=100" {
            answer(200, &[], r#"{"repositories":["b","NO"]}"#)
        } else if seen.line.contains("tags") {
            answer(429, &[("Retry-After", "7")], "")
        } else {
            answer(403, &[], r#"{"errors":[{"code":"DENIED","message":"not\u0007 for you"}]}"#)
        }
    })
    .await;
    let client = client(&server.url, Access::Anonymous);
    let names = client.repositories().await.unwrap();
    assert_eq!(names.iter().map(RepositoryName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    let throttled = client.tags(&name()).await.unwrap_err();
    let RegistryError::Throttled { retry_after, .. } = throttled else { panic!("{throttled}") };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    let refused = client.resolve(&name(), &tag()).await.unwrap_err();
    assert!(matches!(&refused, RegistryError::Refused { status: 403, .. }), "{refused}");
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_by_post_and_stays_out_of_the_address() {
    let server = Server::start(|_, seen| match seen.line.as_str() {
        "POST /t" => answer(200, &[], r#"{"access_token":"A","expires_in":5,"refresh_token":"R2"}"#),
        _ => answer(200, &[], r#"{"token":"B","refresh_token":"R1"}"#),
    })
    .await;
    let exchange = TokenExchange::new(&HttpLimits::default()).unwrap();
    let realm = Realm::parse(&format!("{}/t", server.url), "reg").unwrap();
    let scopes = [Scope::pull(name()), Scope::parse("repository:shop/b:push").unwrap()];
    let refresh = Secret::from("R1".to_owned());
    let request = TokenRequest {
        realm: &realm,
        service: Some("reg"),
        scopes: &scopes,
        login: Login::Anonymous,
        offline: true,
        may_have: &|_| true,
    };
    let first = exchange.ask(&request).await.unwrap();
    assert_eq!((first.secret.expose(), first.expires_in), ("B", Duration::from_secs(60)));
    assert_eq!(first.refresh.unwrap().expose(), "R1");
    let second = exchange.ask(&TokenRequest { login: Login::Refresh(&refresh), ..request }).await.unwrap();
    assert_eq!((second.secret.expose(), second.expires_in), ("A", Duration::from_secs(5)));
    let seen = server.seen();
    assert_eq!(
        seen[0].line,
        "GET /t?service=reg&scope=repository%3Ashop%2Fapp%3Apull&scope=repository%3Ashop%2Fb%3Apush\
         &offline_token=true&client_id=flatpass"
    );
    assert_eq!(seen[1].line, "POST /t");
    assert!(
        seen[1].body.contains("refresh_token=R1")
            && seen[1].body.contains("scope=repository%3Ashop%2Fapp%3Apull+")
    );
    let refused = TokenRequest { login: Login::Refresh(&refresh), may_have: &|_| false, ..request };
    assert!(matches!(exchange.ask(&refused).await, Err(RegistryError::NotForThisRealm { .. })));
}

#[tokio::test]
async fn a_token_server_that_sends_no_token_or_redirects_is_refused() {
    for (said, wrong) in [
        (answer(200, &[], "{}"), "no token"),
        (answer(200, &[], r#"{"token":""}"#), "no token"),
        (answer(200, &[], r#"{"token":"a b"}"#), "no token"),
        (answer(200, &[], r#"{"token":"a\r\nX: y"}"#), "no token"),
        (answer(302, &[("Location", "https://collector.example/")], ""), "not followed"),
        (answer(401, &[], r#"{"details":"incorrect username or password"}"#), "incorrect username"),
    ] {
        let server = Server::start(move |_, _| said.clone()).await;
        let exchange = TokenExchange::new(&HttpLimits::default()).unwrap();
        let realm = Realm::parse(&format!("{}/t", server.url), "reg").unwrap();
        let password = Secret::from("pw".to_owned());
        let login = Login::Basic { user: "robot", password: &password };
        let request = TokenRequest {
            realm: &realm,
            service: None,
            scopes: &[],
            login,
            offline: false,
            may_have: &|_| true,
        };
        let error = exchange.ask(&request).await.unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_repeats_what_it_was_sent_puts_no_password_into_messages() {
    for basic in [false, true] {
        let server = Server::start(move |own, seen| match seen.authorization() {
            Some(sent) => {
                let words = format!("you sent {sent}, that is robot and correct horse");
                answer(403, &[], &format!(r#"{{"errors":[{{"message":"{words}"}}]}}"#))
            }
            None if basic => answer(401, &[("WWW-Authenticate", "Basic realm=x")], ""),
            None => challenge(&format!("{own}/token")),
        })
        .await;
        let login = Access::Login {
            user: "robot".to_owned(),
            password: "correct horse".to_owned().into(),
            realms: None,
        };
        let refused = client(&server.url, login).tags(&name()).await.unwrap_err().to_string();
        assert!(refused.contains("you sent Basic …, that is robot and …"), "{refused}");
    }
    let server = Server::start(|own, seen| match seen.authorization() {
        Some(_) => answer(200, &[], r#"{"token":"t","expires_in":"correct horse"}"#),
        None => challenge(&format!("{own}/token")),
    })
    .await;
    let login =
        Access::Login { user: "robot".to_owned(), password: "correct horse".to_owned().into(), realms: None };
    let refused = client(&server.url, login).tags(&name()).await.unwrap_err().to_string();
    assert!(refused.contains("cannot be read") && !refused.contains("correct horse"), "{refused}");
}
