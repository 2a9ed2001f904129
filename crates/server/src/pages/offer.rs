//! `GET /apps/REPO/APP`: what an app costs. `POST`: buy it.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{AccountId, OrderError, RepoPolicy, StoredOffer};
use flatpass_token::Verb;
use serde::Deserialize;

use super::sign_in::Next;
use crate::app::App;
use crate::payment::{self, Begun};
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{query_value, safe_next};

#[derive(Template)]
#[template(path = "offer.html")]
pub(crate) struct OfferPage {
    pub(crate) frame: Frame,
    pub(crate) title: String,
    pub(crate) app_id: String,
    pub(crate) price: String,
    pub(crate) action: String,
    pub(crate) next: String,
    pub(crate) owned: bool,
    /// The request of a device that waits for the answer, in its query form; empty when nobody waits.
    pub(crate) request: String,
}

impl OfferPage {
    pub(crate) fn new(frame: Frame, offer: &StoredOffer, next: String, request: String) -> Self {
        Self {
            frame,
            title: offer.title.clone(),
            app_id: offer.app_id.clone(),
            price: offer.price.to_string(),
            action: format!("/apps/{}/{}", offer.repo, offer.app_id),
            next,
            owned: false,
            request,
        }
    }
}

/// The offer, if this account may see it: in a private repo only members do.
async fn visible(app: &App, browser: &Browser, repo: &str, app_id: &str) -> Result<StoredOffer, PageError> {
    let snapshot = app.snapshot.load_full();
    let view = snapshot.repos.get(repo).ok_or(PageError::NotFound)?;
    let offer = view.offers.get(app_id).ok_or(PageError::NotFound)?;
    if view.repo.policy == RepoPolicy::Private {
        let signed_in = browser.signed_in.as_ref().ok_or(PageError::NotFound)?;
        if !is_member(app, &signed_in.account.id, repo).await? {
            return Err(PageError::NotFound);
        }
    }
    Ok(offer.clone())
}

/// Whether the account has anything in a private repo: an access token or an entitlement.
pub(crate) async fn is_member(app: &App, account: &AccountId, repo: &str) -> Result<bool, PageError> {
    if !app.store.entitlements(account, Some(repo), app.now()).await?.is_empty() {
        return Ok(true);
    }
    Ok(app.store.list_access_tokens(Some(account), app.now()).await?.iter().any(|token| token.repo == repo))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    Query(query): Query<Next>,
) -> Result<Response, PageError> {
    let offer = visible(&app, &browser, &repo, &app_id).await?;
    let owned = match &browser.signed_in {
        Some(signed_in) => {
            app.store.entitled(&signed_in.account.id, &repo, &app_id, Verb::Download, app.now()).await?
        }
        None => false,
    };
    let (csrf, cookie) = browser.form_token(&app);
    let next = safe_next(&query.next).unwrap_or("/account").to_owned();
    let page =
        OfferPage { owned, ..OfferPage::new(Frame::new(&app, &browser, csrf), &offer, next, String::new()) };
    Ok(render(StatusCode::OK, &page, cookie, None))
}

#[derive(Deserialize)]
pub(crate) struct Buy {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
}

pub(crate) async fn buy(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    Form(form): Form<Buy>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    let next = safe_next(&form.next).unwrap_or("/account");
    let here = format!("/apps/{repo}/{app_id}?next={}", query_value(next));
    let signed_in = browser.require(&here)?;
    let offer = visible(&app, &browser, &repo, &app_id).await?;
    match payment::begin(&app, &signed_in.account.id, &offer.repo, &offer.app_id, next).await {
        Ok(Begun::Owned) => Ok(see_other(next, None)),
        Ok(Begun::Pay(url)) => Ok(see_other(&url, None)),
        Err(OrderError::NotForSale | OrderError::Unknown) => Err(PageError::NotFound),
        Err(error) => {
            tracing::error!(%error, "an order could not begin");
            Err(PageError::Internal)
        }
    }
}
