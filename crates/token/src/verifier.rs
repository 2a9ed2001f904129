//! Checks tokens for one authority and one gate.

use std::sync::Arc;

use arc_swap::ArcSwap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::key::{ALGORITHM, TOKEN_TYPE};
use crate::losses::Losses;
use crate::verified::{Content, Proof};
use crate::{
    AccessTable, CertificateHash, Claims, KeySet, MAX_TOKEN_BYTES, Revocations, SecretHash, UnixTime,
    UnverifiedToken, VerifiedToken, VerifyError,
};

/// How far a token's `iat` may lie in the future, beyond the leeway.
const ISSUED_AHEAD_SECONDS: i64 = 60;
/// One entry of the cache is counted for each piece of a token of this length.
const CACHE_ENTRY_BYTES: usize = 2048;
/// A secret has some 40 characters; what is longer than this is not worth hashing.
const MAX_SECRET_BYTES: usize = 256;

/// For whom a [`Verifier`] checks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// The `iss` that tokens must have, exactly.
    pub issuer: String,
    /// The `aud` that tokens must have, exactly.
    pub audience: String,
    /// By how many seconds the clocks of authority and gate may differ.
    pub leeway_seconds: u32,
    /// How many verified tokens are remembered. A token counts once for each 2 KiB of its length, so the cache
    /// holds at most about 2 KiB of tokens for each entry, and about as much again of what they say.
    pub cache_entries: usize,
    /// The name of the repo, for which certificates stand; see [`CertificateHash::for_repo`].
    pub repo: String,
}

impl VerifierConfig {
    /// With a leeway of 5 seconds and 4096 entries in the cache.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let (issuer, audience) = (issuer.into(), audience.into());
        Self { issuer, audience, leeway_seconds: 5, cache_entries: 4096, repo: String::new() }
    }
}

/// Checks tokens for one issuer and one audience, and remembers what it verified.
///
/// It is made to be shared: everything works on `&self`, and nothing waits for anything longer than a look into
/// a table. **The cache holds only tokens that were verified**, so whoever sends invented ones throws nothing
/// out of it, and learns nothing from it: it is looked up by a hash with a random key of this process.
#[derive(Debug)]
pub struct Verifier {
    config: VerifierConfig,
    keys: ArcSwap<KeySet>,
    access_tokens: ArcSwap<AccessTable>,
    revocations: ArcSwap<Revocations>,
    cache: Cache<Box<str>, Arc<Content>, ByLength>,
}

#[derive(Clone, Debug)]
struct ByLength;

impl Weighter<Box<str>, Arc<Content>> for ByLength {
    fn weight(&self, token: &Box<str>, _: &Arc<Content>) -> u64 {
        1 + (token.len() / CACHE_ENTRY_BYTES) as u64
    }
}

impl Verifier {
    /// A verifier that accepts these keys, and so far no access token.
    #[must_use]
    pub fn new(config: VerifierConfig, keys: KeySet) -> Self {
        let entries = config.cache_entries;
        Self {
            config,
            keys: ArcSwap::from_pointee(keys),
            access_tokens: ArcSwap::default(),
            revocations: ArcSwap::default(),
            cache: Cache::with_weighter(entries, entries as u64, ByLength),
        }
    }

