//! `POST /oauth/revoke` (RFC 7009): signs the device out that a refresh or access token belongs to; ends
//! a reference token of a repo, and nothing else.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_token::REFERENCE_PREFIX;
use serde_json::json;

use super::token::{TokenError, answer};
use crate::app::App;
use crate::web::ClientAddress;
use crate::web::fields::{Fields, FormError};

/// An unknown token is answered like a known one (RFC 7009, 2.2).
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, TokenError> {
    app.tries.token(address).map_err(TokenError::TooMany)?;
    let form = form?;
    let client =
        form.get("client_id").filter(|client| *client == super::AUTHENTICATOR).ok_or(TokenError::Client)?;
    let token = form.get("token").ok_or(TokenError::Missing("token"))?;
    if token.starts_with(REFERENCE_PREFIX) {
        app.store.revoke_ref_token(token, client, app.now()).await?;
    } else {
        app.store.revoke_token(token, client, app.now()).await?;
    }
    Ok(answer(StatusCode::OK, &json!({})))
}
