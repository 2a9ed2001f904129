//! `GET` and `POST /sandbox/pay/REFERENCE`: the built-in provider's page, where a real one would ask for a card.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{OrderState, PaymentOutcome, SandboxPayment};

use crate::app::App;
use crate::oauth::authorize::after_payment;
use crate::payment;
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{form_target, safe_next};

#[derive(Template)]
#[template(path = "sandbox.html")]
struct Pay {
    frame: Frame,
    title: String,
    price: String,
    reference: String,
    next: String,
}

async fn own_payment(app: &App, browser: &Browser, reference: &str) -> Result<SandboxPayment, PageError> {
    let signed_in = browser.require("/account")?;
    let payment = app.store.sandbox_payment(reference).await?.ok_or(PageError::NotFound)?;
    let order = app.store.order(&payment.order_id).await?.ok_or(PageError::NotFound)?;
    if order.account_id == signed_in.account.id { Ok(payment) } else { Err(PageError::NotFound) }
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(reference): Path<String>,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let payment = own_payment(&app, &browser, &reference).await?;
    if payment.event().is_some() {
        return Ok(see_other(&format!("/orders/{}", payment.order_id), None));
    }
    let next = safe_next(query?.0.text("next")).unwrap_or("/account").to_owned();
    let target = form_target(&next);
    let (csrf, cookie) = browser.form_token(&app);
    let page = Pay {
        frame: Frame::new(&app, &browser, csrf),
        title: payment.title,
        price: payment.amount.to_string(),
        reference,
        next,
    };
    Ok(render(StatusCode::OK, &page, cookie, target.as_deref()))
}

pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(reference): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let payment = own_payment(&app, &browser, &reference).await?;
    let outcome = match form.text("outcome") {
        "paid" => PaymentOutcome::Paid,
        "declined" => PaymentOutcome::Declined,
        "cancelled" => PaymentOutcome::Cancelled,
        _ => return Err(PageError::BadRequest("Press one of the buttons on the payment page.".to_owned())),
    };
    // From here on it is what happens with any provider: it has decided, sends its message, and the browser comes back.
    if let Some(report) = app.payment.decide(&reference, outcome, app.now()).await? {
        payment::receive(&app, &report.signature, &report.body).await.map_err(|error| {
            tracing::error!(%error, "a payment was decided, but the order was not settled; it will be looked up");
            PageError::Internal
        })?;
    }
    let order = app.store.order(&payment.order_id).await?.ok_or(PageError::NotFound)?;
    let next = safe_next(form.text("next")).unwrap_or("/account");
    Ok(match order.state {
        OrderState::Cancelled => see_other(&after_payment(next, "cancelled"), None),
        OrderState::Declined => see_other(&after_payment(next, "declined"), None),
        _ => see_other(next, None),
    })
}
