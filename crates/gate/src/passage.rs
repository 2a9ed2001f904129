//! One request on its way through a gate: what is this path, what does it need, does the visitor have it?

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use flatpass_ostree::{Checksum, DeltaFile, ObjectKind, RefPath, RepoPath};
use flatpass_token::{RefName, Verb, VerifiedToken, VerifyError};

use crate::answer::{Body, HeadWriter};
use crate::credentials::{self, Unknown};
use crate::disk::{Disk, DiskError};
use crate::facts::{self, CommitFacts, Damage};
use crate::file_cache::Freshness;
use crate::gate::Gate;
use crate::listing::{Asking, Listed, Listings};
use crate::moment::Moment;
use crate::object_index::{Current, Judgement, SetId, Way};
use crate::origin::NotBrought;
use crate::policy::{Policy, Rules, opens, shows};
use crate::refusal::{Refusal, Scope};
use crate::representation::{Representation, whole_head};
use crate::request::{Method, Request};
use crate::resource::{Caching, Resource};

/// One request on its way through the gate.
pub(crate) struct Passage<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) rules: &'a Rules,
    /// What these rules make of the object index.
    pub(crate) judgement: &'a ArcSwapOption<Judgement>,
    pub(crate) request: &'a Request<'a>,
    pub(crate) now: Moment,
    pub(crate) disk: Disk,
}

/// A file that may be served, and who may keep it.
pub(crate) struct Permitted {
    pub(crate) file: Arc<Resource>,
    pub(crate) caching: Caching,
}

impl Representation for Permitted {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn etag(&self) -> &str {
        self.file.etag()
    }

    fn last_modified(&self) -> Option<&str> {
        self.file.last_modified()
    }

    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn describe(&self, head: HeadWriter) -> HeadWriter {
        self.file.describe(head, self.caching)
    }

    fn head(&self) -> Bytes {
        self.file.head(self.caching, || whole_head(self))
    }

    fn body(&self, start: u64, end: u64) -> Body {
        self.file.body(start, end)
    }
}

/// That something may be served.
struct Permission {
    /// Because of a token, so nobody but its bearer may have it.
    gated: bool,
    /// The file that the decision was made from. Where that is the file asked for, this very state of it is served and not
    /// what may have taken its place since.
    decided_by: Option<Arc<Resource>>,
}

impl Permission {
    const fn gated_if(gated: bool) -> Self {
        Self { gated, decided_by: None }
    }
}

