//! A small container registry with its token server: right by default, wrong on demand. The real one is tested
//! against in the workspace's end-to-end tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::task::JoinHandle;

/// The digest of every manifest here, in hex.
pub(crate) const DIGEST: &str = "28a7e1620c7576ef2e839bc0acd419c31ff382044c01446c26f6f94cecd8da16";

/// How the token server misbehaves.
#[derive(Clone)]
pub(crate) enum TokenFault {
    Redirect(String),
    /// This body with this content type.
    Body(&'static str, String),
    Endless,
}

#[derive(Default)]
pub(crate) struct Books {
    /// Repositories for everybody, with no token.
    pub(crate) open: BTreeSet<String>,
    /// Repositories for everybody, with a token.
    pub(crate) anonymous: BTreeSet<String>,
    /// Passwords.
    pub(crate) users: BTreeMap<String, String>,
    /// Refresh tokens, and whose they are.
    pub(crate) refresh: BTreeMap<String, String>,
    /// Whether a refresh token is given out for a password, and another one for each that is used.
    pub(crate) rotates: bool,
    /// Who may pull what.
    pub(crate) rights: BTreeSet<(String, String)>,
    /// `WWW-Authenticate` in place of the right one.
    pub(crate) challenge: Option<String>,
    /// The token server in place of this one.
    pub(crate) realm: Option<String>,
    pub(crate) token_fault: Option<TokenFault>,
    /// What the token server says to nobody, in place of a token.
    pub(crate) says_to_nobody: Option<u16>,
    /// Where manifests are sent on to.
    pub(crate) moved: Option<String>,
    /// Where they are sent on to for who has a token.
    pub(crate) moved_with_token: Option<String>,
    /// How many seconds tokens live.
    pub(crate) seconds: i64,
    /// All requests: method, path with query, and what was in Authorization.
    pub(crate) log: Vec<(Method, String, Option<String>)>,
    tokens: BTreeMap<String, BTreeSet<String>>,
    next: u32,
}

pub(crate) struct TokenRegistry {
    pub(crate) url: String,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    books: Arc<Mutex<Books>>,
    server: JoinHandle<()>,
}

impl TokenRegistry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let host = listener.local_addr().expect("bound").to_string();
        let books = Arc::new(Mutex::new(Books { seconds: 300, ..Books::default() }));
        let state = (host.clone(), Arc::clone(&books));
        let router = Router::new().fallback(answer).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        Self { url: format!("http://{host}/"), host, books, server }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no panic")
    }

    /// A user who may pull these repositories.
    pub(crate) fn user(&self, name: &str, password: &str, repositories: &[&str]) {
        let mut books = self.books();
        books.users.insert(name.to_owned(), password.to_owned());
        for repository in repositories {
            books.rights.insert((name.to_owned(), (*repository).to_owned()));
        }
    }

    /// A token that was got elsewhere, and opens these repositories.
    pub(crate) fn ready(&self, token: &str, repositories: &[&str]) {
        let opened = repositories.iter().map(|repository| (*repository).to_owned()).collect();
        self.books().tokens.insert(token.to_owned(), opened);
    }

    /// What was sent in Authorization, but for tokens.
    pub(crate) fn passwords_seen(&self) -> Vec<String> {
        let log = self.books().log.clone();
        log.into_iter().filter_map(|(_, _, sent)| sent).filter(|sent| !sent.starts_with("Bearer ")).collect()
    }

    /// How many requests there were whose path begins so.
    pub(crate) fn calls(&self, prefix: &str) -> usize {
        self.books().log.iter().filter(|(_, path, _)| path.starts_with(prefix)).count()
    }
}

impl Drop for TokenRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", auth(user, password))
}

