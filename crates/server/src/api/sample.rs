//! The small REST API that upstream's sample authenticator speaks: `/api/login`, `/api/v1/get_tokens`,
//! `/api/v1/begin_purchase`. Its ids are app ids, or whole refs; its tokens open our gates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flatpass_store::{AccessInfo, CodeError, NewCode};
use flatpass_token::{RefName, Secret};
use serde::Deserialize;
use serde_json::json;

use super::ref_tokens::{Granted, OfCommits, Wording, for_everybody, grants, issue, owned, parts};
use super::{bearer, require_access};
use crate::app::{App, Rng};
use crate::oauth::token::answer;
use crate::oauth::{LoopbackUri, SAMPLE, SCOPE, with_query};
use crate::pages::offer::{OfferPage, visible};
use crate::problem::ApiError;
use crate::snapshot::{Listed, RepoView, Snapshot};
use crate::visitor::{Right, Visitor};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, query_value};

const MOST_IDS: usize = 200;

/// What upstream's client adds to each page that it opens.
struct Flow {
    redirect: LoopbackUri,
    state: String,
}

impl Flow {
    fn read(fields: &Fields) -> Result<Self, PageError> {
        let redirect = LoopbackUri::parse(fields.text("redirect_uri")).ok_or_else(|| {
            PageError::BadRequest("The program that opened this page wants the answer sent to another machine. Nothing was given.".to_owned())
        })?;
        Ok(Self { redirect, state: fields.text("state").to_owned() })
    }

    fn query(&self) -> String {
        format!("redirect_uri={}&state={}", query_value(self.redirect.as_str()), query_value(&self.state))
    }
}

#[derive(Template)]
#[template(path = "sample_login.html")]
struct Login {
    frame: Frame,
    redirect_uri: String,
    state: String,
}

/// `GET /api/login?redirect_uri&state`; upstream's client opens `/login` when its option `url` is the store's address itself.
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    browser: Browser,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let flow = Flow::read(&query?.0)?;
    browser.require(&format!("/api/login?{}", flow.query()))?;
    let (csrf, cookie) = browser.form_token(&app);
    let page = Login {
        frame: Frame::new(&app, &browser, csrf),
        redirect_uri: flow.redirect.as_str().to_owned(),
        state: flow.state,
    };
    Ok(render(StatusCode::OK, &page, cookie, Some(flow.redirect.form_action())))
}

/// `POST /api/login`: the consent; ends at `redirect_uri` with `token` and `state`.
pub(crate) async fn allow(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let flow = Flow::read(&form)?;
    if form.text("decision") != "allow" {
        return Ok(see_other(
            &with_query(&flow.redirect, &[("error", "access_denied"), ("state", &flow.state)]),
            None,
        ));
    }
    let signed_in = browser.require(&format!("/api/login?{}", flow.query()))?;
    // The code never leaves the server: the same two steps as for the authenticator, in one.
    // With the prefix it has the 43 characters that a verifier needs.
    let verifier = Secret::generate("sample-code", Rng::system().as_random());
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.expose().as_bytes()));
    let code = NewCode {
        client_id: SAMPLE.to_owned(),
        account_id: signed_in.account.id.clone(),
        redirect_uri: flow.redirect.as_str().to_owned(),
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
            flow.redirect.as_str(),
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
    Ok(see_other(
        &with_query(&flow.redirect, &[("token", pair.access.expose()), ("state", &flow.state)]),
        None,
    ))
}

/// What an id is to an account.
enum Standing<'a> {
    /// It needs no token.
    Open,
    /// The account may have the app, in this repo; by what it says.
    Has(&'a RepoView, &'a str, Vec<Granted<'a>>),
    /// It is for sale, in this repo.
    ForSale(&'a RepoView, &'a str),
    /// There is no such app here that the account may know of.
    Unknown,
}

/// Looks an app's id up in all repos: ids name no repo here, so the one where the account has it comes before the one where it
/// is for sale. Upstream's client takes `.Locale`, `.Debug` and `.Sources` off the ids; whole refs are understood too.
async fn standing<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    access: &AccessInfo,
    id: &str,
) -> Result<Standing<'a>, ApiError> {
    let id = if id.contains('/') { id.split('/').nth(1).unwrap_or_default() } else { id };
    let mut found = Standing::Unknown;
    for view in snapshot.repos.values() {
        let Some(owner) = view.owner_in_repo(id) else { continue };
        let visitor = Visitor::of(app, view, Some(access)).await?;
        if !visitor.sees {
            continue;
        }
        // Of an app with several refs, one that needs a token decides.
        let mut refs = refs_of(view, owner).peekable();
        if refs.peek().is_some() && refs.all(|(name, listed)| view.is_open(&name, listed.token_type)) {
            return Ok(Standing::Open);
        }
        // The id names no branch, so to have one of them is enough; to have what is free, if that is all there is.
        let has = |(name, _): (RefName, Listed)| matches!(visitor.right(owner, name.branch()), Right::Has(_));
        let granted: Vec<_> =
            refs_of(view, owner).filter_map(|one| granted(app, view, &visitor, owner, one)).collect();
        let is_all = granted.len() == refs_of(view, owner).count();
        if !granted.is_empty() && (is_all || refs_of(view, owner).any(has)) {
            return Ok(Standing::Has(view, owner, granted));
        }
        if view.offers.contains_key(owner) && matches!(found, Standing::Unknown) {
            found = Standing::ForSale(view, owner);
        }
    }
    Ok(found)
}

