//! Why a token is refused.

use crate::{LookupError, UnixTime};

/// Why a token is refused. `Display` is a sentence that fits RFC 6750's `error_description`: it has no quotes
/// and no backslashes, and nothing that the sender wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES). Nothing of it was read.
    #[error("The token is too long.")]
    TooLong,
    /// It is not three base64url parts, or the header is no JSON object that a token can have
    /// (RFC 7515 section 7.1).
    #[error("The token is not a token of this store.")]
    Malformed,
    /// The header's `typ` is not `at+jwt` (RFC 9068 section 4).
    #[error("The token is of another type than an access token.")]
    Type,
    /// The header's `alg` is not the one of our keys: `none`, `HS256` and all others (RFC 8725 section 3.1).
    #[error("The token is signed with an algorithm that is not accepted here.")]
    Algorithm,
    /// The header says `crit`: it needs an extension, of which we have none (RFC 7515 section 4.1.11).
    #[error("The token needs an extension that is not known here.")]
    Critical,
    /// The header brings its own key or says where to get it: `jwk`, `jku`, `x5c` or `x5u`
    /// (RFC 8725 section 3.10).
    #[error("The token brings a key of its own, which is not accepted.")]
    EmbeddedKey,
    /// The header has no `kid`, or one that is not among the keys.
    #[error("The token is signed with a key that is not known here, or no longer.")]
    UnknownKey,
    /// The signature is not one of that key over this token.
    #[error("The signature of the token is wrong.")]
    Signature,
    /// The payload is not a JSON object, or a required claim is missing, empty, doubled or of the wrong type
    /// (RFC 9068 section 2.2).
    #[error("The token lacks a required claim, or has one of the wrong type.")]
    Claims,
    /// It was made by another authority.
    #[error("The token was made by another store.")]
    Issuer,
    /// It is for another repo or another gate, or for more than one.
    #[error("The token is for another repository.")]
    Audience,
    /// It is not for downloads (flat-manager's `scope`).
    #[error("The token is not for downloads.")]
    Scope,
    /// It has a `jti` that only its issuer can look up: whether it was taken back is not known here (flat-manager's tokens).
    #[error("Only the issuer of the token can say whether it was taken back. Use one without a jti here.")]
    OnlyOnline,
    /// It is no longer valid.
    #[error("The token expired at {at}.")]
    Expired {
        /// When it expired, the leeway not counted in.
        at: UnixTime,
    },
    /// It is not valid yet (`nbf`).
    #[error("The token is only valid from {from} on. Is the clock of this server right?")]
    NotYetValid {
        /// From when on it is valid, the leeway not counted in.
        from: UnixTime,
    },
    /// It says that it was made in the future (`iat`): one of the clocks is wrong.
    #[error("The token was made in the future, at {at}. Is the clock of this server right?")]
    IssuedInFuture {
        /// When it says it was made.
        at: UnixTime,
    },
    /// At a peer: it is no token signed by the store, so nobody but the store could say whether it is good.
    #[error(
        "This token is not one that the store signed for peers. Tokens of other kinds can only be checked online, by the store itself."
    )]
    NotForPeers,
    /// At a peer: it is for the repo itself, and not so narrow that a peer may have it.
    #[error(
        "The token is for the store itself and opens too much to be shown to a peer. Ask the store for one for peers."
    )]
    TooWide,
    /// At a peer: by its clock the token was made in the future.
    #[error(
        "This peer's clock is behind: the token was made at {at}, and the peer's clock says {now}. Whoever runs the peer must set it."
    )]
    ClockBehind {
        /// When the token says it was made.
        at: UnixTime,
        /// What time it is at the peer.
        now: UnixTime,
    },
    /// At a peer: by its clock the token is no longer valid.
    #[error(
        "The token expired at {at}, and this peer's clock says {now}. If that is not the time, whoever runs the peer must set its clock."
    )]
    ExpiredHere {
        /// When the token expired, the leeway not counted in.
        at: UnixTime,
        /// What time it is at the peer.
        now: UnixTime,
    },
    /// At a peer: it was offline for so long that its keys and what was revoked are too old to be relied on.
    #[error(
        "This peer was offline for too long: since {since} it takes no tokens until it has reached the store again."
    )]
    OfflineTooLong {
        /// Since when it refuses.
        since: UnixTime,
    },
    /// It was valid, and was revoked.
    #[error("The token was revoked.")]
    Revoked,
    /// It says who somebody is, or is for something else than calling an API: an ID token, a refresh token, a logout token.
    #[error("The token is no access token but of another kind, such as an ID token.")]
    IdToken,
    /// It is good only for who proves to have a key, which nobody can here (`cnf`, RFC 7800).
    #[error("The token is bound to a key of its holder, so it is not accepted as a bearer token.")]
    Bound,
    /// Its issuer says that it is not, or no longer, in force.
    #[error("The issuer of the token says that it is not, or no longer, in force.")]
    Inactive,
    /// It is of a kind that the repository does not take, or no longer.
    #[error("This repository takes tokens of another kind.")]
    OtherKind,
    /// What it is must be asked, which may take a while: verify it where that is allowed. Nobody is told this.
    #[error("What the token is has to be asked.")]
    Unasked,
    /// Who knows what it is cannot be asked now.
    #[error("Whether the token is good cannot be found out now, because its issuer cannot be reached.")]
    Unreachable,
    /// Too many tokens are being looked up.
    #[error(
        "Whether the token is good cannot be found out now, because too many tokens are being looked up."
    )]
    Crowded,
    /// It is not the secret of any access token.
    #[error("The access token is not known here.")]
    UnknownSecret,
}

impl VerifyError {
    /// Whether nothing is known of the token, so that the same one may be good a moment later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unasked | Self::Unreachable | Self::Crowded)
    }

    /// The sentence for a person, as for RFC 6750's `error_description`.
    #[must_use]
    pub fn description(&self) -> String {
        self.to_string()
    }
}

impl From<LookupError> for VerifyError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unreachable => Self::Unreachable,
            LookupError::Busy => Self::Crowded,
        }
    }
}
