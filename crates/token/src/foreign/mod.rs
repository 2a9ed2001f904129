//! Tokens of somebody else: an OAuth 2.0 or OpenID Connect issuer, such as a company's identity provider.
//!
//! Either they are JWTs that are checked with the issuer's public keys (RFC 9068, and what identity providers made before it), or
//! the issuer is asked what each of them is (RFC 7662). What they open here is said by [`ClaimRule`]s: what no rule names opens nothing.

mod claims;
mod introspection;
mod keys;
mod rules;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::introspection::{Introspection, IntrospectionError};
pub use self::keys::{ForeignKey, ForeignKeyError, ForeignKeySet, ForeignKeySetError, RefusedKey};
pub use self::rules::{ClaimRule, ClaimRuleError};

pub(crate) use self::claims::ForeignClaims;
use crate::verified::{Content, Proof};
use crate::{LookupError, UnixTime, UnverifiedToken, VerifyError};

/// An issuer, as one repo takes its tokens.
#[derive(Debug)]
pub struct ForeignIssuer {
    /// What it is called here. Subjects are told from the store's own accounts by it.
    pub name: String,
    /// The `iss` that its tokens must have, exactly.
    pub issuer: String,
    /// The `aud` that its tokens must have, alone or among others. `None`, which only an introspection endpoint may leave it at: it does
    /// not matter.
    pub audience: Option<String>,
    /// What its tokens open.
    pub rules: Vec<ClaimRule>,
    /// How they are checked.
    pub check: ForeignCheck,
    /// Whether the repo is private, so that who has no token of the issuer is told no more than where there is no repo.
    pub is_secret: bool,
}

/// How the tokens of an issuer are checked.
#[derive(Clone, Debug)]
pub enum ForeignCheck {
    /// With its keys.
    Keys(Arc<ForeignKeys>),
    /// By asking it about each.
    Introspection(Arc<dyn Introspector>),
}

/// The keys of an issuer as they are at the moment.
#[derive(Debug)]
pub struct ForeignKeys {
    set: ArcSwap<ForeignKeySet>,
    source: Arc<dyn KeySource>,
}

/// Where the keys of an issuer come from. It may wait.
pub trait KeySource: std::fmt::Debug + Send + Sync {
    /// Whether it is worth asking now for keys that were not there the last time. Never waits.
    fn may_have_news(&self, now: UnixTime) -> bool;

    /// The keys as they are now.
    ///
    /// # Errors
    /// [`LookupError`]; what was there before stays in force.
    fn keys(&self, now: UnixTime) -> Result<Arc<ForeignKeySet>, LookupError>;
}

/// Who says what a token is (RFC 7662). It may wait.
pub trait Introspector: std::fmt::Debug + Send + Sync {
    /// What the issuer says of the token.
    ///
    /// # Errors
    /// [`LookupError`]
    fn introspect(&self, token: &str, now: UnixTime) -> Result<Arc<Introspection>, LookupError>;

    /// For how many seconds an answer may be believed.
    fn fresh_seconds(&self) -> i64;
}

impl ForeignKeys {
    /// These keys, and where others come from.
    #[must_use]
    pub fn new(set: Arc<ForeignKeySet>, source: Arc<dyn KeySource>) -> Self {
        Self { set: ArcSwap::new(set), source }
    }

    /// From now on only these are accepted.
    pub fn set(&self, set: Arc<ForeignKeySet>) {
        self.set.store(set);
    }

    /// What is accepted.
    #[must_use]
    pub fn get(&self) -> Arc<ForeignKeySet> {
        self.set.load_full()
    }

    /// Whether this very key is accepted.
    pub(crate) fn hold(&self, key: &Arc<ForeignKey>) -> bool {
        self.set.load().holds(key)
    }

    /// Asks the source.
    pub(crate) fn renew(&self, now: UnixTime) -> Result<(), LookupError> {
        let set = self.source.keys(now)?;
        self.set.store(set);
        Ok(())
    }
}

