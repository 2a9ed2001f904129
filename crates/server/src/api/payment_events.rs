//! `POST /payment/events`: what the payment provider reports. The signature is over the raw body, so that is what is taken.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use flatpass_store::OrderError;

use crate::app::App;
use crate::payment::{ReceiveError, receive};
use crate::problem::ApiError;

/// The header with the time and signature of a message: `t=UNIX-SECONDS,v1=BASE64URL`.
const SIGNATURE: &str = "flatpass-signature";

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match receive(&app, signature, &body).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(ReceiveError::Event(error)) => Err(error.into()),
        Err(ReceiveError::Order(OrderError::Store(error))) => Err(error.into()),
        Err(ReceiveError::Order(error)) => {
            tracing::error!(%error, "the payment provider's message does not fit its order");
            Err(ApiError::BadRequest(format!("The message does not fit the order: {error}.")))
        }
    }
}
