//! `POST /oauth/introspect` (RFC 7662). Who asks is an account with a good access token, which learns about its own tokens alone; or a
//! robot with its secret (RFC 6749, 2.3.1), which learns about those of the repos that it may check tokens of, too. All others are
//! `{"active": false}`, as unknown ones are.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_store::AccountId;
use flatpass_token::{REFERENCE_PREFIX, Secret, VerifiedToken};
use serde_json::{Value, json};

use super::token::answer;
use crate::api::{authorization, basic, require_access};
use crate::app::App;
use crate::problem::ApiError;
use crate::snapshot::RepoView;
use crate::web::ClientAddress;
use crate::web::fields::{Fields, FormError};

/// Who asks.
struct Caller {
    account: AccountId,
    /// The repos whose tokens they may check.
    repos: Vec<String>,
}

impl Caller {
    async fn of(app: &App, headers: &HeaderMap, address: IpAddr) -> Result<Self, ApiError> {
        let (scheme, credentials) = authorization(headers)?.ok_or(ApiError::NoToken)?;
        let account = if scheme.eq_ignore_ascii_case("basic") {
            let robot = async |(client, secret): (String, Secret)| {
                app.store.robot_of_secret(&client, secret.expose(), app.now()).await
            };
            let found = match basic(credentials) {
                Some(pair) => robot(pair).await?,
                None => None,
            };
            match found {
                Some(account) => account,
                None => {
                    app.tries.token(address).map_err(ApiError::TooMany)?;
                    return Err(ApiError::BadSecret);
                }
            }
        } else if scheme.eq_ignore_ascii_case("bearer") {
            require_access(app, Some(credentials)).await?.account_id
        } else {
            return Err(ApiError::BadToken);
        };
        let repos = app.store.introspected_repos(&account).await?;
        Ok(Self { account, repos })
    }

    fn may_know(&self, view: &RepoView, token: &VerifiedToken) -> bool {
        token.subject() == self.account.as_str() || self.repos.contains(&view.repo.name)
    }
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    form: Result<Fields, FormError>,
) -> Result<Response, ApiError> {
    let caller = Caller::of(&app, &headers, address).await?;
    let form = form?;
    let token =
        form.get("token").ok_or_else(|| ApiError::BadRequest("The field token is missing.".to_owned()))?;
    Ok(answer(StatusCode::OK, &describe(&app, token, &caller).await?))
}

async fn describe(app: &App, token: &str, caller: &Caller) -> Result<Value, ApiError> {
    if let Some(info) = app.store.access_token(token, app.now()).await? {
        if info.account_id != caller.account {
            return Ok(json!({ "active": false }));
        }
        return Ok(json!({
            "active": true, "scope": info.scope, "client_id": info.client_id, "token_type": "Bearer",
            "sub": info.account_id, "iss": app.config.issuer(), "exp": info.expires_at, "iat": info.issued_at,
        }));
    }
    let snapshot = app.snapshot.load_full();
    if token.starts_with(REFERENCE_PREFIX) {
        let Some(found) = app.store.ref_token(token, app.now()).await? else {
            return Ok(json!({ "active": false }));
        };
        let Some(view) = snapshot.repos.get(&found.repo).map(Arc::clone) else {
            return Ok(json!({ "active": false }));
        };
        // The gate's own verdict, with what was revoked and lost.
        let (verifier, text, now) = (Arc::clone(&view.verifier), Secret::from(token.to_owned()), app.now());
        let verdict = tokio::task::spawn_blocking(move || verifier.verify_waiting(text.expose(), now)).await;
        return match verdict.map_err(|_| ApiError::Internal)? {
            Err(error) if error.is_passing() => Err(ApiError::Unchecked),
            Ok(verified) if caller.may_know(&view, &verified) && !verified.is_diminished() => {
                let mut said = said(app, &view, &verified);
                said["client_id"] = json!(found.client_id);
                said["iat"] = json!(found.created_at);
                Ok(said)
            }
            _ => Ok(json!({ "active": false })),
        };
    }
    for view in snapshot.repos.values() {
        // A foreign token is asked about where it was made.
        if view.repo.tokens.issuer().is_none()
            && let Ok(verified) = view.verifier.verify(token, app.now())
            && caller.may_know(view, &verified)
            // What is left of it cannot be said in its own words, and who asks here might believe the rest.
            && !verified.is_diminished()
        {
            return Ok(said(app, view, &verified));
        }
    }
    Ok(json!({ "active": false }))
}

fn said(app: &App, view: &RepoView, verified: &VerifiedToken) -> Value {
    json!({
        "active": true, "token_type": "Bearer", "sub": verified.subject(), "iss": app.config.issuer(), "aud": view.url,
        "jti": verified.id(), "exp": verified.expires_at(), "authorization_details": verified.grants(),
    })
}
