//! One repo behind its policy: request in, answer out.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use flatpass_token::Verifier;
use rustix::io::Errno;

use crate::answer::Answer;
use crate::disk::{Disk, DiskError, Root};
use crate::file_cache::{FileCache, Freshness};
use crate::listing::{Listing, Listings, MOST_BYTES};
use crate::moment::Moment;
use crate::object_index::{Judgement, ObjectIndex};
use crate::origin::Origin;
use crate::passage::Passage;
use crate::policy::{Policy, Rules};
use crate::refusal::{Refusal, Refusals, Words};
use crate::representation::respond;
use crate::request::{Method, OwnedRequest, Request};
use crate::resource::Resource;
use crate::uses::Uses;

/// What a gate guards and how it speaks of it.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// The repo's name, for the log.
    pub name: String,
    /// The repo's folder: an OSTree repository of mode `archive-z2`.
    pub root: PathBuf,
    /// What needs a token.
    pub rules: Rules,
    /// The repo's public URL without a slash at its end, the realm of its challenges.
    pub public_url: String,
    /// Where a person can sign in and buy; refusals name it.
    pub sign_in_url: String,
    /// What the `type` of problem documents (RFC 9457) begins with: `https://shop.example/problems/`.
    pub problem_url: String,
    /// Which commits contain an object. Without it the policies that ask for that serve no dirtree, dirmeta and filez.
    pub objects: Option<Arc<ObjectIndex>>,
}

/// Why a gate cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The repo's folder cannot be opened.
    #[error("cannot open the repository {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Guards one repo. Shared by all connections; everything works on `&self`.
#[derive(Debug)]
pub struct Gate {
    name: String,
    root: Root,
    verifier: Arc<Verifier>,
    uses: Option<Arc<Uses>>,
    cache: Arc<FileCache>,
    objects: Option<Arc<ObjectIndex>>,
    number: u64,
    words: Words,
    state: ArcSwap<State>,
    listings: Option<Listings>,
    origin: Option<Arc<dyn Origin>>,
}

/// What changes together when the rules do.
#[derive(Debug)]
struct State {
    rules: Rules,
    refusals: Refusals,
    judgement: ArcSwapOption<Judgement>,
}

impl Gate {
    /// Opens the repo's folder. Nothing in it is read yet.
    ///
    /// # Errors
    /// [`GateError::Root`]
    pub fn open(
        config: GateConfig,
        verifier: Arc<Verifier>,
        cache: Arc<FileCache>,
    ) -> Result<Self, GateError> {
        let root = Root::open(&config.root)
            .map_err(|source| GateError::Root { path: config.root.clone(), source: source.into() })?;
        let words = Words {
            realm: config.public_url,
            sign_in_url: config.sign_in_url,
            problem_url: config.problem_url,
        };
        let state = State::new(config.rules, &words);
        Ok(Self {
            name: config.name,
            root,
            verifier,
            uses: None,
            objects: config.objects,
            number: cache.register(),
            cache,
            words,
            state: ArcSwap::from_pointee(state),
            listings: None,
            origin: None,
        })
    }

    /// The same, with another choice of who sees which index. It matters only while the repo is private.
    #[must_use]
    pub fn with_listing(self, listing: Listing) -> Self {
        self.with_listing_in(listing, MOST_BYTES)
    }

    /// The same, and the indexes take so many bytes of memory, unless one of them alone takes more.
    #[must_use]
    pub fn with_listing_in(self, listing: Listing, bytes: u64) -> Self {
        Self { listings: Listings::new(listing, bytes), ..self }
    }

    /// Notes there when and from where access tokens are used.
    #[must_use]
    pub fn with_uses(self, uses: Arc<Uses>) -> Self {
        Self { uses: Some(uses), ..self }
    }

    /// Asks that one for what the folder lacks.
    #[must_use]
    pub fn with_origin(self, origin: Arc<dyn Origin>) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// Where files come from that the folder lacks.
    pub(crate) fn origin(&self) -> Option<&dyn Origin> {
        self.origin.as_deref()
    }

