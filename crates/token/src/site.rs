//! Site licences: what an offline site may have, signed by the store, for devices that never ask it for tokens.

use serde::{Deserialize, Serialize};

use crate::grant::flatpak_grants;
use crate::key::ALGORITHM;
use crate::{
    Grant, Jwk, KeySet, MAX_TOKEN_BYTES, PEERS, SignError, SigningKey, UnixTime, UnverifiedToken, VerifyError,
};

/// The `typ` of a licence: no gate takes one for a token.
const TYPE: &str = "flatpass-site+jwt";

/// What a site licence says. Only [`SiteLicence::verify`] makes one of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLicence {
    /// The store that made it.
    pub iss: String,
    /// The peers that it is for: the repo's URL and `#peers`.
    pub aud: String,
    /// The name of the site.
    pub sub: String,
    /// When it was made.
    pub iat: UnixTime,
    /// From when on it counts no more.
    pub exp: UnixTime,
    /// The name of this licence.
    pub jti: String,
    /// So many devices may use it.
    pub devices: u32,
    /// What they may do.
    #[serde(deserialize_with = "flatpak_grants")]
    pub authorization_details: Vec<Grant>,
}

impl SiteLicence {
    /// The licence as a file: a JWS in compact form (RFC 7515 section 7.1) of a type of its own.
    ///
    /// # Errors
    /// [`SignError`]
    pub fn sign(&self, key: &SigningKey) -> Result<String, SignError> {
        key.sign_as(TYPE, self, MAX_TOKEN_BYTES)
    }

    /// Checks the text of a licence with the keys of the store, for peers of that repo, and gives the key that signed it too. It says nothing of
    /// time: see [`Self::exp`].
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(
        text: &str,
        keys: &KeySet,
        issuer: &str,
        repo_url: &str,
    ) -> Result<(Self, Jwk), VerifyError> {
        let token = UnverifiedToken::parse(text)?;
        if token.token_type() != Some(TYPE) {
            return Err(VerifyError::Type);
        }
        if token.algorithm() != Some(ALGORITHM) {
            return Err(VerifyError::Algorithm);
        }
        if token.has_critical_extension() {
            return Err(VerifyError::Critical);
        }
        if token.has_embedded_key() {
            return Err(VerifyError::EmbeddedKey);
        }
        let key = token.kid().and_then(|kid| keys.find(kid)).ok_or(VerifyError::UnknownKey)?;
        if !key.verifies(token.message(), &token.signature()?) {
            return Err(VerifyError::Signature);
        }
        let licence: Self = serde_json::from_slice(&token.payload()?).map_err(|_| VerifyError::Claims)?;
        if licence.iss != issuer {
            return Err(VerifyError::Issuer);
        }
        if licence.aud.strip_suffix(PEERS) != Some(repo_url) {
            return Err(VerifyError::Audience);
        }
        if licence.jti.is_empty() || licence.sub.is_empty() {
            return Err(VerifyError::Claims);
        }
        Ok((licence, key.to_jwk()))
    }
}
