//! Calls of those who publish, passed through to the flat-manager behind a repo: `/flat-manager/NAME/api/v1/build` and the others that
//! flat-manager-client makes. Nothing else is passed, nowhere else, and for no repo unless its operator said so.

mod body;
mod call;
mod headers;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use flatpass_token::UnverifiedToken;
use reqwest::{Client, redirect};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, TryAcquireError};

use self::body::{Progress, Streamed};
use self::call::call;
use crate::app::App;
use crate::snapshot::Snapshot;

/// Exchanges a token for one that opens less.
const TOKEN_SUBSET: &str = "api/v1/token_subset";
/// Calls at the same time.
const MOST_CALLS: usize = 64;
/// flat-manager takes connections at once, or is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// The way to flat-managers.
#[derive(Debug)]
pub(crate) struct PassThrough {
    /// Made when it is first needed: most stores pass nothing through.
    clients: OnceLock<Option<Clients>>,
    calls: Arc<Semaphore>,
}

#[derive(Debug)]
struct Clients {
    network: Client,
    loopback: Client,
}

impl Clients {
    fn make() -> Option<Self> {
        let builder =
            || Client::builder().connect_timeout(CONNECT).redirect(redirect::Policy::none()).referer(false);
        let made = builder().https_only(true).build().and_then(|network| {
            // A proxy would carry the tokens off this machine; and no roots are needed.
            Ok(Self { network, loopback: builder().no_proxy().tls_certs_only([]).build()? })
        });
        made.inspect_err(|error| tracing::error!(%error, "calls for flat-manager cannot be passed through"))
            .ok()
    }
}

impl Default for PassThrough {
    fn default() -> Self {
        Self { clients: OnceLock::new(), calls: Arc::new(Semaphore::new(MOST_CALLS)) }
    }
}

/// Why a call was not passed, or not answered. In flat-manager's own form, which its clients read.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("There is nothing here.")]
    NotFound,
    #[error("No token is there: publishers bring the one that flat-manager gave them.")]
    NoToken,
    #[error("A token for downloads cannot be exchanged for another one.")]
    DownloadOnly,
    #[error("Too many calls for flat-manager at the same time. Try again in a moment.")]
    Crowded,
    #[error("flat-manager cannot be reached. Try again later, or tell the operator.")]
    Unreachable,
    #[error("Nothing was sent or answered for {} seconds. Try again.", body::SILENCE.as_secs())]
    Slow,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "invalid-token"),
            Self::DownloadOnly => (StatusCode::FORBIDDEN, "token-insufficient"),
            Self::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "crowded"),
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "unreachable"),
            Self::Slow => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        };
        let body = json!({ "status": status.as_u16(), "error-type": kind, "message": self.to_string() });
        let mut response = (status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// Below the repo's own prefix, and, for clients that know a server by its host alone, at the root.
pub(crate) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new().route("/flat-manager/{repo}/{*call}", any(below_repo));
    for path in [
        "/api/v1/build",
        "/api/v1/build/{*call}",
        "/api/v1/job/{*call}",
        "/api/v1/repo/{*call}",
        "/api/v1/delta/{*call}",
        "/api/v1/token_subset",
    ] {
        router = router.route(path, any(at_root));
    }
    router
}

/// Whether a token says that it is a publisher's. That it is good is for flat-manager to find out.
fn is_for_more_than_downloads(authorization: &HeaderValue) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        scope: Vec<String>,
    }
    let claims = || {
        let (_, token) = authorization.to_str().ok()?.split_once(' ')?;
        let payload = UnverifiedToken::parse(token.trim()).ok()?.payload().ok()?;
        serde_json::from_slice::<Claims>(&payload).ok()
    };
    claims().is_some_and(|claims| claims.scope.iter().any(|scope| scope != "download"))
}

async fn below_repo(
    State(app): State<Arc<App>>,
    Path((repo, _)): Path<(String, String)>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let upstream = snapshot.repos.get(&repo).and_then(|view| view.flat_manager.as_ref()?.url.as_deref());
    let prefix = format!("flat-manager/{repo}");
    pass(&app, upstream, &prefix, request).await.unwrap_or_else(Refusal::into_response)
}

async fn at_root(State(app): State<Arc<App>>, request: Request) -> Response {
    let snapshot = app.snapshot.load_full();
    pass(&app, only_upstream(&snapshot), "", request).await.unwrap_or_else(Refusal::into_response)
}

/// The flat-manager of all repos that have one, if that is a single one.
fn only_upstream(snapshot: &Snapshot) -> Option<&str> {
    let mut all = snapshot.repos.values().filter_map(|view| view.flat_manager.as_ref()?.url.as_deref());
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// `prefix` is what our path begins with, without slashes around it, and flat-manager's does not.
async fn pass(
    app: &App,
    upstream: Option<&str>,
    prefix: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let upstream = upstream.ok_or(Refusal::NotFound)?;
    let path = request.uri().path().strip_prefix('/').ok_or(Refusal::NotFound)?;
    let path = match prefix {
        "" => path,
        prefix => {
            path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).ok_or(Refusal::NotFound)?
        }
    };
    let path = call(request.method(), path).ok_or(Refusal::NotFound)?;
    let token = request.headers().get(header::AUTHORIZATION).ok_or(Refusal::NoToken)?;
    // flat-manager would sign it anew without what narrows it.
    if path == TOKEN_SUBSET && !is_for_more_than_downloads(token) {
        return Err(Refusal::DownloadOnly);
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{upstream}/{path}{query}");
    let permit = match Arc::clone(&app.pass_through.calls).try_acquire_owned() {
        Ok(permit) => permit,
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return Err(Refusal::Crowded),
    };
    let clients = app.pass_through.clients.get_or_init(Clients::make).as_ref().ok_or(Refusal::Unreachable)?;
    let client = if upstream.starts_with("http://") { &clients.loopback } else { &clients.network };

    let (head, body) = request.into_parts();
    let progress = Progress::default();
    let fields = headers::to_flat_manager(&head.headers);
    let sent = client
        .request(head.method, url)
        .headers(fields)
        .body(reqwest::Body::wrap(Streamed::new(body, progress.clone(), ())))
        .send();
    let answer = tokio::select! {
        answer = sent => answer.map_err(|error| {
            tracing::warn!(%upstream, error = %error.without_url(), "flat-manager did not answer");
            Refusal::Unreachable
        })?,
        () = progress.stalled() => return Err(Refusal::Slow),
    };
    let (mut head, body) = http::Response::from(answer).into_parts();
    headers::from_flat_manager(&mut head.headers, upstream, &app.config.at(prefix));
    let body = Body::new(Streamed::new(body, Progress::default(), permit).giving_up());
    Ok(Response::from_parts(head, body))
}
