//! Files that Flatpak takes with one click: `.flatpakrepo` and `.flatpakref`.
//!
//! `GET /repos/REPO.flatpakrepo` is what stores and `.flatpakref` files point to: for a repo whose list is public it is everybody's;
//! for a private one it is for the bearer of an access token (HTTP Basic, which flatpak sends when the URL has user and
//! password in it) and has that secret in its own URL, or for a member's device with an access token for the API. `POST /account/repos/REPO/flatpakrepo` and `…/flatpakref?app=ID&branch=BRANCH`
//! make a new access token for a private repo and give the file that has it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_store::RepoPolicy;
use flatpass_token::{RefKind, RefName, Secret};

use super::words;
use crate::api::{basic_password, bearer, require_access};
use crate::app::{App, Rng};
use crate::membership::in_repo;
use crate::problem::ApiError;
use crate::snapshot::RepoView;
use crate::web::browser::Browser;
use crate::web::fields::{Fields, FormError, Query};
use crate::web::page::{PageError, secure};

/// The D-Bus name of the authenticator.
const AUTHENTICATOR: &str = "org.flatpass.Authenticator";

/// A text in a key file: on one line, and without what would be read as an escape.
fn value(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect::<String>().replace('\\', "\\\\")
}

/// The lines that both files have about how the repo is signed.
fn key_line(view: &RepoView) -> String {
    view.repo.gpg_key.as_ref().map(|key| format!("GPGKey={key}\n")).unwrap_or_default()
}

/// The repo's URL, with the secret if there is one.
fn url(app: &App, view: &RepoView, secret: Option<&Secret>) -> String {
    let (name, is_oci) = (&view.repo.name, view.repo.source.is_oci());
    match secret {
        Some(secret) => app.config.remote_url_with(name, is_oci, secret),
        None => app.config.remote_url(name, is_oci),
    }
}

/// What `flatpak remote-add --from` takes. The address of the store is not in it: there is no key for it, so clients learn it from
/// the summary.
fn flatpakrepo(app: &App, view: &RepoView, secret: Option<&Secret>) -> String {
    let store = &app.config.name;
    let title =
        if store.is_empty() { view.repo.name.clone() } else { format!("{store}: {}", view.repo.name) };
    let authenticator = match view.repo.policy {
        RepoPolicy::Open => String::new(),
        _ => format!("AuthenticatorName={AUTHENTICATOR}\nAuthenticatorInstall=false\n"),
    };
    format!(
        "[Flatpak Repo]\nTitle={}\nUrl={}\nHomepage={}\n{}{authenticator}",
        value(&title),
        url(app, view, secret),
        app.config.url,
        key_line(view)
    )
}

/// What `flatpak install --from` takes. Its URL is exactly the one in the file that `RuntimeRepo` leads to, so that flatpak makes
/// one remote of both, which then knows its authenticator.
fn flatpakref(app: &App, view: &RepoView, name: &RefName, title: &str, secret: Option<&Secret>) -> String {
    let runtimes = app.config.at(&format!("repos/{}.flatpakrepo", view.repo.name));
    format!(
        "[Flatpak Ref]\nName={}\nBranch={}\nTitle={}\nUrl={}\nIsRuntime=false\nSuggestRemoteName={}\nRuntimeRepo={}\n{}",
        name.id(),
        name.branch(),
        value(title),
        url(app, view, secret),
        view.repo.name,
        secret.map_or_else(|| runtimes.clone(), |secret| crate::config::with_secret(&runtimes, secret)),
        key_line(view)
    )
}

