//! A token that was checked.

use std::sync::Arc;

use crate::{AccessGrant, Claims, Grant, PublicKey, RefName, UnixTime, Verb};

/// A token that a [`Verifier`](crate::Verifier) found to be true for its issuer, its audience and that moment.
/// There is no other way to get one, so code that takes one cannot forget to check.
///
/// Do not keep it beyond the request: time, revocations and keys are checked each time it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    id: Box<str>,
    subject: Box<str>,
    grants: Box<[Grant]>,
    expires_at: Option<UnixTime>,
    proof: Proof,
}

/// By what the bearer showed who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A token signed with this key.
    Signature { key: Arc<PublicKey>, issued_at: UnixTime, not_before: Option<UnixTime> },
    /// The secret of an access token.
    Secret,
}

impl VerifiedToken {
    pub(crate) fn from_claims(claims: Claims, key: Arc<PublicKey>) -> Self {
        Self {
            id: claims.jti.into(),
            subject: claims.sub.into(),
            grants: claims.authorization_details.into(),
            expires_at: Some(claims.exp),
            proof: Proof::Signature { key, issued_at: claims.iat, not_before: claims.nbf },
        }
    }

    pub(crate) fn from_access_grant(grant: AccessGrant) -> Self {
        Self {
            id: grant.id.into(),
            subject: grant.subject.into(),
            grants: grant.grants.into(),
            expires_at: grant.expires_at,
            proof: Proof::Secret,
        }
    }

    /// The token's `jti`, or the access token's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The account, as the authority names it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// From when on it is refused. `None` for an access token that lives until it is revoked.
    #[must_use]
    pub const fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// What it opens.
    #[must_use]
    pub const fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Whether it allows `verb` on that ref: one of its grants covers both.
    #[must_use]
    pub fn allows(&self, verb: Verb, target: &RefName) -> bool {
        self.grants.iter().any(|grant| grant.covers(verb, target))
    }

    /// Whether it allows `verb` on any ref there may be: what is not one ref, such as a private index, asks this.
    #[must_use]
    pub fn allows_any(&self, verb: Verb) -> bool {
        self.grants.iter().any(|grant| grant.covers_some(verb))
    }

    pub(crate) const fn proof(&self) -> &Proof {
        &self.proof
    }
}
