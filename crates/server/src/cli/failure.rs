//! Why a command was not done, and what to do next.

use flatpass::ServeError;
use flatpass::config::ConfigError;
use flatpass_peer::PeerError;
use flatpass_store::{SealError, StoreError};

/// A command that was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The configuration cannot be used. Its message has the next step in it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server does not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A peer refused or failed. Its message has the next step in it.
    #[error(transparent)]
    Peer(PeerError),
    /// The command line was not understood.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{what}")]
    Told {
        /// What is wrong.
        what: String,
        /// What to do.
        next: String,
    },
}

impl Failure {
    /// What is wrong, and what to do.
    pub(super) fn told(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Told { what: what.into(), next: next.into() }
    }

    /// The exit code that says it.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// What to do, where the message itself does not say it.
    pub(super) fn next(&self) -> Option<String> {
        let store = match self {
            Self::Told { next, .. } => return Some(next.clone()),
            Self::Store(error) | Self::Serve(ServeError::Store(error)) => error,
            Self::Usage(_) => return Some("see how it is written with --help".to_owned()),
            Self::Config(_) | Self::Serve(_) | Self::Peer(_) => return None,
        };
        let next = match store {
            StoreError::EmailTaken => "see the accounts with: flatpass account list".to_owned(),
            StoreError::NoRepo(_) => {
                "see the repos with `flatpass repo list`, or add one: flatpass repo add NAME PATH".to_owned()
            }
            StoreError::RepoExists(name) => {
                format!("use another name, or remove the old one first: flatpass repo remove {name}")
            }
            StoreError::RegistryOverlap(name) => {
                format!(
                    "name another namespace or other repositories, or remove {name} first: flatpass repo remove {name}"
                )
            }
            StoreError::ServiceTaken { .. } => {
                "give one of the registries another service, in its settings and with --service".to_owned()
            }
            StoreError::NoIssuer(_) => "see the issuers with `flatpass issuer list`, or add one: flatpass issuer add NAME --issuer URL".to_owned(),
            StoreError::IssuerExists(name) => {
                format!("use another name, or remove the old one first: flatpass issuer remove {name}")
            }
            StoreError::IssuerUsed(name) => {
                format!("let {name} take other tokens first: flatpass repo set {name} --tokens jwt")
            }
            StoreError::NoIssuerRule(_) => "see the rules with: flatpass issuer show NAME".to_owned(),
            StoreError::NoGroup(_) => {
                "see the groups with `flatpass group list`, or make one: flatpass group add NAME".to_owned()
            }
            StoreError::NoPlan(_) => {
                "see the plans with `flatpass plan list`, or make one: flatpass plan add NAME".to_owned()
            }
            StoreError::GroupExists(_) => "see the groups with: flatpass group list".to_owned(),
            StoreError::PlanExists(_) => "see the plans with: flatpass plan list".to_owned(),
            StoreError::Seal(SealError::File { .. }) => {
                "restore the key file from a backup, or correct secret_key in the configuration".to_owned()
            }
            StoreError::File { .. } => {
                "run this as the user whose files these are, or correct database in the configuration"
                    .to_owned()
            }
            StoreError::Database(_) => {
                "look whether the disk is full or the file damaged, then try again".to_owned()
            }
            _ => return None,
        };
        Some(next)
    }
}