    /// The `iss` that tokens must have.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The `aud` that tokens must have.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.config.audience
    }

    /// From now on only these keys are accepted. Tokens of a key that is no longer among them are refused at
    /// once, also those that were verified before.
    pub fn set_keys(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// From now on only these access tokens are accepted.
    pub fn set_access_tokens(&self, table: AccessTable) {
        self.access_tokens.store(Arc::new(table));
    }

    /// From now on these are refused, also if they were verified before, and tokens of accounts that lost something allow no
    /// more than the account still holds.
    pub fn set_revocations(&self, revocations: Revocations) {
        self.revocations.store(Arc::new(revocations));
    }

    /// Checks a signed token (RFC 9068 section 4, RFC 8725 section 3).
    ///
    /// A token that was verified before is not verified again and costs no allocation, but its times, its key,
    /// the revocations and the losses of its account are checked each time.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<VerifiedToken, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::TooLong);
        }
        if let Some(known) = self.cache.get(token) {
            let losses = self.check_still_good(&known, now)?;
            return Ok(VerifiedToken::new(known, losses));
        }
        let content = Arc::new(self.verify_signature_and_claims(token)?);
        let losses = self.check_still_good(&content, now)?;
        self.cache.insert(token.into(), Arc::clone(&content));
        Ok(VerifiedToken::new(content, losses))
    }

    /// Checks the secret of an access token, as it comes as the password of HTTP Basic.
    ///
    /// # Errors
    /// [`VerifyError::UnknownSecret`], [`VerifyError::Expired`] or [`VerifyError::Revoked`].
    pub fn verify_access_secret(&self, secret: &str, now: UnixTime) -> Result<VerifiedToken, VerifyError> {
        if secret.len() > MAX_SECRET_BYTES {
            return Err(VerifyError::UnknownSecret);
        }
        self.verify_access_hash(&SecretHash::of(secret), now)
    }

    /// Checks the certificate that a client proved to have the key of.
    ///
    /// # Errors
    /// As for [`Verifier::verify_access_secret`].
    pub fn verify_certificate(
        &self,
        certificate: &CertificateHash,
        now: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        self.verify_access_hash(&certificate.for_repo(&self.config.repo), now)
    }

    fn verify_access_hash(&self, hash: &SecretHash, now: UnixTime) -> Result<VerifiedToken, VerifyError> {
        let table = self.access_tokens.load();
        let known = table.find(hash, now).ok_or(VerifyError::UnknownSecret)?;
        let losses = self.check_still_good(&known, now)?;
        Ok(VerifiedToken::new(known, losses))
    }

    /// How many verified tokens are remembered at the moment.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.cache.len()
    }

    /// What does not depend on the moment.
    fn verify_signature_and_claims(&self, token: &str) -> Result<Content, VerifyError> {
        let token = UnverifiedToken::parse(token)?;
        if !token.token_type().is_some_and(is_access_token_type) {
            return Err(VerifyError::Type);
        }
        // All keys are for ES256 and for nothing else, so this is the key's own algorithm.
        if token.algorithm() != Some(ALGORITHM) {
            return Err(VerifyError::Algorithm);
        }
        if token.has_critical_extension() {
            return Err(VerifyError::Critical);
        }
        if token.has_embedded_key() {
            return Err(VerifyError::EmbeddedKey);
        }
        let keys = self.keys.load();
        let key = token.kid().and_then(|kid| keys.find(kid)).ok_or(VerifyError::UnknownKey)?;
        if !key.verifies(token.message(), &token.signature()?) {
            return Err(VerifyError::Signature);
        }
        let claims: Claims = token.claims()?;
        if claims.iss != self.config.issuer {
            return Err(VerifyError::Issuer);
        }
        if claims.aud != self.config.audience {
            return Err(VerifyError::Audience);
        }
        Ok(Content::from_claims(claims, Arc::clone(key)))
    }

    /// What depends on the moment: keys, times and revocations as they are now. Gives what the account lost of it.
    fn check_still_good(&self, token: &Content, now: UnixTime) -> Result<Option<Arc<Losses>>, VerifyError> {
        let leeway = i64::from(self.config.leeway_seconds);
        let revocations = self.revocations.load();
        let mut losses = None;
        if let Proof::Signature { key, issued_at, not_before } = &token.proof {
            if !self.keys.load().holds(key) {
                return Err(VerifyError::UnknownKey);
            }
            if *issued_at > now.plus_seconds(leeway + ISSUED_AHEAD_SECONDS) {
                return Err(VerifyError::IssuedInFuture { at: *issued_at });
            }
            if let Some(from) = not_before.filter(|from| *from > now.plus_seconds(leeway)) {
                return Err(VerifyError::NotYetValid { from });
            }
            if revocations.holds_subject(&token.subject, *issued_at)
                || token.session.as_ref().is_some_and(|session| revocations.holds_session(session))
            {
                return Err(VerifyError::Revoked);
            }
            losses = revocations.losses(&token.subject, *issued_at);
        }
        if revocations.holds_id(&token.id) {
            return Err(VerifyError::Revoked);
        }
        // The leeway is for two clocks; an access token's end is kept by this one alone.
        let leeway = if matches!(token.proof, Proof::Secret) { 0 } else { leeway };
        match token.expires_at {
            Some(at) if now >= at.plus_seconds(leeway) => Err(VerifyError::Expired { at }),
            _ => Ok(losses),
        }
    }
}

/// `at+jwt`, and the long form of it, in any case (RFC 9068 section 2.1, RFC 7515 section 4.1.9).
fn is_access_token_type(name: &str) -> bool {
    let (prefix, rest) = name.split_at_checked("application/".len()).unwrap_or_default();
    let name = if prefix.eq_ignore_ascii_case("application/") { rest } else { name };
    name.eq_ignore_ascii_case(TOKEN_TYPE)
}