/// `auth` of a credentials file.
pub(crate) fn auth(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

async fn answer(State((host, books)): State<(String, Arc<Mutex<Books>>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().expect("a path").to_string();
    let sent = head.headers.get(header::AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("read");
    let form = String::from_utf8(body.to_vec()).expect("text");
    let mut books = books.lock().expect("no panic");
    books.log.push((head.method.clone(), path.clone(), sent.clone()));
    if path.starts_with("/token") {
        return token(
            &mut books,
            head.method == Method::POST,
            head.uri.query().unwrap_or_default(),
            &form,
            sent.as_deref(),
        );
    }
    let below = path.trim_start_matches("/v2/").split("/manifests/").next().unwrap_or_default().to_owned();
    let has_token = sent.as_deref().is_some_and(|sent| sent.starts_with("Bearer "));
    let moved = books.moved.as_ref().or(books.moved_with_token.as_ref().filter(|_| has_token));
    if let Some(moved) = moved {
        let to = format!("{moved}{path}");
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    let bearer = sent.as_deref().and_then(|sent| sent.strip_prefix("Bearer "));
    let opens =
        bearer.and_then(|token| books.tokens.get(token)).is_some_and(|opened| opened.contains(&below));
    if books.open.contains(&below) || opens {
        return StatusCode::OK.into_response();
    }
    let realm = books.realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
    let scope = format!("repository:{below}:pull,push");
    let challenge = books
        .challenge
        .clone()
        .unwrap_or_else(|| format!(r#"Bearer realm="{realm}",service="{host}",scope="{scope}""#));
    let mut refused = StatusCode::UNAUTHORIZED.into_response();
    for line in challenge.split('\n') {
        refused.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_str(line).expect("a value"));
    }
    refused
}

fn token(books: &mut Books, is_post: bool, query: &str, form: &str, sent: Option<&str>) -> Response {
    match books.token_fault.clone() {
        Some(TokenFault::Redirect(to)) => {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
        }
        Some(TokenFault::Body(kind, body)) => return ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Some(TokenFault::Endless) => {
            let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from_static(&[b' '; 65536]));
            return Body::from_stream(futures_util::stream::repeat_with(chunk)).into_response();
        }
        None => {}
    }
    let asked: BTreeMap<String, String> =
        url::form_urlencoded::parse(if is_post { form } else { query }.as_bytes()).into_owned().collect();
    let no = |words: &str| {
        let body = json!({ "errors": [{ "code": "UNAUTHORIZED", "message": words }] });
        (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
    };
    let user = if is_post {
        assert_eq!(asked["grant_type"], "refresh_token");
        match books.refresh.get(&asked["refresh_token"]) {
            Some(user) => Some(user.clone()),
            None => return no("that refresh token is not known"),
        }
    } else {
        match sent {
            None if books.says_to_nobody.is_some() => {
                let status = books.says_to_nobody.and_then(|status| StatusCode::from_u16(status).ok());
                return status.expect("a status").into_response();
            }
            None => None,
            Some(sent) => match books.users.iter().find(|(user, password)| basic(user, password) == sent) {
                Some((user, _)) => Some(user.clone()),
                None => return no("wrong user or password"),
            },
        }
    };
    let mut opened = BTreeSet::new();
    if let Some(scope) = asked.get("scope").filter(|scope| !scope.is_empty()) {
        let repository = scope.strip_prefix("repository:").and_then(|scope| scope.strip_suffix(":pull"));
        let repository = repository.expect("pull of one repository").to_owned();
        let may =
            user.as_ref().is_some_and(|user| books.rights.contains(&(user.clone(), repository.clone())));
        if may || books.anonymous.contains(&repository) {
            opened.insert(repository);
        }
    }
    books.next += 1;
    let token = format!("token-{}", books.next);
    books.tokens.insert(token.clone(), opened);
    let mut answer = json!({ "token": token, "expires_in": books.seconds });
    if let Some(user) = user.filter(|_| books.rotates && (is_post || asked.contains_key("offline_token"))) {
        let refresh = format!("refresh-{}", books.next);
        if is_post {
            books.refresh.remove(&asked["refresh_token"]);
        }
        books.refresh.insert(refresh.clone(), user);
        answer["refresh_token"] = refresh.into();
    }
    axum::Json(answer).into_response()
}
