//! Why there is no token, in the error format of registries (OCI distribution-spec 1.1, "Error Codes"): container tools show its message.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_oci::{ErrorCode, ScopeError, error_body};
use flatpass_store::StoreError;

use crate::web::fields::FormError;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("The request cannot be read: {0}.")]
    Form(#[from] FormError),
    #[error("{0}")]
    Request(String),
    #[error("The scope cannot be read: {0}.")]
    Scope(#[from] ScopeError),
    /// What is told instead is a [`Refusal::LogIn`] with the address of the account page.
    #[error("These credentials are not good here.")]
    Credentials,
    #[error("{0}")]
    LogIn(String),
    #[error("{0}")]
    Denied(String),
    #[error("Too many calls. Wait {0} seconds.")]
    TooMany(u64),
    #[error("Ask by GET or POST.")]
    Method,
    #[error("A token for all of this would be too long. Ask for fewer repositories at once.")]
    TooMuch,
    #[error("The store failed. Try again.")]
    Store(#[from] StoreError),
    #[error("The store failed. Try again.")]
    Internal,
}

impl Refusal {
    fn parts(&self) -> (StatusCode, ErrorCode) {
        match self {
            Self::Form(error) => (error.status(), ErrorCode::Unsupported),
            Self::Scope(ScopeError::Name(_)) => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
            Self::Request(_) | Self::Scope(_) | Self::TooMuch => {
                (StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
            }
            Self::Credentials | Self::LogIn(_) => (StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized),
            // Registries themselves answer 401 to everything that is denied, and container tools show the words of no other status.
            Self::Denied(_) => (StatusCode::UNAUTHORIZED, ErrorCode::Denied),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
            Self::Store(error) => {
                tracing::error!(%error, "the store failed");
                (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown)
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.parts();
        let mut response = (status, Json(error_body(code, &self.to_string()))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Credentials | Self::LogIn(_) | Self::Denied(_) => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"flatpass\""));
            }
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            }
            _ => {}
        }
        response
    }
}
