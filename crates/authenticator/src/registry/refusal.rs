//! Why a registry's way leads to no token, each as a sentence with the next step in it.

use flatpass_oci::client::RegistryError;
use thiserror::Error;

use super::rules::RulesError;
use crate::authority::error::shown;

/// Why there is no token for a registry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryRefusal {
    /// Flatpak did not say where the image is.
    #[error(
        "Flatpak does not say in which registry {name} is, so no token can be had for it. Run `flatpak update --appstream`, then try again."
    )]
    NoImage {
        /// The ref.
        name: String,
    },
    /// The index names something that is not a registry's address.
    #[error(
        "The list of apps of the remote {remote} names a registry by an address that no token can be sent to. Remove the remote, or tell whoever runs it."
    )]
    Address {
        /// The remote.
        remote: String,
    },
    /// Everybody on the way could read what is sent.
    #[error(
        "The registry {host} is reached over http, so it gets no credentials, and no token. Whoever runs it must serve it over https."
    )]
    Insecure {
        /// The registry.
        host: String,
    },
    /// Only HTTP Basic.
    #[error(
        "The registry {host} takes a user and a password with each request (HTTP Basic), which Flatpak cannot send: it can send tokens only. Whoever runs the registry must let it ask for tokens (`Bearer`), for example from a Flatpass store."
    )]
    BasicOnly {
        /// The registry.
        host: String,
    },
    /// It redirects to another host that wants credentials.
    #[error(
        "The registry {host} sends requests on to another address, which wants credentials and gets none. Tell whoever runs it."
    )]
    SentOn {
        /// The registry.
        host: String,
    },
    /// The registry was not reached over TLS, and names a token server elsewhere.
    #[error(
        "The registry {host} on this computer names {realm} as the place to sign in. Only a registry that is reached over https may name another host, so it gets no credentials. Use the registry's https address."
    )]
    RealmElsewhere {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
    },
    /// A registry of the network names a token server on this machine.
    #[error(
        "The registry {host} names a place on this computer ({realm}) as the one to sign in, which is refused. Tell whoever runs it."
    )]
    RealmHere {
        /// The registry.
        host: String,
        /// The token server.
        realm: String,
    },
    /// The image is not there.
    #[error(
        "The registry {host} does not have {name} (any more). Run `flatpak update --appstream` to fetch the list of apps anew, then try again."
    )]
    Absent {
        /// The registry.
        host: String,
        /// The ref.
        name: String,
    },
    /// No without saying who would get a yes.
    #[error("The registry {host} refuses {name}: {words}")]
    Refused {
        /// The registry.
        host: String,
        /// The ref.
        name: String,
        /// Its words.
        words: String,
    },
    /// Somebody must sign in, and nobody may be asked.
    #[error("{said} Run `flatpass-authenticator registry login {host}`, then try again.")]
    SignInFirst {
        /// The registry.
        host: String,
        /// What was tried.
        said: String,
    },
    /// The account is known, and has no right to it.
    #[error(
        "{account} may not download {name} from {host}. Ask whoever runs the registry, or sign in with another account: `flatpass-authenticator registry login {host}`."
    )]
    MayNot {
        /// Who, as a sentence begins.
        account: String,
        /// The registry.
        host: String,
        /// The ref.
        name: String,
    },
    /// The person has said that nothing is to be pulled from there.
    #[error(
        "{path} blocks {what} for this computer (`blocked = true`), so no token is asked for it. Change that file if you trust the registry."
    )]
    Blocked {
        /// The file that says so.
        path: String,
        /// What it blocks.
        what: String,
    },
    /// The file that could say so cannot be read.
    #[error("{0} Mend it, then try again.")]
    Rules(#[from] RulesError),
    /// It cannot be reached, and other programs would go elsewhere.
    #[error(
        "{} Flatpak itself downloads from there; {elsewhere}, which {path} names in its place, is for container tools. Try again later, or use a list of apps that names a registry which you can reach.", sentence(.error)
    )]
    Elsewhere {
        /// Why not.
        error: RegistryError,
        /// Where they would go first.
        elsewhere: String,
        /// The file that says so.
        path: String,
    },
    /// Too many wrong passwords.
    #[error("The registry {host} did not take the passwords that you typed. Check them, then try again.")]
    TooManyTries {
        /// The registry.
        host: String,
    },
    /// More repositories than any transaction has.
    #[error("Too many apps at once ({count}). Install them in several steps.")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// It cannot be reached, does not answer, or says what makes no sense.
    #[error("{} Try again later, or tell whoever runs the registry.", sentence(.0))]
    Failed(RegistryError),
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Nobody has said who they are.
    Unknown,
    /// Who they are may not.
    Forbidden,
    /// Nobody's permission.
    Fault,
}

impl RegistryRefusal {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::SignInFirst { .. } | Self::TooManyTries { .. } | Self::BasicOnly { .. } => {
                RefusalKind::Unknown
            }
            Self::Insecure { .. }
            | Self::RealmElsewhere { .. }
            | Self::RealmHere { .. }
            | Self::SentOn { .. }
            | Self::Refused { .. }
            | Self::Blocked { .. }
            | Self::MayNot { .. } => RefusalKind::Forbidden,
            _ => RefusalKind::Fault,
        }
    }
}

impl From<RegistryError> for RegistryRefusal {
    fn from(error: RegistryError) -> Self {
        Self::Failed(error)
    }
}

/// The registry client's words as a sentence.
fn sentence(error: &RegistryError) -> String {
    let words = shown(&error.to_string());
    let end = if words.ends_with(['.', '!', '?']) { "" } else { "." };
    // Those that do not begin with a name begin with an article.
    let words = words.strip_prefix("the ").map_or_else(|| words.clone(), |rest| format!("The {rest}"));
    format!("{words}{end}")
}
