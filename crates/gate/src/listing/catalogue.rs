//! The operator's own index, taken apart: one state of it, out of which indexes for people are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatpass_ostree::{
    AppListSource, Checksum, IndexSource, ObjectKind, ReadError, RepoPath, SummarySource, gunzip,
};
use flatpass_token::RefName;

use super::Asking;
use crate::disk::{DiskError, Version};
use crate::facts::MAX_SUMMARY_BYTES;
use crate::file_cache::Freshness;
use crate::resource::Resource;

/// Tells one state of the operator's index from another: that of `summary` and of `summary.idx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<Version>; 2]);

impl Stamp {
    pub(super) fn of(files: &[Option<Arc<Resource>>; 2]) -> Self {
        Self(files.each_ref().map(|file| file.as_ref().map(|file| *file.version())))
    }
}

/// Why the index cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogueError {
    #[error("{path}: {error}")]
    Damaged { path: String, error: ReadError },
    #[error("{path}: {error}")]
    Disk { path: String, error: DiskError },
    #[error("{0} is not there")]
    Missing(String),
}

/// One state of the operator's index.
#[derive(Debug)]
pub(super) struct Catalogue {
    stamp: Stamp,
    generation: u64,
    /// The apps and runtimes in it, each once, in the order of their names.
    names: Vec<RefName>,
    pub(super) summary: Option<SummarySource>,
    pub(super) index: Option<IndexSource>,
    pub(super) subsummaries: BTreeMap<Checksum, SummarySource>,
    /// The lists of apps, by ref: `appstream2/x86_64`. One that cannot be read is left out.
    pub(super) app_lists: BTreeMap<String, Arc<AppListSource>>,
    /// The commit of each.
    app_list_commits: BTreeMap<String, Checksum>,
}

impl Catalogue {
    /// Reads the files that the operator made. It waits for the disk.
    pub(super) fn read(
        asking: Asking<'_>,
        files: &[Option<Arc<Resource>>; 2],
        stamp: Stamp,
        generation: u64,
        before: Option<&Self>,
    ) -> Result<Self, CatalogueError> {
        let [summary, index] = files;
        let damaged = |path: &str| {
            let path = path.to_owned();
            move |error| CatalogueError::Damaged { path, error }
        };
        let whole = |path: &str, file: &Resource| {
            file.whole(MAX_SUMMARY_BYTES, asking.disk)
                .map_err(|error| CatalogueError::Disk { path: path.to_owned(), error })
        };
        let summary = match summary {
            Some(file) => Some(SummarySource::read(&whole("summary", file)?).map_err(damaged("summary"))?),
            None => None,
        };
        let index = match index {
            Some(file) => {
                Some(IndexSource::read(&whole("summary.idx", file)?).map_err(damaged("summary.idx"))?)
            }
            None => None,
        };
        let mut subsummaries = BTreeMap::new();
        for (_, checksum) in index.iter().flat_map(IndexSource::subsummaries) {
            let path = RepoPath::SubSummary(*checksum).relative_path();
            let file = asking.gate.fetch(&path, Freshness::Mutable, asking.now, asking.disk);
            let file = match file {
                Ok(Some(file)) => file,
                Ok(None) | Err(_) => return Err(CatalogueError::Missing(path)),
            };
            let bytes = gunzip(&whole(&path, &file)?, checksum, MAX_SUMMARY_BYTES).map_err(damaged(&path))?;
            subsummaries.insert(*checksum, SummarySource::read(&bytes).map_err(damaged(&path))?);
        }
        let all = summary.iter().chain(subsummaries.values());
        let mut names: Vec<RefName> = all
            .flat_map(|source| source.refs().chain(source.mirrored()))
            .filter_map(|(name, _)| RefName::parse(name).ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut app_lists = BTreeMap::new();
        let mut app_list_commits = BTreeMap::new();
        for (name, commit) in summary.iter().chain(subsummaries.values()).flat_map(SummarySource::refs) {
            if !(name.starts_with("appstream/") || name.starts_with("appstream2/"))
                || app_list_commits.insert(name.to_owned(), *commit) == Some(*commit)
            {
                continue;
            }
            let unchanged = before.filter(|before| before.app_list_commits.get(name) == Some(commit));
            let known = unchanged.and_then(|before| before.app_lists.get(name));
            let list = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => {
                    let load = |checksum: &Checksum, kind| load(asking, checksum, kind);
                    AppListSource::read(commit, &load, app_lists.values().map(Arc::as_ref)).map(Arc::new)
                }
            };
            match list {
                Ok(list) => drop(app_lists.insert(name.to_owned(), list)),
                Err(error) => tracing::warn!(
                    repo = asking.gate.name(),
                    name,
                    %error,
                    "who may list a part of the repo gets no list of apps"
                ),
            }
        }
        Ok(Self { stamp, generation, names, summary, index, subsummaries, app_lists, app_list_commits })
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A bit for each name of which that is so.
    pub(super) fn bits(&self, is_so: impl Fn(&RefName) -> bool) -> Box<[u64]> {
        let word = |names: &[RefName]| {
            names.iter().enumerate().fold(0, |word, (at, name)| word | u64::from(is_so(name)) << at)
        };
        self.names.chunks(64).map(word).collect()
    }

    /// The names whose bits are set.
    pub(super) fn names<'a>(&'a self, bits: &'a [u64]) -> impl Iterator<Item = &'a RefName> {
        let is_set = |at: usize| bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
        self.names.iter().enumerate().filter(move |(at, _)| is_set(*at)).map(|(_, name)| name)
    }
}

/// The content of an object's file.
fn load(asking: Asking<'_>, checksum: &Checksum, kind: ObjectKind) -> Option<Vec<u8>> {
    let path = RepoPath::Object { checksum: *checksum, kind }.relative_path();
    let file = asking.gate.fetch(&path, Freshness::Object, asking.now, asking.disk).ok()??;
    Some(file.whole(MAX_SUMMARY_BYTES, asking.disk).ok()?.into())
}
