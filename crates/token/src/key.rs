//! Keys: ES256 (ECDSA on P-256 with SHA-256, RFC 7518 section 3.4), which gates, peers and container registries
//! can all check.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::sha256;
use crate::{Claims, MAX_TOKEN_BYTES};

/// The `alg` of every key here.
pub(crate) const ALGORITHM: &str = "ES256";
/// The `typ` of every token made here (RFC 9068 section 2.1).
pub(crate) const TOKEN_TYPE: &str = "at+jwt";

/// What comes before the point in the DER form of a P-256 public key (RFC 5480 section 2).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const COORDINATE_BYTES: usize = 32;

/// Why a key cannot be made or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The cryptographic library could not make one.
    #[error("no new signing key could be made")]
    Generate,
    /// The bytes are not an unencrypted PKCS#8 private key on the curve P-256 (RFC 5958).
    #[error("this is not an unencrypted PKCS#8 private key on the curve P-256")]
    PrivateKey,
    /// The coordinates are not those of a point on the curve P-256.
    #[error("this is not a public key on the curve P-256")]
    PublicKey,
}

/// Why claims could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The token would be longer than is accepted ([`MAX_TOKEN_BYTES`] for gates): it must be split into several with fewer refs.
    #[error("the token would have {bytes} bytes, more than the {most} that are accepted")]
    TooLong {
        /// How long it would be.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// The cryptographic library failed, or the claims could not be written as JSON.
    #[error("the token could not be signed")]
    Signature,
}

/// The private half, with which an authority signs tokens. `Debug` shows only the key's id.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a new key. It is drawn from the cryptographic library's own generator.
    ///
    /// # Errors
    /// [`KeyError::Generate`] when the library fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?;
        Self::from_pair(pair)
    }

    /// Reads a key from unencrypted PKCS#8 in DER (RFC 5958), as [`Self::to_pkcs8_der`] gives it.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when it is anything else, or on another curve.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|_| KeyError::PrivateKey)?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// The private key as unencrypted PKCS#8 in DER. It is wiped from memory when dropped; seal it before it is
    /// stored.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`] when the library cannot write it.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.pair.to_pkcs8v1().map_err(|_| KeyError::PrivateKey)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The key's id, as [`PublicKey::kid`].
    #[must_use]
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as a JSON Web Key.
    #[must_use]
    pub fn public_jwk(&self) -> Jwk {
        self.public.to_jwk()
    }

    /// Makes a token: a JWS in compact form (RFC 7515 section 7.1) with the header
    /// `{"typ":"at+jwt","alg":"ES256","kid":…}`.
    ///
    /// # Errors
    /// [`SignError::TooLong`] when no gate would take the token, [`SignError::Signature`] when the library fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        self.sign_as(TOKEN_TYPE, claims, MAX_TOKEN_BYTES)
    }

    /// Makes a JWT of the general kind (`"typ":"JWT"`), for others who check it by rules of their own, such as container
    /// registries. No gate here takes one for a token of [`Self::sign`].
    ///
    /// # Errors
    /// [`SignError::TooLong`] when it would have more than `most` bytes, [`SignError::Signature`] when the library fails or
    /// the claims are no JSON.
    pub fn sign_jwt(&self, claims: &impl Serialize, most: usize) -> Result<String, SignError> {
        self.sign_as("JWT", claims, most)
    }

    pub(crate) fn sign_as(
        &self,
        typ: &str,
        claims: &impl Serialize,
        most: usize,
    ) -> Result<String, SignError> {
        #[derive(Serialize)]
        struct Header<'a> {
            typ: &'a str,
            alg: &'a str,
            kid: &'a str,
        }
        const ENCODED_SIGNATURE_BYTES: usize = 86;

        let header = Header { typ, alg: ALGORITHM, kid: self.kid() };
        let header = serde_json::to_vec(&header).map_err(|_| SignError::Signature)?;
        let claims = serde_json::to_vec(claims).map_err(|_| SignError::Signature)?;
        let mut token = BASE64URL.encode(header);
        token.push('.');
        BASE64URL.encode_string(claims, &mut token);
        let bytes = token.len() + 1 + ENCODED_SIGNATURE_BYTES;
        if bytes > most {
            return Err(SignError::TooLong { bytes, most });
        }
        // The library ignores the generator it asks for, and uses its own for the nonce.
        let signature =
            self.pair.sign(&SystemRandom::new(), token.as_bytes()).map_err(|_| SignError::Signature)?;
        token.push('.');
        BASE64URL.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid())
    }
}

