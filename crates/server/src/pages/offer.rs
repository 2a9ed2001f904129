//! `GET /apps/REPO/APP`: what an app costs. `POST`: buy it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{OrderError, StoredOffer};

use crate::app::App;
use crate::payment::{self, Begun};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{form_target, query_value, safe_next};

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
    /// The last payment was declined.
    pub(crate) declined: bool,
    /// What must be bought after this one.
    pub(crate) more: Vec<String>,
}

impl OfferPage {
    pub(crate) fn new(frame: Frame, offer: &StoredOffer, next: String) -> Self {
        Self {
            frame,
            title: offer.title.clone(),
            app_id: offer.app_id.clone(),
            price: offer.price.to_string(),
            action: format!("/apps/{}/{}", offer.repo, offer.app_id),
            next,
            owned: false,
            request: String::new(),
            declined: false,
            more: Vec::new(),
        }
    }
}

/// The offer, if this account may see it: in a private repo only members do. The rights are read first, whatever is there, so that
/// absent and forbidden take the same steps.
pub(crate) async fn visible(
    app: &App,
    browser: &Browser,
    repo: &str,
    app_id: &str,
) -> Result<StoredOffer, PageError> {
    let entitlements = match &browser.signed_in {
        Some(signed_in) => app.store.entitlements(&signed_in.account.id, Some(repo), app.now()).await?,
        None => Vec::new(),
    };
    let snapshot = app.snapshot.load_full();
    let view = snapshot.repos.get(repo).filter(|view| view.may_be_seen(&entitlements));
    view.and_then(|view| view.offers.get(app_id)).cloned().ok_or(PageError::NotFound)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let offer = visible(&app, &browser, &repo, &app_id).await?;
    let owned = match &browser.signed_in {
        Some(signed_in) => app.store.owns(&signed_in.account.id, &repo, &app_id, app.now()).await?,
        None => false,
    };
    let (csrf, cookie) = browser.form_token(&app);
    let next = safe_next(query?.0.text("next")).unwrap_or("/account").to_owned();
    let target = form_target(&next);
    let page = OfferPage { owned, ..OfferPage::new(Frame::new(&app, &browser, csrf), &offer, next) };
    Ok(render(StatusCode::OK, &page, cookie, target.as_deref()))
}

pub(crate) async fn buy(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path((repo, app_id)): Path<(String, String)>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let next = safe_next(form.text("next")).unwrap_or("/account");
    let here = format!("/apps/{}/{}?next={}", query_value(&repo), query_value(&app_id), query_value(next));
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
