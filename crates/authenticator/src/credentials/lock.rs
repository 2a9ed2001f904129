//! A lock between processes: `flock` on a file of its own, which is never removed.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::CredentialError;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock for at most `limit`.
    ///
    /// # Errors
    /// [`CredentialError::Busy`] when the time is over, [`CredentialError::Files`] if the file cannot be made.
    pub async fn take(path: PathBuf, limit: Duration) -> Result<Self, CredentialError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| CredentialError::files(&path, &error))?;
        let waiting = async {
            loop {
                match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => return Ok(()),
                    Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(CredentialError::files(&path, &error.into())),
                }
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(())) => Ok(Self { _file: file }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CredentialError::Busy),
        }
    }
}