impl Passage<'_> {
    /// Decides. Under `private`, who has no good token learns nothing: the path is not even looked at before.
    pub(crate) fn permit(&self) -> Result<Permitted, Refusal> {
        let visitor = match self.rules.policy() {
            Policy::Private => Some(self.verify()?),
            Policy::Open | Policy::Refs | Policy::Objects => None,
        };
        let visitor = visitor.as_ref();
        self.gate.follow(self.now);
        if self.request.method == Method::Other {
            return Err(Refusal::Method);
        }
        let path = RepoPath::parse(self.request.path).ok_or(Refusal::NotFound)?;
        let decided = self.permit_path(&path, visitor);
        if let (Some(origin), Ok(_)) = (self.gate.origin(), &decided) {
            origin.used(&path);
        }
        if let (Err(Refusal::NotFound | Refusal::OutOfScope(_)), RepoPath::Object { checksum, kind }) =
            (&decided, &path)
            && let Some(listed) = self.serve_listed(checksum, *kind, visitor)?
        {
            // What is not there, or not theirs, may still be an object of the list of apps that was made for them.
            return Ok(listed);
        }
        match (decided, visitor) {
            (Err(refusal @ Refusal::OutOfScope(Scope::Download)), Some(visitor)) => {
                self.decide_after_a_look(&path, visitor, refusal)
            }
            (decided, _) => decided,
        }
    }

    /// Under `private`, nobody is refused a part of the repo before the index of its objects has looked at the repo once more. An object that
    /// it has only in what is not theirs, or not at all, may be in a commit of theirs that came since. And absent and forbidden are the
    /// same, in time too: what it took to find out which of them it is disappears in the wait, which begins and ends for all together.
    fn decide_after_a_look(
        &self,
        path: &RepoPath,
        visitor: &VerifiedToken,
        refusal: Refusal,
    ) -> Result<Permitted, Refusal> {
        if self.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        let Some(index) = self.gate.objects() else { return Err(refusal) };
        let has_looked = index.wait_for_look(Some(visitor.subject()));
        match path {
            RepoPath::Object {
                kind: ObjectKind::DirTree | ObjectKind::DirMeta | ObjectKind::FileZ, ..
            } => match self.permit_path(path, Some(visitor)) {
                Err(Refusal::OutOfScope(_)) if !has_looked => Err(Refusal::NotIndexed),
                decided => decided,
            },
            // Commits and deltas say themselves whose they are, and are read when they are asked for.
            _ => Err(refusal),
        }
    }

    fn permit_path(&self, path: &RepoPath, visitor: Option<&VerifiedToken>) -> Result<Permitted, Refusal> {
        // Only the canonical spelling of a path parses, so the request's own text is the file's name.
        debug_assert_eq!(path.relative_path(), self.request.path);
        let name = self.request.path;
        match path {
            // Every pull begins with it, with whatever token there is.
            RepoPath::Config => self.serve(Permission::gated_if(visitor.is_some()), Freshness::Mutable),
            RepoPath::Summary
            | RepoPath::SummarySig
            | RepoPath::SummaryIdx
            | RepoPath::SummaryIdxSig
            | RepoPath::SummaryIdxSigOf(_)
            | RepoPath::SubSummary(_)
            | RepoPath::SubSummaryDelta { .. }
            | RepoPath::Ref(_) => self.serve_index(path, visitor),
            RepoPath::Object { checksum, kind: ObjectKind::Commit } => {
                self.serve(self.permit_commit(checksum, name, visitor)?, Freshness::Commit)
            }
            // Signatures are added to a commit later, deltas made: these files change.
            RepoPath::Object { checksum, kind: ObjectKind::CommitMeta }
            | RepoPath::DeltaIndex { to: checksum } => {
                let commit = RepoPath::Object { checksum: *checksum, kind: ObjectKind::Commit };
                let permission = self.permit_commit(checksum, &commit.relative_path(), visitor)?;
                self.serve(Permission::gated_if(permission.gated), Freshness::Mutable)
            }
            RepoPath::Object {
                checksum,
                kind: ObjectKind::DirTree | ObjectKind::DirMeta | ObjectKind::FileZ,
            } => self.serve(self.permit_object(checksum, name, visitor)?, Freshness::Object),
            RepoPath::Delta { from, to, file: DeltaFile::Superblock } => {
                self.serve(self.permit_delta(from.as_ref(), to, name, visitor)?, Freshness::Mutable)
            }
            RepoPath::Delta { from, to, file: DeltaFile::Part(_) } => {
                let block = RepoPath::Delta { from: *from, to: *to, file: DeltaFile::Superblock };
                let permission = self.permit_delta(from.as_ref(), to, &block.relative_path(), visitor)?;
                self.serve(Permission::gated_if(permission.gated), Freshness::Mutable)
            }
        }
    }

    /// The file asked for, if it is there.
    fn serve(&self, permission: Permission, freshness: Freshness) -> Result<Permitted, Refusal> {
        let file = match permission.decided_by {
            Some(file) => file,
            None => match self.fetch_sound(self.request.path, freshness)? {
                Some(file) => file,
                None => self.bring(self.request.path, freshness, self.bearer().as_ref())?,
            },
        };
        let caching = match (permission.gated, freshness) {
            (true, _) => Caching::Gated,
            (false, Freshness::Object | Freshness::Commit) => Caching::Immutable,
            (false, Freshness::Mutable) => Caching::Mutable,
        };
        Ok(Permitted { file, caching })
    }

    /// A file of the index: the operator's own, or what was made for this visitor.
    fn serve_index(&self, path: &RepoPath, visitor: Option<&VerifiedToken>) -> Result<Permitted, Refusal> {
        let (permission, of_app) = match path {
            RepoPath::Ref(path) => {
                let (RefPath::Head(name) | RefPath::Mirror { name, .. }) = path;
                (self.permit_ref(path, visitor)?, RefName::parse(name).is_ok())
            }
            _ => (self.permit_index(visitor)?, false),
        };
        let Some((listings, asking)) = self.partial_lister(visitor).filter(|_| !of_app) else {
            return self.serve(permission, Freshness::Mutable);
        };
        let file = listings.index_file(asking, path)?.ok_or(Refusal::NotFound)?;
        Ok(Permitted { file, caching: Caching::Gated })
    }

    /// An object of the list of apps that was made for this visitor.
    fn serve_listed(
        &self,
        checksum: &Checksum,
        kind: ObjectKind,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Option<Permitted>, Refusal> {
        let Some((listings, asking)) = self.partial_lister(visitor) else { return Ok(None) };
        match listings.object(asking, checksum, kind)? {
            None => Ok(None),
            Some(Listed::Made(file)) => Ok(Some(Permitted { file, caching: Caching::Gated })),
            Some(Listed::OnDisk) => self.serve(Permission::gated_if(true), Freshness::Object).map(Some),
        }
    }

    /// Who may list some refs of a private repo whose index is per person, and not all.
    fn partial_lister<'a>(
        &'a self,
        visitor: Option<&'a VerifiedToken>,
    ) -> Option<(&'a Listings, Asking<'a>)> {
        let (listings, token) = (self.gate.listings()?, visitor?);
        if token.allows_everything(Verb::List) || !token.allows_any(Verb::List) {
            return None;
        }
        Some((listings, Asking { gate: self.gate, token, now: self.now, disk: self.disk }))
    }

    fn verify(&self) -> Result<VerifiedToken, Refusal> {
        let now = self.now.unix();
        let used = |token: &VerifiedToken| {
            if let Some(uses) = self.gate.uses() {
                uses.note(token.id(), now, self.request);
            }
        };
        let verifier = self.gate.verifier();
        credentials::verify_asking(&self.request.headers, verifier, now, self.disk, used).map_err(|unknown| {
            match unknown {
                Unknown::Refused(VerifyError::Unasked) => Refusal::WouldWait,
                other => Refusal::Unknown(other),
            }
        })
    }

    /// The list of refs and what belongs to it.
    fn permit_index(&self, visitor: Option<&VerifiedToken>) -> Result<Permission, Refusal> {
        match visitor {
            None => Ok(Permission::gated_if(false)),
            // The list that a peer copied is what its own account may see, and is made for nobody else.
            Some(token) if self.gate.origin().is_some() && !token.allows_everything(Verb::List) => {
                Err(Refusal::NothingToSee)
            }
            Some(token) if token.allows_any(Verb::List) => Ok(Permission::gated_if(true)),
            Some(_) => Err(Refusal::NothingToSee),
        }
    }

    /// The file that says which commit a ref has. Refs of no app, such as the list of apps, belong to the list of refs.
    fn permit_ref(&self, path: &RefPath, visitor: Option<&VerifiedToken>) -> Result<Permission, Refusal> {
        let (RefPath::Head(name) | RefPath::Mirror { name, .. }) = path;
        let Some(token) = visitor.filter(|_| name.starts_with("app/") || name.starts_with("runtime/")) else {
            return self.permit_index(visitor);
        };
        match RefName::parse(name) {
            Ok(name) if token.allows(Verb::List, &name) => Ok(Permission::gated_if(true)),
            Ok(_) | Err(_) => Err(Refusal::OutOfScope(Scope::List)),
        }
    }

    /// A commit object at `path`, or what is about it.
    fn permit_commit(
        &self,
        checksum: &Checksum,
        path: &str,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Permission, Refusal> {
        if self.rules.policy() == Policy::Open {
            return Ok(Permission::gated_if(false));
        }
        let file = self.fetch_deciding(path, Freshness::Commit, visitor)?;
        let news = file.facts.get().is_none();
        let commit = facts::commit(&file, checksum, self.disk).map_err(|error| self.refusal(path, &error))?;
        let commit = commit.map_err(|damage| self.damaged(news, path, damage, Refusal::DamagedCommit))?;
        let gated = self.permit_facts(commit, checksum, visitor)?;
        Ok(Permission { gated, decided_by: Some(file) })
    }

    /// A part of a commit, at `path`: the commits that contain it decide.
    fn permit_object(
        &self,
        checksum: &Checksum,
        path: &str,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Permission, Refusal> {
        if !self.rules.policy().checks_objects() {
            // Who does not know the commit cannot name it.
            return Ok(Permission::gated_if(false));
        }
        let index = self.gate.objects().ok_or(Refusal::NotIndexed)?;
        let mut has_waited = false;
        loop {
            let current = index.current();
            if let Some(current) = &*current {
                // Before it is known whether the object is there: that takes as long for one that is not.
                let judgement = self.judge(current)?;
                match (current.find(checksum), visitor) {
                    (Some(set), _) => return self.permit_set(current, &judgement, set, visitor),
                    (None, Some(_)) => return Err(absent(visitor)),
                    (None, None) => {}
                }
            }
            if self.disk == Disk::Cached {
                return Err(Refusal::WouldWait);
            }
            // No commit had it at the last look. One that came since, or is still being walked, may have it.
            // At a peer the file itself may be missing.
            let cannot_come = || Ok(self.gate.origin().is_none() && !self.gate.has_file(path)?);
            if current.is_some() && (has_waited || cannot_come()?) {
                return Err(Refusal::NotFound);
            }
            drop(current);
            if has_waited || !index.wait_for_look(visitor.map(VerifiedToken::subject)) {
                return Err(Refusal::NotIndexed);
            }
            has_waited = true;
        }
    }

    /// An object of some commits, by the set of their classes.
    fn permit_set(
        &self,
        current: &Current,
        judgement: &Judgement,
        set: SetId,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Permission, Refusal> {
        let open = judgement.is_open(set);
        let way = |visitor| Way::DownloadOrList {
            judgement,
            lists_of_apps: self.partial_lister(Some(visitor)).is_none(),
        };
        match visitor {
            None if open => Ok(Permission::gated_if(false)),
            None if current.opens(&self.verify()?, set, Way::Download) => Ok(Permission::gated_if(true)),
            Some(token) if current.opens(token, set, way(token)) => Ok(Permission::gated_if(true)),
            None | Some(_) => Err(Refusal::OutOfScope(Scope::Download)),
        }
    }

    /// What of the object index is open to everybody.
    fn judge(&self, current: &Current) -> Result<Arc<Judgement>, Refusal> {
        let known = self.judgement.load();
        if let Some(known) = &*known
            && known.is_fresh(current, self.now)
        {
            return Ok(Arc::clone(known));
        }
        let default = self.default_token_type()?;
        if let Some(known) = &*known
            && known.holds(current, default, self.now)
        {
            return Ok(Arc::clone(known));
        }
        if self.disk == Disk::Cached && current.is_large() {
            return Err(Refusal::WouldWait);
        }
        let judgement = Arc::new(Judgement::of(current, self.rules, default, self.now));
        self.judgement.store(Some(Arc::clone(&judgement)));
        Ok(judgement)
    }

    /// A file of a static delta: the commit that it leads to decides, and its superblock, at `path`, has a copy of that.
    fn permit_delta(
        &self,
        from: Option<&Checksum>,
        to: &Checksum,
        path: &str,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Permission, Refusal> {
        if self.rules.policy() == Policy::Open {
            return Ok(Permission::gated_if(false));
        }
        let file = self.fetch_deciding(path, Freshness::Mutable, visitor)?;
        let news = file.facts.get().is_none();
        let delta = facts::delta(&file, from, to, self.disk).map_err(|error| self.refusal(path, &error))?;
        let delta = delta.map_err(|damage| self.damaged(news, path, damage, Refusal::DamagedDelta))?;
        let gated = self.permit_facts(&delta.commit, to, visitor)?;
        Ok(Permission { gated, decided_by: Some(file) })
    }

    /// Whether the answer is gated; or the refusal.
    fn permit_facts(
        &self,
        commit: &CommitFacts,
        checksum: &Checksum,
        visitor: Option<&VerifiedToken>,
    ) -> Result<bool, Refusal> {
        let default = match commit.token_type {
            Some(_) => None,
            None => self.default_token_type()?,
        };
        // The operator's list of apps is a part of the index, and as much of it may be had.
        if commit.is_list_of_apps && self.partial_lister(visitor).is_some() {
            return Err(Refusal::OutOfScope(Scope::Download));
        }
        let is_withheld = self.gate.origin().is_some_and(|origin| origin.withholds(checksum));
        let open = self.rules.is_open(commit, default) && !is_withheld;
        match visitor {
            None if open => Ok(false),
            None if opens(&self.verify()?, commit, checksum) => Ok(true),
            Some(token) if opens(token, commit, checksum) || (open && shows(token, commit, checksum)) => {
                Ok(true)
            }
            None | Some(_) => Err(Refusal::OutOfScope(Scope::Download)),
        }
    }

    /// The token type of commits that say none: 0 unless the summary says otherwise. `None` when the summary cannot be read, so that
    /// nobody knows.
    fn default_token_type(&self) -> Result<Option<i32>, Refusal> {
        let (path, file) = if let Some(file) = self.fetch("summary", Freshness::Mutable)? {
            ("summary", file)
        } else if let Some(file) = self.fetch("summary.idx", Freshness::Mutable)? {
            ("summary.idx", file)
        } else {
            return Ok(Some(0));
        };
        let news = file.facts.get().is_none();
        let default = match path {
            "summary" => facts::default_token_type(&file, self.disk),
            _ => facts::default_token_type_of_index(&file, self.disk),
        };
        match default.map_err(|error| self.refusal(path, &error))? {
            Ok(default) => Ok(default.or(Some(0))),
            Err(damage) => {
                self.damaged(news, path, damage, Refusal::Unreadable);
                Ok(None)
            }
        }
    }

    /// The file at `path`, which says who may have it.
    fn fetch_deciding(
        &self,
        path: &str,
        freshness: Freshness,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Arc<Resource>, Refusal> {
        if let Some(file) = self.fetch_sound(path, freshness)? {
            return Ok(file);
        }
        if self.gate.origin().is_none() {
            return Err(absent(visitor));
        }
        let unknown = match visitor {
            Some(visitor) => {
                return self.bring(path, freshness, Some(visitor)).map_err(|refusal| match refusal {
                    Refusal::NotFound | Refusal::NotBrought(NotBrought::TokenNeeded) => absent(Some(visitor)),
                    other => other,
                });
            }
            None => self.verify(),
        };
        self.bring(path, freshness, unknown.as_ref().ok()).map_err(|refusal| match (refusal, unknown) {
            (Refusal::NotBrought(NotBrought::TokenNeeded), Err(unknown)) => unknown,
            (Refusal::NotBrought(NotBrought::TokenNeeded), Ok(_)) => Refusal::OutOfScope(Scope::Download),
            (other, _) => other,
        })
    }

    /// Who asks a peer with a good token.
    fn bearer(&self) -> Option<VerifiedToken> {
        self.gate.origin().and_then(|_| self.verify().ok())
    }

    /// As [`Self::fetch`]. At a peer, whose disk may be any, the file was compared with its name before it is first served.
    fn fetch_sound(&self, path: &str, freshness: Freshness) -> Result<Option<Arc<Resource>>, Refusal> {
        let Some(origin) = self.gate.origin() else { return self.fetch(path, freshness) };
        let wanted = RepoPath::parse(path).ok_or(Refusal::NotFound)?;
        if origin.is_sound(&wanted) {
            return self.fetch(path, freshness);
        }
        if self.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        if !self.gate.has_file(path)? || !origin.inspect(&wanted) {
            return Ok(None);
        }
        self.fetch(path, freshness)
    }

    /// The file at `path`, which is not there, from where this peer has its files from; see [`crate::Origin::bring`].
    fn bring(
        &self,
        path: &str,
        freshness: Freshness,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Arc<Resource>, Refusal> {
        let origin = self.gate.origin().ok_or(Refusal::NotFound)?;
        let wanted = RepoPath::parse(path).ok_or(Refusal::NotFound)?;
        if self.disk == Disk::Cached {
            return Err(Refusal::WouldWait);
        }
        match origin.bring(&wanted, visitor) {
            Ok(()) => self.fetch(path, freshness)?.ok_or(Refusal::NotFound),
            Err(NotBrought::Absent) => Err(Refusal::NotFound),
            Err(why) => Err(Refusal::NotBrought(why)),
        }
    }

    fn fetch(&self, path: &str, freshness: Freshness) -> Result<Option<Arc<Resource>>, Refusal> {
        self.gate.fetch(path, freshness, self.now, self.disk)
    }

    fn refusal(&self, path: &str, error: &DiskError) -> Refusal {
        match error {
            DiskError::WouldWait => Refusal::WouldWait,
            other => self.gate.unreadable(path, other),
        }
    }

    /// Tells the operator, once for each state of the file and not whenever somebody asks for it, and refuses.
    fn damaged(&self, news: bool, path: &str, damage: &Damage, refusal: Refusal) -> Refusal {
        if news {
            tracing::warn!(repo = self.gate.name(), path, %damage, "a file of the repo is damaged");
        }
        refusal
    }
}

/// What decides is not there. To the tokens of a private repo absent and forbidden are the same: what a token may see says nothing
/// about the rest.
fn absent(visitor: Option<&VerifiedToken>) -> Refusal {
    match visitor {
        Some(_) => Refusal::OutOfScope(Scope::Download),
        None => Refusal::NotFound,
    }
}
