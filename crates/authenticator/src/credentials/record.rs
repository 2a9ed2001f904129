//! The records on disk: one file of mode 0600 for each authority, in a folder of mode 0700, replaced atomically.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use flatpass_token::UnixTime;
use serde::{Deserialize, Serialize};

use super::CredentialError;
use crate::authority::address::AuthorityUrl;
use crate::secret::SecretText;

/// The largest record that is read, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// Where the refresh token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Place {
    /// In the Secret Service, under the authority's address.
    SecretService,
    /// Here.
    File {
        /// The token.
        refresh_token: SecretText,
    },
}

/// One sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The authority's base URL, with its final slash.
    pub authority: String,
    /// A random id that is new with each sign-in and stays when the token is rotated: what was cached under another
    /// id belongs to another sign-in, perhaps to another account.
    pub sign_in: String,
    /// When the person signed in.
    pub signed_in_at: UnixTime,
    /// When the token was last replaced.
    pub refreshed_at: UnixTime,
    /// Whether remotes have secrets that were made with this sign-in: they end when the authority ends it.
    #[serde(default)]
    pub has_secrets: bool,
    /// Where the token is.
    pub place: Place,
}

/// The folder of records.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Records in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one authority's record. A file that is not a record counts as none: the person signs in again.
    ///
    /// # Errors
    /// [`CredentialError::Files`] if it is there but cannot be read.
    pub async fn read(&self, authority: &AuthorityUrl) -> Result<Option<Record>, CredentialError> {
        let path = self.path(authority);
        let record =
            blocking(move || read(&path).map_err(|error| CredentialError::files(&path, &error))).await?;
        Ok(record.filter(|record| record.authority == authority.as_str()))
    }

    /// Writes one authority's record: to a temporary file that is synced and then renamed.
    ///
    /// # Errors
    /// [`CredentialError::Files`]; the former record is then untouched.
    pub async fn write(&self, authority: &AuthorityUrl, record: &Record) -> Result<(), CredentialError> {
        let path = self.path(authority);
        let folder = self.folder.clone();
        let body = serde_json::to_vec(record).map_err(|error| CredentialError::Files {
            path: path.display().to_string(),
            cause: error.to_string(),
        })?;
        blocking(move || {
            make_folder(&folder)?;
            write(&folder, &path, &body).map_err(|error| CredentialError::files(&path, &error))
        })
        .await
    }

    /// Removes one authority's record, if it is there.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn remove(&self, authority: &AuthorityUrl) -> Result<(), CredentialError> {
        let path = self.path(authority);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CredentialError::files(&path, &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// All records.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn list(&self) -> Result<Vec<Record>, CredentialError> {
        let folder = self.folder.clone();
        blocking(move || {
            let failed = |error: &io::Error| CredentialError::files(&folder, error);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(failed(&error)),
            };
            let mut records = Vec::new();
            for entry in entries {
                let path = entry.map_err(|error| failed(&error))?.path();
                if is_record(&path) {
                    records.extend(read(&path).map_err(|error| CredentialError::files(&path, &error))?);
                }
            }
            records.sort_by(|one, other| one.authority.cmp(&other.authority));
            Ok(records)
        })
        .await
    }

    /// The path of the authority's lock file, whose folder exists when this returns.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn lock_path(&self, authority: &AuthorityUrl) -> Result<PathBuf, CredentialError> {
        let folder = self.folder.clone();
        blocking(move || make_folder(&folder)).await?;
        Ok(self.path(authority).with_extension("lock"))
    }

    fn path(&self, authority: &AuthorityUrl) -> PathBuf {
        let hash = digest(&SHA256, authority.as_str().as_bytes());
        let name: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("authority-{name}.json"))
    }
}

/// Does work that blocks shortly.
///
/// # Errors
/// Those of the work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CredentialError> + Send + 'static,
) -> Result<T, CredentialError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(CredentialError::Files { path: "the state folder".to_owned(), cause: error.to_string() })
        }
    }
}

/// The folder has other files too: locks, and the bridge's list.
fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
        && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"authority-"))
}

/// Makes the state folder, for this user alone.
///
/// # Errors
/// [`CredentialError::Files`].
pub(crate) fn make_folder(folder: &Path) -> Result<(), CredentialError> {
    let failed = |error: &io::Error| CredentialError::files(folder, error);
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above).map_err(|error| failed(&error))?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(folder).map_err(|error| failed(&error))?.mode();
            if mode & 0o077 != 0 {
                fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(|error| failed(&error))?;
            }
            Ok(())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut body = Vec::new();
    file.take(MAX_RECORD_BYTES).read_to_end(&mut body)?;
    match serde_json::from_slice(&body) {
        Ok(record) => Ok(Some(record)),
        Err(_) => {
            tracing::warn!(path = %path.display(), "this file is not a sign-in and is ignored");
            Ok(None)
        }
    }
}

/// Replaces a file of the state folder atomically. The caller holds a lock that makes it the only writer.
///
/// # Errors
/// The system's.
pub(crate) fn write(folder: &Path, path: &Path, body: &[u8]) -> io::Result<()> {
    // The lock makes this process the only writer, so one name is enough; what a crash left there is replaced.
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(body)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
