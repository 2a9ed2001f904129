//! `GET` and `POST /sign-up`.
//!
//! There is no mail yet, so a taken address cannot be told to its owner alone: the form says that the address or the password
//! cannot be used, at the pace of the rate limit. Whoever has the password is simply signed in.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{NewAccount, StoreError};

use super::sign_in::{Credentials, Next, after};
use crate::app::{App, Rng};
use crate::web::browser::Browser;
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, query_value};

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
    let template = SignUp {
        frame: Frame::new(app, browser, csrf),
        email: email.to_owned(),
        email_error: wrong.email,
        password_error: wrong.password,
        next,
        other,
    };
    render(status, &template, cookie, None)
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Query(query): Query<Next>,
) -> Response {
    page(&app, &browser, StatusCode::OK, "", Wrong::default(), &query.next)
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Form(form): Form<Credentials>,
) -> Result<Response, PageError> {
    browser.check_form(&form.csrf)?;
    app.allow_try(address, Some(&form.email)).map_err(PageError::TooMany)?;
    let new = NewAccount { email: form.email.clone(), password: form.password.clone().into(), name: None };
    let mut wrong = Wrong::default();
    match app.store.create_account(new, app.now(), Rng::system().as_random()).await {
        Ok(account) => {
            let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
            return Ok(see_other(after(&form.next), Some(cookie)));
        }
        Err(StoreError::EmailTaken) => {
            if let Some(account) = app.store.check_password(&form.email, &form.password).await? {
                let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
                return Ok(see_other(after(&form.next), Some(cookie)));
            }
            wrong.email =
                Some("This address cannot be used to sign up. If it is yours, sign in instead.".to_owned());
        }
        Err(StoreError::Email(error)) => wrong.email = Some(sentence(&error.to_string())),
        Err(StoreError::Password(error)) => wrong.password = Some(sentence(&error.to_string())),
        Err(StoreError::Busy) => return Err(PageError::TooMany(5)),
        Err(error) => return Err(error.into()),
    }
    Ok(page(&app, &browser, StatusCode::UNPROCESSABLE_ENTITY, &form.email, wrong, &form.next))
}

/// Makes a message a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
