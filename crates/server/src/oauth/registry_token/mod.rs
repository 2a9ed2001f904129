//! `GET` and `POST /oauth/registry-token`: the token server of container registries (Docker registry token authentication; its OAuth 2
//! variant).
//!
//! | file | |
//! |---|---|
//! | `request` | what is asked for, and by what right |
//! | `callers` | who asks, in each repo |
//! | `registry` | tokens for registries that trust this store |
//! | `layouts` | tokens for this store's own `/v2/` |
//! | `refusal` | why there is none |

mod callers;
mod layouts;
mod refusal;
mod registry;
mod request;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use flatpass_store::RegistryLogin;
use flatpass_token::UnixTime;
use serde_json::json;

use self::refusal::Refusal;
use self::request::{Asked, By};
use super::token::answer;
use crate::app::{App, Rng};
use crate::snapshot::Snapshot;
use crate::web::ClientAddress;
use crate::web::fields::{Body, FormError};

/// The longest form: 64 scopes of the longest names.
const FORM_BYTES: usize = 32 * 1024;

/// The endpoint.
pub(crate) fn route() -> MethodRouter<Arc<App>> {
    get(by_get).post(by_post).fallback(async || Refusal::Method).layer(DefaultBodyLimit::max(FORM_BYTES))
}

async fn by_get(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    app.tries.registry(address).map_err(Refusal::TooMany)?;
    let asked = Asked::get(query.as_deref().unwrap_or_default(), &headers);
    give(&app, address, asked).await
}

async fn by_post(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Result<Body, FormError>,
) -> Result<Response, Refusal> {
    app.tries.registry(address).map_err(Refusal::TooMany)?;
    let asked = Asked::post(&body?.0, &headers);
    give(&app, address, asked).await
}

/// Who asks, and of what.
struct Party<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    login: Option<&'a RegistryLogin>,
}

/// A token.
struct Given {
    token: String,
    seconds: i64,
    /// What it opens, as scopes are written.
    scope: String,
}

impl Party<'_> {
    /// How long a token is good for rights that end then.
    fn seconds(&self, ends: Option<UnixTime>) -> i64 {
        let left = ends.map_or(i64::MAX, |ends| self.app.now().seconds_until(ends));
        left.clamp(1, self.app.config.tokens.registry_token_seconds)
    }

    /// The answer to who asked for one thing and gets nothing of it. By the protocol they would get a token that opens nothing; but then
    /// a person would never read why, and Flatpak's own authenticator would not ask them to log in.
    fn refused(&self, why: Option<String>) -> Refusal {
        let account = self.app.config.at("account");
        let unknown = "There is no such repository here, or you may not know of it.";
        match (self.login, why) {
            (None, Some(why)) => Refusal::LogIn(format!(
                "{why} Give any user name, and an access token from {account} as the password."
            )),
            (None, None) => Refusal::LogIn(format!(
                "{unknown} Give any user name, and an access token from {account} as the password."
            )),
            (Some(_), Some(why)) => Refusal::Denied(why),
            (Some(_), None) => {
                Refusal::Denied(format!("{unknown} An access token is for one repo: see yours at {account}."))
            }
        }
    }
}

async fn give(app: &App, address: IpAddr, asked: Result<Asked, Refusal>) -> Result<Response, Refusal> {
    let given = token(app, address, asked).await;
    if matches!(given, Err(Refusal::Credentials)) {
        app.tries.registry_refused(address).map_err(Refusal::TooMany)?;
        return Err(Refusal::LogIn(format!(
            "These credentials are not good here. Give any user name, and as the password an access token from {}, or the secret of a robot. \
             An account's own password is not taken.",
            app.config.at("account")
        )));
    }
    given
}

async fn token(app: &App, address: IpAddr, asked: Result<Asked, Refusal>) -> Result<Response, Refusal> {
    let asked = asked?;
    let (now, from) = (app.now(), address.to_string());
    let snapshot = app.snapshot.load_full();
    // A service that nothing here has is answered as one whose repos the caller may not know of.
    let is_own = asked.service == app.config.host();
    let login = match &asked.by {
        By::Nothing => None,
        By::Secret(secret) => {
            let login = app.store.registry_login(secret.expose(), &from, now).await?;
            Some(login.ok_or(Refusal::Credentials)?)
        }
        By::Refresh(token) => {
            let login = app.store.registry_refresh(token.expose(), &asked.service, &from, now).await?;
            Some(login.ok_or(Refusal::Credentials)?)
        }
    };
    if let Some(login) = &login {
        app.tries.registry_account(&login.account_id).map_err(Refusal::TooMany)?;
        if let Some(id) = &login.access_token {
            app.uses.note_from(id, now, address);
        }
    }
    let party = Party { app, snapshot: &snapshot, login: login.as_ref() };
    let given = match is_own {
        true => layouts::token(&party, &asked).await?,
        false => registry::token(&party, &asked).await?,
    };
    let mut body = json!({
        "token": given.token, "access_token": given.token, "expires_in": given.seconds, "issued_at": now.to_string(),
    });
    if asked.with_scope {
        body["scope"] = json!(given.scope);
    }
    match (&asked.by, &login) {
        // The one that was used goes on.
        (By::Refresh(token), _) => body["refresh_token"] = json!(token.expose()),
        (By::Secret(_), Some(login)) if asked.offline => {
            let mut rng = Rng::system();
            let token = app.store.registry_refresh_token(login, &asked.service, rng.as_random())?;
            body["refresh_token"] = json!(token.expose());
        }
        _ => {}
    }
    Ok(answer(StatusCode::OK, &body))
}
