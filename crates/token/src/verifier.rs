//! Checks tokens for one authority and one gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::accepts::{Accepts, Former, Lookup, REFERENCE_PREFIX, TokenKind};
use crate::foreign::{ForeignCheck, ForeignIssuer, ForeignKeys};
use crate::key::{ALGORITHM, TOKEN_TYPE};
use crate::losses::Losses;
use crate::shared_secret;
use crate::verified::{Content, Proof};
use crate::{
    AccessTable, CertificateHash, Claims, FlatManagerKeys, KeySet, MAX_TOKEN_BYTES, Revocations, SecretHash,
    UnixTime, UnverifiedToken, VerifiedToken, VerifyError,
};

/// How far a token's `iat` may lie in the future, beyond the leeway.
const ISSUED_AHEAD_SECONDS: i64 = 60;
/// One entry of the cache is counted for each piece of a token of this length.
const CACHE_ENTRY_BYTES: usize = 2048;
/// For so many seconds it is believed what was found of a reference token; revocations are known at once.
const REFERENCE_FRESH_SECONDS: i64 = 60;
/// And so many that a token is not good.
const NOT_GOOD_SECONDS: i64 = 5;
/// So many tokens that are not good are remembered.
const NOT_GOOD_ENTRIES: usize = 4096;
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
    /// Set at a peer: the `aud` of tokens for the repo itself. A peer takes those too, but only if a hostile one could do nothing
    /// with them elsewhere: each grant names its commits, and they live for minutes.
    pub narrowed_audience: Option<String>,
}

/// What comes after a repo's URL in the `aud` of tokens that are for peers of it alone.
pub const PEERS: &str = "#peers";
/// By how many seconds the clock of a peer may differ from that of the store: machines in a cupboard have no better ones.
pub const PEER_LEEWAY_SECONDS: u32 = 120;
/// A token for the repo itself that lives longer than so many seconds is none for a peer.
const NARROW_SECONDS: i64 = 900;

impl VerifierConfig {
    /// With a leeway of 5 seconds and 4096 entries in the cache.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let (issuer, audience) = (issuer.into(), audience.into());
        Self {
            issuer,
            audience,
            leeway_seconds: 5,
            cache_entries: 4096,
            repo: String::new(),
            narrowed_audience: None,
        }
    }

    /// For a peer of the repo with that URL: it takes tokens for its peers, and narrow ones for the repo itself. Clocks may be
    /// [`PEER_LEEWAY_SECONDS`] apart.
    #[must_use]
    pub fn for_peer(issuer: impl Into<String>, repo_url: &str) -> Self {
        Self {
            leeway_seconds: PEER_LEEWAY_SECONDS,
            narrowed_audience: Some(repo_url.to_owned()),
            ..Self::new(issuer, format!("{repo_url}{PEERS}"))
        }
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
    flat_manager: ArcSwapOption<FlatManagerKeys>,
    access_tokens: ArcSwap<AccessTable>,
    revocations: ArcSwap<Revocations>,
    /// From this second on no token is good, because the keys are too old.
    trusted_until: AtomicI64,
    cache: Cache<Box<str>, Arc<Content>, ByLength>,
    accepts: ArcSwap<Accepts>,
    lookup: ArcSwapOption<Asking>,
    /// What was asked about, by hash: tokens that are good, and, apart so that invented ones put none of these out, others.
    asked: Cache<SecretHash, Arc<Content>>,
    not_good: Cache<SecretHash, NotGood>,
}

/// Whom to ask about reference tokens.
#[derive(Debug)]
struct Asking(Arc<dyn Lookup>);

/// What was found of a token that is not good.
#[derive(Clone, Debug)]
struct NotGood {
    why: VerifyError,
    believed_until: UnixTime,
    /// The issuer that said so, by whose rules; `None` for reference tokens.
    by: Option<Arc<ForeignIssuer>>,
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
            flat_manager: ArcSwapOption::empty(),
            access_tokens: ArcSwap::default(),
            revocations: ArcSwap::default(),
            trusted_until: AtomicI64::new(i64::MAX),
            cache: Cache::with_weighter(entries, entries as u64, ByLength),
            accepts: ArcSwap::default(),
            lookup: ArcSwapOption::empty(),
            asked: Cache::new(entries),
            not_good: Cache::new(NOT_GOOD_ENTRIES.min(entries)),
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

    /// From now on flat-manager's tokens are accepted too, if they are signed with one of these secrets; with `None`, none is.
    pub fn set_flat_manager(&self, keys: Option<FlatManagerKeys>) {
        self.flat_manager.store(keys.map(Arc::new));
    }

