//! Secrets that signer and checker share: HS256 (HMAC with SHA-256, RFC 7518 section 3.2). Only for others who know no other kind.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD as BASE64URL};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::secret::sha256;
use crate::{MAX_TOKEN_BYTES, SignError, UnverifiedToken, VerifyError};

/// The `alg` of tokens made with a shared secret.
pub(crate) const ALGORITHM: &str = "HS256";
/// A key must be at least as long as the hash (RFC 7518 section 3.2).
const LEAST_BYTES: usize = 32;
const MOST_BYTES: usize = 4096;

/// Why a secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedSecretError {
    /// The text is not base64 (RFC 4648 section 4).
    #[error("this is not base64: write the secret as it stands in flat-manager's config.json, in one line")]
    Encoding,
    /// It is shorter than the hash, so it can be found by trying.
    #[error(
        "the secret has {bytes} bytes, and fewer than {LEAST_BYTES} can be guessed: make one with `openssl rand -base64 64`"
    )]
    TooShort {
        /// How long it is.
        bytes: usize,
    },
    /// It is longer than any secret.
    #[error("the secret has more than {MOST_BYTES} bytes")]
    TooLong,
    /// It is a key in PEM, DER or JWK, perhaps a public one, which everybody knows.
    #[error(
        "this is a key of another kind, perhaps a public one: a shared secret is random bytes that nobody else knows"
    )]
    AnotherKind,
}

/// A secret for HS256 tokens. `Debug` does not show it.
pub struct SharedSecret {
    bytes: Zeroizing<Vec<u8>>,
    key: hmac::Key,
    fingerprint: [u8; 32],
}

impl SharedSecret {
    /// Reads a secret in base64, as it stands in flat-manager's configuration; space around it does not count.
    ///
    /// # Errors
    /// A [`SharedSecretError`].
    pub fn from_base64(text: &str) -> Result<Self, SharedSecretError> {
        let text = text.trim();
        if text.len() > 2 * MOST_BYTES {
            return Err(SharedSecretError::TooLong);
        }
        if text.starts_with("-----BEGIN") || text.starts_with('{') {
            return Err(SharedSecretError::AnotherKind);
        }
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        Self::from_bytes(Zeroizing::new(bytes.map_err(|_| SharedSecretError::Encoding)?))
    }

    /// From the bytes themselves.
    ///
    /// # Errors
    /// A [`SharedSecretError`].
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SharedSecretError> {
        if bytes.len() > MOST_BYTES {
            return Err(SharedSecretError::TooLong);
        }
        if is_another_kind(&bytes) {
            return Err(SharedSecretError::AnotherKind);
        }
        if bytes.len() < LEAST_BYTES {
            return Err(SharedSecretError::TooShort { bytes: bytes.len() });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let fingerprint = hmac::sign(&key, b"flatpass shared secret fingerprint");
        let fingerprint = sha256(fingerprint.as_ref());
        Ok(Self { bytes, key, fingerprint })
    }

    /// The secret itself, to be sealed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Tells one secret from another, and says nothing about either.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Makes a JWT of these claims with the header `{"typ":"JWT","alg":"HS256"}`.
    ///
    /// # Errors
    /// [`SignError::TooLong`] when no gate would take it, [`SignError::Signature`] when the claims are no JSON.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        const HEADER: &str = r#"{"typ":"JWT","alg":"HS256"}"#;
        const ENCODED_SIGNATURE_BYTES: usize = 43;

        let claims = serde_json::to_vec(claims).map_err(|_| SignError::Signature)?;
        let mut token = BASE64URL.encode(HEADER);
        token.push('.');
        BASE64URL.encode_string(claims, &mut token);
        let bytes = token.len() + 1 + ENCODED_SIGNATURE_BYTES;
        if bytes > MAX_TOKEN_BYTES {
            return Err(SignError::TooLong { bytes, most: MAX_TOKEN_BYTES });
        }
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Whether this secret signed the token. Takes the same time wherever two signatures differ.
    pub(crate) fn signed(&self, token: &UnverifiedToken<'_>) -> Result<bool, VerifyError> {
        Ok(hmac::verify(&self.key, token.message(), &token.signature()?).is_ok())
    }
}

impl PartialEq for SharedSecret {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for SharedSecret {}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

/// Checks header and signature of a JWT that one of these secrets should have signed, and reads its claims. **Times and everything
/// else that the claims say are for the caller to check.**
///
/// # Errors
/// What is wrong with it.
pub fn read_shared<T: DeserializeOwned>(
    token: &str,
    secrets: &[impl AsRef<SharedSecret>],
) -> Result<T, VerifyError> {
    let token = UnverifiedToken::parse(token)?;
    let (_, claims) = check(&token, secrets)?;
    serde_json::from_slice(&claims).map_err(|_| VerifyError::Claims)
}

/// The secret that signed it, and the payload.
pub(crate) fn check<'s, S: AsRef<SharedSecret>>(
    token: &UnverifiedToken<'_>,
    secrets: &'s [S],
) -> Result<(&'s S, Vec<u8>), VerifyError> {
    // Makers write `JWT` or nothing. A type that says more is a token for something else (RFC 8725 section 3.11).
    if !token.token_type().is_none_or(|name| name.eq_ignore_ascii_case("JWT")) {
        return Err(VerifyError::Type);
    }
    // Secrets are for HS256 and for nothing else, and no other key is ever among them.
    if token.algorithm() != Some(ALGORITHM) {
        return Err(VerifyError::Algorithm);
    }
    if token.has_critical_extension() {
        return Err(VerifyError::Critical);
    }
    if token.has_embedded_key() {
        return Err(VerifyError::EmbeddedKey);
    }
    if secrets.is_empty() {
        return Err(VerifyError::UnknownKey);
    }
    for secret in secrets {
        if secret.as_ref().signed(token)? {
            return Ok((secret, token.payload()?));
        }
    }
    Err(VerifyError::Signature)
}

impl AsRef<Self> for SharedSecret {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A key in PEM, in DER (a sequence that fills the bytes exactly) or as JSON.
fn is_another_kind(bytes: &[u8]) -> bool {
    let der = match bytes {
        [0x30, length, rest @ ..] if *length < 0x80 => usize::from(*length) == rest.len(),
        [0x30, 0x81, length, rest @ ..] => usize::from(*length) == rest.len(),
        [0x30, 0x82, high, low, rest @ ..] => usize::from(u16::from_be_bytes([*high, *low])) == rest.len(),
        _ => false,
    };
    let text = bytes.trim_ascii();
    der || text.starts_with(b"-----BEGIN")
        || text.starts_with(b"ssh-")
        || (text.starts_with(b"{") && serde_json::from_slice::<serde_json::Map<_, _>>(text).is_ok())
}
