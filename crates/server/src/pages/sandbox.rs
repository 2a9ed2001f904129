//! `GET` and `POST /sandbox/pay/REFERENCE`: the built-in provider's page, where a real one would ask for a card.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{PaymentOutcome, SandboxPayment};
use serde::Deserialize;

use super::sign_in::Next;
use crate::app::App;
use crate::payment;
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::safe_next;

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
    Query(query): Query<Next>,
) -> Result<Response, PageError> {
    let payment = own_payment(&app, &browser, &reference).await?;
    let next = safe_next(&query.next).unwrap_or("/account").to_owned();
    if payment.event().is_some() {
        return Ok(see_other(&format!("/orders/{}", payment.order_id), None));
    }
    let (csrf, cookie) = browser.form_token(&app);
    let page = Pay {
        frame: Frame::new(&app, &browser, csrf),
        title: payment.title,
        price: payment.amount.to_string(),
        reference,
        next,
    };
    Ok(render(StatusCode::OK, &page, cookie, None))
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    next: String,
    outcome: String,
}

pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(reference): Path<String>,
    Form(form): Form<Decision>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    let payment = own_payment(&app, &browser, &reference).await?;
    let outcome = match form.outcome.as_str() {
        "paid" => PaymentOutcome::Paid,
        "declined" => PaymentOutcome::Declined,
        "cancelled" => PaymentOutcome::Cancelled,
        _ => return Err(PageError::BadRequest("Press one of the buttons on the payment page.".to_owned())),
    };
    app.store.decide_sandbox_payment(&reference, outcome, app.now()).await?;
    // From here on it is what happens with any provider: the order asks it what was decided.
    let order = app.store.order(&payment.order_id).await?.ok_or(PageError::NotFound)?;
    payment::settle(&app, order).await.map_err(|error| {
        tracing::error!(%error, "an order could not be settled");
        PageError::Internal
    })?;
    Ok(see_other(safe_next(&form.next).unwrap_or("/account"), None))
}
