//! `POST /purchases/generate-update-token`: a token for a device of who is signed in. It buys download tokens for what the account owns, and
//! nothing else; the account page lists the device.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use flatpass_store::shortened;
use serde_json::json;

use super::refusal::Refusal;
use super::{Desk, Login, update};
use crate::app::App;
use crate::oauth::token::answer;
use crate::web::ClientAddress;

/// The body does not matter.
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Desk(view): Desk,
    Login(account): Login,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Each one is a device, of which there should not be thousands.
    app.tries.link(address, &account).map_err(Refusal::TooMany)?;
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match agent {
        "" => format!("Updates of {}", view.repo.name),
        agent => format!("Updates of {} ({})", view.repo.name, shortened(agent, 60)),
    };
    let token = update::begin(&app, &view, &account, &name, &address.to_string()).await?;
    Ok(answer(StatusCode::OK, &json!({ "token": token })))
}
