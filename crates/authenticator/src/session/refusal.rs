//! Why a request for tokens ends without them. `Display` is the only text of ours that a person sees.

use thiserror::Error;

use crate::authority::address::{AuthorityUrlError, RepoUrlError};
use crate::authority::error::AuthorityError;
use crate::bridge::book::BookError;
use crate::credentials::CredentialError;
use crate::registry::refusal::{RefusalKind, RegistryRefusal};
use crate::webflow::WebFlowError;

/// FLATPAK_ERROR_AUTHENTICATION_FAILED in Flatpak's `flatpak-error.h`.
const AUTHENTICATION_FAILED: i32 = 23;
/// FLATPAK_ERROR_NOT_AUTHORIZED in Flatpak's `flatpak-error.h`.
const NOT_AUTHORIZED: i32 = 24;

/// How a request ends, if not with tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The person said no.
    Cancelled,
    /// It cannot be done.
    Refused(Refusal),
}

/// Why it cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The remote's configuration has no `url` option.
    #[error(
        "The remote {remote} does not say which store it belongs to. Run `flatpak remote-modify --authenticator-option=url=ADDRESS {remote}` with the store's address."
    )]
    NoAuthority {
        /// The remote's name.
        remote: String,
    },
    /// The `url` option is not an authority's address.
    #[error("The authenticator option `url` of the remote {remote} is not right: {error}.")]
    AuthorityUrl {
        /// The remote's name.
        remote: String,
        /// What is wrong.
        error: AuthorityUrlError,
    },
    /// The remote's own address may not get a token.
    #[error("Cannot get tokens for the remote {remote}: {error}.")]
    RepoUrl {
        /// The remote's name.
        remote: String,
        /// What is wrong.
        error: RepoUrlError,
    },
    /// The remote's index names another registry than the authority does.
    #[error(
        "The remote's list of apps is for the registry {asked}, and {store} says that its apps are in {said}, so nothing is sent there. Run `flatpak update --appstream` to fetch the list anew; if that does not help, remove the remote and add it again."
    )]
    OtherRegistry {
        /// The registry of the index.
        asked: String,
        /// The authority's.
        said: String,
        /// The authority's host.
        store: String,
    },
    /// The authority does not know the repo as one whose images are in a registry.
    #[error(
        "{store} does not say that this repository's apps are in a container registry, so nothing is sent to one. Remove the remote, and add it again with the address that the store names."
    )]
    NotOci {
        /// The authority's host.
        store: String,
    },
    /// Something about a container registry.
    #[error("{0}")]
    Registry(#[from] RegistryRefusal),
    /// The bridge's list of remotes cannot be read.
    #[error("{0}")]
    Book(BookError),
    /// An address on this machine that is not one of this user's bridge, or belongs to another store.
    #[error(
        "The remote's address is on this computer, and is not one that your bridge knows, so it gets no token. Remove the remote, and add it again with `flatpass-authenticator remote-add --bridge`."
    )]
    BridgeUnknown,
    /// Nobody holds the bridge's port.
    #[error("The bridge does not run. Start it with `flatpass-authenticator bridge`, then try again.")]
    BridgeDown,
    /// Somebody else holds the bridge's port.
    #[error(
        "Port {port} of this computer, which your remote names, is held by another user's program, so it gets no token. Ask its owner to end it, then start `flatpass-authenticator bridge`."
    )]
    BridgeForeign {
        /// The port.
        port: u16,
    },
    /// Not a ref as Flatpak writes it.
    #[error("\u{201c}{name}\u{201d} is not the name of an app or runtime, so no token can be had for it.")]
    BadRef {
        /// What was given, shortened.
        name: String,
    },
    /// More refs than any transaction has.
    #[error("Too many apps at once ({count}). Install them in several steps.")]
    TooManyRefs {
        /// How many.
        count: usize,
    },
    /// Somebody must sign in, and nobody may be asked.
    #[error("Sign in first: run `flatpass-authenticator login {url}`, then try again.")]
    SignInFirst {
        /// The authority's address.
        url: String,
    },
    /// Something must be bought, and nobody may be asked.
    #[error("{message} Buy it first at {url}, then try again.")]
    BuyFirst {
        /// The authority's sentence.
        message: String,
        /// Its page about the app, or its own.
        url: String,
    },
    /// This machine's robot lacks something that only the store's operator can give it.
    #[error("{message} Ask the store's operator to grant it to this machine's account, {id}.")]
    RobotMayNot {
        /// The authority's sentence.
        message: String,
        /// The robot's account.
        id: String,
    },
    /// The authority says no, and a web page would not change that (or has not).
    #[error("{message}")]
    Denied {
        /// The authority's sentence.
        message: String,
    },
    /// The authority failed.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// The sign-in could not be read or written.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The web flow failed.
    #[error("{message}")]
    WebFlow {
        /// What went wrong.
        message: String,
    },
    /// Nobody finished the web flow.
    #[error("The sign-in at {host} was not finished in time. Try again.")]
    WebFlowTimedOut {
        /// The authority's host.
        host: String,
    },
    /// Nobody typed the code of the device grant in time.
    #[error("The code was not used in time. Run `flatpass-authenticator login {url}` to get a new one.")]
    CodeExpired {
        /// The authority's address.
        url: String,
    },
    /// The service is being stopped or replaced.
    #[error("The authenticator was stopped before it was done. Try again.")]
    Stopping,
}

impl Refusal {
    /// The FlatpakError code that goes with it, for programs; `None` for faults that are nobody's permission.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::SignInFirst { .. }
            | Self::WebFlow { .. }
            | Self::WebFlowTimedOut { .. }
            | Self::CodeExpired { .. }
            | Self::Authority(
                AuthorityError::InvalidAccessToken { .. }
                | AuthorityError::InvalidGrant { .. }
                | AuthorityError::InvalidSecret { .. },
            ) => Some(AUTHENTICATION_FAILED),
            Self::BuyFirst { .. }
            | Self::Denied { .. }
            | Self::RobotMayNot { .. }
            | Self::OtherRegistry { .. }
            | Self::NotOci { .. }
            | Self::RepoUrl { .. }
            | Self::BridgeUnknown
            | Self::BridgeForeign { .. }
            | Self::Authority(
                AuthorityError::UnknownRepo { .. }
                | AuthorityError::NotAMember { .. }
                | AuthorityError::NotOffered { .. },
            ) => Some(NOT_AUTHORIZED),
            Self::Registry(refusal) => match refusal.kind() {
                RefusalKind::Unknown => Some(AUTHENTICATION_FAILED),
                RefusalKind::Forbidden => Some(NOT_AUTHORIZED),
                RefusalKind::Fault => None,
            },
            _ => None,
        }
    }
}

impl From<AuthorityError> for Ended {
    fn from(error: AuthorityError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<CredentialError> for Ended {
    fn from(error: CredentialError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RegistryRefusal> for Ended {
    fn from(refusal: RegistryRefusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<WebFlowError> for Ended {
    fn from(error: WebFlowError) -> Self {
        match error {
            WebFlowError::Denied => Self::Cancelled,
            other => Self::Refused(Refusal::WebFlow { message: other.to_string() }),
        }
    }
}
