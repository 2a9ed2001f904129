//! What a file says about who may have it: read once out of the very bytes that are served.

use flatpass_ostree::{Checksum, Commit, DeltaSuperblock, ReadError, Summary, SummaryIndex};
use flatpass_token::{CommitMade, RefName, UnixTime};

use crate::disk::{Disk, DiskError};
use crate::resource::Resource;

/// No commit has more bytes than this (`OSTREE_MAX_METADATA_SIZE` in libostree is 128 MiB; real ones have some kilobytes).
pub(crate) const MAX_COMMIT_BYTES: u64 = 8 << 20;
/// The most that is read of a superblock with its content inside.
const MAX_SUPERBLOCK_BYTES: u64 = 128 << 20;
/// The most that is read of a summary.
pub(crate) const MAX_SUMMARY_BYTES: u64 = 128 << 20;
/// What is larger than this is parsed where waiting does no harm.
const PARSE_INLINE_BYTES: u64 = 256 << 10;

/// What was read out of a [`Resource`].
#[derive(Debug)]
pub(crate) enum Facts {
    Commit(Result<CommitFacts, Damage>),
    Delta(Result<DeltaFacts, Damage>),
    Index(Result<Option<i32>, Damage>),
}

/// Why a file does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("{0}")]
    Unreadable(#[from] ReadError),
    #[error("the content has another checksum than the name: {0}")]
    OtherContent(Checksum),
    #[error("the file is too large to be read")]
    TooLarge,
    #[error("the superblock is one from {from:?} to {to}, not of its folder")]
    OtherDelta { from: Option<Checksum>, to: Checksum },
}

/// For which refs a commit was made and what it takes to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitFacts {
    /// The refs of apps and runtimes that it is bound to. Refs of other kinds (`appstream/x86_64`) are left out: no token names them.
    pub(crate) refs: Box<[RefName]>,
    /// Its own `xa.token-type`, or 0 for a list of apps, to which a repo's default does not apply: clients ask for it without a token.
    pub(crate) token_type: Option<i32>,
    /// It is bound to flatpak's own refs and to no other.
    pub(crate) is_list_of_apps: bool,
    /// When it was made, as it says itself.
    pub(crate) made_at: UnixTime,
}

impl CommitFacts {
    /// The commit, whose checksum this is, as tokens are asked about it.
    pub(crate) const fn made<'a>(&self, checksum: &'a Checksum) -> CommitMade<'a> {
        CommitMade { checksum: checksum.as_bytes(), at: self.made_at }
    }
}

impl From<Commit> for CommitFacts {
    fn from(commit: Commit) -> Self {
        let is_list_of_apps = is_list_of_apps(&commit.refs);
        Self {
            refs: commit.refs.iter().filter_map(|name| RefName::parse(name).ok()).collect(),
            token_type: commit.token_type.or(is_list_of_apps.then_some(0)),
            is_list_of_apps,
            // A moment that no clock will show is later than all that a token may be limited to.
            made_at: UnixTime(i64::try_from(commit.timestamp).unwrap_or(i64::MAX)),
        }
    }
}

/// Whether a commit is bound to flatpak's own refs and to no other: the app list, and the repository's metadata.
fn is_list_of_apps(refs: &[String]) -> bool {
    let own = |name: &String| {
        name == "ostree-metadata" || name.starts_with("appstream/") || name.starts_with("appstream2/")
    };
    !refs.is_empty() && refs.iter().all(own)
}

/// Where a static delta leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeltaFacts {
    pub(crate) from: Option<Checksum>,
    pub(crate) to: Checksum,
    /// The commit that it leads to, whose checksum is `to`.
    pub(crate) commit: CommitFacts,
}

