//! `POST /oauth/introspect` (RFC 7662). Who asks must have a good access token, and learns only about tokens of the same
//! account; all others are `{"active": false}`, as unknown ones are.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::token::answer;
use crate::api::{bearer, require_access};
use crate::app::App;
use crate::problem::ApiError;
use crate::web::fields::{Fields, FormError};

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Fields, FormError>,
) -> Result<Response, ApiError> {
    let caller = require_access(&app, bearer(&headers)?).await?;
    let form = form?;
    let token =
        form.get("token").ok_or_else(|| ApiError::BadRequest("The field token is missing.".to_owned()))?;
    Ok(answer(StatusCode::OK, &describe(&app, token, &caller.account_id.0).await?))
}

async fn describe(app: &App, token: &str, account: &str) -> Result<Value, ApiError> {
    if let Some(info) = app.store.access_token(token, app.now()).await? {
        if info.account_id.0 != account {
            return Ok(json!({ "active": false }));
        }
        return Ok(json!({
            "active": true, "scope": info.scope, "client_id": info.client_id, "token_type": "Bearer", "sub": account,
            "iss": app.config.issuer(), "exp": info.expires_at, "iat": info.issued_at,
        }));
    }
    let snapshot = app.snapshot.load_full();
    for view in snapshot.repos.values() {
        if let Ok(verified) = view.verifier.verify(token, app.now())
            && verified.subject() == account
            // What is left of it cannot be said in its own words, and who asks here might believe the rest.
            && !verified.is_diminished()
        {
            return Ok(json!({
                "active": true, "token_type": "Bearer", "sub": account, "iss": app.config.issuer(), "aud": view.url,
                "jti": verified.id(), "exp": verified.expires_at(), "authorization_details": verified.grants(),
            }));
        }
    }
    Ok(json!({ "active": false }))
}
