//! One image layout behind its policy.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use flatpass_oci::{Digest, Reference};
use flatpass_token::{CommitMade, Verb, VerifiedToken, Verifier};

use super::inspector::{Inspector, Unchecked};
use super::layout::{Blob, Document, Layout, Owner, Owners};
use super::lists;
use super::path::{ImagePath, PathError, Wanted};
use super::refusal::{Absent, Refusal};
use crate::accept::ManifestKind;
use crate::answer::{Answer, Body, HeadWriter};
use crate::credentials;
use crate::disk::{Disk, DiskError, Root};
use crate::file_cache::{FileCache, Freshness};
use crate::gate::GateError;
use crate::moment::Moment;
use crate::policy::{Policy, Rules};
use crate::representation::{Representation, respond, whole_head};
use crate::request::{Method, Request};
use crate::resource::{Caching, Resource};
use crate::uses::Uses;

/// The token type of an image that says none. The authority goes by the same.
const DEFAULT_TOKEN_TYPE: i32 = 0;

/// What the gate of a layout guards.
#[derive(Debug)]
pub struct LayoutGateConfig {
    /// The repo's name, which is the first part of its repositories' names.
    pub name: String,
    /// The folder that the layout was read from.
    pub root: PathBuf,
    /// What needs a token.
    pub rules: Rules,
    /// What is in the layout.
    pub layout: Arc<Layout>,
}

/// Guards one layout. Shared by all connections; everything works on `&self`.
#[derive(Debug)]
pub struct LayoutGate {
    name: String,
    root: Root,
    verifier: Arc<Verifier>,
    uses: Option<Arc<Uses>>,
    cache: Arc<FileCache>,
    number: u64,
    inspector: Inspector,
    state: ArcSwap<State>,
}

/// What changes together.
#[derive(Debug)]
struct State {
    rules: Rules,
    layout: Arc<Layout>,
    /// Which of the layout's images are open to everybody who may see the repo at all.
    open: Vec<bool>,
}

impl LayoutGate {
    /// Opens the layout's folder.
    ///
    /// # Errors
    /// [`GateError::Root`]
    pub fn open(
        config: LayoutGateConfig,
        verifier: Arc<Verifier>,
        cache: Arc<FileCache>,
    ) -> Result<Self, GateError> {
        let root = Root::open(&config.root)
            .map_err(|source| GateError::Root { path: config.root.clone(), source: source.into() })?;
        Ok(Self {
            name: config.name,
            root,
            verifier,
            uses: None,
            number: cache.register(),
            cache,
            inspector: Inspector::default(),
            state: ArcSwap::from_pointee(State::new(config.rules, config.layout)),
        })
    }

    /// Notes there when and from where access tokens are used.
    #[must_use]
    pub fn with_uses(self, uses: Arc<Uses>) -> Self {
        Self { uses: Some(uses), ..self }
    }

    /// The repo's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What checks the tokens of this repo.
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// From now on these rules count, and this is what is in the layout. Requests under way finish with what they began with.
    pub fn set(&self, rules: Rules, layout: &Arc<Layout>) {
        let before = self.state.swap(Arc::new(State::new(rules, Arc::clone(layout))));
        if !Arc::ptr_eq(&before.layout, layout) {
            self.inspector.keep(|digest| {
                layout.repositories.values().any(|repository| repository.blobs.contains_key(digest))
            });
        }
    }

    /// What the layout was when it was last read.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.state.load().layout)
    }

    /// Whether strangers learn nothing of it.
    pub(super) fn is_private(&self) -> bool {
        self.state.load().rules.policy() == Policy::Private
    }

    /// Who the request's credentials show, noting the use of an access token.
    pub(super) fn verify(&self, request: &Request<'_>, now: Moment) -> Result<VerifiedToken, Refusal> {
        let now = now.unix();
        let used = |token: &VerifiedToken| {
            if let Some(uses) = &self.uses {
                uses.note(token.id(), now, request);
            }
        };
        credentials::verify(&request.headers, &self.verifier, now, used).map_err(Refusal::Unknown)
    }

    /// Answers a request for something in the layout.
    pub(super) fn answer(
        &self,
        path: &Result<ImagePath, PathError>,
        request: &Request<'_>,
        now: Moment,
        disk: Disk,
    ) -> Result<Answer, Refusal> {
        let state = self.state.load();
        let visitor = match state.rules.policy() {
            Policy::Private => Some(self.verify(request, now)?),
            Policy::Open | Policy::Refs | Policy::Objects => None,
        };
        self.root.follow(now);
        if request.method == Method::Other {
            return Err(Refusal::Method);
        }
        let path = path.as_ref().map_err(|error| Refusal::Path(*error))?;
        Entry { gate: self, state: &state, visitor, request, now, disk }.answer(path)
    }
}

