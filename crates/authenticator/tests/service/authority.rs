//! A small authority for tests: right by default, wrong on demand. The real one is tested against in the
//! workspace's end-to-end tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Form, Json, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::machines::{self, Machines};

/// What the authority knows, and how it misbehaves.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) base: String,
    /// Refs that the one account owns.
    pub(crate) owned: BTreeSet<String>,
    /// Refs that need no token.
    pub(crate) open: BTreeSet<String>,
    /// Whether the person buys what the web flow offers.
    pub(crate) buys: bool,
    /// The name under which the machine must sign in, if it is known.
    pub(crate) device: Option<&'static str>,
    /// The folder that is served at `/repo/apps`, if there is one.
    pub(crate) repo: Option<std::path::PathBuf>,
    /// The index at `/repo/apps`, if it is an OCI repo.
    pub(crate) oci_index: Option<String>,
    /// What its ref tokens are said to be for.
    pub(crate) registry: Option<String>,
    /// Whether that folder opens to summary tokens and ref tokens only.
    pub(crate) is_private: bool,
    /// What the person answers on the page: sign in (`None`) or an OAuth error.
    pub(crate) denies: Option<&'static str>,
    /// Something else in place of the issuer in the browser's answer.
    pub(crate) foreign_iss: bool,
    /// Changes of the metadata document.
    pub(crate) metadata: Vec<(&'static str, Value)>,
    /// Answers in place of the right ones, by path.
    pub(crate) faults: HashMap<&'static str, Fault>,
    /// How many seconds ref tokens live.
    pub(crate) ref_token_seconds: i64,
    /// How many seconds access tokens live.
    pub(crate) access_seconds: i64,
    /// What the account is for the repo's index.
    pub(crate) index: Index,
    /// How many seconds summary tokens live.
    pub(crate) summary_seconds: i64,
    /// Called whenever ref tokens are asked for.
    pub(crate) on_use: Option<Hook>,

    pub(crate) codes: HashMap<String, (String, String)>,
    pub(crate) access: BTreeSet<String>,
    pub(crate) refresh: BTreeSet<String>,
    pub(crate) spent: BTreeSet<String>,
    pub(crate) revoked: Vec<String>,
    pub(crate) reused: bool,
    pub(crate) calls: BTreeMap<String, usize>,
    pub(crate) asked: Vec<Value>,
    pub(crate) bearers: Vec<Option<String>>,
    pub(crate) details: Vec<Value>,
    /// The summary tokens that are good.
    pub(crate) summary_tokens: BTreeSet<String>,
    pub(crate) machines: Machines,
    next: u32,
}

/// Who may see the repo's index.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    /// The account is a member.
    #[default]
    Member,
    /// The account is none.
    Outsider,
    /// Everybody.
    Public,
}

/// Something that looks at the world.
pub(crate) type Hook = Box<dyn Fn(&World) + Send>;

#[derive(Clone)]
pub(crate) enum Fault {
    Status(u16),
    Html,
    Body(&'static str, String),
    Redirect(String),
    Hang,
    /// The right answer, but late.
    Late(Duration),
    Huge,
    Endless,
}

pub(crate) struct Authority {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
    server: JoinHandle<()>,
}

pub(crate) type Shared = State<Arc<Mutex<World>>>;

impl Authority {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let world = Arc::new(Mutex::new(World {
            base: base.clone(),
            ref_token_seconds: 3600,
            access_seconds: 3600,
            summary_seconds: 3600,
            device: Some("Flatpak on test"),
            ..World::default()
        }));
        let router = router(Arc::clone(&world));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
        Self { url: format!("{base}/"), world, server }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic")
    }

    pub(crate) fn calls(&self, path: &str) -> usize {
        self.world().calls.get(path).copied().unwrap_or_default()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) fn router(world: Arc<Mutex<World>>) -> Router {
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/oauth/authorize", get(authorize))
        .route("/oauth/token", post(token))
        .route("/oauth/revoke", post(revoke))
        .route("/api/v1/ref-tokens", post(ref_tokens))
        .route("/api/v1/summary-tokens", post(summary_tokens))
        .route("/repo/apps/{*path}", get(repo_file))
        .route("/i/{secret}/apps/{*path}", get(secret_file))
        .merge(machines::router())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&world), misbehave))
        .with_state(world)
}

