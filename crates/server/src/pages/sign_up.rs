//! `GET` and `POST /sign-up`.
//!
//! Where the store sends mail, each sign-up is answered alike, in the same time: a mail is on its way. Only the mail says whether
//! there was an account already, and the account is made by the link in it (`sign_up_link.rs`).
//!
//! Without mail a taken address cannot be told to its owner alone. The form then says that it cannot be used, at the pace of the
//! rate limit, and whoever knows the password is simply signed in. Operators may close the page.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{NewAccount, NewSignUp, StoreError};

use super::sign_in::after;
use crate::app::{App, Rng};
use crate::config::{Mail, SignUpDoor};
use crate::mail::MailError;
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
    again: String,
    /// The mail is on its way to the address.
    sent: bool,
}

#[derive(Default)]
struct Wrong {
    email: Option<String>,
    password: Option<String>,
}

impl Wrong {
    /// What is wrong with what was typed, by itself; any other error is one of ours.
    fn typed(error: StoreError) -> Result<Self, PageError> {
        match error {
            StoreError::Email(error) => {
                Ok(Self { email: Some(sentence(&error.to_string())), ..Self::default() })
            }
            StoreError::Password(error) => {
                Ok(Self { password: Some(sentence(&error.to_string())), ..Self::default() })
            }
            error => Err(error.into()),
        }
    }
}

fn page(app: &App, browser: &Browser, email: &str, wrong: Wrong, next: &str, sent: bool) -> Response {
    let is_wrong = wrong.email.is_some() || wrong.password.is_some();
    let status = if is_wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (csrf, cookie) = browser.form_token(app);
    let next = after(next).to_owned();
    let other = format!("/sign-in?next={}", query_value(&next));
    let again = format!("/sign-up?next={}", query_value(&next));
    let target = form_target(&next);
    let template = SignUp {
        frame: Frame::new(app, browser, csrf),
        email: email.to_owned(),
        email_error: wrong.email,
        password_error: wrong.password,
        next,
        other,
        again,
        sent,
    };
    render(status, &template, cookie, target.as_deref())
}

/// Refuses where the operator alone makes accounts.
pub(super) fn must_be_open(app: &App) -> Result<(), PageError> {
    match app.config.accounts.sign_up {
        SignUpDoor::Open => Ok(()),
        SignUpDoor::Closed => Err(PageError::Refused(
            "Nobody signs up here by themselves. Ask whoever runs the store for an account.".to_owned(),
        )),
    }
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    must_be_open(&app)?;
    Ok(page(&app, &browser, "", Wrong::default(), query?.0.text("next"), false))
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    must_be_open(&app)?;
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let (email, password, next) = (form.text("email"), form.text("password"), form.text("next"));
    app.tries.sign_in(address, email).map_err(PageError::TooMany)?;
    if let Some(mail) = &app.config.mail {
        return by_mail(&app, mail, &browser, &form).await;
    }
    let new = NewAccount { email: email.to_owned(), password: password.to_owned().into(), name: None };
    let wrong = match app.store.create_account(new, app.now(), Rng::system().as_random()).await {
        Ok(account) => {
            let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
            return Ok(see_other(after(next), Some(cookie)));
        }
        Err(StoreError::EmailTaken) => {
            if let Some(account) = app.store.check_password(email, password).await? {
                let cookie = browser.sign_in(&app, &account, &address.to_string()).await?;
                return Ok(see_other(after(next), Some(cookie)));
            }
            let taken = "This address cannot be used to sign up. If it is yours, sign in instead.";
            Wrong { email: Some(taken.to_owned()), ..Wrong::default() }
        }
        Err(error) => Wrong::typed(error)?,
    };
    Ok(page(&app, &browser, email, wrong, next, false))
}

/// Neither looks whether there is an account nor waits for the mail, so the answer is the same for all.
async fn by_mail(
    app: &Arc<App>,
    mail: &Mail,
    browser: &Browser,
    form: &Fields,
) -> Result<Response, PageError> {
    let (email, next) = (form.text("email"), form.text("next"));
    let new = NewSignUp {
        email: email.to_owned(),
        password: form.text("password").to_owned().into(),
        next: after(next).to_owned(),
        browser: browser.mark(),
    };
    let begun = app.store.begin_sign_up(new, app.now(), Rng::system().as_random()).await;
    let (secret, sign_up) = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(page(app, browser, email, Wrong::typed(error)?, next, false)),
    };
    app.tries.mail_to(&sign_up.email).map_err(PageError::TooMany)?;
    let link = app.config.at(&format!("sign-up/{}", secret.expose()));
    let (beside, mail, to) = (Arc::clone(app), mail.clone(), sign_up.email.clone());
    tokio::spawn(async move {
        if let Err(error) = tell(&beside, &mail, &to, &link).await {
            tracing::error!(%error, "a mail about a sign-up could not be sent; look at [mail] in the configuration");
        }
    });
    Ok(page(app, browser, &sign_up.email, Wrong::default(), next, true))
}

#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mail(#[from] MailError),
}

/// Tells who has the mailbox how to go on.
async fn tell(app: &App, mail: &Mail, to: &str, link: &str) -> Result<(), TellError> {
    let store = &app.config.name;
    let text = match app.store.account_by_email(to).await? {
        None => format!(
            "Somebody wants an account at {store} with this address.\n\n\
             If that was you, open this link within a day and type the password that you chose:\n\n{link}\n\n\
             If it was not you, ignore this mail: there will be no account.\n"
        ),
        Some(_) => format!(
            "Somebody wants an account at {store} with this address, and there is one already.\n\n\
             If that was you, sign in with the password that it has:\n\n{}\n\n\
             If it was not you, ignore this mail: nothing was changed.\n",
            app.config.at("sign-in")
        ),
    };
    Ok(mail.send(to, &format!("Your account at {store}"), text).await?)
}

/// Makes a message a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}
