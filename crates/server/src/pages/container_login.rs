//! `POST /account/repos/REPO/container-login`: a new access token to log in with at the repo's registry, shown once.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{Repo, RepoSource};

use super::words;
use crate::app::{App, Rng};
use crate::config::Config;
use crate::membership::in_repo;
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError};
use crate::web::page::{Frame, PageError, render};

#[derive(Template)]
#[template(path = "container_login.html")]
struct LoginPage {
    frame: Frame,
    repo: String,
    host: String,
    email: String,
    secret: String,
}

/// Host and port of the registry where access tokens of the repo are passwords, if there is one.
pub(super) fn registry_host(config: &Config, repo: &Repo) -> Option<String> {
    match &repo.source {
        RepoSource::Ostree(_) => None,
        RepoSource::OciLayout(_) => Some(config.host()),
        RepoSource::Registry(registry) => {
            let is_ours = registry.access == flatpass_store::RegistryAccess::Realm;
            is_ours.then(|| registry.host().to_owned())
        }
    }
}

pub(crate) async fn make(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(repo): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require("/account")?;
    let account = &signed_in.account;
    let view = in_repo(&app, &repo, &account.id).await?.ok_or(PageError::NotFound)?.view;
    let host = registry_host(&app.config, &view.repo).ok_or(PageError::NotFound)?;
    let now = app.now();
    let name = format!("container tools, {}", words::moment(now));
    let mut rng = Rng::system();
    let (secret, _) =
        app.store.create_push_token(&account.id, &repo, &name, None, now, rng.as_random()).await?;
    let email = account.email.clone();
    let secret = secret.expose().to_owned();
    let (csrf, cookie) = browser.form_token(&app);
    let page = LoginPage { frame: Frame::new(&app, &browser, csrf), repo, host, email, secret };
    Ok(render(StatusCode::OK, &page, cookie, None))
}
