//! `POST /purchases/generate-download-token`: an update token buys a token that flat-manager and the gate take, for a day, and is itself
//! exchanged for one whose time begins anew.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::owned::{Wanted, owned_of};
use super::refusal::Refusal;
use super::{Desk, update};
use crate::api::ref_tokens::{add_extensions, grants, signed_for_flat_manager};
use crate::app::App;
use crate::config::DOWNLOAD_TOKEN_SECONDS;
use crate::oauth::token::answer;
use crate::web::ClientAddress;

#[derive(Deserialize)]
struct Request {
    /// Whole refs.
    appids: Vec<String>,
    #[serde(default)]
    update_token: Option<String>,
}

/// Answers `token` and the new update token, by both names that it had over time.
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Desk(view): Desk,
    ClientAddress(address): ClientAddress,
    body: Bytes,
) -> Result<Response, Refusal> {
    let request: Request =
        serde_json::from_slice(&body).map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let token = request.update_token.unwrap_or_default();
    let access = match update::check(&app, &view, &token, &address.to_string()).await {
        Err(Refusal::InvalidToken) => {
            app.tries.anonymous(address).map_err(Refusal::TooMany)?;
            return Err(Refusal::InvalidToken);
        }
        other => other?,
    };
    let wanted = Wanted::read(&request.appids, true)?;
    let (visitor, mut granted) = owned_of(&app, &view, &access.account_id, &wanted).await?;
    let now = app.now();
    let ends = granted.iter().filter_map(|one| one.good_until).min();
    let left = ends.map_or(i64::MAX, |end| now.seconds_until(end));
    add_extensions(&app, &view, &visitor, &mut granted);
    let seconds = left.clamp(1, DOWNLOAD_TOKEN_SECONDS);
    let token = signed_for_flat_manager(&app, &view, &access, grants(&granted), seconds).map_err(
        |error| match error {
            Some(flatpass_token::SignError::TooLong { .. }) => Refusal::TooManyIds,
            _ => Refusal::Internal,
        },
    )?;
    let next = update::sign(&app, &view, &access.account_id, &access.grant_id)?;
    Ok(answer(StatusCode::OK, &json!({ "token": token, "update_token": next, "update-token": next })))
}