impl State {
    fn new(rules: Rules, layout: Arc<Layout>) -> Self {
        let is_open = |owner: &Owner| {
            let name = std::slice::from_ref(&owner.name);
            rules.is_open_for(name, owner.token_type, Some(DEFAULT_TOKEN_TYPE))
        };
        let open = layout.owners.iter().map(is_open).collect();
        Self { rules, layout, open }
    }
}

/// One request on its way through the gate.
struct Entry<'a> {
    gate: &'a LayoutGate,
    state: &'a State,
    /// In a private repo.
    visitor: Option<VerifiedToken>,
    request: &'a Request<'a>,
    now: Moment,
    disk: Disk,
}

impl Entry<'_> {
    fn answer(&self, path: &ImagePath) -> Result<Answer, Refusal> {
        let repository = self.state.layout.repositories.get(&path.repository);
        if let Wanted::Referrers(subject) = &path.wanted {
            let caching = self.listing()?;
            let may_be_seen = |digest: &Digest| {
                let document = repository.and_then(|repository| repository.manifests.get(digest));
                document.is_some_and(|document| self.may_see(&document.owners))
            };
            return Ok(lists::referrers(repository, subject, self.request, caching, may_be_seen));
        }
        let repository = repository.ok_or_else(|| self.absent(Absent::Repository))?;
        let document = |digest: &Digest| repository.manifests.get_key_value(digest);
        match &path.wanted {
            Wanted::Manifest(Reference::Digest(digest)) => {
                let (digest, document) = document(digest).ok_or_else(|| self.absent(Absent::Manifest))?;
                let gated = self.permit(&document.owners)?;
                self.manifest(digest, document, if gated { Caching::Gated } else { Caching::Immutable })
            }
            Wanted::Manifest(Reference::Tag(tag)) => {
                let target = repository.tags.get(tag).and_then(document);
                let (digest, tagged) = target.ok_or_else(|| self.absent(Absent::Manifest))?;
                let gated = self.permit(&tagged.owners)?;
                let caching = if gated { Caching::Gated } else { Caching::Mutable };
                match tagged.instead.as_ref().and_then(document).filter(|_| !self.takes(tagged)) {
                    // A client from before there were indexes.
                    Some((digest, image)) => {
                        self.permit(&image.owners)?;
                        self.manifest(digest, image, caching)
                    }
                    None => self.manifest(digest, tagged, caching),
                }
            }
            Wanted::Blob(digest) => {
                let blob = repository.blobs.get(digest).ok_or_else(|| self.absent(Absent::Blob))?;
                let gated = self.permit(&blob.owners)?;
                self.blob(digest, blob, if gated { Caching::Gated } else { Caching::Immutable })
            }
            Wanted::Tags => {
                let may_be_seen =
                    |digest: &Digest| document(digest).is_some_and(|(_, found)| self.may_see(&found.owners));
                let caching = self.listing()?;
                // Of a repository that has nothing for the visitor nobody says that it is there.
                if self.visitor.is_some() && !repository.tags.values().any(may_be_seen) {
                    return Err(Refusal::OutOfScope);
                }
                lists::tags(&path.repository, repository, self.request, caching, may_be_seen)
            }
            Wanted::Referrers(_) => Err(Refusal::Path(PathError::Endpoint)),
        }
    }

    fn manifest(&self, digest: &Digest, document: &Document, caching: Caching) -> Result<Answer, Refusal> {
        if !self.takes(document) {
            return Err(Refusal::NotAcceptable);
        }
        Ok(document.prepared(digest, caching).answer(self.request))
    }

    fn takes(&self, document: &Document) -> bool {
        let kind = ManifestKind::of(document.media_type.as_str());
        kind.is_none_or(|kind| self.request.headers.accept.takes(kind))
    }

    fn blob(&self, digest: &Digest, blob: &Blob, caching: Caching) -> Result<Answer, Refusal> {
        let gate = self.gate;
        let found =
            gate.cache.fetch(gate.number, &gate.root, &blob.path, Freshness::Object, self.now, self.disk);
        let file = found.map_err(|error| self.refusal(blob, &error))?;
        let file = file.ok_or_else(|| self.absent(Absent::Blob))?;
        let news = file.sound.get().is_none();
        match gate.inspector.is_sound(&file, digest, self.disk) {
            Ok(true) => {}
            Ok(false) => {
                if news {
                    tracing::error!(repo = gate.name, path = &*blob.path, "a blob of the layout is damaged");
                }
                return Err(Refusal::Damaged);
            }
            Err(Unchecked::Busy) => return Err(Refusal::Busy),
            Err(Unchecked::Disk(error)) => return Err(self.refusal(blob, &error)),
        }
        let etag = format!("\"{digest}\"");
        Ok(respond(&SoundBlob { file: &file, etag: &etag, caching }, self.request))
    }

    /// Whether what these images own is gated; or the refusal.
    fn permit(&self, owners: &Owners) -> Result<bool, Refusal> {
        if self.state.rules.policy() == Policy::Open {
            return Ok(false);
        }
        match &self.visitor {
            Some(visitor) if self.any(owners, |owner, open| opens(visitor, owner, open)) => Ok(true),
            Some(_) => Err(Refusal::OutOfScope),
            None if self.any(owners, |_, open| open) => Ok(false),
            None => {
                let visitor = self.gate.verify(self.request, self.now)?;
                // To somebody who is no member of a private repo nothing is "free for members".
                let opened = self.any(owners, |owner, _| opens(&visitor, owner, false));
                if opened { Ok(true) } else { Err(Refusal::OutOfScope) }
            }
        }
    }

    /// Whether the visitor may know of what these images own. Who may see a public repo may see all that is in it.
    fn may_see(&self, owners: &Owners) -> bool {
        let Some(visitor) = &self.visitor else { return true };
        self.any(owners, |owner, open| visitor.allows(Verb::List, &owner.name) || opens(visitor, owner, open))
    }

    /// Who may keep a list; or that there is none for this visitor.
    fn listing(&self) -> Result<Caching, Refusal> {
        match &self.visitor {
            None => Ok(Caching::Mutable),
            Some(visitor) if visitor.allows_any(Verb::List) || !visitor.grants().is_empty() => {
                Ok(Caching::Gated)
            }
            Some(_) => Err(Refusal::OutOfScope),
        }
    }

    fn any(&self, owners: &Owners, mut decides: impl FnMut(&Owner, bool) -> bool) -> bool {
        owners.iter().any(|number| {
            let number = *number as usize;
            let found = self.state.layout.owners.get(number).zip(self.state.open.get(number));
            found.is_some_and(|(owner, open)| decides(owner, *open))
        })
    }

    /// In a private repo absent and forbidden are the same.
    fn absent(&self, what: Absent) -> Refusal {
        if self.visitor.is_some() { Refusal::OutOfScope } else { Refusal::Absent(what) }
    }

    fn refusal(&self, blob: &Blob, error: &DiskError) -> Refusal {
        match error {
            DiskError::WouldWait => Refusal::WouldWait,
            error => {
                tracing::error!(repo = self.gate.name, path = &*blob.path, %error, "cannot read a blob of the layout");
                Refusal::Unreadable
            }
        }
    }
}

