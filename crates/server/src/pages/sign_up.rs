//! `GET` and `POST /sign-up`.
//!
//! A store may have no mail, so a taken address cannot be told to its owner alone: the form says that the address or the password
//! cannot be used, at the pace of the rate limit. Whoever has the password is simply signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{NewAccount, StoreError};

use super::sign_in::after;
use crate::app::{App, Rng};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, form_target, query_value};

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUp {
    frame: Frame,
    email: String,
    email_error: Option<String>,
    password_error: Option<String>,
    next: String,
    other: String,
}

#[derive(Default)]
struct Wrong {
    email: Option<String>,
    password: Option<String>,
}

fn page(app: &App, browser: &Browser, status: StatusCode, email: &str, wrong: Wrong, next: &str) -> Response {
    let (csrf, cookie) = browser.form_token(app);
    let next = after(next).to_owned();
    let other = format!("/sign-in?next={}", query_value(&next));
    let target = form_target(&next);
    let template = SignUp {
        frame: Frame::new(app, browser, csrf),
        email: email.to_owned(),
        email_error: wrong.email,
        password_error: wrong.password,
        next,
        other,
    };
    render(status, &template, cookie, target.as_deref())
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    Ok(page(&app, &browser, StatusCode::OK, "", Wrong::default(), query?.0.text("next")))
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let (email, password, next) = (form.text("email"), form.text("password"), form.text("next"));
    app.tries.sign_in(address, email).map_err(PageError::TooMany)?;
    let new = NewAccount { email: email.to_owned(), password: password.to_owned().into(), name: None };
    let mut wrong = Wrong::default();
    match app.store.create_account(new, app.now(), Rng::system().as_random()).await {
        Ok(account) => {
            let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
            return Ok(see_other(after(next), Some(cookie)));
        }
        // Without mail there is no way to sign up that does not say whether an address is taken; what it costs to ask is limited
        // like a sign-in. Whoever knows the password just signs in.
        Err(StoreError::EmailTaken) => {
            if let Some(account) = app.store.check_password(email, password).await? {
                let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
                return Ok(see_other(after(next), Some(cookie)));
            }
            wrong.email =
                Some("This address cannot be used to sign up. If it is yours, sign in instead.".to_owned());
        }
        Err(StoreError::Email(error)) => wrong.email = Some(sentence(&error.to_string())),
        Err(StoreError::Password(error)) => wrong.password = Some(sentence(&error.to_string())),
        Err(error) => return Err(error.into()),
    }
    Ok(page(&app, &browser, StatusCode::UNPROCESSABLE_ENTITY, email, wrong, next))
}

/// Makes a message a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
