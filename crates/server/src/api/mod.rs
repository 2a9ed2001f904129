//! The API for programs: tokens for refs and for lists, access tokens, and the REST API of upstream's sample authenticator.

pub(crate) mod access_tokens;
pub(crate) mod payment_events;
pub(crate) mod peers;
pub(crate) mod purchases;
pub(crate) mod ref_tokens;
pub(crate) mod registry_events;
pub(crate) mod sample;
pub(crate) mod summary_tokens;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatpass_store::AccessInfo;
use flatpass_token::Secret;

use crate::app::App;
use crate::problem::ApiError;

/// The scheme and the credentials of a request (RFC 9110, 11.6.2); `None` without an `Authorization` header.
pub(crate) fn authorization(headers: &HeaderMap) -> Result<Option<(&str, &str)>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::BadRequest("Send one Authorization header.".to_owned()));
    }
    let (scheme, credentials) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(ApiError::BadToken)?;
    Ok(Some((scheme, credentials.trim())))
}

/// The bearer token of a request (RFC 6750, 2.1); `None` without an `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    match authorization(headers)? {
        None => Ok(None),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        Some(_) => Err(ApiError::BadToken),
    }
}

/// User name and password of HTTP Basic (RFC 7617); `None` for what is none.
pub(crate) fn basic(credentials: &str) -> Option<(String, Secret)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Secret::from(password.to_owned())))
}

/// The password of a request; the user name does not matter.
pub(crate) fn basic_password(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let (scheme, credentials) = authorization(headers)?.ok_or(ApiError::NoSecret)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ApiError::NoSecret);
    }
    basic(credentials).map(|(_, password)| password).ok_or(ApiError::BadSecret)
}

/// What the access token stands for.
pub(crate) async fn require_access(app: &App, token: Option<&str>) -> Result<AccessInfo, ApiError> {
    let token = token.ok_or(ApiError::NoToken)?;
    app.store.access_token(token, app.now()).await?.ok_or(ApiError::BadToken)
}
