//! The index for one set of refs.

use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use flatpass_ostree::{
    AppList, AppListSource, Checksum, Fate, ObjectKind, RefPath, RepoPath, SummarySource, gzip,
};
use flatpass_token::RefName;

use super::catalogue::Catalogue;
use super::signature::{SIGNATURE_BYTES, Signature};
use super::{IndexSigner, Listed};
use crate::disk::Disk;
use crate::moment::Moment;
use crate::refusal::Refusal;
use crate::resource::Resource;

/// What an entry in the tables costs beyond the file's content.
const OVERHEAD_BYTES: u64 = 512;

/// A file that is known by a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// `summaries/HEX.gz`
    SubSummary(Checksum),
    /// `summaries/HEX.idx.sig`
    IndexSignature(Checksum),
    /// `objects/xx/HEX.KIND`, of a list of apps.
    Object(Checksum, ObjectKind),
}

/// What has a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Signed {
    Summary,
    Index,
    /// The commit of a list of apps.
    Commit(Checksum),
}

/// All that is made for one set of refs. Nothing in it changes; signatures but the index's are made when they are asked for.
#[derive(Debug)]
pub(super) struct Personal {
    made_at: Moment,
    refs: Box<[RefName]>,
    summary: Option<Arc<Resource>>,
    index: Option<Arc<Resource>>,
    index_checksum: Option<Checksum>,
    items: HashMap<Item, Arc<Resource>>,
    signatures: HashMap<Signed, Signature>,
    /// The operator's own objects that its lists of apps refer to.
    on_disk: HashSet<Item>,
    /// The refs of its lists of apps.
    heads: HashMap<String, Arc<Resource>>,
}

impl Personal {
    /// Makes it. That takes some ten milliseconds for thousands of refs.
    pub(super) fn make(
        catalogue: &Catalogue,
        bits: &[u64],
        signer: Option<&Arc<dyn IndexSigner>>,
        now: Moment,
    ) -> Self {
        let refs: Box<[RefName]> = catalogue.names(bits).cloned().collect();
        let kept: HashSet<&str> = refs.iter().map(RefName::as_str).collect();
        let mut signatures = HashMap::new();
        let mut sign = |what, file: &Arc<Resource>| {
            if let Some(signer) = signer {
                signatures.insert(what, Signature::new(signer, Arc::clone(file), now));
            }
        };
        let mut items = HashMap::new();
        let mut on_disk = HashSet::new();
        let mut heads = HashMap::new();
        let mut app_lists = HashMap::new();
        for (name, list) in app_lists_with(catalogue, &refs, &kept) {
            on_disk.extend(list.kept.iter().map(|(checksum, kind)| Item::Object(*checksum, *kind)));
            for (checksum, kind, content) in list.made {
                let file = made(content);
                if kind == ObjectKind::Commit {
                    app_lists.insert(name, (checksum, file.size()));
                    sign(Signed::Commit(checksum), &file);
                }
                items.insert(Item::Object(checksum, kind), file);
            }
            heads.insert(name.to_owned(), made(format!("{}\n", list.commit).into_bytes()));
        }
        let fate = |name: &str| match app_lists.get(name) {
            Some((commit, size)) => Fate::Point { commit: *commit, size: *size },
            None if kept.contains(name) => Fate::Keep,
            None => Fate::Leave,
        };
        let summary = catalogue.summary.as_ref().map(|source| made(source.with_refs(fate)));
        if let Some(summary) = &summary {
            sign(Signed::Summary, summary);
        }
        let mut subsummaries = HashMap::new();
        for (old, source) in &catalogue.subsummaries {
            if !lists_some(source, &kept) {
                continue;
            }
            let content = source.with_refs(fate);
            let new = Checksum::of(&content);
            items.insert(Item::SubSummary(new), made(gzip(&content)));
            subsummaries.insert(*old, new);
        }
        let index = catalogue.index.as_ref();
        let index = index.map(|source| source.with_subsummaries(|old| subsummaries.get(old).copied()));
        let index_checksum = index.as_deref().map(Checksum::of);
        let index = index.map(made);
        if let Some(index) = &index {
            sign(Signed::Index, index);
        }
        // All clients ask for this one next. If it cannot be made, they are told then.
        if let Some(signature) = signatures.get(&Signed::Index) {
            let _made = signature.file(Disk::Wait);
        }
        Self { made_at: now, summary, index, index_checksum, items, signatures, on_disk, heads, refs }
    }

    pub(super) fn made_at(&self) -> Moment {
        self.made_at
    }

