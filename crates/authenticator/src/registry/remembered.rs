//! What registries know a person by, if the person has agreed that it is remembered.
//!
//! As sign-ins at stores: the secret is in the Secret Service when there is one, else in a file of mode 0600 in the
//! state folder; a record there says which, and whose it is.

use std::time::Duration;

use flatpass_token::UnixTime;
use serde::{Deserialize, Serialize};

use super::address::RegistryUrl;
use super::credential::Credential;
use crate::credentials::lock::FileLock;
use crate::credentials::secret_service::{Entry, KeyringError, SecretService};
use crate::credentials::shelf::{Kept, Shelf};
use crate::credentials::{CredentialError, Credentials, Preference};
use crate::secret::SecretText;

/// How long another process may hold the lock.
const LOCK_TIME: Duration = Duration::from_secs(45);

/// One registry's record. `Debug` does not show the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The registry's address.
    pub registry: String,
    /// The user's name; none for a token that stands for user and password.
    pub user: Option<String>,
    /// Since when.
    pub kept_at: UnixTime,
    /// The secret, if it is not in the keyring.
    pub secret: Option<SecretText>,
}

impl Kept for Record {
    const PREFIX: &'static str = "registry-";

    fn about(&self) -> &str {
        &self.registry
    }
}

/// The records.
#[derive(Debug, Clone)]
pub struct Remembered {
    records: Shelf<Record>,
    preference: Preference,
}

impl Remembered {
    /// Beside the sign-ins, and in the same way.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        Self { records: Shelf::new(credentials.folder().to_owned()), preference: credentials.preference() }
    }

    /// What is remembered for a registry. `interactive` allows the desktop to ask for the keyring's password.
    ///
    /// # Errors
    /// [`CredentialError`], if there is a record but its secret cannot be had.
    pub async fn load(
        &self,
        registry: &RegistryUrl,
        interactive: bool,
    ) -> Result<Option<Credential>, CredentialError> {
        let Some(record) = self.records.read(&registry.to_string()).await? else { return Ok(None) };
        let secret = match record.secret {
            Some(secret) => Some(secret),
            None => SecretService::new(interactive).load(&Entry::registry(registry)).await?,
        };
        // A keyring that was emptied by hand is the same as nothing remembered.
        Ok(secret.and_then(|secret| match &record.user {
            Some(user) => Credential::password(user, secret),
            None => Credential::identity_token(secret),
        }))
    }

    /// Remembers a credential in the place of the former one. Gives whether it is in the keyring.
    ///
    /// # Errors
    /// [`CredentialError`]; what was remembered before is then as it was.
    pub async fn store(
        &self,
        registry: &RegistryUrl,
        credential: &Credential,
        now: UnixTime,
    ) -> Result<bool, CredentialError> {
        let lock = self.lock(registry).await?;
        self.store_locked(registry, credential, now, &lock).await
    }

    /// The same for who has the lock.
    ///
    /// # Errors
    /// [`CredentialError`]; what was remembered before is then as it was.
    pub(super) async fn store_locked(
        &self,
        registry: &RegistryUrl,
        credential: &Credential,
        now: UnixTime,
        _lock: &FileLock,
    ) -> Result<bool, CredentialError> {
        let (user, secret) = match credential {
            Credential::Password { user, password } => (Some(user.clone()), password),
            Credential::IdentityToken(token) => (None, token),
        };
        let in_keyring = match self.preference {
            Preference::File => false,
            preference => match SecretService::new(true).store(&Entry::registry(registry), secret).await {
                Ok(()) => true,
                Err(error) if preference == Preference::SecretService => return Err(error.into()),
                Err(error) => {
                    if !matches!(error, KeyringError::Absent) {
                        tracing::warn!(%error, "the keyring cannot be used; the sign-in is kept in a file");
                    }
                    false
                }
            },
        };
        let secret = (!in_keyring).then(|| secret.clone());
        let record = Record { registry: registry.to_string(), user, kept_at: now, secret };
        self.records.write(&record).await?;
        Ok(in_keyring)
    }

    /// Forgets what is remembered for a registry. Gives whether there was something.
    ///
    /// # Errors
    /// [`CredentialError::Files`]. A keyring that cannot be reached keeps a secret that nothing refers to.
    pub async fn forget(&self, registry: &RegistryUrl) -> Result<bool, CredentialError> {
        let _lock = self.lock(registry).await?;
        let about = registry.to_string();
        let record = self.records.read(&about).await?;
        self.records.remove(&about).await?;
        if record.as_ref().is_some_and(|record| record.secret.is_none())
            && let Err(error) = SecretService::new(true).delete(&Entry::registry(registry)).await
        {
            tracing::warn!(%error, "the keyring still holds the former sign-in");
        }
        Ok(record.is_some())
    }

    /// All records, in the order of the registries' addresses.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn list(&self) -> Result<Vec<Record>, CredentialError> {
        self.records.list().await
    }

    /// Waits until no other process changes what is remembered for a registry.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub(super) async fn lock(&self, registry: &RegistryUrl) -> Result<FileLock, CredentialError> {
        FileLock::take(self.records.lock_path(&registry.to_string()).await?, LOCK_TIME).await
    }
}
