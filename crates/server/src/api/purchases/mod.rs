//! Flathub's two steps: who is signed in gets an *update token*, which a device keeps and which buys *download tokens* for flat-manager
//! without anybody there. Requests and answers have Flathub's forms; what an account owns is this store's matter.
//!
//! They are served for a repo whose tokens are flat-manager's and for which the operator gave a secret for update tokens: below
//! `/flat-manager/NAME/purchases/`, and below `/purchases/` if there is only one such repo.

mod check;
mod download_token;
mod owned;
pub(crate) mod page;
mod refusal;
mod update;
mod update_token;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::post;
use flatpass_store::{AccountId, RepoTokens, SecretFor};

use self::refusal::Refusal;
use super::{bearer, require_access};
use crate::app::App;
use crate::snapshot::{RepoView, Snapshot};
use crate::web::browser::Browser;

/// So many ids at once: more than any client has.
const MOST_IDS: usize = 1000;

/// The three calls below that path.
pub(crate) fn routes(below: &str) -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{below}/generate-update-token"), post(update_token::submit))
        .route(&format!("{below}/check-purchases"), post(check::submit))
        .route(&format!("{below}/generate-download-token"), post(download_token::submit))
}

/// The repo that a request is about: the named one, else the only one.
pub(crate) struct Desk(pub(super) Arc<RepoView>);

impl Desk {
    fn find(snapshot: &Snapshot, name: Option<&str>, app: &App) -> Option<Self> {
        let mut served = snapshot.repos.values().filter(|view| is_served(view, app));
        match name {
            Some(name) => served.find(|view| view.repo.name == name),
            None => served.next().filter(|_| served.next().is_none()),
        }
        .map(|view| Self(Arc::clone(view)))
    }
}

/// Off unless the operator gave both secrets.
fn is_served(view: &RepoView, app: &App) -> bool {
    let has =
        |purpose| view.flat_manager.as_ref().is_some_and(|known| known.signing(purpose, app.now()).is_some());
    view.repo.tokens == RepoTokens::FlatManager && has(SecretFor::Download) && has(SecretFor::Update)
}

impl FromRequestParts<Arc<App>> for Desk {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let name = Option::<Path<String>>::from_request_parts(parts, app).await.unwrap_or_default();
        let name = name.as_ref().map(|Path(name)| name.as_str());
        Self::find(&app.snapshot.load(), name, app).ok_or(Refusal::NotServed)
    }
}

/// Who is signed in: by an access token of the API, or in this browser by a page of this site.
pub(crate) struct Login(pub(super) AccountId);

impl FromRequestParts<Arc<App>> for Login {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            let token = bearer(&parts.headers).map_err(|_| Refusal::NotLoggedIn)?;
            let access = require_access(app, token).await.map_err(|_| Refusal::NotLoggedIn)?;
            return Ok(Self(access.account_id));
        }
        let browser = Browser::from_request_parts(parts, app).await.map_err(|_| Refusal::Internal)?;
        // Another site must not be able to let a browser ask.
        let signed_in = browser.signed_in.as_ref().filter(|_| browser.is_same_origin());
        signed_in.map(|signed_in| Self(signed_in.account.id.clone())).ok_or(Refusal::NotLoggedIn)
    }
}
