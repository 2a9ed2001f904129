//! Which kind of token a verifier takes as Bearer.

use std::sync::Arc;

use crate::foreign::ForeignIssuer;
use crate::verified::{Content, Proof};
use crate::{Grant, UnixTime};

/// What the tokens of one repo are.
#[derive(Clone, Debug, Default)]
pub enum TokenKind {
    /// Signed by the authority, with one of the verifier's keys.
    #[default]
    Signed,
    /// Secrets of the authority that say nothing themselves: it is looked up what they stand for.
    Reference,
    /// Made by somebody else.
    Foreign(Arc<ForeignIssuer>),
    /// No token is good.
    None,
}

/// What a verifier takes.
#[derive(Clone, Debug, Default)]
pub struct Accepts {
    /// The kind of token.
    pub kind: TokenKind,
    /// A kind that was taken before, until its last token has ended.
    pub former: Option<Former>,
}

/// A kind of token that is made no more.
#[derive(Clone, Debug)]
pub struct Former {
    /// [`TokenKind::Signed`] or [`TokenKind::Reference`]; of others nothing is taken.
    pub kind: TokenKind,
    /// Tokens made later are refused.
    pub made_until: UnixTime,
    /// From then on all are.
    pub good_until: UnixTime,
}

impl Accepts {
    /// Only this kind.
    #[must_use]
    pub const fn only(kind: TokenKind) -> Self {
        Self { kind, former: None }
    }

    /// The foreign issuer, if there is one.
    pub(crate) const fn issuer(&self) -> Option<&Arc<ForeignIssuer>> {
        match &self.kind {
            TokenKind::Foreign(issuer) => Some(issuer),
            _ => None,
        }
    }

    /// Whether a token with this proof is of a kind that is taken now.
    pub(crate) fn take(&self, token: &Content, now: UnixTime) -> bool {
        let former = |made_at: UnixTime, is_kind: fn(&TokenKind) -> bool| {
            self.former.as_ref().is_some_and(|former| {
                is_kind(&former.kind) && made_at <= former.made_until && now < former.good_until
            })
        };
        match &token.proof {
            // Whether these are taken is said by whether there are secrets to check them with.
            Proof::Secret | Proof::Shared { .. } => true,
            Proof::Signature { issued_at, .. } => {
                let signed = |kind: &TokenKind| matches!(kind, TokenKind::Signed);
                signed(&self.kind) || former(*issued_at, signed)
            }
            Proof::Reference { issued_at, .. } => {
                let reference = |kind: &TokenKind| matches!(kind, TokenKind::Reference);
                reference(&self.kind) || former(*issued_at, reference)
            }
            Proof::Foreign { issuer, .. } => self.issuer().is_some_and(|now| Arc::ptr_eq(now, issuer)),
        }
    }
}

/// What the prefix of every reference token is, by which it is told from others.
pub const REFERENCE_PREFIX: &str = "fpx_";

/// What a reference token stands for, as the authority wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name, by which it can be revoked; not the secret.
    pub id: String,
    /// The account.
    pub subject: String,
    /// The sign-in that it came from.
    pub session: String,
    /// What it opens. Nothing at all if it is empty.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub issued_at: UnixTime,
    /// From when on it is refused.
    pub expires_at: UnixTime,
}

/// Whoever knows what reference tokens stand for. It may wait: a [`Verifier`](crate::Verifier) asks only on threads that may.
pub trait Lookup: std::fmt::Debug + Send + Sync {
    /// What the secret stands for in this repo; `None` when it is not one of its tokens.
    ///
    /// # Errors
    /// [`LookupError`]
    fn reference(&self, secret: &str, now: UnixTime) -> Result<Option<Reference>, LookupError>;
}

/// Why it cannot be found out what a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Who knows it cannot be reached, takes too long, or gives answers that are none.
    #[error("the authority that made the token cannot be asked")]
    Unreachable,
    /// Too many are asking.
    #[error("too many tokens are being looked up")]
    Busy,
}
