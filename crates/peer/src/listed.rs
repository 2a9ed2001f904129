//! What the copy of the store's summary lists: which commits are known to be of which refs, and which of them are free.

use std::collections::HashMap;

use flatpass_gate::Rules;
use flatpass_ostree::{Checksum, RepoPath, Summary, SummaryIndex, SummaryRef};
use flatpass_token::RefName;

use crate::check::MAX_SUMMARY;
use crate::folder::Folder;

/// The refs of the summaries.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    by_commit: HashMap<Checksum, Entry>,
    by_ref: HashMap<Box<str>, Checksum>,
}

#[derive(Debug)]
struct Entry {
    /// All of them, apps and runtimes or not.
    names: Vec<Box<str>>,
    token_type: i32,
}

impl Listed {
    /// Reads the summaries that are there. What is not there lists nothing.
    pub(crate) fn read(folder: &Folder) -> Self {
        let mut listed = Self::default();
        let read = |path: &RepoPath| folder.read(path, MAX_SUMMARY).ok().flatten();
        if let Some(summary) = read(&RepoPath::Summary).and_then(|bytes| Summary::parse(&bytes).ok()) {
            let default = summary.metadata.default_token_type.unwrap_or(0);
            listed.take(summary.refs, default);
        }
        if let Some(index) = read(&RepoPath::SummaryIdx).and_then(|bytes| SummaryIndex::parse(&bytes).ok()) {
            let default = index.metadata.default_token_type.unwrap_or(0);
            for entry in index.subsummaries.values() {
                let bytes = read(&RepoPath::SubSummary(entry.checksum));
                let summary = bytes
                    .and_then(|bytes| Summary::parse_compressed(&bytes, &entry.checksum, MAX_SUMMARY).ok());
                listed.take(summary.map(|summary| summary.refs).unwrap_or_default(), default);
            }
        }
        listed
    }

    fn take(&mut self, refs: Vec<SummaryRef>, default: i32) {
        for one in refs {
            let token_type = one.token_type.unwrap_or(default);
            let entry = self.by_commit.entry(one.checksum).or_insert(Entry { names: Vec::new(), token_type });
            // Whoever lists it as guarded wins.
            entry.token_type = entry.token_type.max(token_type);
            let name: Box<str> = one.name.into();
            if !entry.names.contains(&name) {
                entry.names.push(name.clone());
            }
            self.by_ref.insert(name, one.checksum);
        }
    }

    /// Whether the store says that it has this commit.
    pub(crate) fn has(&self, commit: &Checksum) -> bool {
        self.by_commit.contains_key(commit)
    }

    /// The apps and runtimes whose commit it is.
    pub(crate) fn names(&self, commit: &Checksum) -> Vec<RefName> {
        let names = self.by_commit.get(commit).map(|entry| entry.names.as_slice()).unwrap_or_default();
        names.iter().filter_map(|name| RefName::parse(name).ok()).collect()
    }

    /// Whether everybody may have that commit, as far as the summary says.
    pub(crate) fn is_open(&self, commit: &Checksum, rules: &Rules) -> bool {
        self.by_commit.get(commit).is_some_and(|entry| {
            // A list of apps has no name that a token could have, and no token type of its own.
            let is_list = entry.names.iter().all(|name| {
                &**name == "ostree-metadata"
                    || name.starts_with("appstream/")
                    || name.starts_with("appstream2/")
            });
            let token_type = if is_list { 0 } else { entry.token_type };
            rules.is_open_for(&self.names(commit), Some(token_type), None)
        })
    }

    /// The commit that the ref has.
    pub(crate) fn commit(&self, name: &str) -> Option<Checksum> {
        self.by_ref.get(name).copied()
    }

    /// The refs with their commits.
    pub(crate) fn refs(&self) -> impl Iterator<Item = (&str, Checksum)> {
        self.by_ref.iter().map(|(name, commit)| (&**name, *commit))
    }
}
