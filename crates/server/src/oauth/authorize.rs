//! `GET /oauth/authorize` (RFC 6749 4.1.1, RFC 7636, RFC 9396, RFC 9207): one walk that signs in, sells and asks for consent.
//!
//! It keeps no state of its own: the request is its query, which travels along through sign-in and payment and is checked anew
//! each time it comes back.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{NewCode, StoredOffer, shortened};
use flatpass_token::{RefName, Verb};
use serde::Deserialize;

use super::pkce::{CodeChallenge, PkceError};
use super::{AUTHENTICATOR, LoopbackUri, SCOPE, with_query};
use crate::app::{App, Rng};
use crate::pages::offer::OfferPage;
use crate::web::browser::{Browser, SignedIn};
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render, see_other};

/// More refs than any one transaction of a client has for sale.
const MOST_REFS: usize = 1000;
/// The longest `state` that is carried along, in bytes.
const LONGEST_STATE: usize = 512;

/// Refs that a device wants, as one item of `authorization_details`.
#[derive(Deserialize)]
pub(super) struct Detail {
    r#type: String,
    #[serde(default)]
    repo_url: String,
    #[serde(default)]
    refs: Vec<String>,
}

/// What is wrong with the request as such: it is told to the person, and nothing is sent anywhere (RFC 6749, 4.1.2.1).
#[derive(Debug, thiserror::Error)]
enum Unanswerable {
    #[error(
        "The link that opened this page cannot be read: {0}. Go back to the program that opened it and try again."
    )]
    Query(FormError),
    #[error("An unknown program asked for access. Nothing was given.")]
    Client,
    #[error("The program that opened this page wants the answer sent to another machine. Nothing was given.")]
    Redirect,
    #[error("The link that opened this page is too long. Ask for fewer apps at once.")]
    State,
}

impl From<Unanswerable> for PageError {
    fn from(error: Unanswerable) -> Self {
        Self::BadRequest(error.to_string())
    }
}

/// What is told to the client, at its redirect address (RFC 6749, 4.1.2.1; RFC 9396, 5).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("response_type must be code")]
    ResponseType,
    #[error(transparent)]
    Pkce(#[from] PkceError),
    #[error(
        "authorization_details must be a JSON array of at most 1000 refs in items of the type flatpak_refs"
    )]
    Details,
    #[error("authorization_details names a repository that is not one of this store")]
    Repo,
    #[error("the person said no")]
    Denied,
}

impl Refusal {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::ResponseType => "unsupported_response_type",
            Self::Pkce(_) => "invalid_request",
            Self::Details | Self::Repo => "invalid_authorization_details",
            Self::Denied => "access_denied",
        }
    }
}

/// A request whose client and redirect address are good, so that it can be answered.
struct Answerable {
    /// As it came, without what our own pages added.
    query: String,
    fields: Fields,
    redirect: LoopbackUri,
}

/// A request that is good in all.
struct Wish {
    challenge: CodeChallenge,
    details: Vec<Detail>,
}

/// What a page of ours says about the payment when it sends the browser back here: a field at the end of the query.
const OUTCOME: &str = "flatpass_outcome";

/// Where a browser goes after a payment that came to nothing.
pub(crate) fn after_payment(next: &str, outcome: &str) -> String {
    if next.starts_with("/oauth/authorize?") {
        format!("{next}&{OUTCOME}={outcome}")
    } else {
        next.to_owned()
    }
}

impl Answerable {
    fn read(query: &str) -> Result<Self, Unanswerable> {
        let fields = Fields::parse(query.as_bytes()).map_err(Unanswerable::Query)?;
        if fields.get("client_id") != Some(AUTHENTICATOR) {
            return Err(Unanswerable::Client);
        }
        let redirect = LoopbackUri::parse(fields.text("redirect_uri")).ok_or(Unanswerable::Redirect)?;
        if fields.text("state").len() > LONGEST_STATE {
            return Err(Unanswerable::State);
        }
        let query = query.split('&').filter(|pair| !pair.starts_with(OUTCOME)).collect::<Vec<_>>().join("&");
        Ok(Self { query, fields, redirect })
    }

    fn check(&self, app: &App) -> Result<Wish, Refusal> {
        if self.fields.get("response_type") != Some("code") {
            return Err(Refusal::ResponseType);
        }
        let challenge =
            CodeChallenge::read(self.fields.get("code_challenge"), self.fields.get("code_challenge_method"))?;
        let details = read_details(app, self.fields.text("authorization_details"))?;
        Ok(Wish { challenge, details })
    }

    /// The path that leads to this request again.
    fn here(&self) -> String {
        format!("/oauth/authorize?{}", self.query)
    }

