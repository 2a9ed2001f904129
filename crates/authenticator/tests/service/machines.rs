//! What the test authority has for machines: the device grant, robots, and the secrets of devices.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use axum::Router;
use axum::extract::{Form, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::authority::{Shared, World};

pub(crate) const USER_CODE: &str = "BCDF-GHJK";

/// What the authority knows of machines.
#[derive(Default)]
pub(crate) struct Machines {
    /// What the token endpoint says to the next questions about a device code: an error, or a status; then it is granted.
    pub(crate) polls: VecDeque<&'static str>,
    /// When it was asked.
    pub(crate) polled: Vec<Instant>,
    /// Changes of the device authorization answer.
    pub(crate) device_answer: Vec<(&'static str, Value)>,
    pub(crate) device_codes: BTreeMap<String, String>,
    /// Robots and their secrets.
    pub(crate) robots: BTreeMap<String, String>,
    /// Access tokens that robots were given.
    pub(crate) robot_access: Vec<String>,
    /// Whether the account is none of the repo's members.
    pub(crate) outsider: bool,
    /// The secrets that open the repo, and the names of all that were ever made.
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) names: Vec<String>,
    /// The `.flatpakrepo` of the repo, if the authority serves one.
    pub(crate) flatpakrepo: Option<String>,
}

impl Machines {
    /// Whether there is a good secret in these headers.
    pub(crate) fn opens_to(&self, headers: &HeaderMap) -> bool {
        password(headers).is_some_and(|password| self.secrets.contains(&password))
    }
}

fn password(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(given).ok()?).ok()?;
    Some(text.strip_prefix("device:")?.to_owned())
}

pub(crate) fn router() -> Router<std::sync::Arc<std::sync::Mutex<World>>> {
    Router::new()
        .route("/oauth/device_authorization", post(device_authorization))
        .route("/api/v1/access-tokens", post(make))
        .route("/api/v1/access-tokens/rotate", post(rotate))
        .route("/api/v1/access-tokens/revoke", post(revoke))
        .route("/repos/apps.flatpakrepo", get(flatpakrepo))
}

pub(crate) fn add_endpoints(base: &str, document: &mut Value) {
    document["device_authorization_endpoint"] = format!("{base}/oauth/device_authorization").into();
    document["flatpass_access_tokens_endpoint"] = format!("{base}/api/v1/access-tokens").into();
}

async fn device_authorization(
    State(world): Shared,
    Form(form): Form<HashMap<String, String>>,
) -> Json<Value> {
    let mut world = world.lock().expect("no panic");
    assert_eq!(form["client_id"], "flatpass-authenticator");
    assert!(form["device_name"].starts_with("Flatpak on "));
    let code = world.new_token("devicecode");
    world.machines.device_codes.insert(code.clone(), form["device_name"].clone());
    let base = &world.base;
    let mut answer = json!({"device_code": code, "user_code": USER_CODE, "verification_uri": format!("{base}/device"),
        "verification_uri_complete": format!("{base}/device?user_code={USER_CODE}"), "expires_in": 600, "interval": 1});
    for (name, value) in &world.machines.device_answer {
        answer[*name] = value.clone();
    }
    Json(answer)
}

/// The token endpoint's answers to machines; `None` for a person's grants.
pub(crate) fn token(world: &mut World, form: &HashMap<String, String>) -> Option<Response> {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    match form["grant_type"].as_str() {
        "urn:ietf:params:oauth:grant-type:device_code" => {
            assert_eq!(form["client_id"], "flatpass-authenticator");
            world.machines.polled.push(Instant::now());
            if !world.machines.device_codes.contains_key(&form["device_code"]) {
                return Some(refused("invalid_grant"));
            }
            match world.machines.polls.pop_front() {
                Some("503") => return Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
                Some(error) => return Some(refused(error)),
                None => {}
            }
            world.machines.device_codes.remove(&form["device_code"]);
            Some(world.pair().into_response())
        }
        "client_credentials" => {
            if world.machines.robots.get(&form["client_id"]) != Some(&form["client_secret"]) {
                return Some(
                    (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response(),
                );
            }
            let access = world.new_token("robot");
            world.access.insert(access.clone());
            world.machines.robot_access.push(access.clone());
            let answer =
                json!({"access_token": access, "token_type": "Bearer", "expires_in": world.access_seconds});
            Some(Json(answer).into_response())
        }
        _ => None,
    }
}

fn problem(world: &World, status: StatusCode, kind: &str, detail: &str) -> Response {
    let body = json!({"type": format!("{}/problems/{kind}", world.base), "title": kind, "detail": detail});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn made(world: &mut World, name: &str) -> Response {
    let secret = world.new_token("fps_Secret");
    world.machines.secrets.insert(secret.clone());
    world.machines.names.push(name.to_owned());
    let url = world.base.replacen("://", &format!("://device:{secret}@"), 1) + "/repo/apps";
    let answer = json!({"id": "1", "secret": secret, "repo": "apps", "name": name, "created_at": 0, "expires_at": null,
        "url": url});
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn make(State(world): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let mut world = world.lock().expect("no panic");
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    if !bearer.is_some_and(|bearer| world.access.contains(bearer)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if world.machines.outsider {
        return problem(
            &world,
            StatusCode::FORBIDDEN,
            "not-a-member",
            "Ask example.org\u{1b}[2J to be let in.",
        );
    }
    assert_eq!(body["repo_url"], format!("{}/repo/apps", world.base));
    let name = body["name"].as_str().expect("a name").to_owned();
    made(&mut world, &name)
}

async fn rotate(State(world): Shared, headers: HeaderMap) -> Response {
    let mut world = world.lock().expect("no panic");
    match password(&headers) {
        Some(secret) if world.machines.secrets.contains(&secret) => made(&mut world, "rotated"),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn revoke(State(world): Shared, headers: HeaderMap) -> StatusCode {
    let mut world = world.lock().expect("no panic");
    match password(&headers) {
        Some(secret) if world.machines.secrets.remove(&secret) => StatusCode::NO_CONTENT,
        _ => StatusCode::UNAUTHORIZED,
    }
}

async fn flatpakrepo(State(world): Shared, headers: HeaderMap) -> Response {
    let world = world.lock().expect("no panic");
    let bearer =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let is_member =
        bearer.is_some_and(|bearer| world.access.contains(bearer)) || world.machines.opens_to(&headers);
    if world.is_private && !is_member {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match world.machines.flatpakrepo.clone() {
        Some(text) => text.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
