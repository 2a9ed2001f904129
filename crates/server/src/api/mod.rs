//! The API for programs: ref tokens, and the REST API of upstream's sample authenticator.

pub(crate) mod payment_events;
pub(crate) mod ref_tokens;
pub(crate) mod sample;

use axum::http::{HeaderMap, header};
use flatpass_store::AccessInfo;

use crate::app::App;
use crate::problem::ApiError;

/// The bearer token of a request (RFC 6750, 2.1); `None` without an `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::BadRequest("Send one Authorization header.".to_owned()));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(ApiError::BadToken)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(ApiError::BadToken) }
}

/// What the access token stands for.
pub(crate) async fn require_access(app: &App, token: Option<&str>) -> Result<AccessInfo, ApiError> {
    let token = token.ok_or(ApiError::NoToken)?;
    app.store.access_token(token, app.now()).await?.ok_or(ApiError::BadToken)
}