/// What the commit object named `checksum` says.
pub(crate) fn commit<'a>(
    file: &'a Resource,
    checksum: &Checksum,
    disk: Disk,
) -> Result<Result<&'a CommitFacts, &'a Damage>, DiskError> {
    let read = |bytes: &[u8]| {
        let found = Checksum::of(bytes);
        if found != *checksum {
            return Facts::Commit(Err(Damage::OtherContent(found)));
        }
        Facts::Commit(Commit::parse(bytes).map(CommitFacts::from).map_err(Damage::from))
    };
    let too_large = || Facts::Commit(Err(Damage::TooLarge));
    match facts(file, MAX_COMMIT_BYTES, disk, read, too_large)? {
        Facts::Commit(facts) => Ok(facts.as_ref()),
        // One file is only ever read as one thing: its path says which.
        Facts::Delta(_) | Facts::Index(_) => Ok(Err(&Damage::TooLarge)),
    }
}

/// What the superblock of the delta from `from` to `to` says.
pub(crate) fn delta<'a>(
    file: &'a Resource,
    from: Option<&Checksum>,
    to: &Checksum,
    disk: Disk,
) -> Result<Result<&'a DeltaFacts, &'a Damage>, DiskError> {
    let read = |bytes: &[u8]| {
        Facts::Delta(match DeltaSuperblock::parse(bytes) {
            Ok(block) if block.to != *to || block.from.as_ref() != from => {
                Err(Damage::OtherDelta { from: block.from, to: block.to })
            }
            // The reader has made sure that `to` is the checksum of the commit inside.
            Ok(block) => Ok(DeltaFacts { from: block.from, to: block.to, commit: block.commit.into() }),
            Err(error) => Err(error.into()),
        })
    };
    let too_large = || Facts::Delta(Err(Damage::TooLarge));
    match facts(file, MAX_SUPERBLOCK_BYTES, disk, read, too_large)? {
        Facts::Delta(facts) => Ok(facts.as_ref()),
        Facts::Commit(_) | Facts::Index(_) => Ok(Err(&Damage::TooLarge)),
    }
}

/// The token type that a `summary` gives commits without one of their own, `xa.default-token-type`.
pub(crate) fn default_token_type(
    file: &Resource,
    disk: Disk,
) -> Result<Result<Option<i32>, &Damage>, DiskError> {
    let read = |bytes: &[u8]| {
        let default = Summary::parse(bytes).map(|summary| summary.metadata.default_token_type);
        Facts::Index(default.map_err(Damage::from))
    };
    index_facts(file, disk, read)
}

/// As [`default_token_type`], of a `summary.idx`.
pub(crate) fn default_token_type_of_index(
    file: &Resource,
    disk: Disk,
) -> Result<Result<Option<i32>, &Damage>, DiskError> {
    let read = |bytes: &[u8]| {
        let default = SummaryIndex::parse(bytes).map(|index| index.metadata.default_token_type);
        Facts::Index(default.map_err(Damage::from))
    };
    index_facts(file, disk, read)
}

fn index_facts(
    file: &Resource,
    disk: Disk,
    read: impl FnOnce(&[u8]) -> Facts,
) -> Result<Result<Option<i32>, &Damage>, DiskError> {
    match facts(file, MAX_SUMMARY_BYTES, disk, read, || Facts::Index(Err(Damage::TooLarge)))? {
        Facts::Index(default) => Ok(default.as_ref().copied()),
        Facts::Commit(_) | Facts::Delta(_) => Ok(Err(&Damage::TooLarge)),
    }
}

fn facts(
    file: &Resource,
    limit: u64,
    disk: Disk,
    read: impl FnOnce(&[u8]) -> Facts,
    too_large: impl FnOnce() -> Facts,
) -> Result<&Facts, DiskError> {
    if let Some(known) = file.facts.get() {
        return Ok(known);
    }
    if disk == Disk::Cached && file.size() > PARSE_INLINE_BYTES {
        return Err(DiskError::WouldWait);
    }
    let found = match file.whole(limit, disk) {
        Ok(bytes) => read(&bytes),
        Err(DiskError::TooLarge(_)) => too_large(),
        Err(error) => return Err(error),
    };
    Ok(file.facts.get_or_init(|| found))
}
