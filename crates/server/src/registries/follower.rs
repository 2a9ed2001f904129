//! Follows one registry: looks at all of it now and then, and at a part of it when it tells of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use flatpass_oci::client::{RegistryClient, RegistryError};
use flatpass_oci::{Catalogue, RepositoryName};
use flatpass_store::{Registry, RepoSource};
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::access::{self, OpenError, Opened};
use super::look::{Looked, look};
use super::memory;
use super::patience::Patience;
use super::seen::{Seen, SeenRepository};
use super::whole::Whole;
use crate::app::App;

/// Repositories that are looked at at the same time.
const AT_ONCE: usize = 4;
/// More names than this are not kept until the next look: then it is at all of them.
const MOST_WANTED: usize = 1000;
/// When so many repositories give no answer and none does, the others are not asked.
const ALL_UNANSWERED: usize = 4;
/// Nor when so many in a row give none, though others did.
const MOST_UNANSWERED: usize = 64;
/// The most bytes that are kept of a registry.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// After so long a repository that a registry told of is looked at once more. docker-registry tells of a manifest before the tag leads to it.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// What is to be looked at soon.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    names: Mutex<BTreeSet<RepositoryName>>,
    wake: Notify,
}

impl Wanted {
    /// Something changed there.
    pub(super) fn add(&self, names: impl IntoIterator<Item = RepositoryName>) {
        let mut wanted = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        add_some(&mut wanted, names);
        let any = !wanted.is_empty();
        drop(wanted);
        if any {
            self.wake.notify_one();
        }
    }

    /// Waits for the next change that is told of, and until that moment at least.
    pub(super) async fn wake_after(&self, moment: Instant) {
        tokio::time::sleep_until(moment).await;
        self.wake.notified().await;
    }

    pub(super) fn take(&self) -> BTreeSet<RepositoryName> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Adds names until there are so many that all of the registry is looked at.
fn add_some(wanted: &mut BTreeSet<RepositoryName>, names: impl IntoIterator<Item = RepositoryName>) {
    let left = MOST_WANTED.saturating_sub(wanted.len());
    wanted.extend(names.into_iter().take(left));
}

/// One registry and the repo it is.
pub(super) struct Follower {
    pub(super) app: Weak<App>,
    pub(super) repo: String,
    pub(super) registry: Registry,
    pub(super) wanted: Arc<Wanted>,
    pub(super) whole: Arc<Whole>,
    pub(super) file: PathBuf,
}

/// Why a look did not see everything.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// All the others could be seen.
    #[error("{count} of its repositories cannot be seen; one because {first}")]
    Part { count: usize, first: RegistryError },
}

