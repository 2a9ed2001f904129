//! The index for one set of refs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use flatpass_ostree::{Checksum, Fate, ObjectKind, RefPath, RepoPath, SummarySource, gzip, signature_file};
use flatpass_token::RefName;

use super::catalogue::Catalogue;
use super::{IndexSigner, Listed};
use crate::moment::Moment;
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

/// All that is made for one set of refs. Nothing in it changes.
#[derive(Debug)]
pub(super) struct Personal {
    made_at: Moment,
    refs: Box<[RefName]>,
    summary: Option<Arc<Resource>>,
    summary_signature: Option<Arc<Resource>>,
    index: Option<Arc<Resource>>,
    index_signature: Option<Arc<Resource>>,
    items: HashMap<Item, Arc<Resource>>,
    /// The operator's own objects that its lists of apps refer to.
    on_disk: HashSet<Item>,
    /// The refs of its lists of apps.
    heads: HashMap<String, Arc<Resource>>,
}

impl Personal {
    /// Makes and signs it. That takes some milliseconds for thousands of refs.
    pub(super) fn make(
        catalogue: &Catalogue,
        bits: &[u64],
        signer: Option<&dyn IndexSigner>,
        now: Moment,
    ) -> Result<Self, String> {
        let refs: Box<[RefName]> = catalogue.names(bits).cloned().collect();
        let kept: HashSet<&str> = refs.iter().map(RefName::as_str).collect();
        let sign = |message: &[u8]| -> Result<Option<Vec<u8>>, String> {
            let Some(signer) = signer else { return Ok(None) };
            Ok(Some(signature_file(&[signer.sign(message, now.unix())?])))
        };
        let mut items = HashMap::new();
        let mut on_disk = HashSet::new();
        let mut heads = HashMap::new();
        let mut app_lists = HashMap::new();
        for (name, source) in &catalogue.app_lists {
            if !refs.iter().any(|one| name.ends_with(&format!("/{}", one.arch()))) {
                continue;
            }
            let list = source.with_refs(|name| kept.contains(name));
            on_disk.extend(list.kept.iter().map(|(checksum, kind)| Item::Object(*checksum, *kind)));
            for (checksum, kind, content) in list.made {
                if kind == ObjectKind::Commit {
                    app_lists.insert(name.as_str(), (checksum, content.len() as u64));
                    if let Some(signature) = sign(&content)? {
                        items.insert(Item::Object(checksum, ObjectKind::CommitMeta), made(signature));
                    }
                }
                items.insert(Item::Object(checksum, kind), made(content));
            }
            heads.insert(name.clone(), made(format!("{}\n", list.commit).into_bytes()));
        }
        let fate = |name: &str| match app_lists.get(name) {
            Some((commit, size)) => Fate::Point { commit: *commit, size: *size },
            None if kept.contains(name) => Fate::Keep,
            None => Fate::Leave,
        };
        let summary = catalogue.summary.as_ref().map(|source| source.with_refs(fate));
        let summary_signature = summary.as_deref().map(sign).transpose()?.flatten();
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
        let mut index_signature = None;
        if let Some(index) = &index
            && let Some(signature) = sign(index)?.map(made)
        {
            items.insert(Item::IndexSignature(Checksum::of(index)), Arc::clone(&signature));
            index_signature = Some(signature);
        }
        Ok(Self {
            made_at: now,
            summary: summary.map(made),
            summary_signature: summary_signature.map(made),
            index: index.map(made),
            index_signature,
            items,
            on_disk,
            heads,
            refs,
        })
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
        self.items.keys().chain(&self.on_disk).copied()
    }

    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let named = [&self.summary, &self.summary_signature, &self.index, &self.index_signature];
        let named = named.into_iter().flatten();
        let content: u64 = named.chain(self.items.values()).map(|file| file.size() + OVERHEAD_BYTES).sum();
        let refs: u64 = self.refs.iter().map(|name| name.as_str().len() as u64 + 32).sum();
        content + refs + OVERHEAD_BYTES + 64 * self.on_disk.len() as u64
    }

    /// The file at that path of the index.
    pub(super) fn index_file(&self, path: &RepoPath) -> Option<Arc<Resource>> {
        match path {
            RepoPath::Summary => self.summary.clone(),
            RepoPath::SummarySig => self.summary_signature.clone(),
            RepoPath::SummaryIdx => self.index.clone(),
            RepoPath::SummaryIdxSig => self.index_signature.clone(),
            RepoPath::SummaryIdxSigOf(checksum) => self.item(Item::IndexSignature(*checksum)),
            RepoPath::SubSummary(checksum) => self.item(Item::SubSummary(*checksum)),
            RepoPath::Ref(RefPath::Head(name)) => self.heads.get(&**name).cloned(),
            _ => None,
        }
    }

    /// The file with that checksum.
    pub(super) fn item(&self, item: Item) -> Option<Arc<Resource>> {
        self.items.get(&item).cloned()
    }

    /// The object of its lists of apps.
    pub(super) fn object(&self, item: Item) -> Option<Listed> {
        let made = self.item(item).map(Listed::Made);
        made.or_else(|| self.on_disk.contains(&item).then_some(Listed::OnDisk))
    }
}

/// Whether a per-architecture summary has any of these refs.
fn lists_some(source: &SummarySource, kept: &HashSet<&str>) -> bool {
    source.refs().chain(source.mirrored()).any(|(name, _)| kept.contains(name))
}

fn made(content: Vec<u8>) -> Arc<Resource> {
    Arc::new(Resource::made(content))
}
