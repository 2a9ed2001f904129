//! The claims of a token (RFC 9068 section 2.2).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::grant::flatpak_grants;
use crate::{Grant, UnixTime, VerifyError};

/// The claims of a ref token or summary token: an RFC 9068 access token with RFC 9396 details.
///
/// These are only claims. Code that authorizes takes a [`VerifiedToken`](crate::VerifiedToken).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// The authority that made the token, as its URL.
    pub iss: String,
    /// The one gate that the token is for: the repo's public URL without a slash at its end. A plain string,
    /// never an array: a token for two gates could be replayed by one at the other.
    pub aud: String,
    /// The account, as the authority names it.
    pub sub: String,
    /// The OAuth client that asked for the token.
    pub client_id: String,
    /// The sign-in that it came from: the device, as the authority names it (`sid`, OpenID Connect Front-Channel Logout 1.0). When
    /// that device is signed out, its tokens end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// When it was made.
    pub iat: UnixTime,
    /// From when on it is refused.
    pub exp: UnixTime,
    /// Before when it is refused, if it is not valid at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<UnixTime>,
    /// The name of this token, by which it can be revoked.
    pub jti: String,
    /// What it opens. Nothing at all if it is empty.
    pub authorization_details: Vec<Grant>,
}

/// As it comes from outside. Unknown members are ignored; a known one that stands there twice is refused, since
/// two readers could take two different ones (RFC 7519 section 4).
#[derive(Deserialize)]
struct Wire<'a> {
    iss: String,
    #[serde(borrow)]
    aud: &'a RawValue,
    sub: String,
    client_id: String,
    #[serde(default)]
    sid: Option<String>,
    iat: UnixTime,
    exp: UnixTime,
    #[serde(default)]
    nbf: Option<UnixTime>,
    jti: String,
    #[serde(default, deserialize_with = "flatpak_grants")]
    authorization_details: Vec<Grant>,
}

impl Claims {
    /// Reads a token's payload.
    ///
    /// # Errors
    /// [`VerifyError::Audience`] when `aud` is anything but a string, else [`VerifyError::Claims`] when it is not
    /// a JSON object, or a required claim is missing, empty, doubled or of the wrong type.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, VerifyError> {
        let wire: Wire<'_> = serde_json::from_slice(json).map_err(|_| VerifyError::Claims)?;
        let aud: String = serde_json::from_str(wire.aud.get()).map_err(|_| VerifyError::Audience)?;
        let named = [&wire.sub, &wire.client_id, &wire.jti].into_iter().chain(&wire.sid);
        if named.into_iter().any(String::is_empty) {
            return Err(VerifyError::Claims);
        }
        Ok(Self {
            iss: wire.iss,
            aud,
            sub: wire.sub,
            client_id: wire.client_id,
            sid: wire.sid,
            iat: wire.iat,
            exp: wire.exp,
            nbf: wire.nbf,
            jti: wire.jti,
            authorization_details: wire.authorization_details,
        })
    }
}