    fn answer(&self, app: &App, parameters: &[(&str, &str)]) -> Response {
        let issuer = app.config.issuer();
        let mut all = parameters.to_vec();
        all.extend(self.fields.get("state").map(|state| ("state", state)));
        all.push(("iss", &issuer));
        see_other(&with_query(&self.redirect, &all), None)
    }

    fn refuse(&self, app: &App, refusal: &Refusal) -> Response {
        self.answer(app, &[("error", refusal.code()), ("error_description", &refusal.to_string())])
    }
}

/// Reads `authorization_details`; the empty text asks for nothing.
pub(super) fn read_details(app: &App, text: &str) -> Result<Vec<Detail>, Refusal> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let details: Vec<Detail> = serde_json::from_str(text).map_err(|_| Refusal::Details)?;
    let refs: usize = details.iter().map(|detail| detail.refs.len()).sum();
    if refs > MOST_REFS || details.iter().any(|detail| detail.r#type != "flatpak_refs") {
        return Err(Refusal::Details);
    }
    let snapshot = app.snapshot.load();
    if details.iter().any(|detail| snapshot.repo_or_empty(&app.config, &detail.repo_url).is_none()) {
        return Err(Refusal::Repo);
    }
    Ok(details)
}

impl Detail {
    /// The wanted apps that this account would have to buy.
    pub(super) async fn to_buy(
        details: &[Self],
        app: &App,
        signed_in: &SignedIn,
    ) -> Result<Vec<StoredOffer>, PageError> {
        let snapshot = app.snapshot.load_full();
        let mut offers: Vec<StoredOffer> = Vec::new();
        for detail in details {
            let Some(view) = snapshot.repo_or_empty(&app.config, &detail.repo_url) else { continue };
            let account = &signed_in.account.id;
            let entitlements = app.store.entitlements(account, Some(&view.repo.name), app.now()).await?;
            if !view.may_be_seen(&entitlements) {
                continue;
            }
            for name in detail.refs.iter().filter_map(|name| RefName::parse(name).ok()) {
                let Some(offer) = view.offers.get(view.owner(&name)) else { continue };
                let owned =
                    entitlements.iter().any(|one| one.allows(&offer.app_id, name.branch(), Verb::Download));
                if !owned && !offers.contains(offer) {
                    offers.push(offer.clone());
                }
            }
        }
        Ok(offers)
    }
}

#[derive(Template)]
#[template(path = "allow.html")]
struct Allow {
    frame: Frame,
    device: String,
    request: String,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let request = Answerable::read(&query.unwrap_or_default())?;
    let wish = match request.check(&app) {
        Ok(wish) => wish,
        Err(refusal) => return Ok(request.refuse(&app, &refusal)),
    };
    let signed_in = browser.require(&request.here())?;
    let outcome = request.fields.text(OUTCOME);
    if outcome == "cancelled" {
        return Ok(request.refuse(&app, &Refusal::Denied));
    }
    let (csrf, cookie) = browser.form_token(&app);
    let frame = Frame::new(&app, &browser, csrf);
    let target = Some(request.redirect.form_action());
    let mut to_buy = Detail::to_buy(&wish.details, &app, signed_in).await?.into_iter();
    if let Some(offer) = to_buy.next() {
        let page = OfferPage {
            request: request.query.clone(),
            declined: outcome == "declined",
            more: to_buy.map(|offer| format!("{} for {}", offer.title, offer.price)).collect(),
            ..OfferPage::new(frame, &offer, request.here())
        };
        return Ok(render(StatusCode::OK, &page, cookie, target));
    }
    let device = device_name(request.fields.text("device_name"));
    Ok(render(StatusCode::OK, &Allow { frame, device, request: request.query }, cookie, target))
}

/// What a device calls itself, as people are shown it.
pub(super) fn device_name(said: &str) -> String {
    let name = shortened(said.trim(), 100);
    if name.is_empty() { "a device without a name".to_owned() } else { name }
}

/// The answer to the page that asks for consent, or the "not now" of the page that sells.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    browser: Browser,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let request = Answerable::read(form.text("request"))?;
    let wish = match request.check(&app) {
        Ok(wish) => wish,
        Err(refusal) => return Ok(request.refuse(&app, &refusal)),
    };
    if form.text("decision") != "allow" {
        return Ok(request.refuse(&app, &Refusal::Denied));
    }
    let signed_in = browser.require(&request.here())?;
    let code = NewCode {
        client_id: AUTHENTICATOR.to_owned(),
        account_id: signed_in.account.id.clone(),
        redirect_uri: request.redirect.as_str().to_owned(),
        code_challenge: wish.challenge.as_str().to_owned(),
        scope: SCOPE.to_owned(),
        device_name: request.fields.text("device_name").to_owned(),
    };
    let code = app.store.create_code(code, app.now(), Rng::system().as_random()).await?;
    Ok(request.answer(&app, &[("code", code.expose())]))
}
