//! Whether bytes are what the name of a file of the repo promises.

use std::io::Read as _;

use flatpass_ostree::{
    Checksum, Commit, ContentCheck, DeltaFile, DeltaIndex, DeltaSuperblock, ObjectKind, ReadError, RepoPath,
    Signatures, Summary,
};
use sha2::{Digest as _, Sha256};

use crate::folder::Folder;

/// Real commits have some kilobytes; the gate reads none that is larger.
pub(crate) const MAX_COMMIT: u64 = 8 << 20;
/// `OSTREE_MAX_METADATA_SIZE` in libostree.
const MAX_TREE: u64 = 128 << 20;
const MAX_META: u64 = 1 << 20;
const MAX_SIGNATURES: u64 = 1 << 20;
const MAX_DELTA_INDEX: u64 = 4 << 20;
/// A superblock may have the whole delta inside; those of flatpak do not.
const MAX_SUPERBLOCK: u64 = 32 << 20;
/// The largest summary that is kept, compressed and not.
pub(crate) const MAX_SUMMARY: u64 = 64 << 20;
/// No file of an app is larger.
const MAX_CONTENT: u64 = 64 << 30;

/// Why a file is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("{0}")]
    Content(#[from] ReadError),
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    #[error("it is cut off or too long: its delta says {0} bytes")]
    Size(u64),
    #[error("its delta's superblock is not here")]
    NoSuperblock,
    #[error("the index of deltas names another superblock")]
    OtherSuperblock,
    #[error("nothing here can verify such a file")]
    Unverifiable,
}

/// Why a file of the folder is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

/// Checks one file piece by piece.
pub(crate) struct Check {
    limit: u64,
    seen: u64,
    way: Way,
}

enum Way {
    /// The name is the checksum of the bytes.
    Hash {
        hash: Sha256,
        expected: Checksum,
        size: Option<u64>,
    },
    Content {
        check: Box<ContentCheck>,
        expected: Checksum,
    },
    /// The bytes say it themselves, once all are there.
    Whole {
        bytes: Vec<u8>,
        path: RepoPath,
        superblock: Option<Checksum>,
    },
}

impl Check {
    /// How the file at `path` is checked, with what `folder` has.
    pub(crate) fn of(path: &RepoPath, folder: &Folder) -> Result<Self, Wrong> {
        let hash = |expected, size, limit| Self {
            limit,
            seen: 0,
            way: Way::Hash { hash: Sha256::new(), expected, size },
        };
        let whole = |limit, superblock| Self {
            limit,
            seen: 0,
            way: Way::Whole { bytes: Vec::new(), path: path.clone(), superblock },
        };
        Ok(match path {
            RepoPath::Object { kind: ObjectKind::Commit, .. } => whole(MAX_COMMIT, None),
            RepoPath::Object { kind: ObjectKind::CommitMeta, .. } | RepoPath::SummaryIdxSigOf(_) => {
                whole(MAX_SIGNATURES, None)
            }
            RepoPath::Object { checksum, kind: ObjectKind::DirTree } => hash(*checksum, None, MAX_TREE),
            RepoPath::Object { checksum, kind: ObjectKind::DirMeta } => hash(*checksum, None, MAX_META),
            RepoPath::Object { checksum, kind: ObjectKind::FileZ } => Self {
                limit: MAX_CONTENT,
                seen: 0,
                way: Way::Content { check: Box::default(), expected: *checksum },
            },
            RepoPath::DeltaIndex { .. } => whole(MAX_DELTA_INDEX, None),
            RepoPath::Delta { from, to, file: DeltaFile::Superblock } => {
                let index = read(folder, &RepoPath::DeltaIndex { to: *to }, MAX_DELTA_INDEX);
                let index = index.and_then(|bytes| DeltaIndex::parse(&bytes).ok());
                let name = flatpass_ostree::DeltaName { from: *from, to: *to };
                whole(MAX_SUPERBLOCK, index.and_then(|index| index.deltas.get(&name).copied()))
            }
            RepoPath::Delta { from, to, file: DeltaFile::Part(number) } => {
                let block = RepoPath::Delta { from: *from, to: *to, file: DeltaFile::Superblock };
                let bytes = read(folder, &block, MAX_SUPERBLOCK).ok_or(Wrong::NoSuperblock)?;
                let block = DeltaSuperblock::parse(&bytes)?;
                let number = usize::try_from(*number).unwrap_or(usize::MAX);
                let part = block.parts.get(number).ok_or(Wrong::Unverifiable)?;
                // Another machine's order of bytes makes the size something else; the checksum is what counts.
                hash(part.checksum, Some(part.size).filter(|size| *size <= MAX_TREE), MAX_TREE)
            }
            RepoPath::SubSummary(_) => whole(MAX_SUMMARY, None),
            RepoPath::Config
            | RepoPath::Summary
            | RepoPath::SummarySig
            | RepoPath::SummaryIdx
            | RepoPath::SummaryIdxSig
            | RepoPath::SubSummaryDelta { .. }
            | RepoPath::Ref(_) => return Err(Wrong::Unverifiable),
        })
    }