    /// The refs in it.
    pub(super) fn refs(&self) -> impl Iterator<Item = &RefName> {
        self.refs.iter()
    }

    /// What it is found by.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        let signed = self.signatures.keys().filter_map(|signed| match signed {
            Signed::Summary => None,
            Signed::Index => self.index_checksum.map(Item::IndexSignature),
            Signed::Commit(checksum) => Some(Item::Object(*checksum, ObjectKind::CommitMeta)),
        });
        self.items.keys().chain(&self.on_disk).copied().chain(signed)
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let named = [&self.summary, &self.index].into_iter().flatten();
        let content: u64 = named.chain(self.items.values()).map(|file| file.size() + OVERHEAD_BYTES).sum();
        let signatures = self.signatures.len() as u64 * (SIGNATURE_BYTES + OVERHEAD_BYTES);
        let refs: u64 = self.refs.iter().map(|name| name.as_str().len() as u64 + 32).sum();
        content + signatures + refs + OVERHEAD_BYTES + 64 * self.on_disk.len() as u64
    }

    /// The file at that path of the index.
    ///
    /// # Errors
    /// As [`Signature::file`].
    pub(super) fn index_file(&self, path: &RepoPath, disk: Disk) -> Result<Option<Arc<Resource>>, Refusal> {
        Ok(match path {
            RepoPath::Summary => self.summary.clone(),
            RepoPath::SummarySig => self.signature(Signed::Summary, disk)?,
            RepoPath::SummaryIdx => self.index.clone(),
            RepoPath::SummaryIdxSig => self.signature(Signed::Index, disk)?,
            RepoPath::SummaryIdxSigOf(checksum) => self.item(Item::IndexSignature(*checksum), disk)?,
            RepoPath::SubSummary(checksum) => self.item(Item::SubSummary(*checksum), disk)?,
            RepoPath::Ref(RefPath::Head(name)) => self.heads.get(&**name).cloned(),
            _ => None,
        })
    }

    /// The file with that checksum.
    ///
    /// # Errors
    /// As [`Signature::file`].
    pub(super) fn item(&self, item: Item, disk: Disk) -> Result<Option<Arc<Resource>>, Refusal> {
        match item {
            Item::IndexSignature(checksum) if self.index_checksum == Some(checksum) => {
                self.signature(Signed::Index, disk)
            }
            Item::Object(checksum, ObjectKind::CommitMeta) => self.signature(Signed::Commit(checksum), disk),
            _ => Ok(self.items.get(&item).cloned()),
        }
    }

    fn signature(&self, signed: Signed, disk: Disk) -> Result<Option<Arc<Resource>>, Refusal> {
        self.signatures.get(&signed).map(|signature| signature.file(disk)).transpose()
    }

    /// The object of its lists of apps.
    ///
    /// # Errors
    /// As [`Signature::file`].
    pub(super) fn object(&self, item: Item, disk: Disk) -> Result<Option<Listed>, Refusal> {
        let made = self.item(item, disk)?.map(Listed::Made);
        Ok(made.or_else(|| self.on_disk.contains(&item).then_some(Listed::OnDisk)))
    }
}

/// The lists of apps of the architectures that these refs have. They are by far the most of the work, so two are made at a time.
fn app_lists_with<'a>(
    catalogue: &'a Catalogue,
    refs: &[RefName],
    kept: &HashSet<&str>,
) -> Vec<(&'a str, AppList)> {
    let wanted = |name: &str| refs.iter().any(|one| name.ends_with(&format!("/{}", one.arch())));
    let sources: Vec<_> = catalogue.app_lists.iter().filter(|(name, _)| wanted(name)).collect();
    let (mine, others) = sources.split_at(sources.len().div_ceil(2));
    let make = |sources: &[(&'a String, &Arc<AppListSource>)]| -> Vec<_> {
        sources
            .iter()
            .map(|(name, source)| (name.as_str(), source.with_refs(|name| kept.contains(name))))
            .collect()
    };
    thread::scope(|scope| {
        let beside = thread::Builder::new().spawn_scoped(scope, || make(others));
        let mut lists = make(mine);
        lists.extend(match beside {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The system has no thread for it.
            Err(_) => make(others),
        });
        lists
    })
}

/// Whether a per-architecture summary has any of these refs.
fn lists_some(source: &SummarySource, kept: &HashSet<&str>) -> bool {
    source.refs().chain(source.mirrored()).any(|(name, _)| kept.contains(name))
}

fn made(content: Vec<u8>) -> Arc<Resource> {
    Arc::new(Resource::made(content))
}
