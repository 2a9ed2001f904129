//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `GET /oauth/jwks` (RFC 7517).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{DEVICE_GRANT, SCOPE};
use crate::app::App;

pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    let at = |path: &str| app.config.at(path);
    Json(json!({
        "issuer": app.config.issuer(),
        "authorization_endpoint": at("oauth/authorize"),
        "token_endpoint": at("oauth/token"),
        "device_authorization_endpoint": at("oauth/device_authorization"),
        "revocation_endpoint": at("oauth/revoke"),
        "introspection_endpoint": at("oauth/introspect"),
        "jwks_uri": at("oauth/jwks"),
        "scopes_supported": [SCOPE],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", DEVICE_GRANT],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "authorization_details_types_supported": ["flatpak_refs"],
        "authorization_response_iss_parameter_supported": true,
        "flatpass_ref_tokens_endpoint": at("api/v1/ref-tokens"),
        "flatpass_summary_tokens_endpoint": at("api/v1/summary-tokens"),
        "flatpass_access_tokens_endpoint": at("api/v1/access-tokens"),
        "flatpass_registry_token_endpoint": at("oauth/registry-token"),
        "flatpass_store_name": app.config.name,
    }))
    .into_response()
}

/// Gates elsewhere may keep it for five minutes; a new key is published longer than that before it signs.
pub(crate) async fn jwks(State(app): State<Arc<App>>) -> Response {
    let body = app.snapshot.load().jwks.clone();
    (
        [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "public, max-age=300")],
        body,
    )
        .into_response()
}
