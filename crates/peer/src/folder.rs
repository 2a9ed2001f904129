//! The peer's copy of parts of the repo, in the layout of an archive repository. What stands there under a name of its own was whole and
//! verified before it got that name.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use rustix::fs::{FlockOperation, flock};

/// Folders that `ostree` and the gate expect of a repository.
const FOLDERS: [&str; 9] = [
    "objects",
    "refs/heads",
    "refs/mirrors",
    "refs/remotes",
    "deltas",
    "delta-indexes",
    "summaries",
    "state",
    "tmp",
];

/// The folder of a peer: `repo/` is served, `incoming/` holds what is not whole yet.
#[derive(Debug)]
pub(crate) struct Folder {
    repo: PathBuf,
    /// Of this process alone: others may fill the folder too.
    incoming: PathBuf,
    /// As long as it is open, others leave that one alone.
    _lock: File,
    /// One empty file for each commit that came by hand.
    imported: PathBuf,
    serial: AtomicU64,
    /// Bytes in objects and deltas, as far as they were counted.
    bytes: AtomicU64,
}

impl Folder {
    /// Opens it, makes what is missing, and removes what a crash left half done.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let (repo, incoming, imported) = (root.join("repo"), root.join("incoming"), root.join("imported"));
        for folder in FOLDERS {
            fs::create_dir_all(repo.join(folder))?;
        }
        fs::create_dir_all(&incoming)?;
        fs::create_dir_all(&imported)?;
        for left in fs::read_dir(&incoming)? {
            remove_if_left(&left?.path())?;
        }
        let (incoming, lock) = own_folder(&incoming)?;
        let (serial, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { repo, incoming, _lock: lock, imported, serial, bytes })
    }

    /// What is served.
    pub(crate) fn repo(&self) -> &Path {
        &self.repo
    }

    /// Where the file is, or would be.
    pub(crate) fn path(&self, path: &RepoPath) -> PathBuf {
        self.repo.join(path.relative_path())
    }

    pub(crate) fn has(&self, path: &RepoPath) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok_and(|file| file.is_file())
    }

    /// The content of a file of at most `limit` bytes; `None` when there is none, or a larger one.
    pub(crate) fn read(&self, path: &RepoPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
    }

    /// From now on a commit goes to nobody without a token that names it, as long as the store's list does not name it either.
    pub(crate) fn withhold(&self, commit: &Checksum) -> io::Result<()> {
        File::create(self.imported.join(commit.to_hex()))?.sync_all()?;
        File::open(&self.imported)?.sync_all()
    }

    /// Whether the commit came by hand.
    pub(crate) fn withholds(&self, commit: &Checksum) -> bool {
        // What cannot be told is withheld.
        fs::exists(self.imported.join(commit.to_hex())).unwrap_or(true)
    }

    /// A new file that nobody sees yet.
    pub(crate) fn begin(&self) -> io::Result<Incoming> {
        let path = self.incoming.join(self.serial.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Incoming { file, path: Some(path), written: 0 })
    }

    /// Gives a whole and verified file its name, once it is on the disk.
    pub(crate) fn keep(&self, mut incoming: Incoming, path: &RepoPath) -> io::Result<()> {
        incoming.file.sync_data()?;
        let to = self.path(path);
        let before = fs::symlink_metadata(&to).map_or(0, |file| file.len());
        let Some(from) = incoming.path.take() else { return Ok(()) };
        let renamed = fs::rename(&from, &to).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(to.parent().unwrap_or(&self.repo))?;
            fs::rename(&from, &to)
        });
        if let Err(error) = renamed {
            let _none = fs::remove_file(&from);
            return Err(error);
        }
        self.bytes.fetch_add(incoming.written, Ordering::Relaxed);
        self.forget_bytes(before);
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &RepoPath) -> io::Result<()> {
        let path = self.path(path);
        let size = fs::symlink_metadata(&path).map_or(0, |file| file.len());
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.forget_bytes(size);
                Ok(())
            }
        }
    }

    /// The commits that are there.
    pub(crate) fn commits(&self) -> io::Result<Vec<Checksum>> {
        let mut commits = Vec::new();
        for number in 0..=u8::MAX {
            let folder = format!("objects/{number:02x}");
            let entries = match fs::read_dir(self.repo.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let path = format!("{folder}/{}", entry?.file_name().display());
                if let Some(RepoPath::Object { checksum, kind: ObjectKind::Commit }) = RepoPath::parse(&path)
                {
                    commits.push(checksum);
                }
            }
        }
        Ok(commits)
    }

    /// What objects and deltas take, as far as it was counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// They take so much: somebody has counted.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn forget_bytes(&self, bytes: u64) {
        let less = |all: u64| Some(all.saturating_sub(bytes));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits until all that was renamed is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.repo)?)?)
    }
}

/// A folder for the files of this process that are not whole yet, locked.
fn own_folder(incoming: &Path) -> io::Result<(PathBuf, File)> {
    let pid = std::process::id();
    let mut number = 0;
    loop {
        let own = incoming.join(format!("{pid}-{number}"));
        match fs::create_dir(&own) {
            Ok(()) => {
                let lock = File::open(&own)?;
                // Somebody may take it for left behind until it is locked; then it is gone, and the next is tried.
                if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && own.exists() {
                    return Ok((own, lock));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        number += 1;
    }
}

/// Removes what a crash left half done, unless a running process holds it.
fn remove_if_left(path: &Path) -> io::Result<()> {
    let Ok(folder) = File::open(path) else { return Ok(()) };
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that is not whole yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Incoming {
    file: File,
    path: Option<PathBuf>,
    written: u64,
}

impl Incoming {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _none = fs::remove_file(path);
        }
    }
}
