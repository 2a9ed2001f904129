//! One file from the store into the folder, verified on the way.

use std::sync::Arc;
use std::time::Duration;

use flatpass_gate::NotBrought;
use flatpass_ostree::RepoPath;
use reqwest::Response;
use tokio::sync::Semaphore;

use crate::check::{Check, Wrong};
use crate::durable::is_full;
use crate::folder::Folder;
use crate::soundness::Soundness;
use crate::wire::{Trouble, Wire, innermost};

/// So many files come in at once.
const AT_ONCE: usize = 16;
/// No file may take longer.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Fetches files of one repo.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(crate) wire: Wire,
    pub(crate) folder: Arc<Folder>,
    pub(crate) sound: Soundness,
    /// The repo's URL at the store.
    repo_url: String,
    /// Objects may take so many bytes.
    max_size: u64,
    slots: Semaphore,
}

/// Why a file did not come in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the store has no such file")]
    Absent,
    #[error("the store wants another token for it")]
    Refused,
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    #[error("the store sent something else: {0}")]
    Wrong(#[from] Wrong),
    #[error("there is no room for it: {0}")]
    Full(String),
    #[error("it cannot be written: {0}")]
    Disk(std::io::Error),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Absent => Self::Absent,
            Trouble::Refused => Self::Refused,
            Trouble::Unreachable(what) => Self::Unreachable(what),
        }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        if is_full(&error) { Self::Full("the disk is full".to_owned()) } else { Self::Disk(error) }
    }
}

impl Failed {
    /// What clients are told.
    pub(crate) const fn told(&self) -> NotBrought {
        match self {
            Self::Absent => NotBrought::Absent,
            Self::Refused => NotBrought::NotExported,
            Self::Unreachable(_) => NotBrought::Unreachable,
            Self::Wrong(_) => NotBrought::Damaged,
            Self::Full(_) | Self::Disk(_) => NotBrought::Full,
        }
    }
}

impl Fetcher {
    pub(crate) fn new(wire: Wire, folder: Arc<Folder>, repo_url: &str, max_size: u64) -> Self {
        let repo_url = repo_url.trim_end_matches('/').to_owned();
        Self { wire, folder, sound: Soundness::default(), repo_url, max_size, slots: Semaphore::new(AT_ONCE) }
    }

    /// How many bytes the objects may take.
    pub(crate) const fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Brings the file in, unless it is there.
    pub(crate) async fn bring(&self, path: &RepoPath, token: Option<&str>) -> Result<(), Failed> {
        if self.folder.has(path) {
            return Ok(());
        }
        let Ok(_slot) = self.slots.acquire().await else { return Err(Failed::Absent) };
        // What is evicted makes room; until then a little more than allowed may come in.
        if self.folder.bytes() > self.max_size.saturating_add(self.max_size / 16) {
            return Err(Failed::Full("max_size is reached".to_owned()));
        }
        let check = Check::of(path, &self.folder)?;
        let response = self.wire.file(&format!("{}/{}", self.repo_url, path.relative_path()), token).await?;
        let all = tokio::time::timeout(LONGEST, self.take(path, check, response)).await;
        all.unwrap_or_else(|_| Err(Failed::Unreachable("it took too long".to_owned())))
    }

    async fn take(&self, path: &RepoPath, mut check: Check, mut response: Response) -> Result<(), Failed> {
        let mut incoming = self.folder.begin()?;
        loop {
            let piece = response.chunk().await.map_err(|error| Failed::Unreachable(innermost(&error)))?;
            let Some(piece) = piece else { break };
            check.push(&piece)?;
            // Into the page cache; what waits for the disk is the sync at the end.
            incoming.write(&piece)?;
        }
        check.finish()?;
        let (folder, to) = (Arc::clone(&self.folder), path.clone());
        let kept = tokio::task::spawn_blocking(move || folder.keep(incoming, &to)).await;
        kept.map_err(|_| Failed::Unreachable("it was given up".to_owned()))??;
        self.sound.note(path);
        Ok(())
    }

    /// The bytes of a file of at most `limit` bytes that is not verified by its name.
    pub(crate) async fn bytes(
        &self,
        path: &str,
        token: Option<&str>,
        limit: usize,
    ) -> Result<Vec<u8>, Failed> {
        let response = self.wire.file(&format!("{}/{path}", self.repo_url), token).await?;
        crate::wire::whole(response, limit).await.map_err(Failed::Unreachable)
    }
}
