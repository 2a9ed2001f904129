//! `GET /account`: purchases, repos, signed-in devices and the secrets in remotes. `POST /account/password`, `POST /account/devices/ID/sign-out`.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{GrantId, RepoPolicy, StoreError};
use flatpass_token::Verb;

use super::rights::Rights;
use super::sign_up::sentence;
use super::words;
use crate::app::{App, Rng};
use crate::web::ClientAddress;
use crate::web::browser::{Browser, SignedIn};
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render, see_other};

struct Purchase {
    link: String,
    title: String,
    price: String,
    state: &'static str,
    date: String,
}

struct DeviceLine {
    id: String,
    name: String,
    last_used: String,
    address: String,
}

/// A secret in a remote's URL.
struct SecretLine {
    id: String,
    name: String,
    repo: String,
    last_used: Option<String>,
    address: String,
    until: Option<String>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    purchases: Vec<Purchase>,
    repos: Vec<String>,
    devices: Vec<DeviceLine>,
    secrets: Vec<SecretLine>,
    rights: Rights,
    old_error: Option<String>,
    new_error: Option<String>,
    changed: bool,
}

#[derive(Default)]
struct PasswordAnswer {
    old: Option<String>,
    new: Option<String>,
    changed: bool,
}

async fn page(
    app: &App,
    browser: &Browser,
    signed_in: &SignedIn,
    status: StatusCode,
    password: PasswordAnswer,
) -> Result<Response, PageError> {
    let purchases = app.store.orders(&signed_in.account.id).await?.into_iter().map(|order| Purchase {
        link: format!("/orders/{}", order.id),
        title: order.title,
        price: order.price.to_string(),
        state: words::order_state(order.state),
        date: words::moment(order.created_at),
    });
    let devices = app.store.list_devices(&signed_in.account.id, app.now()).await?.into_iter().map(|device| {
        DeviceLine {
            id: device.id.0,
            name: if device.name.is_empty() { "A device without a name".to_owned() } else { device.name },
            last_used: words::moment(device.last_used_at),
            address: device.last_address,
        }
    });
    let secrets = app.store.list_access_tokens(Some(&signed_in.account.id), app.now()).await?;
    let secrets = secrets.into_iter().map(|token| SecretLine {
        id: token.id.0,
        name: token.name,
        repo: token.repo,
        last_used: token.last_used_at.map(words::moment),
        address: token.last_address,
        until: token.expires_at.map(words::moment),
    });
    let (csrf, cookie) = browser.form_token(app);
    let page = AccountPage {
        frame: Frame::new(app, browser, csrf),
        purchases: purchases.collect(),
        repos: repos(app, signed_in).await?,
        devices: devices.collect(),
        secrets: secrets.collect(),
        rights: Rights::of(app, signed_in).await?,
        old_error: password.old,
        new_error: password.new,
        changed: password.changed,
    };
    Ok(render(status, &page, cookie, None))
}

/// The repos that the account may list something of.
async fn repos(app: &App, signed_in: &SignedIn) -> Result<Vec<String>, PageError> {
    let entitlements = app.store.entitlements(&signed_in.account.id, None, app.now()).await?;
    let listed =
        |repo: &str| entitlements.iter().any(|one| one.repo == repo && one.verbs.contains(&Verb::List));
    let snapshot = app.snapshot.load();
    let views = snapshot.repos.values().map(|view| &view.repo);
    let usable = views.filter(|repo| repo.policy != RepoPolicy::Private || listed(&repo.name));
    Ok(usable.map(|repo| repo.name.clone()).collect())
}

pub(crate) async fn show(State(app): State<Arc<App>>, browser: Browser) -> Result<Response, PageError> {
    let signed_in = browser.require("/account")?;
    page(&app, &browser, signed_in, StatusCode::OK, PasswordAnswer::default()).await
}

pub(crate) async fn change_password(
    State(app): State<Arc<App>>,
    browser: Browser,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    let form = form?;
    browser.check_form(form.text("csrf"))?;
    let signed_in = browser.require("/account")?;
    app.tries.sign_in(address, &signed_in.account.email).map_err(PageError::TooMany)?;
    let done = app
        .store
        .change_password(
            &signed_in.account.id,
            form.text("old"),
            form.text("new"),
            Some(&signed_in.session.id),
            Rng::system().as_random(),
        )
        .await;
    let mut status = StatusCode::UNPROCESSABLE_ENTITY;
    let mut answer = PasswordAnswer::default();
    match done {
        Ok(()) => {
            status = StatusCode::OK;
            answer.changed = true;
        }
        Err(StoreError::WrongPassword) => answer.old = Some("This is not your current password.".to_owned()),
        Err(StoreError::Password(error)) => answer.new = Some(sentence(&error.to_string())),
        Err(error) => return Err(error.into()),
    }
    page(&app, &browser, signed_in, status, answer).await
}

pub(crate) async fn sign_out_device(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require("/account")?;
    app.store.revoke_device(&signed_in.account.id, &GrantId(id), app.now()).await?;
    Ok(see_other("/account", None))
}