impl LookError {
    /// When the registry wants to be asked again.
    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Registry(RegistryError::Throttled { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }
}

impl Follower {
    /// Goes on until the server ends or the repo is another one.
    pub(super) async fn run(self, seen: Option<Seen>, usual: Duration) {
        let mut seen = self.begin(seen).await;
        let mut patience = Patience::new(usual);
        let mut opened: Option<Opened> = None;
        let mut told_of_part = false;
        let mut next = Instant::now();
        let mut once_more = BTreeSet::new();
        let mut once_more_at = next;
        let mut heed_from = next;
        let mut looked_at_all = false;
        loop {
            let everything = tokio::select! {
                () = tokio::time::sleep_until(next) => true,
                () = self.wanted.wake_after(heed_from) => false,
                () = tokio::time::sleep_until(once_more_at), if !once_more.is_empty() => false,
            };
            let Some(app) = self.app.upgrade() else { return };
            let told = self.wanted.take();
            let mut wanted = told.clone();
            if Instant::now() >= once_more_at {
                wanted.append(&mut once_more);
            }
            // Who is told again and again does not put it off.
            if once_more.is_empty() {
                once_more_at = Instant::now() + ONCE_MORE;
            }
            add_some(&mut once_more, told);
            let mut changed = false;
            let began = Instant::now();
            let everything = everything || wanted.len() >= MOST_WANTED;
            let looked = match access::open(&app, &self.repo, &self.registry, opened.take()).await {
                Ok(mut ready) => {
                    let what = (!everything).then_some(wanted);
                    let look = Look { client: &ready.client, registry: &self.registry, whole: &self.whole };
                    let looked = look.at(&mut seen, what, &mut changed).await;
                    if let Err(error) = ready.bind(&app, &self.repo).await {
                        tracing::warn!(repo = self.repo, %error, "to which token server the account belongs cannot be written down");
                    }
                    opened = Some(ready);
                    looked
                }
                Err(error) => Err(error.into()),
            };
            // Who has its secret makes it tell of changes all the time.
            heed_from = Instant::now() + ONCE_MORE.max(began.elapsed());
            let is_first = everything && looked.is_ok() && !std::mem::replace(&mut looked_at_all, true);
            if changed
                || is_first
                || (looked.is_ok() && app.catalogues.get(&self.repo, &self.source()).is_none())
            {
                self.publish(&app, seen.catalogue());
                seen = self.keep(seen).await;
            }
            match looked {
                Ok(()) if everything => {
                    told_of_part = false;
                    next = Instant::now() + patience.after_success();
                }
                Ok(()) => {}
                // The registry is well, so it is looked at as often as ever.
                Err(error @ LookError::Part { .. }) => {
                    if everything {
                        next = Instant::now() + patience.after_success();
                    }
                    if !std::mem::replace(&mut told_of_part, true) {
                        tracing::warn!(repo = self.repo, %error, "a part of the registry cannot be seen; what was seen of it last stays in force");
                    }
                }
                Err(error) => {
                    next = Instant::now() + patience.after_failure(error.retry_after());
                    if patience.is_first_failure() {
                        tracing::warn!(repo = self.repo, %error, "the registry cannot be looked at; what was seen last stays in force");
                    } else {
                        tracing::debug!(repo = self.repo, %error, "the registry still cannot be looked at");
                    }
                }
            }
        }
    }

    /// What is known at the beginning: what an earlier follower wrote down, as far as it is still a part of the repo.
    async fn begin(&self, seen: Option<Seen>) -> Seen {
        if let Some(seen) = seen {
            return seen;
        }
        let (file, registry) = (self.file.clone(), self.registry.clone());
        let read = tokio::task::spawn_blocking(move || memory::read(&file, &registry)).await;
        // A file that is damaged was told of at the start.
        let Some(seen) = read.ok().and_then(Result::ok).flatten() else { return Seen::default() };
        if let Some(app) = self.app.upgrade() {
            self.publish(&app, seen.catalogue());
        }
        seen
    }

    fn source(&self) -> RepoSource {
        RepoSource::Registry(self.registry.clone())
    }

    fn publish(&self, app: &App, catalogue: Catalogue) {
        let images = catalogue.images().len();
        if app.catalogues.put(&self.repo, &self.source(), catalogue) {
            tracing::info!(repo = self.repo, images, "the registry's images are taken up");
            app.wake.notify_one();
        }
    }

    /// Writes it into the file. When that fails a restart sees an older state until the first look.
    async fn keep(&self, seen: Seen) -> Seen {
        let (file, registry) = (self.file.clone(), self.registry.clone());
        let written = tokio::task::spawn_blocking(move || {
            let written = memory::write(&file, &registry, &seen);
            (written, seen)
        });
        let Ok((written, seen)) = written.await else { return Seen::default() };
        if let Err(error) = written {
            tracing::warn!(repo = self.repo, %error, "what was seen of the registry cannot be kept for a restart");
        }
        seen
    }
}

/// A look at a registry.
pub(super) struct Look<'a> {
    pub(super) client: &'a RegistryClient,
    pub(super) registry: &'a Registry,
    pub(super) whole: &'a Whole,
}

/// What came of it.
#[derive(Default)]
struct News {
    found: Vec<(RepositoryName, Option<SeenRepository>)>,
    failed: Vec<RegistryError>,
    answered: bool,
    /// The answers that did not come since the last one that did.
    unanswered: usize,
}

