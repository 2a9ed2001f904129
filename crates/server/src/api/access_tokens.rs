//! Access tokens of a person's devices, for remotes with the secret in their URL: `POST` and `GET /api/v1/access-tokens`,
//! `DELETE /api/v1/access-tokens/ID` by the API's own access token; `…/rotate` and `…/revoke` by the secret itself.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flatpass_store::{AccessToken, AccessTokenId, StoreError, shortened};
use flatpass_token::{Secret, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{basic_password, bearer, require_access};
use crate::app::{App, Rng};
use crate::membership::membership;
use crate::oauth::token::answer;
use crate::problem::ApiError;
use crate::web::ClientAddress;

/// The longest life that may be asked for; who wants a longer one asks for none.
const LONGEST_SECONDS: i64 = 100 * 366 * 24 * 60 * 60;

#[derive(Deserialize)]
struct Request {
    repo_url: String,
    name: String,
    #[serde(default)]
    expires_in: Option<i64>,
}

/// An access token as it is listed.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a AccessTokenId,
    repo: &'a str,
    name: &'a str,
    created_at: UnixTime,
    expires_at: Option<UnixTime>,
    last_used_at: Option<UnixTime>,
    last_address: &'a str,
}

fn listed(token: &AccessToken) -> Listed<'_> {
    Listed {
        id: &token.id,
        repo: &token.repo,
        name: &token.name,
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        last_address: &token.last_address,
    }
}

/// The one answer that has the secret in it. Gates know the secret when it is sent.
async fn made(app: &App, secret: &Secret, token: &AccessToken) -> Response {
    app.take_up().await;
    let is_oci = app.snapshot.load().repos.get(&token.repo).is_some_and(|view| view.repo.source.is_oci());
    let body = json!({
        "id": token.id, "secret": secret.expose(), "repo": token.repo, "name": token.name,
        "created_at": token.created_at, "expires_at": token.expires_at,
        "url": app.config.remote_url_with(&token.repo, is_oci, secret),
    });
    answer(StatusCode::CREATED, &body)
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let access = require_access(&app, bearer(&headers)?).await?;
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        ApiError::BadRequest(format!("The body must be JSON with repo_url and name: {error}."))
    })?;
    let name = shortened(request.name.trim(), usize::MAX);
    if name.is_empty() || name.chars().count() > 100 {
        return Err(ApiError::BadRequest("Name the access token, in at most 100 characters.".to_owned()));
    }
    let expires_at = match request.expires_in {
        None => None,
        Some(seconds) if (1..=LONGEST_SECONDS).contains(&seconds) => Some(app.now().plus_seconds(seconds)),
        Some(_) => {
            return Err(ApiError::BadRequest("expires_in must be a number of seconds ahead.".to_owned()));
        }
    };
    let view = membership(&app, &request.repo_url, &access.account_id).await?.view;
    let mut rng = Rng::system();
    let made_by_device = app.store.create_access_token_by(
        &access.grant_id,
        &access.account_id,
        &view.repo.name,
        &name,
        expires_at,
        app.now(),
        rng.as_random(),
    );
    let (secret, token) = made_by_device.await.map_err(|error| match error {
        // Signed out, disabled or removed in this very moment.
        StoreError::NoAccount => ApiError::BadToken,
        StoreError::TooManyAccessTokens(most) => ApiError::TooManyTokens(most),
        StoreError::NoRepo(_) => ApiError::NotAMember(app.config.issuer()),
        other => other.into(),
    })?;
    Ok(made(&app, &secret, &token).await)
}

pub(crate) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let access = require_access(&app, bearer(&headers)?).await?;
    let tokens = app.store.list_access_tokens(Some(&access.account_id), app.now()).await?;
    let tokens: Vec<_> = tokens.iter().map(listed).collect();
    Ok(answer(StatusCode::OK, &json!(tokens)))
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let access = require_access(&app, bearer(&headers)?).await?;
    if !app.store.revoke_access_token(Some(&access.account_id), &AccessTokenId(id), app.now()).await? {
        return Err(ApiError::NotFound);
    }
    app.take_up().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.tries.token(address).map_err(ApiError::TooMany)?;
    let secret = basic_password(&headers)?;
    let rotated =
        app.store.rotate_access_token(secret.expose(), app.now(), Rng::system().as_random()).await?;
    let (secret, token) = rotated.ok_or(ApiError::BadSecret)?;
    Ok(made(&app, &secret, &token).await)
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    app.tries.token(address).map_err(ApiError::TooMany)?;
    let secret = basic_password(&headers)?;
    if !app.store.revoke_access_secret(secret.expose(), app.now()).await? {
        return Err(ApiError::BadSecret);
    }
    app.take_up().await;
    Ok(StatusCode::NO_CONTENT.into_response())
}