    /// From that moment on every token is refused with [`VerifyError::OfflineTooLong`], until a later moment is set: what is known of the
    /// authority is too old then.
    pub fn trust_until(&self, moment: UnixTime) {
        self.trusted_until.store(moment.0, Ordering::Relaxed);
    }

    /// From now on only these access tokens are accepted.
    pub fn set_access_tokens(&self, table: AccessTable) {
        self.access_tokens.store(Arc::new(table));
    }

    /// From now on only tokens of that kind are accepted as Bearer. Without it, that is [`TokenKind::Signed`].
    pub fn set_accepts(&self, accepts: Accepts) {
        self.accepts.store(Arc::new(accepts));
    }

    /// Who is asked about reference tokens from now on. Where nobody is, they are not known.
    pub fn set_lookup(&self, lookup: Option<Arc<dyn Lookup>>) {
        self.lookup.store(lookup.map(|lookup| Arc::new(Asking(lookup))));
    }

    /// From now on these are refused, also if they were verified before, and tokens of accounts that lost something allow no
    /// more than the account still holds.
    pub fn set_revocations(&self, revocations: Revocations) {
        self.revocations.store(Arc::new(revocations));
    }

    /// Checks a token (RFC 9068 section 4, RFC 8725 section 3, RFC 7662).
    ///
    /// It asks nobody and waits for nothing. A token that was verified before is not verified again and costs no allocation, but its
    /// times, its key, the revocations and the losses of its account are checked each time.
    ///
    /// # Errors
    /// The first thing that is wrong with it; [`VerifyError::Unasked`] when that must be asked.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<VerifiedToken, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::TooLong);
        }
        let accepts = self.accepts.load();
        if self.config.narrowed_audience.is_some() {
            // A peer can ask nobody.
            return self.verify_signed(&accepts, token, now).map_err(|error| self.as_said_here(error, now));
        }
        if token.starts_with(REFERENCE_PREFIX) {
            return self.verify_reference(&accepts, token, now);
        }
        // What this store signed before is not sent to others, and is good until it ends.
        let signed_before = matches!(&accepts.former, Some(Former { kind: TokenKind::Signed, .. }));
        if accepts.issuer().is_some()
            && (signed_before || self.flat_manager.load().is_some())
            && let Ok(verified) = self.verify_signed(&accepts, token, now)
        {
            return Ok(verified);
        }
        match &accepts.kind {
            TokenKind::Foreign(issuer) => {
                let verified = match &issuer.check {
                    ForeignCheck::Keys(keys) => self.verify_foreign(&accepts, issuer, keys, token, now),
                    ForeignCheck::Introspection(_) => self.verify_asked(&accepts, Some(issuer), token, now),
                };
                verified.map_err(|why| match why {
                    why if !issuer.is_secret || why.is_passing() => why,
                    _ => self.as_elsewhere(token, now),
                })
            }
            // Where none of these is taken they are told what is wrong with them as anywhere else.
            TokenKind::Signed | TokenKind::Reference | TokenKind::None => {
                self.verify_signed(&accepts, token, now)
            }
        }
    }

    /// As [`Verifier::verify`], on a thread that may wait for whoever must be asked.
    ///
    /// # Errors
    /// The first thing that is wrong with it; [`VerifyError::Unreachable`] or [`VerifyError::Crowded`] when that cannot be asked.
    pub fn verify_waiting(&self, token: &str, now: UnixTime) -> Result<VerifiedToken, VerifyError> {
        match self.verify(token, now) {
            Err(VerifyError::Unasked) => self.ask(token, now)?,
            known => return known,
        }
        match self.verify(token, now) {
            // What is found is believed for a while, so this is a cache that is too small for all who ask at this moment.
            Err(VerifyError::Unasked) => Err(VerifyError::Crowded),
            known => known,
        }
    }

    fn ask(&self, token: &str, now: UnixTime) -> Result<(), VerifyError> {
        let hash = SecretHash::of(token);
        let accepts = self.accepts.load_full();
        let (found, fresh_seconds, by) = match accepts.issuer() {
            _ if token.starts_with(REFERENCE_PREFIX) => {
                let lookup = self.lookup.load_full().ok_or(VerifyError::Malformed)?;
                let found = lookup.0.reference(token, now)?;
                let fresh_until = now.plus_seconds(REFERENCE_FRESH_SECONDS);
                let content = found.map(|found| Content::of_reference(found, fresh_until));
                (content.ok_or(VerifyError::Malformed), REFERENCE_FRESH_SECONDS, None)
            }
            None => return Ok(()),
            Some(issuer) => match &issuer.check {
                ForeignCheck::Keys(keys) => return Ok(keys.renew(now)?),
                ForeignCheck::Introspection(introspector) => {
                    let answer = introspector.introspect(token, now)?;
                    let fresh = introspector.fresh_seconds();
                    let found = issuer.check_introspected(&answer, now.plus_seconds(fresh));
                    (found, fresh, Some(Arc::clone(issuer)))
                }
            },
        };
        match found {
            Ok(content) => {
                self.not_good.remove(&hash);
                self.asked.insert(hash, Arc::new(content));
            }
            Err(why) => {
                self.asked.remove(&hash);
                let believed_until = now.plus_seconds(fresh_seconds.min(NOT_GOOD_SECONDS));
                self.not_good.insert(hash, NotGood { why, believed_until, by });
            }
        }
        Ok(())
    }

    /// One of our own signed tokens.
    fn verify_signed(
        &self,
        accepts: &Accepts,
        token: &str,
        now: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        let known = self
            .cache
            .get(token)
            .filter(|known| matches!(known.proof, Proof::Signature { .. } | Proof::Shared { .. }));
        if let Some(known) = known {
            let losses = self.check_still_good(accepts, &known, now)?;
            return Ok(VerifiedToken::new(known, losses));
        }
        let content = Arc::new(self.verify_signature_and_claims(token)?);
        let losses = self.check_still_good(accepts, &content, now)?;
        self.cache.insert(token.into(), Arc::clone(&content));
        Ok(VerifiedToken::new(content, losses))
    }

    /// One that a foreign issuer signed.
    fn verify_foreign(
        &self,
        accepts: &Accepts,
        issuer: &Arc<ForeignIssuer>,
        keys: &Arc<ForeignKeys>,
        token: &str,
        now: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        // What was verified by other rules is verified anew.
        if let Some(known) = self.cache.get(token).filter(|known| accepts.take(known, now)) {
            let losses = self.check_still_good(accepts, &known, now)?;
            return Ok(VerifiedToken::new(known, losses));
        }
        let content = Arc::new(issuer.check_signed(keys, token, now)?);
        let losses = self.check_still_good(accepts, &content, now)?;
        self.cache.insert(token.into(), Arc::clone(&content));
        Ok(VerifiedToken::new(content, losses))
    }

    fn verify_reference(
        &self,
        accepts: &Accepts,
        token: &str,
        now: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        if token.len() > MAX_SECRET_BYTES || self.lookup.load().is_none() {
            return Err(VerifyError::Malformed);
        }
        self.verify_asked(accepts, None, token, now)
    }

    /// One that was asked about, if it was. A token that is not good is one for the issuer that said so, or for none.
    fn verify_asked(
        &self,
        accepts: &Accepts,
        issuer: Option<&Arc<ForeignIssuer>>,
        token: &str,
        now: UnixTime,
    ) -> Result<VerifiedToken, VerifyError> {
        let hash = SecretHash::of(token);
        if let Some(known) = self.asked.get(&hash) {
            let is_fresh = match &known.proof {
                Proof::Reference { fresh_until, .. } => now < *fresh_until,
                Proof::Foreign { issuer: by, fresh_until, .. } => {
                    issuer.is_some_and(|issuer| Arc::ptr_eq(by, issuer))
                        && fresh_until.is_none_or(|until| now < until)
                }
                Proof::Signature { .. } | Proof::Shared { .. } | Proof::Secret => false,
            };
            if is_fresh {
                let losses = self.check_still_good(accepts, &known, now)?;
                return Ok(VerifiedToken::new(known, losses));
            }
        }
        let is_by = |by: Option<&Arc<ForeignIssuer>>| match (by, issuer) {
            (None, None) => true,
            (Some(by), Some(issuer)) => Arc::ptr_eq(by, issuer),
            _ => false,
        };
        match self.not_good.get(&hash) {
            Some(known) if now < known.believed_until && is_by(known.by.as_ref()) => Err(known.why),
            _ => Err(VerifyError::Unasked),
        }
    }

    /// What is said of a token where nothing is known of any issuer: of our own, if it is not for another repo.
    fn as_elsewhere(&self, token: &str, now: UnixTime) -> VerifyError {
        self.verify_signed(&Accepts::only(TokenKind::Signed), token, now)
            .err()
            .unwrap_or(VerifyError::OtherKind)
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
        let losses = self.check_still_good(&self.accepts.load(), &known, now)?;
        Ok(VerifiedToken::new(known, losses))
    }

    /// How many verified tokens are remembered at the moment.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.cache.len()
    }

    /// The reason in the words of a peer, if this is one: it cannot ask anybody, and its clock is the first suspect.
    fn as_said_here(&self, error: VerifyError, now: UnixTime) -> VerifyError {
        if self.config.narrowed_audience.is_none() {
            return error;
        }
        match error {
            VerifyError::Malformed | VerifyError::Algorithm => VerifyError::NotForPeers,
            VerifyError::IssuedInFuture { at } => VerifyError::ClockBehind { at, now },
            VerifyError::Expired { at } => VerifyError::ExpiredHere { at, now },
            other => other,
        }
    }

    /// What does not depend on the moment.
    fn verify_signature_and_claims(&self, token: &str) -> Result<Content, VerifyError> {
        let token = UnverifiedToken::parse(token)?;
        // The algorithm chooses among kinds of keys that have nothing in common: a secret is never a public key, nor the other way round.
        if token.algorithm() == Some(shared_secret::ALGORITHM)
            && let Some(keys) = &*self.flat_manager.load()
        {
            match keys.verify(&token) {
                Err(_) if keys.is_secret() => {}
                known => return known,
            }
        }
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
            if self.config.narrowed_audience.as_ref() != Some(&claims.aud) {
                return Err(VerifyError::Audience);
            }
            if !is_narrow(&claims) {
                return Err(VerifyError::TooWide);
            }
        }
        Ok(Content::from_claims(claims, Arc::clone(key)))
    }

    /// What depends on the moment: kinds, keys, times and revocations as they are now. Gives what the account lost of it.
    fn check_still_good(
        &self,
        accepts: &Accepts,
        token: &Content,
        now: UnixTime,
    ) -> Result<Option<Arc<Losses>>, VerifyError> {
        let leeway = i64::from(self.config.leeway_seconds);
        let until = UnixTime(self.trusted_until.load(Ordering::Relaxed));
        // What a secret opens is written down here, with an end of its own.
        if now >= until && !matches!(token.proof, Proof::Secret) {
            return Err(VerifyError::OfflineTooLong { since: until });
        }
        let revocations = self.revocations.load();
        let (issued_at, not_before) = match &token.proof {
            Proof::Signature { key, issued_at, not_before } => {
                if !self.keys.load().holds(key) {
                    return Err(VerifyError::UnknownKey);
                }
                (Some(*issued_at), *not_before)
            }
            Proof::Shared { secret, repo, issued_at, not_before } => {
                if !self.flat_manager.load().as_ref().is_some_and(|keys| keys.holds(secret, repo)) {
                    return Err(VerifyError::UnknownKey);
                }
                (Some(*issued_at), *not_before)
            }
            Proof::Foreign { key, issued_at, not_before, .. } => {
                if let Some((keys, key)) = key
                    && !keys.hold(key)
                {
                    return Err(VerifyError::UnknownKey);
                }
                (*issued_at, *not_before)
            }
            // Who looked it up and whoever made it have one clock; the same goes for access tokens.
            Proof::Reference { .. } | Proof::Secret => (None, None),
        };
        if let Some(at) = issued_at.filter(|at| *at > now.plus_seconds(leeway + ISSUED_AHEAD_SECONDS)) {
            return Err(VerifyError::IssuedInFuture { at });
        }
        if let Some(from) = not_before.filter(|from| *from > now.plus_seconds(leeway)) {
            return Err(VerifyError::NotYetValid { from });
        }
        let mut losses = None;
        if let Proof::Signature { issued_at, .. }
        | Proof::Shared { issued_at, .. }
        | Proof::Reference { issued_at, .. } = &token.proof
        {
            if revocations.holds_subject(&token.subject, *issued_at)
                || token.session.as_ref().is_some_and(|session| revocations.holds_session(session))
            {
                return Err(VerifyError::Revoked);
            }
            losses = revocations.losses(&token.subject, *issued_at);
        }
        // The ids of foreign tokens are names that others gave.
        if !matches!(token.proof, Proof::Foreign { .. }) && revocations.holds_id(&token.id) {
            return Err(VerifyError::Revoked);
        }
        // The leeway is for two clocks.
        let leeway = if matches!(token.proof, Proof::Secret | Proof::Reference { .. }) { 0 } else { leeway };
        if let Some(at) = token.expires_at.filter(|at| now >= at.plus_seconds(leeway)) {
            return Err(VerifyError::Expired { at });
        }
        if accepts.take(token, now) { Ok(losses) } else { Err(VerifyError::OtherKind) }
    }
}

/// Whether a hostile peer could do nothing with it but fetch these commits, for minutes.
fn is_narrow(claims: &Claims) -> bool {
    claims.iat.seconds_until(claims.exp) <= NARROW_SECONDS
        && claims.authorization_details.iter().all(|grant| grant.commits.is_some())
}

/// `at+jwt`, and the long form of it, in any case (RFC 9068 section 2.1, RFC 7515 section 4.1.9).
fn is_access_token_type(name: &str) -> bool {
    let (prefix, rest) = name.split_at_checked("application/".len()).unwrap_or_default();
    let name = if prefix.eq_ignore_ascii_case("application/") { rest } else { name };
    name.eq_ignore_ascii_case(TOKEN_TYPE)
}
