//! `GET /api/v1/peers/{repo}`: what a peer must know of a repo to guard a copy of it as the repo itself is guarded.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_store::{Entitlement, RepoPolicy};
use flatpass_token::{Grant, Verb};
use serde_json::json;

use super::summary_tokens::grants;
use super::{bearer, require_access};
use crate::app::App;
use crate::membership::in_repo;
use crate::oauth::token::answer;
use crate::problem::ApiError;
use crate::snapshot::{RepoView, open_token_types};

/// What a peer whose account may export all of a large repo is told, at most, of what it may export: single apps beyond that are left out.
const MOST_EXPORTS: usize = 10_000;

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(repo): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (view, export) = match bearer(&headers)? {
        Some(token) => {
            let access = require_access(&app, Some(token)).await?;
            let seen = in_repo(&app, &repo, &access.account_id).await?.ok_or(ApiError::NotFound)?;
            let held = app.store.entitlements(&access.account_id, Some(&repo), app.now()).await?;
            let export = export(&seen.view, held);
            (seen.view, export)
        }
        None => {
            let view = app.snapshot.load().repos.get(&repo).cloned();
            (
                view.filter(|view| view.repo.policy != RepoPolicy::Private).ok_or(ApiError::NotFound)?,
                Vec::new(),
            )
        }
    };
    if view.repo.source.ostree().is_none() {
        return Err(ApiError::BadRequest(
            "Only OSTree repositories have peers: what is in a container registry or image layout is served by that alone."
                .to_owned(),
        ));
    }
    let config = &app.config;
    let body = json!({
        "repo": view.repo.name,
        "repo_url": view.url,
        "store": config.url.as_str(),
        "store_name": config.name,
        "issuer": config.issuer(),
        "jwks_uri": config.at("oauth/jwks"),
        "token_endpoint": config.at("oauth/token"),
        "ref_tokens_endpoint": config.at("api/v1/ref-tokens"),
        "summary_tokens_endpoint": config.at("api/v1/summary-tokens"),
        "sign_in_url": config.at("sign-in"),
        "problem_url": config.at("problems/"),
        "tokens": view.repo.tokens.to_string(),
        "policy": view.repo.policy,
        "open_token_types": open_token_types(&view.repo),
        "guarded_ids": view.offers.keys().collect::<Vec<_>>(),
        "export": export,
        "now": app.now(),
    });
    Ok(answer(StatusCode::OK, &body))
}

/// What the account may carry on.
fn export(view: &RepoView, held: Vec<Entitlement>) -> Vec<Grant> {
    let carries =
        |one: &Entitlement| one.verbs.contains(&Verb::Export) && one.verbs.contains(&Verb::Download);
    let held: Vec<_> = held.into_iter().filter(carries).take(MOST_EXPORTS).collect();
    grants(view, &held, Verb::Export)
}