async fn misbehave(
    State(world): Shared,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let fault = {
        let mut world = world.lock().expect("no panic");
        *world.calls.entry(path.clone()).or_default() += 1;
        world.faults.get(path.as_str()).cloned()
    };
    match fault {
        None => next.run(request).await,
        Some(Fault::Status(status)) => StatusCode::from_u16(status).expect("a status").into_response(),
        Some(Fault::Html) => axum::response::Html("<!DOCTYPE html><title>Welcome</title>").into_response(),
        Some(Fault::Body(kind, body)) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        Some(Fault::Redirect(to)) => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        Some(Fault::Hang) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK.into_response()
        }
        Some(Fault::Late(delay)) => {
            let answer = next.run(request).await;
            tokio::time::sleep(delay).await;
            answer
        }
        Some(Fault::Huge) => {
            ([(header::CONTENT_TYPE, "application/json")], vec![b' '; 8 * 1024 * 1024]).into_response()
        }
        Some(Fault::Endless) => {
            let chunks = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, std::io::Error>(" "), ()))
            });
            let body = axum::body::Body::from_stream(chunks);
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

async fn metadata(State(world): Shared) -> Json<Value> {
    let world = world.lock().expect("no panic");
    let base = &world.base;
    let mut document = json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "flatpass_ref_tokens_endpoint": format!("{base}/api/v1/ref-tokens"),
        "flatpass_summary_tokens_endpoint": format!("{base}/api/v1/summary-tokens"),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    });
    machines::add_endpoints(base, &mut document);
    for (name, value) in &world.metadata {
        document[*name] = value.clone();
    }
    Json(document)
}

impl World {
    pub(crate) fn new_token(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}-{}", self.next)
    }

    pub(crate) fn pair(&mut self) -> Json<Value> {
        let (access, refresh) = (self.new_token("access"), self.new_token("refresh"));
        self.access.insert(access.clone());
        self.refresh.insert(refresh.clone());
        Json(
            json!({"access_token": access, "token_type": "Bearer", "expires_in": self.access_seconds, "refresh_token": refresh}),
        )
    }

    /// What happens when the account page signs the device out.
    pub(crate) fn sign_out(&mut self) {
        self.access.clear();
        self.refresh.clear();
        self.summary_tokens.clear();
    }
}

async fn authorize(State(world): Shared, Query(query): Query<HashMap<String, String>>) -> Response {
    let mut world = world.lock().expect("no panic");
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["client_id"], "flatpass-authenticator");
    assert_eq!(query["code_challenge_method"], "S256");
    let device = &query["device_name"];
    assert!(device.starts_with("Flatpak on ") && world.device.is_none_or(|expected| expected == device));
    let redirect_uri = &query["redirect_uri"];
    assert!(redirect_uri.starts_with("http://127.0.0.1:"), "{redirect_uri}");
    let mut to = url::Url::parse(redirect_uri).expect("a URL");
    to.query_pairs_mut().append_pair("state", &query["state"]);
    let iss = if world.foreign_iss { "https://evil.example".to_owned() } else { world.base.clone() };
    to.query_pairs_mut().append_pair("iss", &iss);
    if let Some(error) = world.denies {
        to.query_pairs_mut().append_pair("error", error);
    } else {
        if let Some(details) = query.get("authorization_details") {
            let details: Value = serde_json::from_str(details).expect("JSON");
            if world.buys {
                for name in details[0]["refs"].as_array().expect("refs") {
                    world.owned.insert(name.as_str().expect("a ref").to_owned());
                }
            }
            world.details.push(details);
        }
        let code = world.new_token("code");
        world.codes.insert(code.clone(), (redirect_uri.clone(), query["code_challenge"].clone()));
        to.query_pairs_mut().append_pair("code", &code);
    }
    (StatusCode::SEE_OTHER, [(header::LOCATION, to.to_string())]).into_response()
}

