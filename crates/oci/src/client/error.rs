//! What goes wrong when a registry or its token server is asked.

use std::error::Error as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flatpass_token::Secret;

use crate::{ChallengeError, Digest, ManifestError};

/// Why a registry's answer is not there or cannot be used. Each names the host, and what to do if there is something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Not the address of a registry or of its token server.
    #[error("{0} is not the address of a registry: write https://HOST[:PORT]")]
    Address(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// No connection, or it broke.
    #[error("{host} cannot be reached: {cause}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("{host} does not answer in time")]
    Timeout {
        /// Who was asked.
        host: String,
    },
    /// More bytes than such an answer may have.
    #[error("{host} sends more than {limit} bytes, which is more than this may have")]
    TooLarge {
        /// Who was asked.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// Too many entries or pages.
    #[error("{host} lists more than {limit} {what}")]
    TooMany {
        /// Who was asked.
        host: String,
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A redirect that is not followed.
    #[error("{host} sends the request on to an address that is not followed")]
    Redirect {
        /// Who redirects.
        host: String,
    },
    /// The registry wants to know who asks, or does not let this account.
    #[error("{host} refuses: {words}")]
    Refused {
        /// Who refuses.
        host: String,
        /// 401 or 403.
        status: u16,
        /// Its words.
        words: String,
    },
    /// There is no such repository, manifest or blob, or nobody may know.
    #[error("{host} has no {what}")]
    NotFound {
        /// Who was asked.
        host: String,
        /// What for.
        what: String,
    },
    /// It is asked too often.
    #[error("{host} is asked too often")]
    Throttled {
        /// Who says so.
        host: String,
        /// When to try again, if it says that.
        retry_after: Option<Duration>,
    },
    /// It has a fault, or an answer that makes no sense.
    #[error("{host} answers with status {status}: {words}")]
    Status {
        /// Who was asked.
        host: String,
        /// The status.
        status: u16,
        /// Its words.
        words: String,
    },
    /// Its challenge cannot be used.
    #[error("{host} asks for credentials in a way that cannot be read: {why}")]
    Challenge {
        /// Who asks.
        host: String,
        /// Why not.
        why: ChallengeError,
    },
    /// It asks for credentials by a scheme that is not known here, or without saying where tokens are.
    #[error(
        "{host} asks for credentials by no way that is known here: it must be Bearer with a realm, or Basic"
    )]
    Scheme {
        /// Who asks.
        host: String,
    },
    /// The token server's address is neither https nor on this machine; or it is on this machine and the registry is not.
    #[error(
        "{host} names {realm} as its token server; it must be https, and on this machine only if the registry is there too"
    )]
    InsecureRealm {
        /// The registry.
        host: String,
        /// The address.
        realm: String,
    },
    /// Credentials would have gone over the network in clear text.
    #[error("{host} would get the password in clear text; use https")]
    ClearText {
        /// Who would have got it.
        host: String,
    },
    /// The token server is not one that these credentials are for.
    #[error("the credentials are not for the token server {realm}, so it does not get them")]
    NotForThisRealm {
        /// Its host.
        realm: String,
    },
    /// It asks for the password itself, and named a token server before.
    #[error(
        "{host} wants the password itself, where it named a token server before, so it does not get it. If the registry changed, set its \
         account anew with flatpass repo set"
    )]
    NoTokenServerAnyMore {
        /// The registry.
        host: String,
    },
    /// The token server's answer has no token.
    #[error("the token server {host} sends no token")]
    NoToken {
        /// The token server.
        host: String,
    },
    /// It knows accounts with passwords and no tokens, so what its account may do cannot be passed on to somebody else.
    #[error("{host} takes passwords only and gives no tokens, so a right to pull cannot be passed on")]
    PasswordsOnly {
        /// The registry.
        host: String,
    },
    /// What the token server calls a token gives the password away.
    #[error("the token that {host} gives has the account's password in it, so it cannot be passed on")]
    TokenIsPassword {
        /// The token server.
        host: String,
    },
    /// The token server does not heed what it is asked for: its token opens more.
    #[error(
        "the token that {host} gives opens more than {repository}, which alone it was asked for, so it cannot be passed on. Give the store an \
         account that may pull and nothing else at a registry whose tokens are for one repository, or let the registry take the store's own"
    )]
    TokenOpensMore {
        /// The token server.
        host: String,
        /// What was asked for.
        repository: String,
    },
    /// The registry refuses the token that its own token server gave.
    #[error(
        "{host} does not take the token that its token server gave for {repository}: may the account pull from there?"
    )]
    TokenRefused {
        /// The registry.
        host: String,
        /// What the token was for.
        repository: String,
    },
    /// A document that cannot be read.
    #[error("{host} sends something that cannot be read: {why}")]
    Document {
        /// Who was asked.
        host: String,
        /// Why not.
        why: ManifestError,
    },
    /// JSON that cannot be read.
    #[error("{host} sends something that cannot be read: {why}")]
    Json {
        /// Who was asked.
        host: String,
        /// Why not.
        why: String,
    },
    /// The content is not the one with that digest.
    #[error("{host} sends another content than {expected}")]
    WrongDigest {
        /// Who sent it.
        host: String,
        /// What was asked for.
        expected: Digest,
    },
}

impl RegistryError {
    /// Whether it is about what was asked for, and not about the registry: asking for something else may go well.
    #[must_use]
    pub const fn is_about_the_content(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::NotFound { .. }
                | Self::Document { .. }
                | Self::Json { .. }
                | Self::WrongDigest { .. }
        )
    }

    /// The same, without that secret in the other side's words. Some repeat what they were sent.
    pub(crate) fn without(mut self, secret: &str) -> Self {
        if let Self::Refused { words, .. } | Self::Status { words, .. } | Self::Json { why: words, .. } =
            &mut self
            && !secret.is_empty()
        {
            *words = words.replace(secret, "…");
        }
        self
    }

    /// The same, without the password, or user and password as HTTP Basic has them.
    pub(crate) fn without_login(self, user: &str, password: &Secret) -> Self {
        let password = password.expose();
        self.without(password).without(&BASE64.encode(format!("{user}:{password}")))
    }

    pub(crate) fn transport(host: String, error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout { host };
        }
        Self::Unreachable { host, cause: innermost(error) }
    }
}

/// The sentence at the end of a chain of causes: the system's own words.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    shown(&last)
}

/// What somebody else sent, fit for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}
