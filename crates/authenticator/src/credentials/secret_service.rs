//! The desktop's keyring: the default collection of the Secret Service.
//!
//! Each operation has a time limit, because a keyring may wait for a password prompt that nobody can see. Without a
//! person to ask, no prompt is opened at all.

use std::future::Future;
use std::time::Duration;

use oo7::dbus::{Collection, Error, Service};
use thiserror::Error as ThisError;

use crate::authority::address::AuthorityUrl;
use crate::registry::address::RegistryUrl;
use crate::secret::SecretText;

/// The attribute by which desktops group secrets.
const SCHEMA: (&str, &str) = ("xdg:schema", "org.flatpass.Authenticator");
/// Time for an operation that opens no prompt.
const QUIET: Duration = Duration::from_secs(8);
/// Time for a person to type the keyring's password.
const PROMPT: Duration = Duration::from_secs(60);

/// Why the keyring could not be used.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum KeyringError {
    /// There is no Secret Service, or it has no default collection.
    #[error("there is no keyring")]
    Absent,
    /// It is locked, and was not unlocked.
    #[error("it is locked")]
    Locked,
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> Self {
        match error {
            Error::Dismissed => Self::Locked,
            Error::Service(oo7::dbus::ServiceError::IsLocked(_)) => Self::Locked,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What a secret is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    label: String,
    attribute: &'static str,
    value: String,
}

impl Entry {
    /// The sign-in at an authority.
    #[must_use]
    pub fn sign_in(authority: &AuthorityUrl) -> Self {
        let label = format!("Flatpak sign-in at {}", authority.host());
        Self { label, attribute: "authority", value: authority.to_string() }
    }

    /// What a registry knows the person by.
    #[must_use]
    pub fn registry(registry: &RegistryUrl) -> Self {
        let label = format!("Flatpak sign-in at the registry {}", registry.key());
        Self { label, attribute: "registry", value: registry.to_string() }
    }

    fn attributes(&self) -> [(&'static str, String); 2] {
        [(SCHEMA.0, SCHEMA.1.to_owned()), (self.attribute, self.value.clone())]
    }
}

/// A way to the keyring for one operation.
#[derive(Debug, Clone, Copy)]
pub struct SecretService {
    interactive: bool,
}

impl SecretService {
    /// `interactive` allows a prompt to unlock the keyring.
    #[must_use]
    pub fn new(interactive: bool) -> Self {
        Self { interactive }
    }

    /// The secret, if the keyring has one.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn load(self, entry: &Entry) -> Result<Option<SecretText>, KeyringError> {
        let collection = self.collection().await?;
        limited(QUIET, async {
            let items = collection.search_items(&entry.attributes()).await?;
            let Some(item) = items.first() else { return Ok(None) };
            let secret = item.secret().await?;
            let text = String::from_utf8(secret.as_bytes().to_vec())
                .map_err(|_| KeyringError::Failed("the stored sign-in is not text".to_owned()))?;
            Ok(Some(SecretText::new(text)))
        })
        .await
    }

    /// Writes a secret in place of the former one.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn store(self, entry: &Entry, token: &SecretText) -> Result<(), KeyringError> {
        let collection = self.collection().await?;
        limited(QUIET, async {
            collection
                .create_item(&entry.label, &entry.attributes(), oo7::Secret::text(token.expose()), true, None)
                .await?;
            Ok(())
        })
        .await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub async fn delete(self, entry: &Entry) -> Result<(), KeyringError> {
        let collection = self.collection().await?;
        limited(QUIET, async {
            for item in collection.search_items(&entry.attributes()).await? {
                item.delete(None).await?;
            }
            Ok(())
        })
        .await
    }

    /// The default collection, unlocked. It is not made here: making one opens a prompt for a new password.
    async fn collection(self) -> Result<Collection, KeyringError> {
        let collection = limited(QUIET, async {
            let service = Service::new().await.map_err(|error| {
                tracing::debug!(%error, "no Secret Service");
                KeyringError::Absent
            })?;
            service.with_alias(Service::DEFAULT_COLLECTION).await?.ok_or(KeyringError::Absent)
        })
        .await?;
        let locked = limited(QUIET, async { Ok(collection.is_locked().await?) }).await?;
        if locked {
            if !self.interactive {
                return Err(KeyringError::Locked);
            }
            let unlocking = limited(PROMPT, async { Ok(collection.unlock(None).await?) });
            match unlocking.await {
                Ok(()) => {}
                Err(KeyringError::Timeout) => return Err(KeyringError::Locked),
                Err(error) => return Err(error),
            }
        }
        Ok(collection)
    }
}

async fn limited<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, KeyringError>>,
) -> Result<T, KeyringError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(KeyringError::Timeout))
}