    pub(crate) fn uses(&self) -> Option<&Uses> {
        self.uses.as_deref()
    }

    /// The repo's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From now on these rules count, also for files that are cached.
    pub fn set_rules(&self, rules: Rules) {
        self.state.store(Arc::new(State::new(rules, &self.words)));
    }

    /// What checks the tokens of this repo.
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Which commits contain an object.
    pub(crate) const fn objects(&self) -> Option<&Arc<ObjectIndex>> {
        self.objects.as_ref()
    }

    /// Answers a request. It may wait for the disk, so it is for threads that may; connections use
    /// [`Gate::answer_cached`] first.
    pub fn answer(&self, request: &Request<'_>, now: Moment) -> Answer {
        match self.answer_with(request, now, Disk::Wait) {
            Ok(answer) => answer,
            Err(WouldWait) => self.state.load().refusals.answer(Refusal::Unreadable),
        }
    }

    /// Answers a request if that is possible without waiting for the disk.
    ///
    /// # Errors
    /// [`WouldWait`]: ask [`Gate::answer`], on another thread.
    pub fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        self.answer_with(request, now, Disk::Cached)
    }

    /// Answers a request, on a thread of the blocking pool if the disk has to be waited for.
    pub(crate) async fn answer_anyhow(self: &Arc<Self>, request: OwnedRequest, now: Moment) -> Answer {
        let gate = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || gate.answer(&request.borrow(), now)).await;
        answer.unwrap_or_else(|_| self.state.load().refusals.answer(Refusal::Unreadable))
    }

    fn answer_with(&self, request: &Request<'_>, now: Moment, disk: Disk) -> Result<Answer, WouldWait> {
        let state = self.state.load();
        let passage =
            Passage { gate: self, rules: &state.rules, judgement: &state.judgement, request, now, disk };
        let answer = match passage.permit() {
            Ok(permitted) => respond(&permitted, request),
            Err(Refusal::WouldWait) => return Err(WouldWait),
            Err(refusal) => state.refusals.answer(refusal),
        };
        Ok(if request.method == Method::Head { answer.without_body() } else { answer })
    }

    /// The indexes per person, if there are any.
    pub(crate) fn listings(&self) -> Option<&Listings> {
        self.listings.as_ref()
    }

    /// Follows the operator who exchanges the repo's folder. For requests that may know whether there is one.
    pub(crate) fn follow(&self, now: Moment) {
        self.root.follow(now);
    }

    /// The file at that canonical path, as it is now.
    pub(crate) fn fetch(
        &self,
        path: &str,
        freshness: Freshness,
        now: Moment,
        disk: Disk,
    ) -> Result<Option<Arc<Resource>>, Refusal> {
        self.cache.fetch(self.number, &self.root, path, freshness, now, disk).map_err(|error| match error {
            DiskError::WouldWait => Refusal::WouldWait,
            DiskError::Changing | DiskError::TooLarge(_) | DiskError::System(_) => {
                self.unreadable(path, &error)
            }
        })
    }

    /// Whether there is a file at that canonical path. Waits for the disk.
    pub(crate) fn has_file(&self, path: &str) -> Result<bool, Refusal> {
        let found = self.root.open_file(path, Disk::Wait).map_err(|error| self.unreadable(path, &error))?;
        Ok(found.is_some())
    }

    /// Tells the operator, and refuses.
    pub(crate) fn unreadable(&self, path: &str, error: &DiskError) -> Refusal {
        if matches!(error, DiskError::System(Errno::MFILE | Errno::NFILE)) {
            tracing::error!(
                repo = self.name,
                path,
                "no more files can be opened: raise the limit on open files"
            );
        } else {
            tracing::error!(repo = self.name, path, %error, "cannot read a file of the repo");
        }
        Refusal::Unreadable
    }
}

/// The answer cannot be had without waiting for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk would have to be waited for")]
pub struct WouldWait;

impl State {
    fn new(rules: Rules, words: &Words) -> Self {
        let refusals = Refusals::new(words.clone(), rules.policy() == Policy::Private);
        Self { rules, refusals, judgement: ArcSwapOption::empty() }
    }
}
