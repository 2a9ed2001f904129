//! `POST /account/verify` sends a link; `GET` and `POST /verify/SECRET` prove the address by it.
//!
//! Opening the link shows a button, because programs that look through mail open links too. It must be pressed by the account
//! that asked for the mail: a stranger's click proves nothing for who signed up with the stranger's address.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::{App, Rng};
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render};
use crate::web::{ClientAddress, path_segment};

#[derive(Template)]
#[template(path = "verify.html")]
struct Verify {
    frame: Frame,
    step: Step,
}

enum Step {
    /// The mail is on its way to this address.
    Sent(String),
    /// Press the button, with this secret.
    Confirm(String),
    /// Done, and in these groups now.
    Done(Vec<String>),
    /// The link is no good.
    Ended,
    /// The mail could not be sent.
    NotSent,
}

fn page(app: &App, browser: &Browser, status: StatusCode, step: Step) -> Response {
    let (csrf, cookie) = browser.form_token(app);
    render(status, &Verify { frame: Frame::new(app, browser, csrf), step }, cookie, None)
}

pub(crate) async fn send(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let account = &browser.require("/account")?.account;
    let Some(mail) = &app.config.mail else { return Err(PageError::NotFound) };
    app.tries.mail(address, &account.id).map_err(PageError::TooMany)?;
    let secret = app.store.create_verification(&account.id, app.now(), Rng::system().as_random()).await?;
    let store = &app.config.name;
    let text = format!(
        "Somebody signed in to {store} as {} and asked us to check that this address is theirs.\n\n\
         If that was you, open this link in the same browser within a day:\n\n{}\n\n\
         If it was not you, ignore this mail: nothing happens.\n",
        account.email,
        app.config.at(&format!("verify/{}", secret.expose()))
    );
    let step = match mail.send(&account.email, &format!("Your address at {store}"), text).await {
        Ok(()) => Step::Sent(account.email.clone()),
        Err(error) => {
            tracing::error!(%error, "a mail could not be sent; look at [mail] in the configuration");
            return Ok(page(&app, &browser, StatusCode::BAD_GATEWAY, Step::NotSent));
        }
    };
    Ok(page(&app, &browser, StatusCode::OK, step))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(secret): Path<String>,
) -> Result<Response, PageError> {
    browser.require(&format!("/verify/{}", path_segment(&secret)))?;
    Ok(page(&app, &browser, StatusCode::OK, Step::Confirm(path_segment(&secret))))
}

pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    Path(secret): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let account = &browser.require(&format!("/verify/{}", path_segment(&secret)))?.account;
    app.tries.link(address, &account.id).map_err(PageError::TooMany)?;
    let joined = app.store.verify_email(&secret, &account.id, app.now(), Rng::system().as_random()).await?;
    let Some(joined) = joined else {
        return Ok(page(&app, &browser, StatusCode::NOT_FOUND, Step::Ended));
    };
    let titles = joined.into_iter().map(|group| group.title).collect();
    Ok(page(&app, &browser, StatusCode::OK, Step::Done(titles)))
}
