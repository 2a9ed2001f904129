//! A token that was checked.

use std::sync::Arc;

use crate::accepts::Reference;
use crate::foreign::{ForeignIssuer, ForeignKey, ForeignKeys};
use crate::grant::{Asked, CommitMade};
use crate::losses::Losses;
use crate::{Claims, Grant, PublicKey, RefName, SharedSecret, UnixTime, Verb};

/// A token that a [`Verifier`](crate::Verifier) found to be true for its issuer, its audience and that moment.
/// There is no other way to get one, so code that takes one cannot forget to check.
///
/// It is a small handle; a clone costs a count or two. Do not keep it beyond the request: time, revocations, keys and what the
/// account has lost are looked at each time it is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    content: Arc<Content>,
    /// What of it no longer holds at this moment: `None` in nearly all cases.
    losses: Option<Arc<Losses>>,
}

/// What a token says, the same at every moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) id: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) grants: Box<[Grant]>,
    pub(crate) expires_at: Option<UnixTime>,
    pub(crate) proof: Proof,
}

/// By what the bearer showed who they are.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// A token signed with this key.
    Signature { key: Arc<PublicKey>, issued_at: UnixTime, not_before: Option<UnixTime> },
    /// A token signed with a secret that its issuer shares with the gate, for the repo of that name there.
    Shared { secret: Arc<SharedSecret>, repo: Arc<str>, issued_at: UnixTime, not_before: Option<UnixTime> },
    /// The secret of an access token.
    Secret,
    /// A reference token that was looked up; what was found is believed until then.
    Reference { issued_at: UnixTime, fresh_until: UnixTime },
    /// A token of somebody else: signed with this key, or, without one, asked about.
    Foreign {
        issuer: Arc<ForeignIssuer>,
        key: Option<(Arc<ForeignKeys>, Arc<ForeignKey>)>,
        /// Until when the issuer's answer is believed; `None` for a signature.
        fresh_until: Option<UnixTime>,
        issued_at: Option<UnixTime>,
        not_before: Option<UnixTime>,
    },
}

impl PartialEq for Proof {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Signature { key, issued_at, not_before },
                Self::Signature { key: other, issued_at: at, not_before: from },
            ) => key == other && issued_at == at && not_before == from,
            (
                Self::Shared { secret, repo, issued_at, not_before },
                Self::Shared { secret: other, repo: name, issued_at: at, not_before: from },
            ) => secret == other && repo == name && issued_at == at && not_before == from,
            (Self::Secret, Self::Secret) => true,
            (Self::Reference { issued_at, .. }, Self::Reference { issued_at: at, .. }) => issued_at == at,
            (Self::Foreign { issuer, .. }, Self::Foreign { issuer: other, .. }) => Arc::ptr_eq(issuer, other),
            _ => false,
        }
    }
}

impl Eq for Proof {}

impl Content {
    pub(crate) fn from_claims(claims: Claims, key: Arc<PublicKey>) -> Self {
        Self {
            id: claims.jti.into(),
            subject: claims.sub.into(),
            session: claims.sid.map(Into::into),
            grants: claims.authorization_details.into(),
            expires_at: Some(claims.exp),
            proof: Proof::Signature { key, issued_at: claims.iat, not_before: claims.nbf },
        }
    }

    pub(crate) fn of_reference(reference: Reference, fresh_until: UnixTime) -> Self {
        Self {
            id: reference.id.into(),
            subject: reference.subject.into(),
            session: Some(reference.session.into()),
            grants: reference.grants.into(),
            expires_at: Some(reference.expires_at),
            proof: Proof::Reference { issued_at: reference.issued_at, fresh_until },
        }
    }

    pub(crate) fn of_access_token(
        id: String,
        subject: String,
        grants: Vec<Grant>,
        expires_at: Option<UnixTime>,
    ) -> Self {
        Self {
            id: id.into(),
            subject: subject.into(),
            session: None,
            grants: grants.into(),
            expires_at,
            proof: Proof::Secret,
        }
    }
}

impl VerifiedToken {
    pub(crate) const fn new(content: Arc<Content>, losses: Option<Arc<Losses>>) -> Self {
        Self { content, losses }
    }

    /// The token's `jti`, or the access token's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.content.id
    }

    /// The account, as the authority names it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.content.subject
    }

    /// The sign-in that it came from, `sid`. `None` for an access token.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.content.session.as_deref()
    }

    /// From when on it is refused. `None` for an access token that lives until it is revoked.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.content.expires_at
    }

    /// What it says that it opens. **What the account has lost since stands there too**: to authorize, ask [`Self::allows`] or
    /// [`Self::allows_commit`].
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.content.grants
    }

    /// Whether the account lost something since the token was made, so that the token may allow less than it says.
    #[must_use]
    pub const fn is_diminished(&self) -> bool {
        self.losses.is_some()
    }

    /// Whether it allows `verb` on that ref, whatever commit it has: one of its grants covers both, and the account has not lost
    /// it. For a commit ask [`Self::allows_commit`], which knows grants that are for some commits only.
    #[must_use]
    pub fn allows(&self, verb: Verb, target: &RefName) -> bool {
        self.content.grants.iter().any(|grant| grant.covers(verb, target))
            && !self.lost(verb, target, Asked::Every)
    }

    /// Whether it allows `verb` on that commit, which is one of that ref.
    #[must_use]
    pub fn allows_commit(&self, verb: Verb, target: &RefName, commit: CommitMade<'_>) -> bool {
        self.content.grants.iter().any(|grant| grant.covers_commit(verb, target, commit))
            && !self.lost(verb, target, Asked::One(commit))
    }

    /// Whether it allows `verb` on some commit of that ref, nobody knows which: what many commits of a ref have in common asks this.
    #[must_use]
    pub fn allows_some_commit(&self, verb: Verb, target: &RefName) -> bool {
        let covers = |grant: &Grant| grant.admits(Asked::Some) && grant.covers_ref(verb, target);
        self.content.grants.iter().any(covers) && !self.lost(verb, target, Asked::Some)
    }

    /// Whether it allows `verb` on any ref there may be: what is not one ref, such as a private index, asks this.
    #[must_use]
    pub fn allows_any(&self, verb: Verb) -> bool {
        self.content.grants.iter().any(|grant| grant.covers_some(verb))
            && !self.told().is_some_and(|(losses, issued_at)| losses.take_all(issued_at, verb))
    }

    /// Whether it allows `verb` on every ref there may be. Of a token whose account has lost something nobody can say that.
    #[must_use]
    pub fn allows_everything(&self, verb: Verb) -> bool {
        !self.is_diminished() && self.content.grants.iter().any(|grant| grant.covers_everything(verb))
    }

    fn lost(&self, verb: Verb, target: &RefName, commit: Asked<'_>) -> bool {
        self.told().is_some_and(|(losses, issued_at)| losses.take(issued_at, verb, target, commit))
    }

    fn told(&self) -> Option<(&Losses, UnixTime)> {
        match (self.losses.as_deref(), &self.content.proof) {
            (
                Some(losses),
                Proof::Signature { issued_at, .. }
                | Proof::Shared { issued_at, .. }
                | Proof::Reference { issued_at, .. },
            ) => Some((losses, *issued_at)),
            _ => None,
        }
    }
}
