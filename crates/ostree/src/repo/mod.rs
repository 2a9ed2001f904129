//! A repository's directory, read by tools. Every call opens the files anew, and reads them in the calling thread.

mod key_file;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use key_file::KeyFile;

use crate::{
    Checksum, Commit, DeltaFile, DeltaIndex, DeltaName, DeltaSuperblock, ObjectKind, ReadError, RefPath,
    RepoPath, Signatures, Summary, SummaryIndex,
};

/// The largest file that is read, and the largest that a compressed one may become: 128 MiB, `OSTREE_MAX_METADATA_SIZE` in libostree.
pub const MAX_FILE_SIZE: u64 = 128 * 1024 * 1024;

/// A repository in a directory.
#[derive(Debug, Clone)]
pub struct Repo {
    root: PathBuf,
    config: KeyFile,
    mode: Mode,
}

/// How a repository stores its objects, `mode` in the group `core` of its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `archive-z2`, or `archive` as it is also called: made to be served over HTTP.
    Archive,
    /// `bare`, `bare-user`, `bare-user-only` or one that is not known here: made to be checked out on this machine.
    Other(String),
}

/// A ref and the commit that it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoRef {
    /// The name below `refs/heads/`.
    pub name: String,
    /// The commit.
    pub checksum: Checksum,
}

/// Why a repository cannot be read.
#[derive(Debug, Error)]
pub enum RepoError {
    /// The directory has no `config` or no `objects`.
    #[error("{path} is not an OSTree repository: it has no {missing}")]
    NotARepository {
        /// The directory.
        path: PathBuf,
        /// What it lacks.
        missing: &'static str,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {cause}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The `config` is not a key file, or has no mode.
    #[error("{path} is not a repository's config: line {line} is wrong")]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A ref's file does not hold a checksum, or its name is no ref name.
    #[error("{path} is not a ref")]
    Ref {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged: {cause}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: ReadError,
    },
}

impl Repo {
    /// Opens the repository in the directory `root`.
    ///
    /// # Errors
    /// [`RepoError::NotARepository`], [`RepoError::Io`] or [`RepoError::Config`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, RepoError> {
        let root = root.into();
        let path = root.join("config");
        let Some(bytes) = read(&path)? else {
            return Err(RepoError::NotARepository { path: root, missing: "config" });
        };
        if !root.join("objects").is_dir() {
            return Err(RepoError::NotARepository { path: root, missing: "objects" });
        }
        let text = str::from_utf8(&bytes);
        let config = match text.map(KeyFile::parse) {
            Ok(Ok(config)) => config,
            Ok(Err(line)) => return Err(RepoError::Config { path, line }),
            Err(_) => return Err(RepoError::Config { path, line: 1 }),
        };
        let mode = match config.get("core", "mode").unwrap_or("bare").trim_end() {
            "archive" | "archive-z2" => Mode::Archive,
            other => Mode::Other(other.to_owned()),
        };
        Ok(Self { root, config, mode })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The `config` file.
    #[must_use]
    pub const fn config(&self) -> &KeyFile {
        &self.config
    }

