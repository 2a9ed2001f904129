//! `GET` and `POST /sign-in`, `POST /sign-out`.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::StoreError;
use serde::Deserialize;

use crate::app::App;
use crate::web::browser::{Browser, forget_session};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, query_value, safe_next};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    frame: Frame,
    email: String,
    error: Option<String>,
    next: String,
    other: String,
}

#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    pub(crate) next: String,
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    #[serde(default)]
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) csrf: String,
    #[serde(default)]
    pub(crate) next: String,
}

/// Where to go after signing in or up.
pub(crate) fn after(next: &str) -> &str {
    safe_next(next).unwrap_or("/account")
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
    let other = format!("/sign-up?next={}", query_value(&next));
    let template =
        SignIn { frame: Frame::new(app, browser, csrf), email: email.to_owned(), error, next, other };
    render(status, &template, cookie, None)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Query(query): Query<Next>,
) -> Response {
    if browser.signed_in.is_some() {
        return see_other(after(&query.next), None);
    }
    page(&app, &browser, StatusCode::OK, "", None, &query.next)
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Form(form): Form<Credentials>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    app.allow_try(address, Some(&form.email)).map_err(PageError::TooMany)?;
    let account = match app.store.check_password(&form.email, &form.password).await {
        Ok(account) => account,
        Err(StoreError::Busy) => return Err(PageError::TooMany(5)),
        Err(error) => return Err(error.into()),
    };
    let Some(account) = account else {
        let error =
            "This e-mail address and password do not belong together. Check both, or sign up.".to_owned();
        return Ok(page(
            &app,
            &browser,
            StatusCode::UNPROCESSABLE_ENTITY,
            &form.email,
            Some(error),
            &form.next,
        ));
    };
    let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
    Ok(see_other(after(&form.next), Some(cookie)))
}

#[derive(Deserialize)]
pub(crate) struct OnlyToken {
    #[serde(default)]
    pub(crate) csrf: String,
}

pub(crate) async fn sign_out(
    State(app): State<Arc<App>>,
    browser: Browser,
    Form(form): Form<OnlyToken>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    if let Some(signed_in) = &browser.signed_in {
        app.store.end_session(&signed_in.session.id).await?;
    }
    Ok(see_other("/", Some(forget_session(&app))))
}
