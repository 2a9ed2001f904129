//! `POST /api/v1/registry-events/REPO`: a registry tells of changes (docker-registry's `notifications`).
//!
//! The secret comes as the registry's settings can send it: as Bearer in `headers`, or as the password of Basic, which is also what a `url` with
//! a user and a password in it becomes. What is told is a hint where to look; nothing of it is believed.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use flatpass_oci::changed_repositories;
use flatpass_token::SecretHash;

use super::{authorization, basic};
use crate::app::App;
use crate::problem::ApiError;

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Path(repo): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let shown = presented(&headers)?;
    let snapshot = app.snapshot.load_full();
    let registry = snapshot.repos.get(&repo).and_then(|view| view.repo.source.registry());
    // A repo that is not there, and one that nobody tells of, have a secret that nobody knows: all answer alike.
    let nobodys = SecretHash::of("");
    let expected = registry.and_then(|registry| registry.webhook.as_ref());
    let is_good = shown == *expected.unwrap_or(&nobodys);
    if !is_good || expected.is_none() {
        return Err(ApiError::BadToken);
    }
    let changed = changed_repositories(&body).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    app.registries.tell(&repo, changed);
    Ok(StatusCode::ACCEPTED)
}

/// The hash of the secret in a request.
fn presented(headers: &HeaderMap) -> Result<SecretHash, ApiError> {
    let (scheme, credentials) = authorization(headers)?.ok_or(ApiError::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(SecretHash::of(credentials));
    }
    let password = basic(credentials).filter(|_| scheme.eq_ignore_ascii_case("basic"));
    password.map(|(_, password)| password.hash()).ok_or(ApiError::BadToken)
}