    /// How objects are stored.
    #[must_use]
    pub const fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The refs below `refs/heads`, by name.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Ref`].
    pub fn refs(&self) -> Result<Vec<RepoRef>, RepoError> {
        let mut refs = Vec::new();
        let mut folders = vec![(self.root.join("refs/heads"), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in entries(&folder)? {
                let (path, name) = entry?;
                if name.starts_with('.') {
                    // A file that ostree is about to rename.
                    continue;
                }
                let kind = fs::symlink_metadata(&path)
                    .map_err(|cause| RepoError::Io { path: path.clone(), cause })?;
                let name = format!("{prefix}{name}");
                if kind.is_dir() {
                    folders.push((path, format!("{name}/")));
                } else {
                    // A link is an alias of another ref, which `ostree refs --alias` makes.
                    refs.push(self.read_ref(&path, name)?);
                }
            }
        }
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(refs)
    }

    fn read_ref(&self, path: &Path, name: String) -> Result<RepoRef, RepoError> {
        let wrong = || RepoError::Ref { path: path.to_owned() };
        if RefPath::head(&name).is_none() {
            return Err(wrong());
        }
        let bytes = read(path)?.ok_or_else(wrong)?;
        let text = str::from_utf8(&bytes).map_err(|_| wrong())?;
        Ok(RepoRef { name, checksum: text.trim_end().parse().map_err(|_| wrong())? })
    }

    /// A commit, whose content is checked against its name. `None` when the repository does not have it.
    ///
    /// # Errors
    /// [`RepoError::Io`], or [`RepoError::Content`] with [`ReadError::Mismatch`] or those of [`Commit::parse`].
    pub fn commit(&self, checksum: &Checksum) -> Result<Option<Commit>, RepoError> {
        self.load(&RepoPath::Object { checksum: *checksum, kind: ObjectKind::Commit }, |bytes| {
            let found = Checksum::of(bytes);
            if found == *checksum {
                Commit::parse(bytes)
            } else {
                Err(ReadError::Mismatch { expected: *checksum, found })
            }
        })
    }

    /// The signatures of a commit. `None` when it has no detached metadata.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn commit_signatures(&self, checksum: &Checksum) -> Result<Option<Signatures>, RepoError> {
        self.load(&RepoPath::Object { checksum: *checksum, kind: ObjectKind::CommitMeta }, Signatures::parse)
    }

    /// `summary`, if there is one.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn summary(&self) -> Result<Option<Summary>, RepoError> {
        self.load(&RepoPath::Summary, Summary::parse)
    }

    /// The signatures of `summary`. `None` when there is no `summary.sig`.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn summary_signatures(&self) -> Result<Option<Signatures>, RepoError> {
        self.load(&RepoPath::SummarySig, Signatures::parse)
    }

    /// `summary.idx`, if there is one.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn summary_index(&self) -> Result<Option<SummaryIndex>, RepoError> {
        self.load(&RepoPath::SummaryIdx, SummaryIndex::parse)
    }

    /// The signatures of `summary.idx`. `None` when there is no `summary.idx.sig`.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn summary_index_signatures(&self) -> Result<Option<Signatures>, RepoError> {
        self.load(&RepoPath::SummaryIdxSig, Signatures::parse)
    }

    /// A per-architecture summary that the index names.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn subsummary(&self, checksum: &Checksum) -> Result<Option<Summary>, RepoError> {
        self.load(&RepoPath::SubSummary(*checksum), |bytes| {
            Summary::parse_compressed(bytes, checksum, MAX_FILE_SIZE)
        })
    }

    /// Which deltas `delta-indexes/` says lead to a commit. `None` when it has no index for that commit.
    ///
    /// # Errors
    /// [`RepoError::Io`] or [`RepoError::Content`].
    pub fn delta_index(&self, to: &Checksum) -> Result<Option<DeltaIndex>, RepoError> {
        self.load(&RepoPath::DeltaIndex { to: *to }, DeltaIndex::parse)
    }

    /// The static deltas that `deltas/` has, by name. Directories that name no delta are left out, as ostree does.
    ///
    /// # Errors
    /// [`RepoError::Io`]
    pub fn deltas(&self) -> Result<Vec<DeltaName>, RepoError> {
        let mut deltas = Vec::new();
        for outer in entries(&self.root.join("deltas"))? {
            let (folder, first) = outer?;
            if !folder.is_dir() {
                continue;
            }
            for inner in entries(&folder)? {
                let (path, rest) = inner?;
                let parsed = RepoPath::parse(&format!("deltas/{first}/{rest}/superblock"));
                if let Some(RepoPath::Delta { from, to, .. }) = parsed
                    && path.join("superblock").is_file()
                {
                    deltas.push(DeltaName { from, to });
                }
            }
        }
        deltas.sort();
        Ok(deltas)
    }

    /// The superblock of a static delta. `None` when the repository does not have it.
    ///
    /// # Errors
    /// [`RepoError::Io`], or [`RepoError::Content`], also when it leads to another commit than its directory's name says.
    pub fn superblock(&self, name: &DeltaName) -> Result<Option<DeltaSuperblock>, RepoError> {
        let path = RepoPath::Delta { from: name.from, to: name.to, file: DeltaFile::Superblock };
        self.load(&path, |bytes| {
            let superblock = DeltaSuperblock::parse(bytes)?;
            let found = DeltaName { from: superblock.from, to: superblock.to };
            if found == *name {
                Ok(superblock)
            } else {
                Err(ReadError::OtherDelta { expected: Box::new(*name), found: Box::new(found) })
            }
        })
    }

    fn load<T>(
        &self,
        path: &RepoPath,
        parse: impl FnOnce(&[u8]) -> Result<T, ReadError>,
    ) -> Result<Option<T>, RepoError> {
        let path = self.root.join(path.relative_path());
        let Some(bytes) = read(&path)? else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|cause| RepoError::Content { path, cause })
    }
}

/// A file's content; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, RepoError> {
    let failed = |cause| RepoError::Io { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(RepoError::Content {
            path: path.to_owned(),
            cause: ReadError::TooLarge { limit: MAX_FILE_SIZE },
        });
    }
    Ok(Some(bytes))
}

type Entry = Result<(PathBuf, String), RepoError>;

/// The entries of a directory with their names; none when there is no such directory.
fn entries(folder: &Path) -> Result<impl Iterator<Item = Entry>, RepoError> {
    let failed = |cause| RepoError::Io { path: folder.to_owned(), cause };
    let list = match fs::read_dir(folder) {
        Ok(list) => Some(list),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    Ok(list.into_iter().flatten().map(move |entry| {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // A name that is not UTF-8 is none that ostree writes, and fails later as a name.
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((path, name))
    }))
}
