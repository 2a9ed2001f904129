//! The public keys of a foreign issuer (RFC 7517, RFC 7518 section 6, RFC 8037): what is fit for checking access tokens is taken, the rest
//! is left out and told.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

const MAX_JWKS_BYTES: usize = 128 * 1024;
const MAX_KEYS: usize = 64;
const MAX_KID_BYTES: usize = 255;
const LEAST_RSA_BITS: usize = 2048;
const MOST_RSA_BITS: usize = 8192;
const MOST_EXPONENT_BYTES: usize = 4;

/// Points of small order on Curve25519, without the bit of the sign: under such a key signatures can be made without knowing it.
const SMALL_ORDER: [[u8; 32]; 7] = [
    with_ends(0, 0, 0),
    with_ends(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    with_ends(0xec, 0xff, 0x7f),
    with_ends(0xed, 0xff, 0x7f),
    with_ends(0xee, 0xff, 0x7f),
];

const fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// The algorithms that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// By the word of a header or key.
    fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            // The second is its name in RFC 9864.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
            Self::EdDsa => &ED25519,
        }
    }
}

/// One public key, for the one algorithm that it is for; an RSA key that does not say for which is for two.
#[derive(Clone)]
pub struct ForeignKey {
    kid: Option<Box<str>>,
    ways: Vec<(Algorithm, ParsedPublicKey)>,
}

impl ForeignKey {
    /// Its id, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether tokens whose header has this `alg` may be checked with it.
    pub(super) fn is_for(&self, algorithm: &str) -> bool {
        self.way(algorithm).is_some()
    }

    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        self.way(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn way(&self, algorithm: &str) -> Option<&ParsedPublicKey> {
        let asked = Algorithm::named(algorithm)?;
        self.ways.iter().find(|(one, _)| *one == asked).map(|(_, key)| key)
    }
}

impl PartialEq for ForeignKey {
    fn eq(&self, other: &Self) -> bool {
        let ways =
            |key: &Self| key.ways.iter().map(|(way, key)| (*way, key.as_ref().to_vec())).collect::<Vec<_>>();
        self.kid == other.kid && ways(self) == ways(other)
    }
}

impl Eq for ForeignKey {}

impl fmt::Debug for ForeignKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignKey({})", self.kid().unwrap_or("without id"))
    }
}

/// Why a key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ForeignKeyError {
    /// It is no JSON object with the members of a key, or has one twice.
    #[error("it is not a JSON Web Key")]
    Malformed,
    /// It is not for checking signatures: `use` or `key_ops` say something else.
    #[error("it is not for signatures")]
    Use,
    /// A kind of key, or an algorithm, that is not taken here.
    #[error("it is not for RS256, PS256, ES256, ES384 or EdDSA")]
    Unsupported,
    /// It is secret, or has its private half in it: everybody can make tokens with it.
    #[error("its private part is published with it; whoever runs the issuer must replace it at once")]
    Private,
    /// An RSA key of fewer than 2048 or more than 8192 bits, an exponent that none has, a point of small order.
    #[error("it is too weak, or too large")]
    Weak,
    /// Its numbers are no key.
    #[error("its numbers are not those of a public key")]
    Invalid,
    /// Two keys have its id.
    #[error("another key has the same kid, so nobody knows which of them is meant")]
    Duplicate,
    /// No token can name it: its id is missing, though there are other keys, or is empty or too long.
    #[error("it has no usable kid")]
    NoKeyId,
}

/// A key that is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedKey {
    /// Its place in the set, from 0.
    pub index: usize,
    /// Why.
    pub why: ForeignKeyError,
}

/// Why a whole set is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignKeySetError {
    /// It has more than 128 KiB, or more than 64 keys.
    #[error("the key set is too large: at most 128 KiB and 64 keys are accepted")]
    TooLarge,
    /// It is not a JSON object with an array `keys`.
    #[error("this is not a JWK set: a JSON object with an array named keys is needed")]
    Malformed,
    /// Not one of its keys can be used; why the first cannot.
    #[error("none of the {keys} keys of the set can be used{}", why.map(|why| format!("; the first: {why}")).unwrap_or_default())]
    Nothing {
        /// How many there are.
        keys: usize,
        /// Why the first is not used.
        why: Option<ForeignKeyError>,
    },
}

/// The keys of an issuer that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKeySet {
    keys: Vec<Arc<ForeignKey>>,
    refused: Vec<RefusedKey>,
}

impl ForeignKeySet {
    /// The longest set that is read, in bytes.
    pub const MAX_BYTES: usize = MAX_JWKS_BYTES;

