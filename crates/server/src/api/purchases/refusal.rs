//! What is answered instead: Flathub's word in `detail`, the ids that are missing, and a sentence for people.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_store::StoreError;
use serde_json::json;

/// Why there is no other answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nobody is signed in.
    #[error("Sign in first.")]
    NotLoggedIn,
    /// The update token is not, or no longer, good.
    #[error("The update token is unknown, expired or signed out. Sign in again.")]
    InvalidToken,
    /// What stands where a ref should stand.
    #[error("Write refs in full, such as app/org.example.App/x86_64/stable.")]
    InvalidAppId,
    /// The body is not of the form.
    #[error("The body cannot be read: {0}.")]
    Unreadable(String),
    /// More ids than one token can hold.
    #[error("Ask for fewer apps at once.")]
    TooManyIds,
    /// What the account lacks, and why, for the first of it.
    #[error("{message}")]
    PurchaseNecessary {
        /// The ids of the apps.
        missing: Vec<String>,
        /// What to do.
        message: String,
    },
    /// There is no such repo, or it has no update tokens.
    #[error("There are no update tokens here.")]
    NotServed,
    /// Too many calls; so many seconds must be waited.
    #[error("Too many calls. Wait {0} seconds and try again.")]
    TooMany(u64),
    /// A failure of ours.
    #[error("The store failed. Try again; if it goes on, tell the operator.")]
    Internal,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::Internal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = self.to_string();
        let (status, detail) = match &self {
            Self::NotLoggedIn => (StatusCode::UNAUTHORIZED, "not_logged_in"),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::InvalidAppId => (StatusCode::BAD_REQUEST, "invalid_app_id"),
            Self::Unreadable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unreadable"),
            Self::TooManyIds => (StatusCode::BAD_REQUEST, "too_many_app_ids"),
            Self::PurchaseNecessary { .. } => (StatusCode::FORBIDDEN, "purchase_necessary"),
            Self::NotServed => (StatusCode::NOT_FOUND, "not_found"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let mut body = json!({ "detail": detail, "message": message });
        if let Self::PurchaseNecessary { missing, .. } = &self {
            // Older clients look at the body, newer ones at the header.
            body["missing_appids"] = json!(missing);
        }
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self {
            Self::PurchaseNecessary { missing, .. } => {
                if let Ok(value) = HeaderValue::from_str(&missing.join(",")) {
                    headers.insert(HeaderName::from_static("missing-appids"), value);
                }
            }
            Self::NotLoggedIn => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flatpass\""));
            }
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            _ => {}
        }
        response
    }
}
