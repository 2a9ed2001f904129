//! Follows one registry: looks at all of it now and then, and at a part of it when it tells of a change.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use flatpass_oci::client::{RegistryClient, RegistryError};
use flatpass_oci::{Catalogue, RepositoryName};
use flatpass_store::Registry;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::access::{self, OpenError, Opened};
use super::look::look;
use super::memory;
use super::patience::Patience;
use super::seen::Seen;
use crate::app::App;

/// Repositories that are looked at at the same time.
const AT_ONCE: usize = 4;
/// More names than this are not kept until the next look: then it is at all of them.
const MOST_WANTED: usize = 1000;

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
        wanted.extend(names.into_iter().take(MOST_WANTED));
        let any = !wanted.is_empty();
        drop(wanted);
        if any {
            self.wake.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<RepositoryName> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One registry and the repo it is.
pub(super) struct Follower {
    pub(super) app: Weak<App>,
    pub(super) repo: String,
    pub(super) registry: Registry,
    pub(super) wanted: Arc<Wanted>,
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
    pub(super) async fn run(self, mut seen: Seen, usual: Duration) {
        let mut patience = Patience::new(usual);
        let mut opened: Option<Opened> = None;
        let mut told_of_part = false;
        let mut next = Instant::now();
        let mut once_more = BTreeSet::new();
        let mut once_more_at = next;
        loop {
            let everything = tokio::select! {
                () = tokio::time::sleep_until(next) => true,
                () = self.wanted.wake.notified() => false,
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
            once_more.extend(told);
            let mut changed = false;
            let looked = match access::open(&app, &self.repo, &self.registry, opened.take()).await {
                Ok(mut ready) => {
                    let what = if everything || wanted.len() >= MOST_WANTED { None } else { Some(wanted) };
                    let looked = look_at(&ready.client, &self.registry, &mut seen, what, &mut changed).await;
                    if let Err(error) = ready.bind(&app, &self.repo).await {
                        tracing::warn!(repo = self.repo, %error, "to which token server the account belongs cannot be written down");
                    }
                    opened = Some(ready);
                    looked
                }
                Err(error) => Err(error.into()),
            };
            if changed || (looked.is_ok() && app.catalogues.get(&self.repo).is_none()) {
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

    fn publish(&self, app: &App, catalogue: Catalogue) {
        let images = catalogue.images().len();
        if app.catalogues.put(&self.repo, catalogue) {
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

/// Looks at these repositories of the registry, or at all of them, and puts into `seen` what could be seen.
///
/// # Errors
/// [`LookError`]. Where it ends early, because the registry is down or wants fewer requests, what came before stays seen.
pub(super) async fn look_at(
    client: &RegistryClient,
    registry: &Registry,
    seen: &mut Seen,
    what: Option<BTreeSet<RepositoryName>>,
    changed: &mut bool,
) -> Result<(), LookError> {
    let covered = |name: &RepositoryName| registry.covers(name.as_str());
    let everything = what.is_none();
    let names: BTreeSet<RepositoryName> = match (what, &registry.repositories) {
        (Some(names), _) => names.into_iter().filter(covered).collect(),
        (None, Some(names)) => {
            names.iter().filter_map(|name| RepositoryName::parse(name).ok()).filter(covered).collect()
        }
        (None, None) => client.repositories().await?.into_iter().filter(covered).collect(),
    };
    if everything {
        let before = seen.repositories.len();
        seen.repositories.retain(|name, _| names.contains(name));
        *changed |= seen.repositories.len() != before;
    }
    let known = &seen.repositories;
    let mut news = Vec::new();
    let mut failed: Vec<RegistryError> = Vec::new();
    let mut is_down = None;
    {
        let look_at_one = |name: RepositoryName| async move {
            let looked = look(client, &name, known.get(&name)).await;
            (name, looked)
        };
        let mut looks = std::pin::pin!(stream::iter(names).map(look_at_one).buffer_unordered(AT_ONCE));
        while let Some((name, looked)) = looks.next().await {
            match looked {
                Ok(found) if found.as_ref() == known.get(&name) => {}
                Ok(found) => news.push((name, found)),
                Err(error) => {
                    let goes_on = error.is_about_the_content()
                        || matches!(error, RegistryError::Refused { .. } | RegistryError::TooMany { .. });
                    tracing::debug!(repository = %name, %error, "a repository cannot be seen");
                    if !goes_on {
                        is_down = Some(error);
                        break;
                    }
                    failed.push(error);
                }
            }
        }
    }
    *changed |= !news.is_empty();
    for (name, found) in news {
        match found {
            Some(found) => seen.repositories.insert(name, found),
            None => seen.repositories.remove(&name),
        };
    }
    let count = failed.len();
    match (is_down, failed.into_iter().next()) {
        (None, None) => Ok(()),
        (Some(error), _) => Err(error.into()),
        (None, Some(first)) => Err(LookError::Part { count, first }),
    }
}