async fn token(State(world): Shared, Form(form): Form<HashMap<String, String>>) -> Response {
    let mut world = world.lock().expect("no panic");
    let refused = || (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    if let Some(answer) = machines::token(&mut world, &form) {
        return answer;
    }
    assert_eq!(form["client_id"], "flatpass-authenticator");
    match form["grant_type"].as_str() {
        "authorization_code" => {
            let Some((redirect_uri, challenge)) = world.codes.remove(&form["code"]) else { return refused() };
            let proof = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
            if redirect_uri != form["redirect_uri"] || challenge != proof {
                return refused();
            }
            world.pair().into_response()
        }
        "refresh_token" => {
            let given = form["refresh_token"].clone();
            if !world.refresh.remove(&given) {
                if world.spent.contains(&given) {
                    world.reused = true;
                    world.sign_out();
                }
                return refused();
            }
            world.spent.insert(given);
            world.pair().into_response()
        }
        other => panic!("{other}"),
    }
}

async fn repo_file(
    State(world): Shared,
    axum::extract::Path(path): axum::extract::Path<String>,
    headers: HeaderMap,
) -> Response {
    let repo = {
        let world = world.lock().expect("no panic");
        let opens = |token: &String| world.summary_tokens.contains(token) || token.starts_with("ref-");
        let is_member = bearer(&headers).as_ref().is_some_and(opens) || world.machines.opens_to(&headers);
        if world.is_private && !is_member {
            return unauthorized();
        }
        if let Some(index) = world.oci_index.clone().filter(|_| path == "index/static") {
            return ([(header::CONTENT_TYPE, "application/json")], index).into_response();
        }
        world.repo.clone()
    };
    match repo.and_then(|repo| std::fs::read(repo.join(path)).ok()) {
        Some(body) => body.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn secret_file(
    State(world): Shared,
    axum::extract::Path((secret, path)): axum::extract::Path<(String, String)>,
) -> Response {
    let world = world.lock().expect("no panic");
    match &world.oci_index {
        Some(index) if path == "index/static" && world.machines.secrets.contains(&secret) => {
            ([(header::CONTENT_TYPE, "application/json")], index.clone()).into_response()
        }
        _ => unauthorized(),
    }
}

async fn revoke(State(world): Shared, Form(form): Form<HashMap<String, String>>) -> StatusCode {
    let mut world = world.lock().expect("no panic");
    world.refresh.remove(&form["token"]);
    world.revoked.push(form["token"].clone());
    StatusCode::OK
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?;
    Some(value.to_str().expect("text").trim_start_matches("Bearer ").to_owned())
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")]).into_response()
}

fn problem(world: &World, status: StatusCode, kind: &str, detail: &str) -> Response {
    let document = json!({"type": format!("{}/problems/{kind}", world.base), "detail": detail, "status": status.as_u16()});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], document.to_string()).into_response()
}

async fn summary_tokens(State(world): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut world = world.lock().expect("no panic");
    world.asked.push(body.clone());
    if bearer(&headers).is_none_or(|bearer| !world.access.contains(&bearer)) {
        return unauthorized();
    }
    if body["repo_url"] != format!("{}/repo/apps", world.base) {
        return problem(&world, StatusCode::NOT_FOUND, "unknown-repo", "Unknown repo");
    }
    let token = match world.index {
        Index::Public => String::new(),
        Index::Outsider => {
            let detail = "You are no member of apps. Ask the store for an invitation.";
            return problem(&world, StatusCode::FORBIDDEN, "not-a-member", detail);
        }
        Index::Member => world.new_token("summary"),
    };
    world.summary_tokens.insert(token.clone());
    Json(json!({"repo": "apps", "token": token, "expires_in": world.summary_seconds})).into_response()
}

async fn ref_tokens(State(world): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut world = world.lock().expect("no panic");
    let bearer = bearer(&headers);
    world.bearers.push(bearer.clone());
    world.asked.push(body.clone());
    if let Some(on_use) = world.on_use.take() {
        on_use(&world);
        world.on_use = Some(on_use);
    }
    if bearer.as_ref().is_some_and(|bearer| !world.access.contains(bearer)) {
        return unauthorized();
    }
    if body["repo_url"] != format!("{}/repo/apps", world.base) {
        return problem(&world, StatusCode::NOT_FOUND, "unknown-repo", "Unknown repo");
    }
    let (mut granted, mut open, mut denied) = (Vec::new(), Vec::new(), Vec::new());
    for item in body["refs"].as_array().expect("refs") {
        let name = item["ref"].as_str().expect("a ref").to_owned();
        let app = name.split('/').nth(1).expect("an id").trim_end_matches(".Locale").to_owned();
        if world.open.contains(&name) {
            open.push(name);
        } else if name.contains("Unknown") {
            denied.push(json!({"ref": name, "reason": "not_found", "app": app, "message": format!("There is no {app} here.")}));
        } else if bearer.is_none() {
            denied.push(json!({"ref": name, "reason": "sign_in_required", "app": app, "message": format!("Sign in to get {app}.")}));
        } else if world.owned.iter().any(|owned| owned.contains(&format!("/{app}/"))) {
            granted.push(name);
        } else {
            denied.push(json!({"ref": name, "reason": "purchase_required", "app": app, "message": format!("{app} costs 5 EUR."),
                "url": format!("{}/apps/apps/{app}", world.base)}));
        }
    }
    let mut tokens = Vec::new();
    if !granted.is_empty() {
        let token = world.new_token("ref");
        tokens.push(json!({"token": token, "expires_in": world.ref_token_seconds, "refs": granted}));
    }
    let mut answer = json!({"repo": "apps", "tokens": tokens, "open": open, "denied": denied});
    // A private repo's registry is no stranger's business.
    if let Some(registry) = world.registry.as_ref().filter(|_| bearer.is_some() || !world.is_private) {
        answer["registry"] = registry.clone().into();
    }
    Json(answer).into_response()
}

/// A browser that does what the pages want and comes back. Gives the last page.
pub(crate) async fn browse(url: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let response = client.get(url).send().await.expect("a page");
    (response.status().as_u16(), response.text().await.expect("a page"))
}
