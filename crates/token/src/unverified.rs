//! A token that nobody has checked yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::{Claims, MAX_TOKEN_BYTES, VerifyError};

/// The parts of a token of which nothing is known to be true: a JWS in compact form (RFC 7515 section 7.1).
///
/// It is good for showing a token to a person. It cannot authorize: only a
/// [`Verifier`](crate::Verifier) makes a [`VerifiedToken`](crate::VerifiedToken) of it.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    header: Header,
    /// What is signed: the first two parts and the dot between them.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The header's members that matter. Others are ignored, but a known one that stands there twice is refused.
#[derive(Clone, Debug, Deserialize)]
struct Header {
    typ: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
}

/// Whatever stands there, `null` too: that it stands there is what matters.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart and reads its header.
    ///
    /// # Errors
    /// [`VerifyError::TooLong`] before anything is read, [`VerifyError::Malformed`] when it is not three parts
    /// with a JSON object as header.
    pub fn parse(token: &'a str) -> Result<Self, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(VerifyError::Malformed)?;
        // An encrypted token has five parts, and one with many signatures is JSON (RFC 7515 section 7.2).
        if payload.contains('.') {
            return Err(VerifyError::Malformed);
        }
        let header = decode(header)?;
        let header = serde_json::from_slice(&header).map_err(|_| VerifyError::Malformed)?;
        Ok(Self { header, message, payload, signature })
    }

    /// The header's `typ`.
    #[must_use]
    pub fn token_type(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// The header's `alg`.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        self.header.alg.as_deref()
    }

    /// The header's `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Whether the header asks for an extension (`crit`).
    pub(crate) const fn has_critical_extension(&self) -> bool {
        self.header.crit
    }

    /// Whether the header brings a key or says where to get one.
    pub(crate) const fn has_embedded_key(&self) -> bool {
        self.header.jwk || self.header.jku || self.header.x5c || self.header.x5u
    }

    /// What it claims. Anyone can have written this.
    ///
    /// # Errors
    /// [`VerifyError::Malformed`] when it is not base64url, [`VerifyError::Claims`] or
    /// [`VerifyError::Audience`] when these are not the claims of an access token.
    pub fn claims(&self) -> Result<Claims, VerifyError> {
        Claims::from_json(&self.payload()?)
    }

    /// The payload, decoded. Anyone can have written it.
    ///
    /// # Errors
    /// [`VerifyError::Malformed`] when it is not base64url.
    pub fn payload(&self) -> Result<Vec<u8>, VerifyError> {
        decode(self.payload)
    }

    /// What was signed.
    pub(crate) const fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// The signature, decoded.
    pub(crate) fn signature(&self) -> Result<Vec<u8>, VerifyError> {
        decode(self.signature)
    }
}

/// Base64url without padding, and no other spelling of the same bytes (RFC 7515 section 2).
fn decode(part: &str) -> Result<Vec<u8>, VerifyError> {
    BASE64URL.decode(part).map_err(|_| VerifyError::Malformed)
}
