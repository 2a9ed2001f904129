//! `POST /oauth/device_authorization` (RFC 8628, 3.1): a device without a browser asks for a code that a person types elsewhere.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_store::NewDeviceCodes;
use serde_json::json;

use super::authorize::{Refusal, read_details};
use super::token::{TokenError, answer};
use super::{AUTHENTICATOR, SCOPE};
use crate::app::{App, Rng};
use crate::web::ClientAddress;
use crate::web::fields::{Fields, FormError};

/// The longest `authorization_details` that are kept, in bytes: some 80 refs, more than one installation has for sale.
const MOST_DETAILS_BYTES: usize = 8 * 1024;

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    form: Result<Fields, FormError>,
) -> Result<Response, TokenError> {
    app.tries.token(address).map_err(TokenError::TooMany)?;
    let form = form?;
    let client = form.get("client_id").filter(|client| *client == AUTHENTICATOR).ok_or(TokenError::Client)?;
    let details = form.text("authorization_details");
    if details.len() > MOST_DETAILS_BYTES {
        return Err(TokenError::Details(Refusal::Details));
    }
    read_details(&app, details).map_err(TokenError::Details)?;
    let new = NewDeviceCodes {
        client_id: client.to_owned(),
        scope: SCOPE.to_owned(),
        device_name: form.text("device_name").to_owned(),
        details: details.to_owned(),
        address: address.to_string(),
    };
    let codes = app.store.create_device_codes(new, app.now(), Rng::system().as_random()).await?;
    let page = app.config.at("device");
    let user_code = codes.user_code.expose();
    Ok(answer(
        StatusCode::OK,
        &json!({
            "device_code": codes.device_code.expose(), "user_code": user_code, "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": codes.expires_in, "interval": codes.interval,
        }),
    ))
}
