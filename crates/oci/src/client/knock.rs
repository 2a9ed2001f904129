//! What a registry says at its door, `GET /v2/` (distribution-spec 1.1, "Determining Support").

use flatpass_token::Secret;
use reqwest::{Method, StatusCode};

use super::access::Pass;
use super::address::RegistryAddress;
use super::asked::Asked;
use super::error::RegistryError;
use super::http::{Http, HttpLimits, refusal, send};

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It lets in who knocks.
    Open,
    /// It wants to see this.
    Asks(Asked),
}

/// Knocks at the door of a registry, with a token or without. The token is sent nowhere else.
///
/// # Errors
/// [`RegistryError`], [`RegistryError::NotFound`] among them when no registry is there.
pub async fn knock(
    address: &RegistryAddress,
    token: Option<&Secret>,
    limits: &HttpLimits,
) -> Result<Door, RegistryError> {
    if token.is_some() && !address.is_secret() {
        return Err(RegistryError::ClearText { host: address.host() });
    }
    let (http, url) = (Http::new(limits)?, address.door());
    let pass = token.map_or(Pass::Nothing, |token| Pass::Bearer(token.clone()));
    let request = pass.on(http.for_url(&url).request(Method::GET, url.clone()));
    let response = send(request, &url).await?;
    match response.status() {
        StatusCode::UNAUTHORIZED => Ok(Door::Asks(Asked::by(address, response.headers())?)),
        status if status.is_success() => Ok(Door::Open),
        _ => Err(refusal(response, "registry at /v2/").await),
    }
}
