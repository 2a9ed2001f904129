//! The small REST API that upstream's sample authenticator speaks: `/api/login`, `/api/v1/get_tokens`,
//! `/api/v1/begin_purchase`. Its ids are app ids, or whole refs; its tokens open our gates.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Form;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flatpass_store::{CodeError, NewCode};
use flatpass_token::{Secret, Verb};
use serde::Deserialize;
use serde_json::json;

use super::ref_tokens::issue_app;
use super::{bearer, require_access};
use crate::app::{App, Rng};
use crate::oauth::token::answer;
use crate::oauth::{LoopbackUri, SAMPLE, SCOPE, with_query};
use crate::pages::offer::OfferPage;
use crate::problem::ApiError;
use crate::snapshot::{RepoView, Snapshot};
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, query_value};

const MOST_IDS: usize = 1000;

#[derive(Deserialize)]
pub(crate) struct Flow {
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    state: String,
}

impl Flow {
    fn redirect(&self) -> Result<LoopbackUri, PageError> {
        LoopbackUri::parse(&self.redirect_uri).ok_or_else(|| {
            PageError::BadRequest("The program that opened this page wants the answer sent to another machine. Nothing was given.".to_owned())
        })
    }

    fn query(&self) -> String {
        format!("redirect_uri={}&state={}", query_value(&self.redirect_uri), query_value(&self.state))
    }
}

#[derive(Template)]
#[template(path = "sample_login.html")]
struct Login {
    frame: Frame,
    redirect_uri: String,
    state: String,
}

/// `GET /api/login?redirect_uri&state`
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    browser: Browser,
    Query(flow): Query<Flow>,
) -> Result<Response, PageError> {
    let redirect = flow.redirect()?;
    browser.require(&format!("/api/login?{}", flow.query()))?;
    let (csrf, cookie) = browser.form_token(&app);
    let page =
        Login { frame: Frame::new(&app, &browser, csrf), redirect_uri: flow.redirect_uri, state: flow.state };
    Ok(render(StatusCode::OK, &page, cookie, Some(redirect.origin())))
}

#[derive(Deserialize)]
pub(crate) struct Allow {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    decision: String,
}

/// `POST /api/login`: the consent; ends at `redirect_uri` with `token` and `state`.
pub(crate) async fn allow(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Form(form): Form<Allow>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    let flow = Flow { redirect_uri: form.redirect_uri, state: form.state };
    let redirect = flow.redirect()?;
    if form.decision != "allow" {
        return Ok(see_other(
            &with_query(&redirect, &[("error", "access_denied"), ("state", &flow.state)]),
            None,
        ));
    }
    let signed_in = browser.require(&format!("/api/login?{}", flow.query()))?;
    // The code never leaves the server: the same two steps as for the authenticator, in one.
    let verifier = Secret::generate("", Rng::system().as_random());
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
    let code = NewCode {
        client_id: SAMPLE.to_owned(),
        account_id: signed_in.account.id.clone(),
        redirect_uri: flow.redirect_uri.clone(),
        code_challenge: challenge,
        scope: SCOPE.to_owned(),
        device_name: "Flatpak sample authenticator".to_owned(),
    };
    let code = app.store.create_code(code, app.now(), Rng::system().as_random()).await?;
    let pair = app
        .store
        .exchange_code(
            code.expose(),
            SAMPLE,
            &flow.redirect_uri,
            verifier.expose(),
            &address.to_string(),
            app.now(),
            Rng::system().as_random(),
        )
        .await
        .map_err(|error| match error {
            CodeError::Store(error) => PageError::from(error),
            _ => PageError::Internal,
        })?;
    Ok(see_other(&with_query(&redirect, &[("token", pair.access.expose()), ("state", &flow.state)]), None))
}

#[derive(Deserialize)]
struct Ids {
    ids: Vec<String>,
}

/// The app that an id or ref means, with the repo that has it.
fn find<'a>(snapshot: &'a Snapshot, id: &'a str) -> Option<(&'a RepoView, &'a str)> {
    let id = if id.contains('/') { id.split('/').nth(1)? } else { id };
    snapshot.repos.values().find_map(|view| Some((view.as_ref(), view.owner_in_repo(id)?)))
}

/// `POST /api/v1/get_tokens {"ids":[…]}`
pub(crate) async fn get_tokens(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let access = require_access(&app, bearer(&headers)?).await?;
    let Ids { ids } = serde_json::from_slice(&body).map_err(|_| {
        ApiError::BadRequest("The body must be JSON such as {\"ids\": [\"org.example.App\"]}.".to_owned())
    })?;
    if ids.len() > MOST_IDS {
        return Err(ApiError::BadRequest(format!("Ask for at most {MOST_IDS} ids at once.")));
    }
    let snapshot = app.snapshot.load_full();
    let mut tokens = BTreeMap::new();
    let mut denied = Vec::new();
    for id in &ids {
        let found = match find(&snapshot, id) {
            Some((view, owner)) => {
                let entitled = app
                    .store
                    .entitled(&access.account_id, &view.repo.name, owner, Verb::Download, app.now())
                    .await?;
                entitled.then_some((view, owner))
            }
            None => None,
        };
        match found {
            Some((view, owner)) => {
                tokens.insert(id.clone(), issue_app(&app, &snapshot, view, &access, owner)?);
            }
            None => denied.push(id.clone()),
        }
    }
    Ok(answer(StatusCode::OK, &json!({ "tokens": tokens, "denied": denied })))
}

#[derive(Deserialize)]
struct OneId {
    id: String,
}

/// `POST /api/v1/begin_purchase {"id":…}`
pub(crate) async fn begin_purchase(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    require_access(&app, bearer(&headers)?).await?;
    let OneId { id } = serde_json::from_slice(&body).map_err(|_| {
        ApiError::BadRequest("The body must be JSON such as {\"id\": \"org.example.App\"}.".to_owned())
    })?;
    let snapshot = app.snapshot.load_full();
    let (view, owner) = find(&snapshot, &id).ok_or(ApiError::NotFound)?;
    if !view.offers.contains_key(owner) {
        return Err(ApiError::NotFound);
    }
    let uri = app.config.at(&format!("api/purchase/{}/{owner}", view.repo.name));
    Ok(answer(StatusCode::OK, &json!({ "start_uri": uri })))
}

/// `GET /api/purchase/REPO/APP?redirect_uri&state`: sells, then goes to `redirect_uri` with `state` and, as a second
/// `redirect_uri`, the page that thanks.
pub(crate) async fn purchase(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    Query(flow): Query<Flow>,
) -> Result<Response, PageError> {
    let redirect = flow.redirect()?;
    let here = format!("/api/purchase/{}/{}?{}", query_value(&repo), query_value(&app_id), flow.query());
    let signed_in = browser.require(&here)?;
    let snapshot = app.snapshot.load_full();
    let offer =
        snapshot.repos.get(&repo).and_then(|view| view.offers.get(&app_id)).ok_or(PageError::NotFound)?;
    if app.store.entitled(&signed_in.account.id, &repo, &app_id, Verb::Download, app.now()).await? {
        let thanks = app.config.at(&format!("apps/{repo}/{app_id}"));
        return Ok(see_other(
            &with_query(&redirect, &[("state", &flow.state), ("redirect_uri", &thanks)]),
            None,
        ));
    }
    let (csrf, cookie) = browser.form_token(&app);
    let page = OfferPage::new(Frame::new(&app, &browser, csrf), offer, here, String::new());
    Ok(render(StatusCode::OK, &page, cookie, Some(redirect.origin())))
}