impl ForeignIssuer {
    /// Checks all of a JWT that does not depend on the moment: header, signature, issuer, audience, and that it is an access token.
    pub(crate) fn check_signed(
        self: &Arc<Self>,
        keys: &Arc<ForeignKeys>,
        token: &str,
        now: UnixTime,
    ) -> Result<Content, VerifyError> {
        let token = UnverifiedToken::parse(token)?;
        if token.has_critical_extension() {
            return Err(VerifyError::Critical);
        }
        if token.has_embedded_key() {
            return Err(VerifyError::EmbeddedKey);
        }
        let typ = claims::TokenTypeHeader::read(token.token_type())?;
        let algorithm = token.algorithm().ok_or(VerifyError::Algorithm)?;
        let set = keys.set.load();
        let Some(key) = set.find(token.kid()) else {
            // Only a token that says it is of this issuer is worth asking it for its keys.
            let claims = ForeignClaims::parse(&token.payload()?)?;
            return Err(match claims.text("iss") {
                Some(issuer) if issuer != self.issuer => VerifyError::Issuer,
                Some(_) if keys.source.may_have_news(now) => VerifyError::Unasked,
                _ => VerifyError::UnknownKey,
            });
        };
        if !key.is_for(algorithm) {
            return Err(VerifyError::Algorithm);
        }
        if !key.verifies(algorithm, token.message(), &token.signature()?) {
            return Err(VerifyError::Signature);
        }
        let claims = ForeignClaims::parse(&token.payload()?)?;
        if claims.text("iss") != Some(&self.issuer) {
            return Err(VerifyError::Issuer);
        }
        if !self.audience.as_ref().is_some_and(|audience| claims.is_for(audience)) {
            return Err(VerifyError::Audience);
        }
        claims.must_be_of_an_access_token(typ)?;
        let expires_at = claims.time("exp")?.ok_or(VerifyError::Claims)?;
        let proof = Proof::Foreign {
            issuer: Arc::clone(self),
            key: Some((Arc::clone(keys), Arc::clone(key))),
            fresh_until: None,
            issued_at: claims.time("iat")?,
            not_before: claims.time("nbf")?,
        };
        self.content(&claims, Some(expires_at), proof)
    }

    /// What the issuer said of a token, checked: it says that it is in force, and nothing that contradicts that.
    pub(crate) fn check_introspected(
        self: &Arc<Self>,
        answer: &Introspection,
        fresh_until: UnixTime,
    ) -> Result<Content, VerifyError> {
        let claims = answer.claims().ok_or(VerifyError::Inactive)?;
        // Where it is not said the issuer's own word, that the token is in force for who asks, must do.
        if claims.has("iss") && claims.text("iss") != Some(&self.issuer) {
            return Err(VerifyError::Issuer);
        }
        if !self.audience.as_ref().is_none_or(|audience| claims.is_for(audience)) {
            return Err(VerifyError::Audience);
        }
        claims.must_be_introspected_access_token()?;
        let proof = Proof::Foreign {
            issuer: Arc::clone(self),
            key: None,
            fresh_until: Some(fresh_until),
            issued_at: claims.time("iat")?,
            not_before: claims.time("nbf")?,
        };
        self.content(claims, claims.time("exp")?, proof)
    }

    fn content(
        &self,
        claims: &ForeignClaims,
        expires_at: Option<UnixTime>,
        proof: Proof,
    ) -> Result<Content, VerifyError> {
        let subject = claims.subject().ok_or(VerifyError::Claims)?;
        let grants: Vec<_> =
            self.rules.iter().filter(|rule| rule.holds(claims)).map(|rule| rule.grant.clone()).collect();
        Ok(Content {
            id: claims.text("jti").unwrap_or_default().into(),
            // No account of the store has a colon in its id.
            subject: format!("{}:{subject}", self.name).into(),
            session: None,
            grants: grants.into(),
            expires_at,
            proof,
        })
    }
}
