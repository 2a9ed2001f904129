//! The public keys of an authority (RFC 7517 section 5, a JWK set).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};

use crate::key::ALGORITHM;
use crate::{Jwk, PublicKey, SigningKey};

const MAX_JWKS_BYTES: usize = 64 * 1024;
const MAX_KEYS: usize = 32;
const MAX_KID_BYTES: usize = 255;

/// Public keys that are accepted at the same time, each with an id of its own. While keys rotate there are
/// several: the new one before it signs, the old one until its last token has expired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Arc<PublicKey>>,
}

/// Why a JWK set is refused as a whole. `index` counts the keys from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It has more than 64 KiB, or more than 32 keys.
    #[error("the key set is too large: at most 64 KiB and 32 keys are accepted")]
    TooLarge,
    /// It is not a JSON object with an array `keys` of objects.
    #[error("this is not a JWK set: a JSON object with an array named keys is needed")]
    Malformed,
    /// A key has no `kid`, or an empty or overlong one, so that no token could name it.
    #[error("key {index} of the set has no usable kid")]
    NoKeyId {
        /// Which key.
        index: usize,
    },
    /// Two keys have the same `kid`: which one checks a token would depend on the reader.
    #[error("key {index} of the set has the kid of another key")]
    DuplicateKeyId {
        /// The second of them.
        index: usize,
    },
    /// A key is not for checking ES256 signatures: another `kty`, `crv`, `alg`, `use` or `key_ops`.
    #[error("key {index} of the set is not for ES256 signatures, the only ones that are accepted")]
    Unsupported {
        /// Which key.
        index: usize,
    },
    /// A key is secret, or has its private half in it. It must be considered stolen.
    #[error("key {index} of the set has its private part in it: do not use it any more")]
    Private {
        /// Which key.
        index: usize,
    },
    /// The coordinates are not two numbers of 32 bytes, or not a point on the curve.
    #[error("key {index} of the set is not a point on the curve P-256")]
    InvalidPoint {
        /// Which key.
        index: usize,
    },
}

#[derive(Deserialize)]
struct WireSet {
    keys: Vec<WireKey>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    k: Option<serde::de::IgnoredAny>,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
}

impl KeySet {
    /// A set without any key: every token is refused.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Vec::new() }
    }

    /// This set with the public half of one more key. Nothing changes if it is in it already.
    #[must_use]
    pub fn with(self, key: &SigningKey) -> Self {
        self.with_public(key.public_key().clone())
    }

    /// This set with one more public key, instead of the one that had its id, if there was one.
    #[must_use]
    pub fn with_public(mut self, key: PublicKey) -> Self {
        self.keys.retain(|known| known.kid() != key.kid());
        self.keys.push(Arc::new(key));
        self
    }

    /// Reads a JWK set. All or nothing: a set in which any key is not usable is refused, so that a mistake in it
    /// is seen when it is loaded and not when the first token fails.
    ///
    /// # Errors
    /// What is wrong with the set, or with the first key that is not usable.
    pub fn from_jwks_json(json: &str) -> Result<Self, KeySetError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let wire: WireSet = serde_json::from_str(json).map_err(|_| KeySetError::Malformed)?;
        if wire.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooLarge);
        }
        let mut set = Self::new();
        for (index, key) in wire.keys.into_iter().enumerate() {
            let key = key.read(index)?;
            if set.find(key.kid()).is_some() {
                return Err(KeySetError::DuplicateKeyId { index });
            }
            set.keys.push(Arc::new(key));
        }
        Ok(set)
    }

    /// The set as JSON, to be published: `{"keys":[…]}`.
    #[must_use]
    pub fn to_jwks_json(&self) -> String {
        #[derive(Serialize)]
        struct Document {
            keys: Vec<Jwk>,
        }
        let document = Document { keys: self.keys.iter().map(|key| key.to_jwk()).collect() };
        // Strings and arrays only: writing them cannot fail.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The key with that id.
    pub(crate) fn find(&self, kid: &str) -> Option<&Arc<PublicKey>> {
        self.keys.iter().find(|key| key.kid() == kid)
    }

    /// Whether this very key, and not only one with its id, is in the set.
    pub(crate) fn holds(&self, key: &Arc<PublicKey>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key) || known == key)
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl WireKey {
    fn read(self, index: usize) -> Result<PublicKey, KeySetError> {
        if self.d.is_some() || self.k.is_some() || self.kty == "oct" {
            return Err(KeySetError::Private { index });
        }
        let is_for_es256 = self.kty == "EC"
            && self.crv.as_deref() == Some("P-256")
            && self.alg.as_deref().is_none_or(|alg| alg == ALGORITHM)
            && self.r#use.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_es256 {
            return Err(KeySetError::Unsupported { index });
        }
        let kid = self.kid.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID_BYTES);
        let kid = kid.ok_or(KeySetError::NoKeyId { index })?;
        let coordinate = |text: Option<String>| {
            text.and_then(|text| BASE64URL.decode(text).ok())
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        };
        let (Some(x), Some(y)) = (coordinate(self.x), coordinate(self.y)) else {
            return Err(KeySetError::InvalidPoint { index });
        };
        let key = PublicKey::from_coordinates(&x, &y).map_err(|_| KeySetError::InvalidPoint { index })?;
        Ok(key.named(kid))
    }
}
