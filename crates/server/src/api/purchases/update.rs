//! Update tokens: HS256 with the operator's secret; the claims have Flathub's names. The device behind one says whether it still counts.

use flatpass_store::{AccessInfo, AccountId, GrantId, SecretFor};
use flatpass_token::{UnixTime, read_shared};
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::app::{App, Rng};
use crate::config::UPDATE_TOKEN_SECONDS;
use crate::snapshot::RepoView;

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "token-id")]
    token_id: String,
    #[serde(rename = "user-id")]
    user_id: String,
    iat: UnixTime,
    exp: UnixTime,
    /// One secret may be that of two repos.
    repo: String,
}

/// A new one, with its device.
pub(super) async fn begin(
    app: &App,
    view: &RepoView,
    account: &AccountId,
    device_name: &str,
    address: &str,
) -> Result<String, Refusal> {
    let (now, mut rng) = (app.now(), Rng::system());
    let device = app
        .store
        .create_update_device(account, device_name, address, UPDATE_TOKEN_SECONDS, now, rng.as_random())
        .await?;
    sign(app, view, account, &device)
}

/// The same once more: its time begins anew.
pub(super) fn sign(
    app: &App,
    view: &RepoView,
    account: &AccountId,
    device: &GrantId,
) -> Result<String, Refusal> {
    let now = app.now();
    let known = view.flat_manager.as_ref();
    let secret = known.and_then(|known| known.signing(SecretFor::Update, now)).ok_or(Refusal::NotServed)?;
    let claims = Claims {
        token_id: device.0.clone(),
        user_id: account.0.clone(),
        iat: now,
        exp: now.plus_seconds(UPDATE_TOKEN_SECONDS),
        repo: view.repo.name.clone(),
    };
    secret.sign(&claims).map_err(|error| {
        tracing::error!(%error, "an update token could not be signed");
        Refusal::Internal
    })
}

/// Who has it. All that is wrong with one is answered alike.
pub(super) async fn check(
    app: &App,
    view: &RepoView,
    token: &str,
    address: &str,
) -> Result<AccessInfo, Refusal> {
    let now = app.now();
    let secrets: Vec<_> = view
        .flat_manager
        .as_ref()
        .map(|known| known.accepted(SecretFor::Update, now).collect())
        .unwrap_or_default();
    let claims: Claims = read_shared(token, &secrets).map_err(|_| Refusal::InvalidToken)?;
    if claims.exp <= now || claims.repo != view.repo.name {
        return Err(Refusal::InvalidToken);
    }
    let (device, account) = (GrantId(claims.token_id), AccountId(claims.user_id));
    app.store
        .use_update_device(&device, &account, address, UPDATE_TOKEN_SECONDS, now)
        .await?
        .ok_or(Refusal::InvalidToken)
}