    /// Reads a set. Keys that are not fit are left out, and of two keys with the same id both are.
    ///
    /// # Errors
    /// [`ForeignKeySetError`]
    pub fn parse(json: &[u8]) -> Result<Self, ForeignKeySetError> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        if json.len() > MAX_JWKS_BYTES {
            return Err(ForeignKeySetError::TooLarge);
        }
        let set: Set<'_> = serde_json::from_slice(json).map_err(|_| ForeignKeySetError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(ForeignKeySetError::TooLarge);
        }
        let read: Vec<_> = set.keys.iter().map(|key| WireKey::read(key.get())).collect();
        // What is left out has an id all the same, and a token that names it means nobody knows which.
        let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for kid in read.iter().filter_map(|(kid, _)| kid.as_deref()) {
            if !once.insert(kid.to_owned()) {
                twice.insert(kid.to_owned());
            }
        }
        let usable = read.iter().filter(|(_, key)| key.is_ok()).count();
        let mut taken = Self::default();
        for (index, (kid, key)) in read.into_iter().enumerate() {
            let key = key.and_then(|key| match &kid {
                Some(kid) if twice.contains(kid) => Err(ForeignKeyError::Duplicate),
                Some(kid) if kid.is_empty() || kid.len() > MAX_KID_BYTES => Err(ForeignKeyError::NoKeyId),
                // OpenID Connect Core 10.1: only one that is alone needs no id.
                None if usable > 1 => Err(ForeignKeyError::NoKeyId),
                _ => Ok(key),
            });
            match key {
                Ok(key) => taken.keys.push(Arc::new(key)),
                Err(why) => taken.refused.push(RefusedKey { index, why }),
            }
        }
        if taken.keys.is_empty() {
            let keys = taken.refused.len();
            return Err(ForeignKeySetError::Nothing { keys, why: taken.refused.first().map(|one| one.why) });
        }
        Ok(taken)
    }

    /// The keys that are used.
    pub fn keys(&self) -> impl Iterator<Item = &ForeignKey> {
        self.keys.iter().map(AsRef::as_ref)
    }

    /// Those that are not.
    #[must_use]
    pub fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }

    /// The key that a header's `kid` means. Without one it is the only key, if there is only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Arc<ForeignKey>> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), [only]) if only.kid.is_none() && kid.is_empty() => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Whether this very key is in the set.
    pub(crate) fn holds(&self, key: &Arc<ForeignKey>) -> bool {
        self.keys.iter().any(|known| Arc::ptr_eq(known, key) || known == key)
    }
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
}

impl WireKey {
    /// The key's id, also of one that is not used.
    fn read(json: &str) -> (Option<String>, Result<ForeignKey, ForeignKeyError>) {
        match serde_json::from_str::<Self>(json) {
            Ok(key) => (key.kid.clone(), key.key()),
            Err(_) => (None, Err(ForeignKeyError::Malformed)),
        }
    }

    fn key(self) -> Result<ForeignKey, ForeignKeyError> {
        let has_private = [&self.d, &self.p, &self.q, &self.k].into_iter().any(Option::is_some);
        if has_private || self.kty == "oct" {
            return Err(ForeignKeyError::Private);
        }
        let verifies = self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        if self.r#use.as_deref().is_some_and(|purpose| purpose != "sig") || !verifies {
            return Err(ForeignKeyError::Use);
        }
        let algorithm = match self.alg.as_deref() {
            Some(name) => Some(Algorithm::named(name).ok_or(ForeignKeyError::Unsupported)?),
            None => None,
        };
        let (fits, bytes): (&[Algorithm], _) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (&[Algorithm::Rs256, Algorithm::Ps256], self.rsa()?),
            ("EC", Some("P-256")) => (&[Algorithm::Es256], self.point::<32>()?),
            ("EC", Some("P-384")) => (&[Algorithm::Es384], self.point::<48>()?),
            ("OKP", Some("Ed25519")) => (&[Algorithm::EdDsa], self.ed25519()?),
            _ => return Err(ForeignKeyError::Unsupported),
        };
        let ways: Vec<_> = fits.iter().filter(|one| algorithm.is_none_or(|said| said == **one)).collect();
        if ways.is_empty() {
            return Err(ForeignKeyError::Unsupported);
        }
        let parse = |way: &Algorithm| {
            let key =
                ParsedPublicKey::new(way.verification(), &bytes).map_err(|_| ForeignKeyError::Invalid)?;
            Ok((*way, key))
        };
        let ways = ways.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(ForeignKey { kid: self.kid.map(Into::into), ways })
    }

    /// In DER. Leading zeros, which some issuers write, are no part of the numbers.
    fn rsa(&self) -> Result<Vec<u8>, ForeignKeyError> {
        let number = |text: &Option<String>| {
            let bytes = decoded(text)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.get(zeros..).map(<[u8]>::to_vec).filter(|rest| !rest.is_empty())
        };
        let (Some(n), Some(e)) = (number(&self.n), number(&self.e)) else {
            return Err(ForeignKeyError::Invalid);
        };
        let top = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        let bits = (n.len() * 8).saturating_sub(top);
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        let exponent = e.len() <= MOST_EXPONENT_BYTES && is_odd(&e) && e != [1];
        if !(LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&bits) || !exponent || !is_odd(&n) {
            return Err(ForeignKeyError::Weak);
        }
        let key = RsaPublicKeyComponents { n, e };
        let der: PublicKeyX509Der<'_> = key.as_der().map_err(|_| ForeignKeyError::Invalid)?;
        Ok(der.as_ref().to_vec())
    }

    /// Uncompressed (SEC 1 section 2.3.3). The library checks that it is on the curve.
    fn point<const BYTES: usize>(&self) -> Result<Vec<u8>, ForeignKeyError> {
        let coordinate =
            |text: &Option<String>| decoded(text).and_then(|all| <[u8; BYTES]>::try_from(all).ok());
        match (coordinate(&self.x), coordinate(&self.y)) {
            (Some(x), Some(y)) => Ok([[4].as_slice(), &x, &y].concat()),
            _ => Err(ForeignKeyError::Invalid),
        }
    }

    fn ed25519(&self) -> Result<Vec<u8>, ForeignKeyError> {
        let bytes = decoded(&self.x).and_then(|all| <[u8; 32]>::try_from(all).ok());
        let bytes = bytes.ok_or(ForeignKeyError::Invalid)?;
        let mut plain = bytes;
        if let Some(last) = plain.last_mut() {
            *last &= 0x7f;
        }
        if SMALL_ORDER.contains(&plain) { Err(ForeignKeyError::Weak) } else { Ok(bytes.to_vec()) }
    }
}

fn decoded(text: &Option<String>) -> Option<Vec<u8>> {
    BASE64URL.decode(text.as_ref()?).ok()
}
