//! Records on disk: one file of mode 0600 for each thing that is kept, in a folder of mode 0700, replaced atomically.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CredentialError;

/// The largest record that is read, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// What is kept in a file of its own.
pub trait Kept: Serialize + DeserializeOwned + Clone + Send + 'static {
    /// What the names of such files begin with.
    const PREFIX: &'static str;

    /// Whose it is: an address, in its one spelling.
    fn about(&self) -> &str;
}

/// The records of one kind. The folder has other files too: other records, locks, and the bridge's list.
#[derive(Debug, Clone)]
pub struct Shelf<R> {
    folder: PathBuf,
    kind: PhantomData<fn() -> R>,
}

impl<R: Kept> Shelf<R> {
    /// Records in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, kind: PhantomData }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one record. A file that is not a record counts as none: the person signs in again.
    ///
    /// # Errors
    /// [`CredentialError::Files`] if it is there but cannot be read.
    pub async fn read(&self, about: &str) -> Result<Option<R>, CredentialError> {
        let path = self.path(about);
        let record: Option<R> =
            blocking(move || read(&path).map_err(|error| CredentialError::files(&path, &error))).await?;
        Ok(record.filter(|record| record.about() == about))
    }

    /// Writes one record in the place of the former: to a temporary file that is synced and then renamed. The caller holds the lock.
    ///
    /// # Errors
    /// [`CredentialError::Files`]; the former record is then untouched.
    pub async fn write(&self, record: &R) -> Result<(), CredentialError> {
        let (folder, path, record) = (self.folder.clone(), self.path(record.about()), record.clone());
        blocking(move || {
            make_folder(&folder)?;
            let body = serde_json::to_vec(&record).map_err(io::Error::other);
            body.and_then(|body| write(&folder, &path, &body))
                .map_err(|error| CredentialError::files(&path, &error))
        })
        .await
    }

    /// Removes one record, if it is there.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn remove(&self, about: &str) -> Result<(), CredentialError> {
        let path = self.path(about);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CredentialError::files(&path, &error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// All records, in the order of what they are about.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn list(&self) -> Result<Vec<R>, CredentialError> {
        let folder = self.folder.clone();
        blocking(move || {
            let failed = |error: &io::Error| CredentialError::files(&folder, error);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(failed(&error)),
            };
            let mut records: Vec<R> = Vec::new();
            for entry in entries {
                let path = entry.map_err(|error| failed(&error))?.path();
                if is_record(&path, R::PREFIX) {
                    records.extend(read(&path).map_err(|error| CredentialError::files(&path, &error))?);
                }
            }
            records.sort_by(|one, other| one.about().cmp(other.about()));
            Ok(records)
        })
        .await
    }

    /// The path of a record's lock file, whose folder exists when this returns.
    ///
    /// # Errors
    /// [`CredentialError::Files`].
    pub async fn lock_path(&self, about: &str) -> Result<PathBuf, CredentialError> {
        let folder = self.folder.clone();
        blocking(move || make_folder(&folder)).await?;
        Ok(self.path(about).with_extension("lock"))
    }

    fn path(&self, about: &str) -> PathBuf {
        let hash = digest(&SHA256, about.as_bytes());
        let name: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{}{name}.json", R::PREFIX))
    }
}

fn is_record(path: &Path, prefix: &str) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
        && path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

fn read<R: Kept>(path: &Path) -> io::Result<Option<R>> {
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
            tracing::warn!(path = %path.display(), "this file is not a record and is ignored");
            Ok(None)
        }
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
