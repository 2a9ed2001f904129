//! `POST /purchases/check-purchases`: whether who is signed in may have all of these apps.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::owned::{Wanted, owned_of};
use super::refusal::Refusal;
use super::{Desk, Login};
use crate::app::App;
use crate::oauth::token::answer;

/// The body is a list of ids or refs.
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    Desk(view): Desk,
    Login(account): Login,
    body: Bytes,
) -> Result<Response, Refusal> {
    let asked: Vec<String> =
        serde_json::from_slice(&body).map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let wanted = Wanted::read(&asked, false)?;
    owned_of(&app, &view, &account, &wanted).await?;
    Ok(answer(StatusCode::OK, &json!({ "status": "ok" })))
}
