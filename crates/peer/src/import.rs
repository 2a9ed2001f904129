//! `flatpass peer import`: what `flatpak create-usb` wrote to a stick comes in, each file verified.
//!
//! A stick is outside any gate, and whoever brings it may have written anything on it. That a commit is the store's, only the store's
//! own list or a token that names the commit says; until then it goes to nobody without such a token.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flatpass_ostree::graph::MAX_DIRTREE_SIZE;
use flatpass_ostree::repo::{Mode, Repo};
use flatpass_ostree::{Checksum, Commit, DirTree, ObjectKind, RepoPath};
use flatpass_token::RefName;
use rustix::fs::{CWD, Mode as FileMode, OFlags, openat};

use crate::check::{Check, MAX_COMMIT, Wrong};
use crate::durable::is_full;
use crate::folder::Folder;
use crate::skeleton::object;
use crate::{Peer, PeerError};

/// A repository on a stick.
#[derive(Debug)]
pub struct Stick {
    root: PathBuf,
    /// The refs with their commits.
    refs: BTreeMap<String, Checksum>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// The refs that came in, each with its commit and how many files were new.
    pub taken: Vec<(String, Checksum, usize)>,
    /// The refs that did not, and why.
    pub left: Vec<(String, String)>,
}

/// Why a ref does not come in.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("the stick lacks {0}")]
    Missing(Box<RepoPath>),
    #[error("{0} on the stick is damaged: {1}")]
    Wrong(Box<RepoPath>, Box<Wrong>),
    #[error("{0} cannot be read: {1}")]
    Unreadable(Box<RepoPath>, io::Error),
    #[error("the commit on the stick was made for another ref")]
    OtherRef,
    #[error("the store does not let this peer carry it on: ask its operator for the right to export it")]
    NotExported,
    #[error("it cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl Stick {
    /// Finds the repository at that path: the path itself, or `.ostree/repo` in it, where `flatpak create-usb` puts it.
    ///
    /// # Errors
    /// [`PeerError::Settings`] when there is none, or one of another mode than `archive-z2`.
    pub fn open(path: &Path) -> Result<Self, PeerError> {
        let wrong = |what: &str| PeerError::Settings { path: path.to_owned(), what: what.to_owned() };
        let inside = path.join(".ostree/repo");
        let root = if inside.join("config").is_file() { inside } else { path.to_owned() };
        let repo = Repo::open(&root).map_err(|error| {
            wrong(&format!(
                "there is no repository here: {error}. Make one with flatpak create-usb {} APP",
                path.display()
            ))
        })?;
        if *repo.mode() != Mode::Archive {
            return Err(wrong("its repository is not of mode archive-z2, as flatpak create-usb makes them"));
        }
        let mut refs = BTreeMap::new();
        for one in repo.refs().map_err(|error| wrong(&error.to_string()))? {
            refs.insert(one.name, one.checksum);
        }
        read_mirrors(&root, &mut refs).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { root, refs })
    }

    /// The apps and runtimes on it.
    pub fn refs(&self) -> impl Iterator<Item = (&str, Checksum)> {
        let is_app = |name: &str| RefName::parse(name).is_ok();
        self.refs.iter().filter(move |(name, _)| is_app(name)).map(|(name, commit)| (name.as_str(), *commit))
    }

    /// Opens a file of it: no link, no device.
    fn file(&self, path: &RepoPath) -> Result<File, NotTaken> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let found = openat(CWD, self.root.join(path.relative_path()), flags, FileMode::empty());
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => NotTaken::Missing(Box::new(path.clone())),
            _ => NotTaken::Unreadable(Box::new(path.clone()), error),
        };
        let file = File::from(found.map_err(|error| unreadable(error.into()))?);
        if file.metadata().map_err(unreadable)?.is_file() {
            Ok(file)
        } else {
            Err(NotTaken::Missing(Box::new(path.clone())))
        }
    }

    fn bytes(&self, path: &RepoPath, limit: u64) -> Result<Vec<u8>, NotTaken> {
        let mut bytes = Vec::new();
        let read = self.file(path)?.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| NotTaken::Unreadable(Box::new(path.clone()), error))?;
        Ok(bytes)
    }
}

/// `refs/mirrors/COLLECTION/app/…`, three more levels deep.
fn read_mirrors(root: &Path, refs: &mut BTreeMap<String, Checksum>) -> io::Result<()> {
    let mut folders = vec![(root.join("refs/mirrors"), 0, String::new())];
    while let Some((folder, depth, prefix)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The first level is the collection.
            let whole = if depth == 0 { String::new() } else { format!("{prefix}{name}") };
            if entry.file_type()?.is_dir() && depth < 6 {
                let below = if depth == 0 { String::new() } else { format!("{whole}/") };
                folders.push((entry.path(), depth + 1, below));
            } else if entry.file_type()?.is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
                && let Ok(commit) = text.trim_end().parse()
            {
                refs.insert(whole, commit);
            }
        }
    }
    Ok(())
}

