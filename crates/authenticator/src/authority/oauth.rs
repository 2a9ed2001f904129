//! The token and revocation endpoints: RFC 6749 sections 4.1.3 and 6, RFC 7636, RFC 7009.

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

async fn token(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    form: &[(&str, &str)],
) -> Result<TokenPair, AuthorityError> {
    let answer = http.send(http.client().post(metadata.token_endpoint.clone()).form(form)).await?;
    let malformed = |what: String| AuthorityError::Malformed { host: url.host(), what };
    match answer.status {
        StatusCode::OK => {
            // serde's message is not shown: it could quote a token.
            let document: Document = serde_json::from_slice(&answer.body)
                .map_err(|_| malformed("its token answer is not right".to_owned()))?;
            if !document.token_type.eq_ignore_ascii_case("bearer") || !document.access_token.is_bearer_token()
            {
                return Err(malformed("its access token is not a bearer token".to_owned()));
            }
            Ok(TokenPair {
                access: document.access_token,
                access_expires_in: document.expires_in.unwrap_or(60),
                refresh: document.refresh_token.filter(|token| !token.expose().is_empty()),
            })
        }
        _ => {
            let code = serde_json::from_slice::<OauthError>(&answer.body).map(|problem| problem.error);
            match code.as_deref() {
                Ok("invalid_grant") => {
                    Err(AuthorityError::InvalidGrant { host: url.host(), url: url.to_string() })
                }
                _ => Err(http.refusal(&answer)),
            }
        }
    }
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