    /// Takes the next bytes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), Wrong> {
        self.seen += piece.len() as u64;
        if self.seen > self.limit {
            return Err(Wrong::TooLarge(self.limit));
        }
        match &mut self.way {
            Way::Hash { size: Some(size), .. } if self.seen > *size => return Err(Wrong::Size(*size)),
            Way::Hash { hash, .. } => hash.update(piece),
            Way::Content { check, .. } => check.push(piece)?,
            Way::Whole { bytes, .. } => bytes.extend_from_slice(piece),
        }
        Ok(())
    }

    /// The verdict, once all bytes are there.
    pub(crate) fn finish(self) -> Result<(), Wrong> {
        match self.way {
            Way::Hash { hash, expected, size } => {
                if let Some(size) = size.filter(|size| *size != self.seen) {
                    return Err(Wrong::Size(size));
                }
                let digest: [u8; 32] = hash.finalize().into();
                must_be(&expected, Checksum::from_bytes(digest))
            }
            Way::Content { check, expected } => must_be(&expected, check.finish()?),
            Way::Whole { bytes, path, superblock } => whole(&bytes, &path, superblock.as_ref()),
        }
    }

    /// Checks a file of the folder.
    pub(crate) fn of_file(path: &RepoPath, folder: &Folder) -> Result<(), Damage> {
        let mut check = Self::of(path, folder)?;
        let mut file = std::fs::File::open(folder.path(path))?;
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(check.finish()?),
                count => check.push(piece.get(..count).unwrap_or_default())?,
            }
        }
    }

    /// Checks bytes that are all there.
    pub(crate) fn all(path: &RepoPath, folder: &Folder, bytes: &[u8]) -> Result<(), Wrong> {
        let mut check = Self::of(path, folder)?;
        check.push(bytes)?;
        check.finish()
    }
}

fn read(folder: &Folder, path: &RepoPath, limit: u64) -> Option<Vec<u8>> {
    folder.read(path, limit).ok().flatten()
}

fn must_be(expected: &Checksum, found: Checksum) -> Result<(), Wrong> {
    if *expected == found { Ok(()) } else { Err(ReadError::Mismatch { expected: *expected, found }.into()) }
}

fn whole(bytes: &[u8], path: &RepoPath, superblock: Option<&Checksum>) -> Result<(), Wrong> {
    match path {
        RepoPath::Object { checksum, kind: ObjectKind::Commit } => {
            must_be(checksum, Checksum::of(bytes))?;
            Commit::parse(bytes)?;
        }
        // Clients check the signatures themselves; here it is made sure that it is some.
        RepoPath::Object { .. } | RepoPath::SummaryIdxSigOf(_) => {
            Signatures::parse(bytes)?;
        }
        RepoPath::DeltaIndex { to } => {
            let index = DeltaIndex::parse(bytes)?;
            if let Some(other) = index.deltas.keys().find(|name| name.to != *to) {
                let expected = Box::new(flatpass_ostree::DeltaName { from: other.from, to: *to });
                return Err(ReadError::OtherDelta { expected, found: Box::new(*other) }.into());
            }
        }
        RepoPath::Delta { from, to, .. } => {
            if superblock.is_some_and(|named| *named != Checksum::of(bytes)) {
                return Err(Wrong::OtherSuperblock);
            }
            let block = DeltaSuperblock::parse(bytes)?;
            if (block.from, block.to) != (*from, *to) {
                let expected = Box::new(flatpass_ostree::DeltaName { from: *from, to: *to });
                let found = Box::new(flatpass_ostree::DeltaName { from: block.from, to: block.to });
                return Err(ReadError::OtherDelta { expected, found }.into());
            }
        }
        RepoPath::SubSummary(checksum) => {
            Summary::parse_compressed(bytes, checksum, MAX_SUMMARY)?;
        }
        _ => return Err(Wrong::Unverifiable),
    }
    Ok(())
}
