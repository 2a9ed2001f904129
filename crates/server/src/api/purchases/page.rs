//! `/purchase?refs=A;B&return=http://127.0.0.1:PORT/`: the page that clients of the two steps open. It sells what is missing, asks, and goes to
//! `return`, with `/success?token=` and an update token, or with `/cancel`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::owned::{Wanted, owned_of};
use super::refusal::Refusal;
use super::{Desk, update};
use crate::app::App;
use crate::oauth::{LoopbackUri, with_query};
use crate::pages::offer::{OfferPage, visible};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, query_value};

/// What the client asks for.
struct Flow {
    refs: String,
    back: String,
    success: LoopbackUri,
    cancel: LoopbackUri,
}

impl Flow {
    fn read(fields: &Fields) -> Result<Self, PageError> {
        let back = fields.text("return").trim_end_matches('/');
        let at = |name: &str| LoopbackUri::parse(&format!("{back}/{name}"));
        let (Some(success), Some(cancel)) = (at("success"), at("cancel")) else {
            return Err(PageError::BadRequest(
                "The program that opened this page wants the answer sent to another machine. Nothing was given."
                    .to_owned(),
            ));
        };
        Ok(Self { refs: fields.text("refs").to_owned(), back: back.to_owned(), success, cancel })
    }

    fn here(&self, uri: &Uri) -> String {
        format!("{}?refs={}&return={}", uri.path(), query_value(&self.refs), query_value(&self.back))
    }

    fn wanted(&self) -> Result<Vec<Wanted>, PageError> {
        let refs: Vec<String> =
            self.refs.split(';').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        Wanted::read(&refs, true).map_err(|refusal| PageError::BadRequest(refusal.to_string()))
    }
}

#[derive(Template)]
#[template(path = "purchase_allow.html")]
struct Allow {
    frame: Frame,
    action: String,
    refs: String,
    back: String,
}

/// Shows what is missing, or asks.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Desk(view): Desk,
    browser: Browser,
    uri: Uri,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let flow = Flow::read(&query?.0)?;
    let here = flow.here(&uri);
    let signed_in = browser.require(&here)?;
    let form_action = flow.success.form_action();
    let (csrf, cookie) = browser.form_token(&app);
    let frame = Frame::new(&app, &browser, csrf);
    match owned_of(&app, &view, &signed_in.account.id, &flow.wanted()?).await {
        Ok(_) => {
            let page = Allow {
                frame,
                action: uri.path().to_owned(),
                refs: flow.refs.clone(),
                back: flow.back.clone(),
            };
            Ok(render(StatusCode::OK, &page, cookie, Some(form_action)))
        }
        Err(Refusal::PurchaseNecessary { missing, message }) => {
            for app_id in &missing {
                match visible(&app, &browser, &view.repo.name, app_id).await {
                    Ok(offer) => {
                        let page = OfferPage::new(frame, &offer, here);
                        return Ok(render(StatusCode::OK, &page, cookie, Some(form_action)));
                    }
                    Err(PageError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(PageError::Refused(message))
        }
        Err(refusal) => Err(refused(&refusal)),
    }
}

/// The answer of who was asked.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Desk(view): Desk,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    uri: Uri,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let flow = Flow::read(&form)?;
    if form.text("decision") != "allow" {
        return Ok(see_other(flow.cancel.as_str(), None));
    }
    let signed_in = browser.require(&flow.here(&uri))?;
    app.tries.link(address, &signed_in.account.id).map_err(PageError::TooMany)?;
    let name = format!("Updates of {}", view.repo.name);
    let token = update::begin(&app, &view, &signed_in.account.id, &name, &address.to_string())
        .await
        .map_err(|refusal| refused(&refusal))?;
    Ok(see_other(&with_query(&flow.success, &[("token", &token)]), None))
}

fn refused(refusal: &Refusal) -> PageError {
    match refusal {
        Refusal::NotServed => PageError::NotFound,
        Refusal::TooMany(seconds) => PageError::TooMany(*seconds),
        Refusal::Internal => PageError::Internal,
        other => PageError::Refused(other.to_string()),
    }
}
