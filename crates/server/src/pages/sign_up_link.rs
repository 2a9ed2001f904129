//! `GET` and `POST /sign-up/SECRET`: the link in the mail makes the account.
//!
//! Opening it shows a form, because programs that look through mail open links too. The form asks for the password that was chosen: so
//! a stranger who signs up with somebody's address gains nothing by that person's click, in whichever browser it happens.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{SignUp, StoreError};

use super::sign_up::must_be_open;
use crate::app::{App, Rng};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::{ClientAddress, form_target, path_segment};

#[derive(Template)]
#[template(path = "sign_up_link.html")]
struct SignUpLink {
    frame: Frame,
    secret: String,
    /// Whose account it will be; empty when the link does not work.
    email: String,
    error: Option<String>,
}

/// Where the browser goes with its account. What began in one browser goes on only there: it may lead to a program beside it.
fn onward<'a>(browser: &Browser, sign_up: &'a SignUp) -> &'a str {
    let same = !sign_up.browser.is_empty() && sign_up.browser == browser.mark();
    if same { &sign_up.next } else { "/account" }
}

fn page(
    app: &App,
    browser: &Browser,
    secret: &str,
    sign_up: Option<&SignUp>,
    error: Option<String>,
) -> Response {
    let status = match (sign_up, &error) {
        (None, _) => StatusCode::NOT_FOUND,
        (_, Some(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    let (csrf, cookie) = browser.form_token(app);
    let template = SignUpLink {
        frame: Frame::new(app, browser, csrf),
        secret: path_segment(secret),
        email: sign_up.map(|sign_up| sign_up.email.clone()).unwrap_or_default(),
        error,
    };
    let target = sign_up.and_then(|sign_up| form_target(onward(browser, sign_up)));
    render(status, &template, cookie, target.as_deref())
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(secret): Path<String>,
) -> Result<Response, PageError> {
    must_be_open(&app)?;
    let sign_up = app.store.sign_up(&secret, app.now()).await?;
    Ok(page(&app, &browser, &secret, sign_up.as_ref(), None))
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Path(secret): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    must_be_open(&app)?;
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let Some(sign_up) = app.store.sign_up(&secret, app.now()).await? else {
        return Ok(page(&app, &browser, &secret, None, None));
    };
    app.tries.sign_in(address, &sign_up.email).map_err(PageError::TooMany)?;
    let (password, now) = (form.text("password"), app.now());
    match app.store.finish_sign_up(&secret, password, now, Rng::system().as_random()).await {
        Ok(Some(account)) => {
            let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
            Ok(see_other(onward(&browser, &sign_up), Some(cookie)))
        }
        Ok(None) => Ok(page(&app, &browser, &secret, None, None)),
        Err(StoreError::WrongPassword) => {
            let error =
                "This is not the password that was chosen with this link. Sign up again if you forgot it.";
            Ok(page(&app, &browser, &secret, Some(&sign_up), Some(error.to_owned())))
        }
        Err(error) => Err(error.into()),
    }
}
