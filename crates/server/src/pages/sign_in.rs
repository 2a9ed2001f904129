//! `GET` and `POST /sign-in`, `POST /sign-out`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::config::SignUpDoor;
use crate::web::browser::{Browser, forget_session};
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, form_target, query_value, safe_next};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    email: String,
    error: Option<String>,
    next: String,
    /// The page to sign up on, where there is one.
    other: Option<String>,
}

/// Where to go after signing in or up.
pub(crate) fn after(next: &str) -> &str {
    safe_next(next).unwrap_or("/account")
}

fn is_open(app: &App) -> bool {
    app.config.accounts.sign_up == SignUpDoor::Open
}

fn page(
    app: &App,
    browser: &Browser,
    status: StatusCode,
    email: &str,
    error: Option<String>,
    next: &str,
) -> Response {
    let (csrf, cookie) = browser.form_token(app);
    let next = after(next).to_owned();
    let other = is_open(app).then(|| format!("/sign-up?next={}", query_value(&next)));
    let target = form_target(&next);
    let template =
        SignIn { frame: Frame::new(app, browser, csrf), email: email.to_owned(), error, next, other };
    render(status, &template, cookie, target.as_deref())
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let Query(query) = query?;
    if browser.signed_in.is_some() {
        return Ok(see_other(after(query.text("next")), None));
    }
    Ok(page(&app, &browser, StatusCode::OK, "", None, query.text("next")))
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let (email, next) = (form.text("email"), form.text("next"));
    app.tries.sign_in(address, email).map_err(PageError::TooMany)?;
    let Some(account) = app.store.check_password(email, form.text("password")).await? else {
        let or = if is_open(&app) { ", or sign up" } else { "" };
        let error = format!("This e-mail address and password do not belong together. Check both{or}.");
        return Ok(page(&app, &browser, StatusCode::UNPROCESSABLE_ENTITY, email, Some(error), next));
    };
    let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
    Ok(see_other(after(next), Some(cookie)))
}

pub(crate) async fn sign_out(
    State(app): State<Arc<App>>,
    browser: Browser,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    if let Some(signed_in) = &browser.signed_in {
        app.store.end_session(&signed_in.session.id).await?;
    }
    Ok(see_other("/", Some(forget_session(&app))))
}
