//! `GET /oauth/authorize` (RFC 6749 4.1.1, RFC 7636, RFC 9396, RFC 9207): one walk that signs in, sells and asks for consent.
//!
//! It keeps no state of its own: the request is its query, which travels along through sign-in and payment and is checked anew
//! each time it comes back.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, RawQuery, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use flatpass_store::{NewCode, StoredOffer};
use flatpass_token::{RefName, Verb};
use serde::Deserialize;

use super::{AUTHENTICATOR, LoopbackUri, SCOPE, with_query};
use crate::app::{App, Rng};
use crate::pages::offer::OfferPage;
use crate::web::browser::{Browser, SignedIn};
use crate::web::page::{Frame, PageError, render, see_other};

#[derive(Deserialize)]
struct Parameters {
    #[serde(default)]
    response_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    device_name: String,
    #[serde(default)]
    authorization_details: String,
}

/// Refs that a device wants, as one item of `authorization_details`.
#[derive(Deserialize)]
struct Detail {
    r#type: String,
    #[serde(default)]
    repo_url: String,
    #[serde(default)]
    refs: Vec<String>,
}

/// A request whose client and redirect are good.
struct Request {
    query: String,
    redirect: LoopbackUri,
    parameters: Parameters,
    details: Vec<Detail>,
}

/// What is wrong with a request, for the client (RFC 6749, 4.1.2.1).
struct Refusal {
    error: &'static str,
    description: &'static str,
}

impl Request {
    /// `Err(page)` when the client or the redirect is not good: then nothing is sent anywhere.
    fn read(query: String) -> Result<(Self, Option<Refusal>), PageError> {
        let bad = |what: &str| PageError::BadRequest(what.to_owned());
        let uri: Uri = format!("/?{query}").parse().map_err(|_| bad("The link that opened this page is broken. Go back to the program that opened it and try again."))?;
        let Query(parameters): Query<Parameters> = Query::try_from_uri(&uri)
            .map_err(|_| bad("The link that opened this page cannot be read. Go back to the program that opened it and try again."))?;
        if parameters.client_id != AUTHENTICATOR {
            return Err(bad("An unknown program asked for access. Nothing was given."));
        }
        let redirect = LoopbackUri::parse(&parameters.redirect_uri)
            .ok_or_else(|| bad("The program that opened this page wants the answer sent to another machine. Nothing was given."))?;
        let mut refusal = None;
        if parameters.response_type != "code" {
            refusal =
                Some(Refusal { error: "unsupported_response_type", description: "only response_type=code" });
        } else if parameters.code_challenge_method != "S256" || parameters.code_challenge.len() != 43 {
            refusal = Some(Refusal { error: "invalid_request", description: "PKCE with S256 is required" });
        }
        let details = if parameters.authorization_details.is_empty() {
            Vec::new()
        } else {
            serde_json::from_str::<Vec<Detail>>(&parameters.authorization_details).unwrap_or_else(|_| {
                refusal = Some(Refusal {
                    error: "invalid_authorization_details",
                    description: "authorization_details is not a JSON array of details",
                });
                Vec::new()
            })
        };
        if details.iter().any(|detail| detail.r#type != "flatpak_refs") {
            refusal = Some(Refusal {
                error: "invalid_authorization_details",
                description: "only the type flatpak_refs",
            });
        }
        Ok((Self { query, redirect, parameters, details }, refusal))
    }

    fn here(&self) -> String {
        format!("/oauth/authorize?{}", self.query)
    }

    fn answer(&self, app: &App, parameters: &[(&str, &str)]) -> Response {
        let issuer = app.config.issuer();
        let mut all = parameters.to_vec();
        if !self.parameters.state.is_empty() {
            all.push(("state", &self.parameters.state));
        }
        all.push(("iss", &issuer));
        see_other(&with_query(&self.redirect, &all), None)
    }

    /// The first wanted app that this account would have to buy.
    async fn to_buy(&self, app: &App, signed_in: &SignedIn) -> Result<Option<StoredOffer>, PageError> {
        let snapshot = app.snapshot.load_full();
        for detail in &self.details {
            let Some(view) = snapshot.repo_by_url(&detail.repo_url) else { continue };
            for name in detail.refs.iter().filter_map(|name| RefName::parse(name).ok()) {
                let Some(offer) = view.offers.get(view.owner(name.id())) else { continue };
                let entitled = app
                    .store
                    .entitled(&signed_in.account.id, &offer.repo, &offer.app_id, Verb::Download, app.now())
                    .await?;
                if !entitled {
                    return Ok(Some(offer.clone()));
                }
            }
        }
        Ok(None)
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
    let (request, refusal) = Request::read(query.unwrap_or_default())?;
    if let Some(refusal) = refusal {
        let answer = [("error", refusal.error), ("error_description", refusal.description)];
        return Ok(request.answer(&app, &answer));
    }
    let signed_in = browser.require(&request.here())?;
    let (csrf, cookie) = browser.form_token(&app);
    let frame = Frame::new(&app, &browser, csrf);
    let origin = Some(request.redirect.origin());
    if let Some(offer) = request.to_buy(&app, signed_in).await? {
        let page = OfferPage::new(frame, &offer, request.here(), request.query.clone());
        return Ok(render(StatusCode::OK, &page, cookie, origin));
    }
    let device = match request.parameters.device_name.as_str() {
        "" => "a device without a name".to_owned(),
        name => name.chars().take(100).collect(),
    };
    Ok(render(StatusCode::OK, &Allow { frame, device, request: request.query.clone() }, cookie, origin))
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    request: String,
    #[serde(default)]
    decision: String,
}

pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    browser: Browser,
    Form(form): Form<Decision>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    let (request, refusal) = Request::read(form.request)?;
    if refusal.is_some() {
        return Err(PageError::StaleForm);
    }
    if form.decision != "allow" {
        return Ok(
            request.answer(&app, &[("error", "access_denied"), ("error_description", "the person said no")])
        );
    }
    let signed_in = browser.require(&request.here())?;
    let code = NewCode {
        client_id: request.parameters.client_id.clone(),
        account_id: signed_in.account.id.clone(),
        redirect_uri: request.redirect.as_str().to_owned(),
        code_challenge: request.parameters.code_challenge.clone(),
        scope: SCOPE.to_owned(),
        device_name: request.parameters.device_name.clone(),
    };
    let code = app.store.create_code(code, app.now(), Rng::system().as_random()).await?;
    Ok(request.answer(&app, &[("code", code.expose())]))
}