impl Look<'_> {
    /// Looks at these repositories of the registry, or at all of them, and puts into `seen` what could be seen.
    ///
    /// # Errors
    /// [`LookError`]. Where it ends early, because the registry is down or wants fewer requests, what came before stays seen.
    pub(super) async fn at(
        &self,
        seen: &mut Seen,
        what: Option<BTreeSet<RepositoryName>>,
        changed: &mut bool,
    ) -> Result<(), LookError> {
        let covered = |name: &RepositoryName| self.registry.covers(name.as_str());
        let everything = what.is_none();
        let names: BTreeSet<RepositoryName> = match (what, &self.registry.repositories) {
            (Some(names), _) => names.into_iter().filter(covered).collect(),
            (None, Some(names)) => {
                names.iter().filter_map(|name| RepositoryName::parse(name).ok()).filter(covered).collect()
            }
            (None, None) => self.client.repositories().await?.into_iter().filter(covered).collect(),
        };
        if everything {
            let before = seen.repositories.len();
            seen.repositories.retain(|name, _| names.contains(name));
            self.whole.keep(|name| names.contains(name));
            *changed |= seen.repositories.len() != before;
        }
        let (news, stopped) = self.at_each(names, &seen.repositories).await;
        *changed |= !news.found.is_empty();
        for (name, found) in news.found {
            match found {
                Some(found) => seen.repositories.insert(name, found),
                None => seen.repositories.remove(&name),
            };
        }
        let count = news.failed.len();
        match (stopped, news.failed.into_iter().next()) {
            (Some(error), _) => Err(error.into()),
            (None, Some(first)) => Err(LookError::Part { count, first }),
            (None, None) => Ok(()),
        }
    }

    /// Gives why it stopped, if it did, because nobody answers or fewer requests are wanted.
    async fn at_each(
        &self,
        names: BTreeSet<RepositoryName>,
        known: &BTreeMap<RepositoryName, SeenRepository>,
    ) -> (News, Option<RegistryError>) {
        // Those that gave trouble come last, so that they keep nobody from being seen.
        let (last, first): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| self.whole.failed(name));
        let began = Instant::now();
        let mut news = News::default();
        let mut bytes: usize = known.values().map(SeenRepository::bytes).sum();
        let look_at_one = |name: RepositoryName| async move {
            let looked = look(self.client, &name, known.get(&name)).await;
            (name, looked)
        };
        let names = first.into_iter().chain(last);
        let mut looks = std::pin::pin!(stream::iter(names).map(look_at_one).buffer_unordered(AT_ONCE));
        while let Some((name, looked)) = looks.next().await {
            let Looked { found, trouble } = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::debug!(repository = %name, %error, "a repository cannot be seen");
                    self.whole.put(&name, None);
                    let is_answer = error.is_about_the_content()
                        || matches!(error, RegistryError::Refused { .. } | RegistryError::TooMany { .. });
                    news.unanswered = if is_answer { 0 } else { news.unanswered + 1 };
                    news.answered |= is_answer;
                    if matches!(error, RegistryError::Throttled { .. }) {
                        return (news, Some(error));
                    }
                    news.failed.push(error);
                    let most = if news.answered { MOST_UNANSWERED } else { ALL_UNANSWERED };
                    if news.unanswered >= most {
                        break;
                    }
                    continue;
                }
            };
            (news.answered, news.unanswered) = (true, 0);
            news.failed.extend(trouble);
            let before = known.get(&name);
            if found.as_ref() != before {
                let more = bytes + found.as_ref().map_or(0, SeenRepository::bytes);
                let more = more.saturating_sub(before.map_or(0, SeenRepository::bytes));
                if more > MOST_BYTES && more > bytes {
                    self.whole.put(&name, None);
                    let (host, what) = (self.registry.host().to_owned(), "bytes of labels and tags");
                    news.failed.push(RegistryError::TooMany { host, what, limit: MOST_BYTES });
                    continue;
                }
                bytes = more;
            }
            let is_whole = found.as_ref().is_none_or(SeenRepository::is_whole);
            self.whole.put(&name, is_whole.then_some(began));
            if found.as_ref() != before {
                news.found.push((name, found));
            }
        }
        // When nobody answered, the registry is down.
        let stopped = if news.answered { None } else { news.failed.pop() };
        (news, stopped)
    }
}