/// The public half, with which anyone checks a token: a point that was checked to lie on the curve P-256.
#[derive(Clone)]
pub struct PublicKey {
    kid: Box<str>,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// From the two coordinates, 32 bytes each, most significant first. Its id is its fingerprint.
    ///
    /// # Errors
    /// [`KeyError::PublicKey`] when they are not a point on the curve.
    pub fn from_coordinates(
        x: &[u8; COORDINATE_BYTES],
        y: &[u8; COORDINATE_BYTES],
    ) -> Result<Self, KeyError> {
        Self::from_point(&[[4].as_slice(), x, y].concat())
    }

    /// From an uncompressed point (SEC 1 section 2.3.3): 4, x, y.
    fn from_point(point: &[u8]) -> Result<Self, KeyError> {
        // The library takes other forms of a point too, and the fingerprint is only defined for this one.
        if point.first() != Some(&4) || point.len() != 1 + 2 * COORDINATE_BYTES {
            return Err(KeyError::PublicKey);
        }
        let parsed =
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::PublicKey)?;
        let spki = [P256_SPKI_PREFIX.as_slice(), point].concat();
        Ok(Self { kid: fingerprint(&spki).into(), parsed })
    }

    /// The same key under an id that its owner chose.
    pub(crate) fn named(self, kid: String) -> Self {
        Self { kid: kid.into(), ..self }
    }

    /// The key's id. For our own keys it is the fingerprint that container registries ask for (libtrust's:
    /// the SHA-256 of the public key in DER, cut to 30 bytes, in base32, 12 groups of 4 joined by colons).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// As a JSON Web Key (RFC 7517, RFC 7518 section 6.2).
    #[must_use]
    pub fn to_jwk(&self) -> Jwk {
        let (x, y) = self.coordinates();
        Jwk {
            kty: "EC",
            crv: "P-256",
            x: BASE64URL.encode(x),
            y: BASE64URL.encode(y),
            kid: self.kid.to_string(),
            alg: ALGORITHM,
            r#use: "sig",
        }
    }

    fn coordinates(&self) -> (&[u8], &[u8]) {
        let point = self.parsed.as_ref().get(1..).unwrap_or_default();
        point.split_at_checked(COORDINATE_BYTES).unwrap_or_default()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.parsed.as_ref() == other.parsed.as_ref()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kid)
    }
}

/// A public key as it is published in a JWK set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// `EC`.
    pub kty: &'static str,
    /// `P-256`.
    pub crv: &'static str,
    /// The first coordinate, base64url without padding.
    pub x: String,
    /// The second coordinate, base64url without padding.
    pub y: String,
    /// The key's id.
    pub kid: String,
    /// `ES256`.
    pub alg: &'static str,
    /// `sig`.
    pub r#use: &'static str,
}

/// The id that libtrust, and so every container registry, gives to a public key in DER.
fn fingerprint(spki: &[u8]) -> String {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = sha256(spki);
    let (blocks, _) = hash.get(..30).unwrap_or_default().as_chunks::<5>();
    let mut text = String::with_capacity(12 * 5);
    for (block, [a, b, c, d, e]) in blocks.iter().enumerate() {
        let bits = u64::from_be_bytes([0, 0, 0, *a, *b, *c, *d, *e]);
        for character in 0..8 {
            if character % 4 == 0 && (block, character) != (0, 0) {
                text.push(':');
            }
            let value = usize::try_from(bits >> (35 - 5 * character) & 31).unwrap_or_default();
            text.extend(BASE32.get(value).map(|letter| char::from(*letter)));
        }
    }
    text
}