/// What the account has of a ref, as far as its right goes.
fn granted<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    (name, listed): (RefName, Listed),
) -> Option<Granted<'a>> {
    if view.is_free(&name, listed.token_type) {
        return for_everybody(view, visitor, owner, &name, "");
    }
    let Right::Has(has) = visitor.right(owner, name.branch()) else { return None };
    let commits = OfCommits { made_until: has.commits_until(), only: None };
    Some(owned(app, has, name, "", commits))
}

/// The refs of an app, its extensions included.
fn refs_of<'a>(view: &'a RepoView, owner: &'a str) -> impl Iterator<Item = (RefName, Listed)> + 'a {
    let parsed = |(name, listed)| Some((RefName::parse(name).ok()?, listed));
    view.refs.iter().filter_map(parsed).filter(move |(name, _)| view.owner(name) == owner)
}

#[derive(Deserialize)]
struct Ids {
    ids: Vec<String>,
}

/// `POST /api/v1/get_tokens {"ids":[…]}`; an empty token says that none is needed.
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
    for id in ids.iter().collect::<BTreeSet<_>>() {
        match standing(&app, &snapshot, &access, id).await? {
            Standing::Open => {
                tokens.insert(id, String::new());
            }
            Standing::Has(view, _, granted) => {
                // One app has few refs: they fit into one token, which ends with the first of its rights.
                let whole = parts(&app, granted, app.config.tokens.ref_token_seconds);
                let seconds = whole.iter().map(|part| part.seconds).min().unwrap_or(1);
                let all: Vec<_> = whole.into_iter().flat_map(|part| part.granted).collect();
                let wording = vec![Wording { grants: grants(&all), seconds }];
                match issue(&app, &snapshot, view, &access, wording).await {
                    Ok(issued) => {
                        tokens.extend(issued.into_iter().map(|token| (id, token)));
                    }
                    // Of this repo there are no tokens here, but of others there may be.
                    Err(ApiError::Elsewhere(_)) => denied.push(id),
                    Err(error) => return Err(error),
                }
            }
            Standing::ForSale(..) | Standing::Unknown => denied.push(id),
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
    let access = require_access(&app, bearer(&headers)?).await?;
    let OneId { id } = serde_json::from_slice(&body).map_err(|_| {
        ApiError::BadRequest("The body must be JSON such as {\"id\": \"org.example.App\"}.".to_owned())
    })?;
    let snapshot = app.snapshot.load_full();
    let (Standing::ForSale(view, owner) | Standing::Has(view, owner, _)) =
        standing(&app, &snapshot, &access, &id).await?
    else {
        return Err(ApiError::NotFound);
    };
    let uri = app.config.at(&format!("api/purchase/{}/{owner}", view.repo.name));
    Ok(answer(StatusCode::OK, &json!({ "start_uri": uri })))
}

/// `GET /api/purchase/REPO/APP?redirect_uri&state`: sells, then goes to `redirect_uri` with `state` and, as a second
/// `redirect_uri`, the page that thanks.
pub(crate) async fn purchase(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let flow = Flow::read(&query?.0)?;
    let here = format!("/api/purchase/{}/{}?{}", query_value(&repo), query_value(&app_id), flow.query());
    let signed_in = browser.require(&here)?;
    if app.store.owns(&signed_in.account.id, &repo, &app_id, app.now()).await? {
        let thanks = app.config.at(&format!("apps/{}/{}", query_value(&repo), query_value(&app_id)));
        return Ok(see_other(
            &with_query(&flow.redirect, &[("state", &flow.state), ("redirect_uri", &thanks)]),
            None,
        ));
    }
    let offer = visible(&app, &browser, &repo, &app_id).await?;
    let (csrf, cookie) = browser.form_token(&app);
    let page = OfferPage::new(Frame::new(&app, &browser, csrf), &offer, here);
    Ok(render(StatusCode::OK, &page, cookie, Some(flow.redirect.form_action())))
}