/// Whether the token opens an image: it must allow `download` of its ref, and of that very build; or the image is open in a private repo,
/// and the token allows `list` of its ref.
fn opens(token: &VerifiedToken, owner: &Owner, open: bool) -> bool {
    let made = CommitMade { checksum: owner.digest.as_bytes(), at: owner.made_at };
    token.allows_commit(Verb::Download, &owner.name, made)
        || (open && token.allows_commit(Verb::List, &owner.name, made))
}

/// A blob that was checked.
struct SoundBlob<'a> {
    file: &'a Resource,
    /// Its digest: so copies of a registry on several machines agree.
    etag: &'a str,
    caching: Caching,
}

impl Representation for SoundBlob<'_> {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn etag(&self) -> &str {
        self.etag
    }

    fn last_modified(&self) -> Option<&str> {
        None
    }

    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn describe(&self, head: HeadWriter) -> HeadWriter {
        head.field("Accept-Ranges", "bytes")
            .field("Cache-Control", self.caching.cache_control())
            .field("Docker-Content-Digest", self.etag.trim_matches('"'))
            .field("ETag", self.etag)
            .optional("Vary", (self.caching == Caching::Gated).then_some("Authorization"))
    }

    fn head(&self) -> Bytes {
        self.file.head(self.caching, || whole_head(self))
    }

    fn body(&self, start: u64, end: u64) -> Body {
        self.file.body(start, end)
    }
}
