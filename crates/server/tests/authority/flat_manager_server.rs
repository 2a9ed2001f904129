//! A flat-manager to test with. The real one is in no package index, so this one does as its source (0.5) does, in what matters here: which
//! tokens open a gated commit, and what its API answers to those who publish.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use flatpass_token::{SharedSecret, read_shared};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// What it heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: usize,
}

#[derive(Clone)]
pub(crate) struct FlatManager {
    pub(crate) url: String,
    secret: Arc<Mutex<Arc<SharedSecret>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl FlatManager {
    pub(crate) async fn start(secret: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let secret = Arc::new(SharedSecret::from_base64(secret).unwrap());
        let this = Self {
            url: format!("http://{address}"),
            secret: Arc::new(Mutex::new(secret)),
            heard: Arc::default(),
        };
        let router = Router::new()
            .route("/api/v1/build", post(create))
            .route("/api/v1/build/{id}", get(build))
            .route("/api/v1/build/{id}/upload", post(upload))
            .route("/api/v1/build/{id}/missing_objects", get(missing))
            .route("/api/v1/build/{id}/commit", post(commit))
            .route("/api/v1/job/{id}", get(job))
            .route("/api/v1/delta/upload/{repo}", post(upload_all))
            .route("/status", get(async || "<h1>jobs</h1>"))
            .fallback(any(unexpected))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    /// From now on its configuration has that secret.
    pub(crate) fn restart_with(&self, secret: &str) {
        *self.secret.lock().unwrap() = Arc::new(SharedSecret::from_base64(secret).unwrap());
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Whether it gives a gated commit of this app to who has the token: a token without prefixes is enough for anything.
    pub(crate) fn gives(&self, id: &str, token: &str, now: i64) -> bool {
        let secret = Arc::clone(&self.secret.lock().unwrap());
        let Ok(claims) = read_shared::<Value>(token, &[secret]) else { return false };
        let list = |name: &str| -> Vec<String> {
            let list = claims[name].as_array().into_iter().flatten();
            list.filter_map(|one| Some(one.as_str()?.to_owned())).collect()
        };
        let below = |prefix: &String| {
            prefix.is_empty()
                || id
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let prefixes = list("prefixes");
        claims["exp"].as_i64().is_some_and(|exp| exp >= now)
            && claims["sub"].is_string()
            && (prefixes.is_empty() || prefixes.iter().any(below) || list("apps").contains(&id.to_owned()))
    }

    fn note(&self, request: &Request, bytes: usize) {
        self.heard.lock().unwrap().push(Heard {
            method: request.method().to_string(),
            path: request.uri().to_string(),
            headers: request.headers().clone(),
            bytes,
        });
    }

    fn at(&self, path: &str, body: &Value) -> Response {
        let location = format!("{}{path}", self.url);
        ([(header::LOCATION, location)], axum::Json(body.clone())).into_response()
    }
}

async fn whole(body: Body) -> usize {
    let mut stream = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(piece)) = stream.next().await {
        bytes += piece.len();
    }
    bytes
}

async fn create(State(this): State<FlatManager>, request: Request) -> Response {
    this.note(&request, 0);
    if request.headers().get(header::AUTHORIZATION).is_none() {
        let refused =
            json!({"status": 401, "error-type": "invalid-token", "message": "No Authorization header"});
        return (StatusCode::UNAUTHORIZED, axum::Json(refused)).into_response();
    }
    this.at("/api/v1/build/7", &json!({"id": 7, "repo": "stable"}))
}

async fn build(State(this): State<FlatManager>, request: Request) -> Response {
    this.note(&request, 0);
    axum::Json(json!({"id": 7, "repo_state": 0})).into_response()
}

async fn upload(state: State<FlatManager>, Path(_): Path<i32>, request: Request) -> Response {
    upload_all(state, request).await
}

async fn upload_all(State(this): State<FlatManager>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = whole(body).await;
    this.note(&Request::from_parts(head, Body::empty()), bytes);
    axum::Json(json!({})).into_response()
}

/// Its clients send a body with this GET.
async fn missing(State(this): State<FlatManager>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let wanted: Value = serde_json::from_slice(&body).unwrap();
    this.note(&Request::from_parts(head, Body::empty()), body.len());
    axum::Json(json!({"missing": wanted["wanted"]})).into_response()
}

async fn commit(State(this): State<FlatManager>, request: Request) -> Response {
    this.note(&request, 0);
    this.at("/api/v1/job/9", &json!({"id": 9, "status": 0}))
}

/// A log of some megabytes, piece by piece.
async fn job(State(this): State<FlatManager>, request: Request) -> Response {
    this.note(&request, 0);
    let pieces = futures_util::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 65_536])));
    Body::from_stream(pieces).into_response()
}

async fn unexpected(State(this): State<FlatManager>, request: Request) -> Response {
    this.note(&request, 0);
    ([(header::LOCATION, "https://evil.example/"), (header::SET_COOKIE, "a=b")], "secret").into_response()
}
