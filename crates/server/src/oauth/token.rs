//! `POST /oauth/token` (RFC 6749 4.1.3 and 6, RFC 7636, RFC 8628 3.4; for robots 4.4 and 2.3.1).

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_store::{CodeError, DeviceGrantError, RefreshError, StoreError, TokenPair};
use flatpass_token::Secret;
use serde_json::json;

use super::DEVICE_GRANT;
use super::authorize::Refusal;
use super::pkce::is_verifier;
use crate::api;
use crate::app::{App, Rng};
use crate::web::ClientAddress;
use crate::web::fields::{Fields, FormError};

/// Why there are no tokens (RFC 6749, 5.2).
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("grant_type must be authorization_code, refresh_token, client_credentials or {DEVICE_GRANT}")]
    GrantType,
    #[error("client_id is missing, or not known here")]
    Client,
    #[error("{0}")]
    Form(#[from] FormError),
    #[error("clients have no password here; send client_id in the form and no Authorization header")]
    Authorization,
    #[error("client_id must be a robot's account id and client_secret one of its secrets in force")]
    Robot,
    #[error("send client_id and client_secret either in the form or as HTTP Basic, not both")]
    TwoWays,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("code_verifier must have 43 to 128 letters, digits or -._~ (RFC 7636)")]
    Verifier,
    #[error("{0}")]
    Code(CodeError),
    #[error("{0}")]
    Refresh(RefreshError),
    #[error("{0}")]
    Device(DeviceGrantError),
    #[error("{0}")]
    Details(Refusal),
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

impl From<DeviceGrantError> for TokenError {
    fn from(error: DeviceGrantError) -> Self {
        match error {
            DeviceGrantError::Store(error) => Self::Store(error),
            other => Self::Device(other),
        }
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (status, error) = match &self {
            Self::GrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::Client => (StatusCode::BAD_REQUEST, "invalid_client"),
            Self::Authorization | Self::Robot => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::TwoWays | Self::Verifier | Self::Missing(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Form(error) => (error.status(), "invalid_request"),
            Self::Code(_) | Self::Refresh(_) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            // RFC 8628, 3.5.
            Self::Device(error) => (
                StatusCode::BAD_REQUEST,
                match error {
                    DeviceGrantError::Pending => "authorization_pending",
                    DeviceGrantError::SlowDown => "slow_down",
                    DeviceGrantError::Denied => "access_denied",
                    DeviceGrantError::Expired => "expired_token",
                    _ => "invalid_grant",
                },
            ),
            Self::Details(refusal) => (StatusCode::BAD_REQUEST, refusal.code()),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
            Self::Store(error) => {
                tracing::error!(%error, "the store failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
            }
        };
        let mut response = answer(status, &json!({ "error": error, "error_description": self.to_string() }));
        let headers = response.headers_mut();
        match self {
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            // RFC 6749, 5.2: the scheme that was tried.
            Self::Authorization | Self::Robot => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"flatpass\""));
            }
            _ => {}
        }
        response
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
    headers: HeaderMap,
    form: Result<Fields, FormError>,
) -> Result<Response, TokenError> {
    app.tries.token(address).map_err(TokenError::TooMany)?;
    let grant_type = form.as_ref().ok().and_then(|form| form.get("grant_type"));
    if grant_type == Some("client_credentials") {
        return for_robot(&app, address, &headers, &form?).await;
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(TokenError::Authorization);
    }
    let form = form?;
    let field = |name| form.get(name).ok_or(TokenError::Missing(name));
    let grant_type = field("grant_type")?;
    let client =
        form.get("client_id").filter(|client| *client == super::AUTHENTICATOR).ok_or(TokenError::Client)?;
    let (address, now, mut rng) = (address.to_string(), app.now(), Rng::system());
    let pair: TokenPair = match grant_type {
        "authorization_code" => {
            let (code, redirect) = (field("code")?, field("redirect_uri")?);
            let verifier =
                form.get("code_verifier").filter(|text| is_verifier(text)).ok_or(TokenError::Verifier)?;
            app.store.exchange_code(code, client, redirect, verifier, &address, now, rng.as_random()).await?
        }
        "refresh_token" => {
            app.store.refresh(field("refresh_token")?, client, &address, now, rng.as_random()).await?
        }
        DEVICE_GRANT => {
            app.store
                .exchange_device_code(field("device_code")?, client, &address, now, rng.as_random())
                .await?
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

/// Client credentials (RFC 6749, 4.4): a robot's account id and secret, in the form or as HTTP Basic. No refresh token comes with
/// the access token (4.4.3): the robot has its secret.
async fn for_robot(
    app: &App,
    address: IpAddr,
    headers: &HeaderMap,
    form: &Fields,
) -> Result<Response, TokenError> {
    let in_form = (form.get("client_id"), form.get("client_secret"));
    let (client, secret) = match headers.get(header::AUTHORIZATION) {
        Some(_) if in_form.1.is_some() => return Err(TokenError::TwoWays),
        Some(value) => {
            let value = value.to_str().ok().and_then(|value| value.split_once(' '));
            let (scheme, credentials) = value.ok_or(TokenError::Robot)?;
            let basic = api::basic(credentials.trim()).filter(|_| scheme.eq_ignore_ascii_case("basic"));
            let (client, secret) = basic.ok_or(TokenError::Robot)?;
            if in_form.0.is_some_and(|in_form| in_form != client) {
                return Err(TokenError::TwoWays);
            }
            (client, secret)
        }
        None => {
            let client = in_form.0.ok_or(TokenError::Missing("client_id"))?;
            let secret = in_form.1.ok_or(TokenError::Missing("client_secret"))?;
            (client.to_owned(), Secret::from(secret.to_owned()))
        }
    };
    let given = app
        .store
        .robot_access(&client, secret.expose(), &address.to_string(), app.now(), Rng::system().as_random())
        .await?
        .ok_or(TokenError::Robot)?;
    Ok(answer(
        StatusCode::OK,
        &json!({
            "access_token": given.access.expose(), "token_type": "Bearer", "expires_in": given.access_expires_in,
            "scope": given.scope,
        }),
    ))
}
