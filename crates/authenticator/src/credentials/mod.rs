//! Who is signed in where: one record for each authority, below `$XDG_STATE_HOME/flatpass/`.
//!
//! The refresh token itself is in the Secret Service when there is one, else in the record's own file (mode 0600).
//! The record says which, so that a token that was replaced can never be taken for the current one. Whoever reads a
//! refresh token to use it, or writes one, holds the authority's lock: two processes (the service, and a person's
//! `login`) never rotate the same token.

pub mod lock;
pub mod record;
pub mod secret_service;
pub mod shelf;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use self::lock::FileLock;
use self::record::{Place, Record};
use self::secret_service::{Entry, KeyringError, SecretService};
use self::shelf::Shelf;
use crate::authority::address::AuthorityUrl;
use crate::secret::SecretText;

/// Where refresh tokens may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// In the Secret Service when there is one, else in a file.
    #[default]
    Auto,
    /// Always in a file.
    File,
    /// Only in the Secret Service.
    SecretService,
}

/// A word that is not a [`Preference`].
#[derive(Debug, Error)]
#[error("FLATPASS_CREDENTIALS is auto, file or secret-service")]
pub struct PreferenceError;

impl FromStr for Preference {
    type Err = PreferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "file" => Ok(Self::File),
            "secret-service" => Ok(Self::SecretService),
            _ => Err(PreferenceError),
        }
    }
}

/// Why a sign-in could not be read or written. `Display` is a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// The state folder.
    #[error(
        "Cannot use {path}, where sign-ins are kept ({cause}). Make it yours and writable, then try again."
    )]
    Files {
        /// The folder or file.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// Another process has held the lock for too long.
    #[error("Another flatpass-authenticator is busy with this sign-in. Try again in a moment.")]
    Busy,
    /// The keyring is locked and nobody may be asked.
    #[error(
        "Your keyring is locked, so the sign-in cannot be read. Unlock it, for example by logging in to your desktop, then try again."
    )]
    KeyringLocked,
    /// The keyring does not work, though the sign-in is in it.
    #[error(
        "Your keyring could not be used ({cause}). Start it, or sign in again with `flatpass-authenticator login`."
    )]
    Keyring {
        /// What went wrong.
        cause: String,
    },
}

impl CredentialError {
    pub(crate) fn files(path: &std::path::Path, cause: &std::io::Error) -> Self {
        Self::Files { path: path.display().to_string(), cause: cause.to_string() }
    }
}

impl From<KeyringError> for CredentialError {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Locked => Self::KeyringLocked,
            other => Self::Keyring { cause: other.to_string() },
        }
    }
}

/// All sign-ins of this user.
#[derive(Debug, Clone)]
pub struct Credentials {
    records: Shelf<Record>,
    preference: Preference,
    lock_time: Duration,
}

impl Credentials {
    /// Sign-ins below `folder` (normally `$XDG_STATE_HOME/flatpass`), which is made when it is first written to.
    #[must_use]
    pub fn new(folder: PathBuf, preference: Preference) -> Self {
        Self { records: Shelf::new(folder), preference, lock_time: Duration::from_secs(45) }
    }

    /// The state folder.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.records.folder()
    }

    /// Where secrets may be kept.
    #[must_use]
    pub fn preference(&self) -> Preference {
        self.preference
    }

    /// The record of one authority, without its secret; quick, without a lock.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn peek(&self, authority: &AuthorityUrl) -> Result<Option<Record>, CredentialError> {
        self.records.read(authority.as_str()).await
    }

    /// The records of all authorities, in the order of their addresses.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn list(&self) -> Result<Vec<Record>, CredentialError> {
        self.records.list().await
    }

    /// Takes the authority's lock. It is let go when the result is dropped.
    ///
    /// # Errors
    /// [`CredentialError::Busy`] after 45 seconds, [`CredentialError::Files`].
    pub async fn lock(&self, authority: &AuthorityUrl) -> Result<LockedSignIn, CredentialError> {
        let path = self.records.lock_path(authority.as_str()).await?;
        let lock = FileLock::take(path, self.lock_time).await?;
        Ok(LockedSignIn { credentials: self.clone(), authority: authority.clone(), _lock: lock })
    }
}

/// One authority's sign-in, while nobody else can change it.
#[derive(Debug)]
pub struct LockedSignIn {
    credentials: Credentials,
    authority: AuthorityUrl,
    _lock: FileLock,
}

impl LockedSignIn {
    /// The record with its refresh token. `interactive` allows the desktop to ask for the keyring's password.
    ///
    /// # Errors
    /// [`CredentialError`], if there is a record but its token cannot be had.
    pub async fn load(&self, interactive: bool) -> Result<Option<(Record, SecretText)>, CredentialError> {
        let Some(record) = self.credentials.records.read(self.authority.as_str()).await? else {
            return Ok(None);
        };
        match &record.place {
            Place::File { refresh_token } => {
                let token = refresh_token.clone();
                Ok(Some((record, token)))
            }
            Place::SecretService => {
                let token = SecretService::new(interactive).load(&Entry::sign_in(&self.authority)).await?;
                // A keyring that was emptied by hand is the same as signed out.
                Ok(token.map(|token| (record, token)))
            }
        }
    }

    /// Writes the sign-in; when this returns it is on disk or in the keyring. Gives the place it was written to.
    ///
    /// # Errors
    /// [`CredentialError`]; the former sign-in is then still what is stored.
    pub async fn store(
        &self,
        record: Record,
        refresh: &SecretText,
        interactive: bool,
    ) -> Result<Record, CredentialError> {
        let preference = self.credentials.preference;
        let place = if preference == Preference::File {
            Place::File { refresh_token: refresh.clone() }
        } else {
            match SecretService::new(interactive).store(&Entry::sign_in(&self.authority), refresh).await {
                Ok(()) => Place::SecretService,
                Err(error) if preference == Preference::SecretService => return Err(error.into()),
                Err(error) => {
                    if !matches!(error, KeyringError::Absent) {
                        tracing::warn!(%error, "the keyring cannot be used; the sign-in is kept in a file");
                    }
                    Place::File { refresh_token: refresh.clone() }
                }
            }
        };
        let record = Record { place, ..record };
        self.credentials.records.write(&record).await?;
        Ok(record)
    }

    /// Notes that secrets of remotes depend on the sign-in.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn note_secrets(&self) -> Result<(), CredentialError> {
        match self.credentials.records.read(self.authority.as_str()).await? {
            Some(record) if !record.has_secrets => {
                let record = Record { has_secrets: true, ..record };
                self.credentials.records.write(&record).await
            }
            _ => Ok(()),
        }
    }

    /// Forgets the sign-in.
    ///
    /// # Errors
    /// [`CredentialError::Files`]. A keyring that cannot be reached keeps a token that nothing refers to.
    pub async fn delete(&self, interactive: bool) -> Result<(), CredentialError> {
        let record = self.credentials.records.read(self.authority.as_str()).await?;
        self.credentials.records.remove(self.authority.as_str()).await?;
        if record.is_some_and(|record| record.place == Place::SecretService)
            && let Err(error) = SecretService::new(interactive).delete(&Entry::sign_in(&self.authority)).await
        {
            tracing::warn!(%error, "the keyring still holds the former sign-in");
        }
        Ok(())
    }
}