/// A file for the person's disk, which nobody else may keep.
fn file(kind: &'static str, name: &str, text: String) -> Response {
    let mut response = (StatusCode::OK, text).into_response();
    let headers = response.headers_mut();
    secure(headers);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn repo_file(app: &App, view: &RepoView, secret: Option<&Secret>) -> Response {
    let name = format!("{}.flatpakrepo", view.repo.name);
    file("application/vnd.flatpak.repo", &name, flatpakrepo(app, view, secret))
}

/// `GET /repos/REPO.flatpakrepo`. A private repo and one that does not exist answer alike.
pub(crate) async fn public(
    State(app): State<Arc<App>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let name = file.strip_suffix(".flatpakrepo").ok_or(ApiError::NotFound)?;
    let snapshot = app.snapshot.load_full();
    let view = snapshot.repos.get(name);
    if let Some(view) = view.filter(|view| view.repo.policy != RepoPolicy::Private) {
        return Ok(repo_file(&app, view, None));
    }
    // A device that is signed in, and is about to get a secret of its own.
    if let Ok(token @ Some(_)) = bearer(&headers) {
        let access = require_access(&app, token).await?;
        let membership = in_repo(&app, name, &access.account_id).await?.ok_or(ApiError::BadSecret)?;
        return Ok(repo_file(&app, &membership.view, None));
    }
    let secret = basic_password(&headers)?;
    // The same work for what is there and what is not.
    let verifier = view.map_or(&snapshot.unmounted, |view| &view.verifier);
    let good = verifier.verify_access_secret(secret.expose(), app.now()).is_ok();
    let view = view.filter(|_| good).ok_or(ApiError::BadSecret)?;
    Ok(repo_file(&app, view, Some(&secret)))
}

/// The repo, if the person that is signed in may list some of it, and a new access token if it needs one.
async fn for_person(
    app: &App,
    browser: &Browser,
    repo: &str,
    what: &str,
) -> Result<(Arc<RepoView>, Option<Secret>), PageError> {
    let signed_in = browser.require("/account")?;
    let account = &signed_in.account.id;
    let view = in_repo(app, repo, account).await?.ok_or(PageError::NotFound)?.view;
    if view.repo.policy != RepoPolicy::Private {
        return Ok((view, None));
    }
    let now = app.now();
    let name = format!("{what}, downloaded {}", words::moment(now));
    let made =
        app.store.create_access_token(account, repo, &name, None, now, Rng::system().as_random()).await?;
    Ok((view, Some(made.0)))
}

pub(crate) async fn download_repo(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(repo): Path<String>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let (view, secret) = for_person(&app, &browser, &repo, &format!("{repo}.flatpakrepo")).await?;
    Ok(repo_file(&app, &view, secret.as_ref()))
}

pub(crate) async fn download_ref(
    State(app): State<Arc<App>>,
    browser: Browser,
    Path(repo): Path<String>,
    query: Result<Query, FormError>,
    form: Result<Fields, FormError>,
) -> Result<Response, PageError> {
    browser.check_form(form?.text("csrf"))?;
    let Query(query) = query?;
    let (id, branch) = (query.text("app"), query.get("branch"));
    let signed_in = browser.require("/account")?;
    let membership = in_repo(&app, &repo, &signed_in.account.id).await?.ok_or(PageError::NotFound)?;
    // What is not there and what may not be listed are the same to who asks.
    let name = apps(&membership)
        .into_iter()
        .find(|name| name.id() == id && branch.is_none_or(|branch| name.branch() == branch))
        .ok_or(PageError::NotFound)?;
    let (view, secret) = for_person(&app, &browser, &repo, &format!("{id}.flatpakref")).await?;
    let title = view.offers.get(id).map_or(id, |offer| offer.title.as_str());
    let text = flatpakref(&app, &view, &name, title, secret.as_ref());
    Ok(file("application/vnd.flatpak.ref", &format!("{id}.flatpakref"), text))
}

/// The apps of the repo that the account may list, once for each branch, by id; `stable` before other branches.
pub(crate) fn apps(membership: &crate::membership::Membership) -> Vec<RefName> {
    let view = &membership.view;
    let names = view.refs.iter().filter_map(|(name, _)| RefName::parse(name).ok());
    let mut apps: Vec<_> =
        names.filter(|name| name.kind() == RefKind::App && membership.may_list(name)).collect();
    let key = |name: &RefName| (name.id().to_owned(), name.branch() != "stable", name.branch().to_owned());
    apps.sort_by_key(key);
    apps.dedup_by_key(|name| (name.id().to_owned(), name.branch().to_owned()));
    apps
}
