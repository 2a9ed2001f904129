//! Tokens of registries that know accounts of their own only: fetched with the store's account there, one for each repository, and given
//! to whoever may pull from it.
//!
//! | file | |
//! |---|---|
//! | `desk` | one registry: who waits for what, what is kept, what failed |
//! | `fetch` | the walk to the registry and its token server |
//!
//! However many callers there are, a token is fetched once at a time and used again while most of its life is left. The walk goes on in a
//! task of its own, so nobody waits longer than [`PATIENCE`], and a registry that is down holds up no other. What is in a token is between
//! the registry and its token server.

mod desk;
mod fetch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flatpass_oci::client::RegistryError;
use flatpass_oci::{Digest, RepositoryName};
use flatpass_store::{Registry, RegistryRobot, StoreError};
use futures_util::future::join_all;
use tokio::time::Instant;

use self::desk::Desk;
use self::fetch::Manifest;
use crate::app::App;

pub(crate) use self::desk::{Ticket, host_of};

/// A caller waits no longer than this for a registry, whatever it does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NoToken {
    /// The store has no account at the registry.
    #[error("the store has no account at the registry; give it one with flatpass repo set NAME --robot USER")]
    NoRobot,
    /// Its account cannot be used.
    #[error("the store's account at the registry cannot be read: {0}")]
    Store(Arc<StoreError>),
    /// The registry or its token server.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl NoToken {
    /// Whether it may be another time in a moment, without anybody's doing.
    pub(crate) const fn will_pass(&self) -> bool {
        matches!(
            self,
            Self::Registry(
                RegistryError::Unreachable { .. }
                    | RegistryError::Timeout { .. }
                    | RegistryError::Throttled { .. }
                    | RegistryError::Status { .. }
            )
        )
    }

    /// Whether it is the same for all repositories, so that the next one need not be tried.
    const fn is_about_the_registry(&self) -> bool {
        matches!(
            self,
            Self::Registry(
                RegistryError::Unreachable { .. }
                    | RegistryError::Timeout { .. }
                    | RegistryError::Throttled { .. }
            )
        )
    }
}

impl From<StoreError> for NoToken {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// By the repo's name: a desk for its registry.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    desks: Mutex<HashMap<String, Arc<Desk>>>,
}

impl Broker {
    /// For each of these repositories of the repo's registry, with a manifest in it: a token to pull from it, or why there is none.
    pub(crate) async fn tickets<'a>(
        &self,
        app: &App,
        repo: &str,
        registry: &Registry,
        wanted: impl Iterator<Item = (&'a RepositoryName, Digest)>,
    ) -> HashMap<&'a RepositoryName, Result<Ticket, NoToken>> {
        let desk = match self.desk(app, repo, registry).await {
            Ok(desk) => desk,
            Err(why) => return wanted.map(|(name, _)| (name, Err(why.clone()))).collect(),
        };
        let patience = PATIENCE.min(Duration::from_secs(app.config.limits.request_seconds) / 2);
        let deadline = Instant::now() + patience;
        let tickets = wanted.map(|(name, digest)| {
            let waiting = desk.ticket(name, digest, || elsewhere(app, repo, name));
            async move { (name, waiting.until(deadline).await) }
        });
        join_all(tickets).await.into_iter().collect()
    }

    /// The desk for the registry as it is now, with the account that the store has there now. After a change it is a new one, which
    /// knows nothing of tokens or failures of the former.
    async fn desk(&self, app: &App, repo: &str, registry: &Registry) -> Result<Arc<Desk>, NoToken> {
        let robot: RegistryRobot = app.store.registry_robot(repo).await?.ok_or(NoToken::NoRobot)?;
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desks.get(repo).filter(|desk| desk.is_for(registry, &robot)) {
            return Ok(Arc::clone(desk));
        }
        let is_there = |repo: &str| app.snapshot.load().repos.contains_key(repo);
        desks.retain(|repo, _| is_there(repo));
        let desk = Arc::new(Desk::new(app, repo, registry.clone(), robot)?);
        desks.insert(repo.to_owned(), Arc::clone(&desk));
        Ok(desk)
    }
}

/// An image in another repository of the repo, rather one that must be bought: what is free may be everybody's at the registry, too.
fn elsewhere(app: &App, repo: &str, name: &RepositoryName) -> Option<Manifest> {
    let snapshot = app.snapshot.load();
    let view = snapshot.repos.get(repo)?;
    let others = view.images.as_ref()?.images().iter().filter(|image| image.repository != *name);
    let chosen = others.max_by_key(|image| view.offers.contains_key(view.owner(image.name())))?;
    Some(Manifest { repository: chosen.repository.clone(), digest: chosen.digest })
}
