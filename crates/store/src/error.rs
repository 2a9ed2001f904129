//! What can go wrong in the store as a whole; operations with refusals of their own have their own enums.

use crate::accounts::{EmailError, PasswordError};
use crate::apps::AppPatternError;
use crate::money::MoneyError;
use crate::seal::SealError;

/// A failure of a store operation. The message is for operators; a web page shows only the variants up to
/// [`StoreError::Money`], which are about what a person typed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another account has this e-mail address.
    #[error("there is already an account with this e-mail address")]
    EmailTaken,
    /// The text is not an e-mail address.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// The new password breaks the password rule.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The old password given with a change of password is wrong.
    #[error("the current password is not right")]
    WrongPassword,
    /// Too many passwords are being checked at this moment; the caller should answer 503 and may try again.
    #[error("too many sign-ins at the same time; try again in a moment")]
    Busy,
    /// No such account.
    #[error("there is no such account")]
    NoAccount,
    /// A robot of this name exists.
    #[error("there is already a robot named \"{0}\"")]
    RobotExists(String),
    /// A robot's name that cannot be one.
    #[error(
        "\"{0}\" is not a robot's name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )]
    RobotName(String),
    /// No group of this name or id.
    #[error("there is no group \"{0}\"")]
    NoGroup(String),
    /// A group of this name exists.
    #[error("there is already a group named \"{0}\"")]
    GroupExists(String),
    /// No plan of this name.
    #[error("there is no plan named \"{0}\"")]
    NoPlan(String),
    /// A plan of this name exists.
    #[error("there is already a plan named \"{0}\"")]
    PlanExists(String),
    /// Not a name of a group or plan.
    #[error(
        "\"{0}\" is not a name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )]
    Name(String),
    /// Not a domain.
    #[error("\"{0}\" is not a domain, such as example.org")]
    Domain(String),
    /// Not a branch.
    #[error("\"{0}\" is not a branch, such as stable or 24.08")]
    Branch(String),
    /// An account has as many access tokens as it may have.
    #[error("this account has {0} access tokens, and may have no more; end some of them first")]
    TooManyAccessTokens(i64),
    /// A certificate stands for another access token of the repo.
    #[error(
        "this certificate stands for another access token of this repo; end that one first: flatpass access-token list"
    )]
    CertificateTaken,
    /// The order or code that an entitlement should come from gave one before.
    #[error("this code was redeemed before")]
    SourceUsed,
    /// No repo of this name.
    #[error("there is no repo named \"{0}\"")]
    NoRepo(String),
    /// A repo of this name exists.
    #[error("there is already a repo named \"{0}\"")]
    RepoExists(String),
    /// A repo name that cannot be part of a URL.
    #[error(
        "\"{0}\" is not a repo name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )]
    RepoName(String),
    /// No issuer of this name.
    #[error("there is no issuer named \"{0}\"")]
    NoIssuer(String),
    /// An issuer of this name exists.
    #[error("there is already an issuer named \"{0}\"")]
    IssuerExists(String),
    /// A repo takes the issuer's tokens.
    #[error("the repo \"{0}\" takes this issuer's tokens")]
    IssuerUsed(String),
    /// No rule of this id.
    #[error("there is no rule \"{0}\" of this issuer")]
    NoIssuerRule(String),
    /// The repo is not in a registry.
    #[error("the repo \"{0}\" is not in a registry")]
    NoRegistry(String),
    /// Another repo has some of the same repositories.
    #[error("some of these repositories belong to the repo \"{0}\" already")]
    RegistryOverlap(String),
    /// A registry at another address has this service.
    #[error(
        "the registry of the repo \"{repo}\" is at another address and has the same service \"{service}\""
    )]
    ServiceTaken {
        /// The service.
        service: String,
        /// The repo whose registry has it.
        repo: String,
    },
    /// Not an application id or pattern.
    #[error(transparent)]
    AppPattern(#[from] AppPatternError),
    /// Not an amount of money that can be a price.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// The database URL is not one that this build supports.
    #[error("\"{0}\" is not a database URL; use sqlite:/path/to/flatpass.db")]
    Url(String),
    /// The database file cannot be created or is not ours to read.
    #[error("cannot open the database file {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// The operating system's answer.
        cause: std::io::Error,
    },
    /// The database was made by a newer version of this program.
    #[error(
        "the database has migration {0}, which this version does not know; install the newer flatpass again"
    )]
    TooNew(i64),
    /// The migrations could not be applied.
    #[error("cannot bring the database up to date: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A sealed secret could not be sealed or opened, mostly because the key file is another one.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key rotation is under way: a published key has not begun to sign.
    #[error("a new key is already published and begins to sign at {0}; rotate again after that")]
    RotationPending(flatpass_token::UnixTime),
    /// A signing key could not be made or read.
    #[error("signing key: {0}")]
    Key(String),
    /// A value in the database is not one that this program writes.
    #[error("the database holds an impossible value in {0}")]
    Corrupt(&'static str),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether `error` says that a unique constraint refused the row.
    pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
        error.as_database_error().is_some_and(|error| error.is_unique_violation())
    }
}
