//! Follows the container registries whose images are repos, beside the requests.
//!
//! For each there is a task ([`follower`]) that looks at it now and then, and at once where it tells of a change. A look ([`look`]) asks for the
//! tags and what each leads to; only what was never seen before is read. What was seen goes to the
//! [`Catalogues`](crate::catalogues::Catalogues), from where the snapshot takes it, and into a file ([`memory`]) for the next start. A registry that
//! is down is asked less and less often, and the others do not notice.

mod access;
mod follower;
mod look;
mod memory;
mod patience;
mod seen;
#[cfg(test)]
mod tests;
mod whole;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flatpass_oci::RepositoryName;
use flatpass_store::{Registry, Store, StoreError};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::follower::{Follower, Wanted};
use self::seen::Seen;
use self::whole::Whole;
use crate::app::App;
use crate::catalogues::Catalogues;
use crate::config::Config;

/// The registries that are followed.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    followed: Mutex<HashMap<String, Followed>>,
    /// What was read from files at the start, until each is followed.
    remembered: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug)]
struct Followed {
    registry: Registry,
    wanted: Arc<Wanted>,
    whole: Arc<Whole>,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registries {
    /// Reads what was seen before the last end of the server, so that it is served at once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn remember(
        config: &Config,
        store: &Store,
        catalogues: &Catalogues,
    ) -> Result<Self, StoreError> {
        let mut remembered = HashMap::new();
        for repo in store.repos().await? {
            let Some(registry) = repo.source.registry().cloned() else { continue };
            let file = memory::file(&config.state, &repo.name);
            let read = tokio::task::spawn_blocking(move || memory::read(&file, &registry)).await;
            match read {
                Ok(Ok(Some(seen))) => {
                    catalogues.put(&repo.name, &repo.source, seen.catalogue());
                    remembered.insert(repo.name, seen);
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(repo = repo.name, %error, "what was seen of the registry cannot be read; it is looked at anew");
                }
                Err(error) => tracing::error!(repo = repo.name, %error, "a file could not be read"),
            }
        }
        Ok(Self { followed: Mutex::default(), remembered: Mutex::new(remembered) })
    }

    /// Follows the registries that the snapshot has now, and no others.
    pub(crate) fn follow(&self, app: &Arc<App>) {
        let snapshot = app.snapshot.load_full();
        let now: HashMap<&str, &Registry> = snapshot
            .repos
            .values()
            .filter_map(|view| Some((view.repo.name.as_str(), view.repo.source.registry()?)))
            .collect();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed
            .retain(|repo, one| now.get(repo.as_str()).is_some_and(|registry| *registry == &one.registry));
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for (repo, registry) in now {
            if followed.contains_key(repo) {
                continue;
            }
            let seen = remembered.remove(repo);
            let (wanted, whole) = <(Arc<Wanted>, Arc<Whole>)>::default();
            let follower = Follower {
                app: Arc::downgrade(app),
                repo: repo.to_owned(),
                registry: registry.clone(),
                wanted: Arc::clone(&wanted),
                whole: Arc::clone(&whole),
                file: memory::file(&app.config.state, repo),
            };
            let usual = Duration::from_secs(app.config.registries.look_seconds);
            let task = tokio::spawn(Box::pin(follower.run(seen, usual))).abort_handle();
            followed.insert(repo.to_owned(), Followed { registry: registry.clone(), wanted, whole, task });
        }
    }

    /// Whether all of that repository was seen lately, as far as its repo is still this part of the registry.
    pub(crate) fn is_wholly_seen(
        &self,
        repo: &str,
        registry: &Registry,
        name: &RepositoryName,
        usual: Duration,
    ) -> bool {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let one = followed.get(repo).filter(|one| one.registry.is_same_part(registry));
        one.is_some_and(|one| one.whole.is_fresh(name, usual, Instant::now()))
    }

    /// The registry of that repo says that something changed there.
    pub(crate) fn tell(&self, repo: &str, names: impl IntoIterator<Item = RepositoryName>) {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = followed.get(repo) else { return };
        one.wanted.add(names.into_iter().filter(|name| one.registry.covers(name.as_str())));
    }
}
