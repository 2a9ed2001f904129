//! `GET /account/repos/REPO`: a repo that the account may use, and its apps, each with its file to install it.
//! `POST /account/access-tokens/ID/revoke`: ends a secret.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::{AccessTokenId, RepoPolicy};

use super::container_login::registry_host;
use super::flatpak_files::apps;
use crate::app::App;
use crate::membership::in_repo;
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{Frame, PageError, render, see_other};
use crate::web::query_value;

/// So many apps stand on one page; the others are found by their id.
const MOST_APPS: usize = 200;

struct AppLine {
    title: String,
    id: String,
    branch: String,
    /// Where its form goes.
    action: String,
}

#[derive(Template)]
#[template(path = "account_repo.html")]
struct RepoPage {
    frame: Frame,
    repo: String,
    private: bool,
    /// Access tokens are passwords at a registry.
    containers: bool,
    apps: Vec<AppLine>,
    /// How many more there are.
    more: usize,
    search: String,
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(repo): Path<String>,
    query: Result<Query, FormError>,
) -> Result<Response, PageError> {
    let Query(query) = query?;
    let signed_in = browser.require(&format!("/account/repos/{}", query_value(&repo)))?;
    let membership = in_repo(&app, &repo, &signed_in.account.id).await?.ok_or(PageError::NotFound)?;
    let search = query.text("search").to_lowercase();
    let view = &membership.view;
    let line = |name: flatpass_token::RefName| AppLine {
        title: view.offers.get(name.id()).map_or_else(|| name.id().to_owned(), |offer| offer.title.clone()),
        action: format!(
            "/account/repos/{repo}/flatpakref?app={}&branch={}",
            query_value(name.id()),
            query_value(name.branch())
        ),
        branch: name.branch().to_owned(),
        id: name.id().to_owned(),
    };
    let found = |one: &AppLine| {
        search.is_empty() || [&one.id, &one.title].iter().any(|text| text.to_lowercase().contains(&search))
    };
    let mut apps: Vec<_> = apps(&membership).into_iter().map(line).filter(found).collect();
    let more = apps.len().saturating_sub(MOST_APPS);
    apps.truncate(MOST_APPS);
    let (csrf, cookie) = browser.form_token(&app);
    let private = view.repo.policy == RepoPolicy::Private;
    let containers = registry_host(&app.config, &view.repo).is_some();
    let frame = Frame::new(&app, &browser, csrf);
    let page = RepoPage { frame, repo, private, containers, apps, more, search };
    Ok(render(StatusCode::OK, &page, cookie, None))
}

pub(crate) async fn revoke_access_token(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(id): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let signed_in = browser.require("/account")?;
    app.store.revoke_access_token(Some(&signed_in.account.id), &AccessTokenId(id), app.now()).await?;
    Ok(see_other("/account", None))
}
