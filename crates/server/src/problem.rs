//! Errors of the API: problem documents (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_store::{StoreError, shortened};
use serde_json::json;

use crate::payment::EventError;
use crate::web::fields::FormError;

/// An error that a program gets, with a sentence for the person behind it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// What was sent cannot be read or breaks a limit.
    #[error("{0}")]
    BadRequest(String),
    /// The access token is missing where one is needed.
    #[error("Send an access token: Authorization: Bearer …")]
    NoToken,
    /// The access token is not, or no longer, good.
    #[error("The access token is unknown, expired or revoked. Refresh it or sign in again.")]
    BadToken,
    /// The secret of an access token is missing where one is needed.
    #[error("Send the access token's secret as the password of HTTP Basic.")]
    NoSecret,
    /// The secret is not, or no longer, good.
    #[error("This secret is unknown, expired, revoked or replaced. Make a new access token.")]
    BadSecret,
    /// The account may list nothing of the repo, or there is no such repo; the store's URL.
    #[error("Your account is not a member of this repository. Ask whoever runs {0} for access.")]
    NotAMember(String),
    /// What the account may list does not fit into one token; the store's URL.
    #[error(
        "Your account may see too many single apps of this repository for one token. Ask whoever runs {0} for fewer and wider \
         rights, such as org.example.*, or use an access token in the remote's URL."
    )]
    TooMuchToList(String),
    /// The tokens of the repo are issued by somebody else; the store's URL.
    #[error(
        "The tokens of this repository are not issued by this store. Ask whoever runs {0} where to get one, or for an access token for \
         the remote's address."
    )]
    Elsewhere(String),
    /// Who knows whether a token is good cannot be asked now.
    #[error("Whether the token is good cannot be found out now. Try again in a moment.")]
    Unchecked,
    /// The account has as many access tokens as it may have.
    #[error(
        "Your account has {0} access tokens, and may have no more. End some of them on your account page."
    )]
    TooManyTokens(i64),
    /// Too many calls.
    #[error("Too many calls. Wait {0} seconds and try again.")]
    TooMany(u64),
    /// The URL is not one of a repo of this store.
    #[error("{0} is not a repository of this store, so there are no tokens for it.")]
    UnknownRepo(String),
    /// No such thing.
    #[error("There is nothing here.")]
    NotFound,
    /// The body is no form.
    #[error("The request is not accepted: {0}.")]
    Form(#[from] FormError),
    /// Another method is needed here.
    #[error("This address does not take that method; see the Allow header.")]
    Method,
    /// The answer, or the request's body, took too long.
    #[error("The request took too long. Try again.")]
    Slow,
    /// A payment provider's message is not believed.
    #[error("The message is not accepted: {0}.")]
    Message(#[from] EventError),
    /// A failure of ours. The cause goes to the log.
    #[error("The store failed. Try again; if it goes on, tell the operator.")]
    Internal,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::Internal
    }
}

impl ApiError {
    /// For a URL as somebody sent it: shortened for the message.
    pub(crate) fn unknown_repo(url: &str) -> Self {
        Self::UnknownRepo(shortened(url, 200))
    }

    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no-token", "An access token is needed"),
            Self::BadToken => (StatusCode::UNAUTHORIZED, "bad-token", "The access token is not good"),
            Self::NoSecret => (StatusCode::UNAUTHORIZED, "no-secret", "A secret is needed"),
            Self::BadSecret => (StatusCode::UNAUTHORIZED, "bad-secret", "The secret is not good"),
            Self::NotAMember(_) => (StatusCode::FORBIDDEN, "not-a-member", "Not a member of this repository"),
            Self::TooMuchToList(_) => {
                (StatusCode::CONFLICT, "too-much-to-list", "Too much to list in one token")
            }
            Self::Elsewhere(_) => {
                (StatusCode::CONFLICT, "issued-elsewhere", "The tokens are issued elsewhere")
            }
            Self::Unchecked => {
                (StatusCode::SERVICE_UNAVAILABLE, "token-unchecked", "The token cannot be checked now")
            }
            Self::TooManyTokens(_) => {
                (StatusCode::CONFLICT, "too-many-access-tokens", "Too many access tokens")
            }
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many calls"),
            Self::UnknownRepo(_) => (StatusCode::NOT_FOUND, "unknown-repo", "Not a repository of this store"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Form(error) => (error.status(), "bad-request", "The request cannot be read"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "The method is not allowed"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long"),
            Self::Message(_) => (StatusCode::BAD_REQUEST, "message", "The message is not accepted"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The store failed"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.parts();
        let body = json!({
            "type": format!("/problems/{kind}"), "title": title, "status": status.as_u16(), "detail": self.to_string(),
        });
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            // RFC 6750, section 3.
            Self::NoToken => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flatpass\""));
            }
            Self::BadToken => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"flatpass\", error=\"invalid_token\""),
                );
            }
            Self::NoSecret | Self::BadSecret => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"flatpass\""));
            }
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            _ => {}
        }
        response
    }
}
