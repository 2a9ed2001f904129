//! The token and revocation endpoints: RFC 6749 sections 4.1.3, 4.4 and 6, RFC 7636, RFC 7009.

use flatpass_token::UnixTime;
use reqwest::StatusCode;
use serde::Deserialize;
use url::Url;

use super::address::AuthorityUrl;
use super::error::AuthorityError;
use super::http::Http;
use super::metadata::Metadata;
use crate::secret::SecretText;

/// The public client that every authority knows.
pub const CLIENT_ID: &str = "flatpass-authenticator";

/// What the token endpoint gives.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// For the authority's own API.
    pub access: SecretText,
    /// How long it is good for, in seconds from the answer.
    pub access_expires_in: i64,
    /// For the next access token; absent if the former one stays valid (RFC 6749 section 6).
    pub refresh: Option<SecretText>,
}

#[derive(Deserialize)]
struct Document {
    access_token: SecretText,
    token_type: String,
    /// RFC 6749 recommends it; without it the token is taken to be short-lived.
    expires_in: Option<i64>,
    refresh_token: Option<SecretText>,
}

#[derive(Deserialize)]
struct OauthError {
    error: String,
}

impl TokenPair {
    /// When the access token ends, if it was asked for `now`.
    #[must_use]
    pub fn access_until(&self, now: UnixTime) -> UnixTime {
        UnixTime(now.0.saturating_add(self.access_expires_in.max(0)))
    }
}

/// What proves that a code is ours.
#[derive(Debug)]
pub struct CodeProof {
    /// The authorization code.
    pub code: SecretText,
    /// The redirect URI, exactly as in the authorization request.
    pub redirect_uri: Url,
    /// The PKCE code verifier (RFC 7636 section 4.1).
    pub verifier: SecretText,
}

/// Exchanges an authorization code.
///
/// # Errors
/// [`AuthorityError::InvalidGrant`] if the code is not accepted, and all transport errors.
pub async fn exchange_code(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    proof: &CodeProof,
) -> Result<TokenPair, AuthorityError> {
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("code", proof.code.expose()),
        ("redirect_uri", proof.redirect_uri.as_str()),
        ("code_verifier", proof.verifier.expose()),
    ];
    token(http, url, metadata, &form).await
}

/// Exchanges a refresh token. The one given must not be used again if the answer has another.
///
/// # Errors
/// [`AuthorityError::InvalidGrant`] if the refresh token is not accepted, and all transport errors.
pub async fn refresh(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    refresh: &SecretText,
) -> Result<TokenPair, AuthorityError> {
    let form =
        [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", refresh.expose())];
    token(http, url, metadata, &form).await
}

/// Asks for an access token for a robot (RFC 6749 section 4.4). There is no refresh token: one asks again.
///
/// # Errors
/// [`AuthorityError::InvalidSecret`] if the robot's credentials are not accepted, and all transport errors.
pub async fn client_credentials(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    id: &str,
    secret: &SecretText,
) -> Result<TokenPair, AuthorityError> {
    let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret.expose())];
    token(http, url, metadata, &form).await
}

async fn token(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    form: &[(&str, &str)],
) -> Result<TokenPair, AuthorityError> {
    let answer = http.send(http.client().post(metadata.token_endpoint.clone()).form(form)).await?;
    if answer.status == StatusCode::OK {
        return read_tokens(url, &answer.body);
    }
    match error_code(&answer.body).as_deref() {
        Some("invalid_grant") => Err(AuthorityError::InvalidGrant { host: url.host(), url: url.to_string() }),
        Some("invalid_client") => Err(AuthorityError::InvalidSecret { host: url.host() }),
        _ => Err(http.refusal(&answer)),
    }
}

/// Reads the token endpoint's right answer.
pub(super) fn read_tokens(url: &AuthorityUrl, body: &[u8]) -> Result<TokenPair, AuthorityError> {
    let malformed = |what: &str| AuthorityError::Malformed { host: url.host(), what: what.to_owned() };
    // serde's message is not shown: it could quote a token.
    let document: Document =
        serde_json::from_slice(body).map_err(|_| malformed("its token answer is not right"))?;
    if !document.token_type.eq_ignore_ascii_case("bearer") || !document.access_token.is_bearer_token() {
        return Err(malformed("its access token is not a bearer token"));
    }
    Ok(TokenPair {
        access: document.access_token,
        access_expires_in: document.expires_in.unwrap_or(60),
        refresh: document.refresh_token.filter(|token| !token.expose().is_empty()),
    })
}

/// The `error` of an OAuth error answer.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<OauthError>(body).map(|problem| problem.error).ok()
}

/// Revokes a refresh token, and with it everything it gave (RFC 7009 section 2.1). An authority without a
/// revocation endpoint has nothing to be asked.
///
/// # Errors
/// All transport errors, and [`AuthorityError::Refused`].
pub async fn revoke(http: &Http, metadata: &Metadata, refresh: &SecretText) -> Result<(), AuthorityError> {
    let Some(endpoint) = &metadata.revocation_endpoint else { return Ok(()) };
    let form = [("token", refresh.expose()), ("token_type_hint", "refresh_token"), ("client_id", CLIENT_ID)];
    let answer = http.send(http.client().post(endpoint.clone()).form(&form)).await?;
    if answer.status.is_success() { Ok(()) } else { Err(http.refusal(&answer)) }
}
