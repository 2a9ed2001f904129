//! `POST /oauth/revoke` (RFC 7009): signs the device out that a refresh or access token belongs to.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::token::answer;
use crate::app::App;
use crate::problem::ApiError;

#[derive(Deserialize)]
pub(crate) struct Parameters {
    #[serde(default)]
    token: String,
    #[serde(default)]
    client_id: String,
}

/// An unknown token is answered like a known one (RFC 7009, 2.2).
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Form(form): Form<Parameters>,
) -> Result<Response, ApiError> {
    if form.client_id != super::AUTHENTICATOR {
        return Ok(answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_client" })));
    }
    app.store.revoke_token(&form.token, &form.client_id, app.now()).await?;
    Ok(answer(StatusCode::OK, &json!({})))
}