impl Peer {
    /// Takes all of a stick that the store lets this peer carry on. It reads and writes in the calling thread.
    ///
    /// # Errors
    /// [`PeerError::Full`] or [`PeerError::File`]. What is wrong with a ref on the stick is in the answer.
    pub fn import(&self, stick: &Stick, told: impl Fn(&str)) -> Result<Imported, PeerError> {
        let known = self.filler.0.known.load_full();
        let mut imported = Imported::default();
        for (name, commit) in stick.refs() {
            told(name);
            let may = RefName::parse(name).is_ok_and(|name| known.trust.info.may_export(&name));
            let taken = if may || known.is_open(&commit) {
                self.take(stick, name, &commit)
            } else {
                Err(NotTaken::NotExported)
            };
            match taken {
                Ok(new) => imported.taken.push((name.to_owned(), commit, new)),
                Err(NotTaken::Disk(error)) if is_full(&error) => {
                    return Err(PeerError::Full(self.folder.clone()));
                }
                Err(NotTaken::Disk(cause)) => {
                    return Err(PeerError::File { path: self.folder.clone(), cause });
                }
                Err(why) => imported.left.push((name.to_owned(), why.to_string())),
            }
        }
        Ok(imported)
    }

    /// Takes a commit with all that it contains, itself last.
    fn take(&self, stick: &Stick, name: &str, checksum: &Checksum) -> Result<usize, NotTaken> {
        let folder = &*self.filler.0.fetcher.folder;
        let path = object(*checksum, ObjectKind::Commit);
        let bytes = stick.bytes(&path, MAX_COMMIT)?;
        let wrong = |path: &RepoPath, error| NotTaken::Wrong(Box::new(path.clone()), Box::new(error));
        Check::all(&path, folder, &bytes).map_err(|error| wrong(&path, error))?;
        let commit = Commit::parse(&bytes).map_err(|error| wrong(&path, error.into()))?;
        if !commit.refs.iter().any(|made_for| made_for == name) {
            return Err(NotTaken::OtherRef);
        }
        let mut new = self.copy(stick, &object(commit.root_meta, ObjectKind::DirMeta))?;
        let (mut ahead, mut seen) = (vec![commit.root_tree], BTreeSet::new());
        while let Some(tree) = ahead.pop() {
            if !seen.insert(tree) {
                continue;
            }
            let path = object(tree, ObjectKind::DirTree);
            new += self.copy(stick, &path)?;
            let bytes = folder
                .read(&path, MAX_DIRTREE_SIZE)?
                .ok_or_else(|| NotTaken::Missing(Box::new(path.clone())))?;
            Check::all(&path, folder, &bytes).map_err(|error| wrong(&path, error))?;
            let directory = DirTree::parse(&bytes).map_err(|error| wrong(&path, error.into()))?;
            for file in directory.files {
                new += self.copy(stick, &object(file.checksum, ObjectKind::FileZ))?;
            }
            for below in directory.directories {
                new += self.copy(stick, &object(below.meta, ObjectKind::DirMeta))?;
                ahead.push(below.tree);
            }
        }
        match self.copy(stick, &object(*checksum, ObjectKind::CommitMeta)) {
            Ok(_) | Err(NotTaken::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        if !folder.has(&path) {
            folder.sync()?;
            // Before anybody can see the commit.
            folder.withhold(checksum)?;
            let mut incoming = folder.begin()?;
            incoming.write(&bytes)?;
            folder.keep(incoming, &path)?;
        }
        Ok(new)
    }

    /// Copies a file that is not here yet; 1 if it was not.
    fn copy(&self, stick: &Stick, path: &RepoPath) -> Result<usize, NotTaken> {
        let folder: &Folder = &self.filler.0.fetcher.folder;
        if folder.has(path) {
            return Ok(0);
        }
        let wrong = |error| NotTaken::Wrong(Box::new(path.clone()), Box::new(error));
        let mut file = stick.file(path)?;
        let mut check = Check::of(path, folder).map_err(wrong)?;
        let mut incoming = folder.begin()?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let count =
                file.read(&mut piece).map_err(|error| NotTaken::Unreadable(Box::new(path.clone()), error))?;
            let piece = piece.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            check.push(piece).map_err(wrong)?;
            incoming.write(piece)?;
        }
        check.finish().map_err(wrong)?;
        folder.keep(incoming, path)?;
        self.filler.0.last_use.note(path);
        Ok(1)
    }
}
