//! `POST /oauth/token` (RFC 6749 4.1.3 and 6, RFC 7636).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use flatpass_store::{CodeError, RefreshError, StoreError, TokenPair};
use serde::Deserialize;
use serde_json::json;

use crate::app::{App, Rng};
use crate::web::ClientAddress;

#[derive(Deserialize)]
pub(crate) struct Parameters {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    refresh_token: String,
}

/// Why there are no tokens (RFC 6749, 5.2).
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("grant_type must be authorization_code or refresh_token")]
    GrantType,
    #[error("client_id is missing, or not known here")]
    Client,
    #[error("code_verifier must have 43 to 128 characters (RFC 7636)")]
    Verifier,
    #[error("{0}")]
    Code(CodeError),
    #[error("{0}")]
    Refresh(RefreshError),
    #[error("too many calls; wait {0} seconds")]
    TooMany(u64),
    #[error("the store failed; try again")]
    Store(StoreError),
}

impl From<CodeError> for TokenError {
    fn from(error: CodeError) -> Self {
        match error {
            CodeError::Store(error) => Self::Store(error),
            other => Self::Code(other),
        }
    }
}

impl From<RefreshError> for TokenError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Store(error) => Self::Store(error),
            other => Self::Refresh(other),
        }
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Client => (StatusCode::BAD_REQUEST, "invalid_client"),
            Self::Verifier => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Code(_) | Self::Refresh(_) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            Self::Store(error) => {
                tracing::error!(%error, "the store failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        answer(status, &json!({ "error": error, "error_description": self.to_string() }))
    }
}

/// JSON that nobody keeps (RFC 6749, 5.1).
pub(crate) fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    Form(form): Form<Parameters>,
) -> Result<Response, TokenError> {
    app.allow_token_call(address).map_err(TokenError::TooMany)?;
    if form.client_id != super::AUTHENTICATOR {
        return Err(TokenError::Client);
    }
    let (address, now) = (address.to_string(), app.now());
    let mut rng = Rng::system();
    let pair: TokenPair = match form.grant_type.as_str() {
        "authorization_code" => {
            if !(43..=128).contains(&form.code_verifier.len()) {
                return Err(TokenError::Verifier);
            }
            app.store
                .exchange_code(
                    &form.code,
                    &form.client_id,
                    &form.redirect_uri,
                    &form.code_verifier,
                    &address,
                    now,
                    rng.as_random(),
                )
                .await?
        }
        "refresh_token" => {
            app.store.refresh(&form.refresh_token, &form.client_id, &address, now, rng.as_random()).await?
        }
        _ => return Err(TokenError::GrantType),
    };
    Ok(answer(
        StatusCode::OK,
        &json!({
            "access_token": pair.access.expose(), "token_type": "Bearer", "expires_in": pair.access_expires_in,
            "refresh_token": pair.refresh.expose(), "scope": pair.scope,
        }),
    ))
}
