//! Tokens that open refs of a Flatpak repository: made by the authority, checked by every gate.
//!
//! To make one, fill in [`Claims`] and [`SigningKey::sign`] them. To check one, keep a [`Verifier`] for each
//! repo and call [`Verifier::verify`]; what it gives is a [`VerifiedToken`], which nothing else can make, and
//! which answers [`VerifiedToken::allows`] for one [`Verb`] on one [`RefName`], and [`VerifiedToken::allows_commit`] for one
//! commit of it.
//!
//! ```
//! use flatpass_token::{Claims, Grant, KeySet, RefName, SigningKey, UnixTime, Verb, Verifier, VerifierConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = UnixTime(1_700_000_000);
//! let key = SigningKey::generate()?;
//! let token = key.sign(&Claims {
//!     iss: "https://shop.example/".into(),
//!     aud: "https://shop.example/repo/apps".into(),
//!     sub: "acc_ada".into(),
//!     client_id: "flatpass-authenticator".into(),
//!     sid: None,
//!     iat: now,
//!     exp: now.plus_seconds(3600),
//!     nbf: None,
//!     jti: "tok_1".into(),
//!     authorization_details: vec![Grant {
//!         actions: vec![Verb::Download],
//!         ids: vec!["org.test.Paid".into()],
//!         branches: vec!["*".into()],
//!         arches: vec!["*".into()],
//!         ..Grant::default()
//!     }],
//! })?;
//!
//! let config = VerifierConfig::new("https://shop.example/", "https://shop.example/repo/apps");
//! let gate = Verifier::new(config, KeySet::new().with(&key));
//! let verified = gate.verify(&token, now.plus_seconds(60))?;
//! assert!(verified.allows(Verb::Download, &RefName::parse("app/org.test.Paid/x86_64/stable")?));
//! assert!(!verified.allows(Verb::Download, &RefName::parse("app/org.test.Other/x86_64/stable")?));
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not promise
//! - It knows no clock and no network: the caller says what time it is and brings keys and revocations, and whom to ask
//!   about tokens that say nothing themselves ([`Lookup`], [`Introspector`], [`KeySource`]).
//! - A token is a bearer token: whoever holds it may use it until it expires or is revoked.
//! - Keys and the secret part of signatures come from the cryptographic library's own generator, because a
//!   predictable one there would give the key away; everything else that is random takes a generator.

mod accepts;
mod access;
mod claims;
mod error;
mod flat_manager;
mod foreign;
mod grant;
mod key;
mod key_set;
mod losses;
mod ref_name;
mod revocation;
mod secret;
mod shared_secret;
mod site;
mod time;
mod unverified;
mod verified;
mod verifier;

pub use accepts::{Accepts, Former, Lookup, LookupError, REFERENCE_PREFIX, Reference, TokenKind};
pub use access::{AccessGrant, AccessTable};
pub use claims::Claims;
pub use error::VerifyError;
pub use flat_manager::{FlatManagerClaims, FlatManagerKeys, NO_PREFIX};
pub use foreign::{
    ClaimRule, ClaimRuleError, ForeignCheck, ForeignIssuer, ForeignKey, ForeignKeyError, ForeignKeySet,
    ForeignKeySetError, ForeignKeys, Introspection, IntrospectionError, Introspector, KeySource, RefusedKey,
};
pub use grant::{CommitMade, Grant, UnknownVerb, Verb};
pub use key::{Jwk, KeyError, PublicKey, SignError, SigningKey};
pub use key_set::{KeySet, KeySetError};
pub use ref_name::{RefKind, RefName, RefNameError};
pub use revocation::Revocations;
pub use secret::{CertificateHash, Secret, SecretHash, SecretHashError};
pub use shared_secret::{SharedSecret, SharedSecretError, read_shared};
pub use site::SiteLicence;
pub use time::UnixTime;
pub use unverified::UnverifiedToken;
pub use verified::VerifiedToken;
pub use verifier::{PEER_LEEWAY_SECONDS, PEERS, Verifier, VerifierConfig};

/// The longest token that is made or looked at, in bytes. nginx and others refuse header lines of more than
/// 8 KiB, so a longer one would not reach a gate anyway.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024 - 64;
