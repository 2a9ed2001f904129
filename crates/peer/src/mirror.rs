//! `flatpass peer mirror`: chosen apps come in whole, before anybody asks for them.

use std::collections::BTreeSet;

use flatpass_gate::Policy;
use flatpass_ostree::graph::{MAX_DIRTREE_SIZE, Unread, Walk};
use flatpass_ostree::{Checksum, Commit, ObjectKind, RepoPath};
use flatpass_token::{RefName, Secret};
use futures_util::stream::{self, StreamExt as _};

use crate::check::{MAX_COMMIT, Wrong};
use crate::fetch::Failed;
use crate::index::as_error;
use crate::skeleton::{self, object};
use crate::wire::shown;
use crate::{Peer, PeerError};

/// So many files are asked for at once.
const AT_ONCE: usize = 8;

/// What came in of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The ref.
    pub name: String,
    /// Its commit.
    pub commit: Checksum,
    /// How many files it has.
    pub files: usize,
    /// How many of them came in now; the others were here.
    pub new: usize,
}

/// How far it is, for who waits.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The ref that is under way.
    pub name: &'a str,
    /// Its files that are here.
    pub done: usize,
    /// All its files.
    pub of: usize,
}

impl Peer {
    /// The refs of the store's list that a person means by `wanted`: a whole ref, an id, or `ID/ARCH/BRANCH` with empty parts for any.
    /// Its translations come along, as clients ask for them.
    pub fn matching(&self, wanted: &str) -> Vec<String> {
        let known = self.filler.0.known.load();
        let wanted =
            wanted.strip_prefix("app/").or_else(|| wanted.strip_prefix("runtime/")).unwrap_or(wanted);
        let mut parts = wanted.split('/');
        let (id, arch, branch) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let is_one = |given: &str, has: &str| given.is_empty() || given == has;
        let locale = format!("{id}.Locale");
        let matches = |name: &RefName| {
            !id.is_empty()
                && (name.id() == id || name.id() == locale)
                && is_one(arch, name.arch())
                && is_one(branch, name.branch())
        };
        let names = known.listed.refs().filter_map(|(name, _)| RefName::parse(name).ok());
        names.filter(matches).map(|name| name.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Brings in all of the commit that the ref has at the store now.
    ///
    /// # Errors
    /// A [`PeerError`]. What came in until then stays.
    pub async fn mirror(&self, name: &str, progress: impl Fn(Progress<'_>)) -> Result<Mirrored, PeerError> {
        let host = shown(&self.settings.store);
        let known = self.filler.0.known.load_full();
        let commit = known.listed.commit(name).ok_or_else(|| {
            PeerError::Refused(format!(
                "{name} is not in the list of {}: see what is with flatpak remote-ls",
                known.trust.info.repo_url
            ))
        })?;
        self.mirror_commit(name, commit, progress).await.map_err(|failed| match failed {
            Failed::Full(_) => PeerError::Full(self.folder.clone()),
            other => as_error(other, &host),
        })
    }

    async fn mirror_commit(
        &self,
        name: &str,
        checksum: Checksum,
        progress: impl Fn(Progress<'_>),
    ) -> Result<Mirrored, Failed> {
        let parts = &self.filler.0;
        let fetcher = &parts.fetcher;
        let known = parts.known.load_full();
        let policy = known.rules.policy();
        let token = if policy != Policy::Private && known.is_open(&checksum) {
            None
        } else {
            let names: Vec<_> = RefName::parse(name).into_iter().collect();
            parts.token(&known, &checksum, &names).await?
        };
        let token = token.as_ref().map(Secret::expose);
        skeleton::bring(fetcher, &checksum, token).await?;
        match fetcher.bring(&object(checksum, ObjectKind::CommitMeta), token).await {
            // It is not signed.
            Ok(()) | Err(Failed::Absent) => {}
            Err(error) => return Err(error),
        }
        let path = object(checksum, ObjectKind::Commit);
        let bytes = fetcher.folder.read(&path, MAX_COMMIT)?.ok_or(Failed::Absent)?;
        let commit = Commit::parse(&bytes).map_err(Wrong::from)?;
        let files: Vec<RepoPath> = files_of(&fetcher.folder, &commit)?
            .into_iter()
            .map(|file| object(file, ObjectKind::FileZ))
            .collect();
        let missing: Vec<_> = files.iter().filter(|path| !fetcher.folder.has(path)).collect();
        let mut done = files.len() - missing.len();
        let new = missing.len();
        let mut coming =
            stream::iter(missing).map(|path| fetcher.bring(path, token)).buffer_unordered(AT_ONCE);
        progress(Progress { name, done, of: files.len() });
        while let Some(brought) = coming.next().await {
            brought?;
            done += 1;
            progress(Progress { name, done, of: files.len() });
        }
        for path in files.iter().chain([&path]) {
            parts.last_use.note(path);
        }
        Ok(Mirrored { name: name.to_owned(), commit: checksum, files: files.len(), new })
    }

    /// Writes down what was used, and removes what is too much.
    ///
    /// # Errors
    /// [`PeerError::File`]
    pub fn settle(&self) -> Result<u64, PeerError> {
        self.filler
            .0
            .last_use
            .save()
            .map_err(|cause| PeerError::File { path: self.folder.clone(), cause })?;
        self.evict()
    }
}

/// The files of a commit whose directories are here.
fn files_of(folder: &crate::folder::Folder, commit: &Commit) -> Result<BTreeSet<Checksum>, Failed> {
    let mut files = BTreeSet::new();
    let read = |tree: &Checksum| match folder.read(&object(*tree, ObjectKind::DirTree), MAX_DIRTREE_SIZE) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Unread::Absent),
        Err(error) => Err(Unread::Failed(error)),
    };
    let gaps = Walk::new().commit(commit, read, |kind, checksum| {
        if kind == ObjectKind::FileZ {
            files.insert(checksum);
        }
    })?;
    if gaps.is_empty() { Ok(files) } else { Err(Failed::Absent) }
}
