//! The indexes of the repos that are OCI images, made anew when the images or what they cost changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use flatpass_gate::{IndexGate, IndexGateConfig, Mount, SecretPaths, Unmounted, Uses};
use flatpass_oci::index::Index;
use flatpass_oci::{Catalogue, Image};
use flatpass_store::{RegistryAccess, Repo, RepoPolicy, RepoSource};

use crate::config::Config;
use crate::snapshot::{RepoView, SIGN_IN, Snapshot};

/// The prefix of paths with a secret in them.
const SECRET_PREFIX: &str = "/i";
/// The token type of what is for sale and does not say so itself.
const MUST_BE_BOUGHT: i32 = 2;
/// The token type of what is free where the registry wants a token all the same: whatever makes clients ask for one.
const ASK: i32 = 1;

/// The indexes by the repo's name.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    table: Mutex<BTreeMap<String, Made>>,
}

/// One index, and what it was made from.
#[derive(Debug)]
struct Made {
    gate: Arc<IndexGate>,
    images: Option<Arc<Catalogue>>,
    repo: Repo,
    offered: BTreeSet<String>,
}

impl Indexes {
    /// What a server mounts for them: each below its repo's own path and all below that of secrets.
    pub(crate) fn mounts(
        &self,
        config: &Config,
        snapshot: &Snapshot,
        uses: &Arc<Uses>,
        unmounted: &Unmounted,
    ) -> Vec<(String, Mount)> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *table);
        for view in snapshot.repos.values().filter(|view| view.repo.source.is_oci()) {
            let name = view.repo.name.clone();
            let made = make(config, view, uses, before.remove(&name));
            table.insert(name, made);
        }
        let gates = || table.values().map(|made| Arc::clone(&made.gate));
        let own = gates().map(|gate| (format!("/repo/{}", gate.name()), Mount::Other(gate)));
        let secret = SecretPaths::new(gates(), unmounted.clone());
        own.chain([(SECRET_PREFIX.to_owned(), Mount::Other(Arc::new(secret)))]).collect()
    }
}

fn make(config: &Config, view: &RepoView, uses: &Arc<Uses>, before: Option<Made>) -> Made {
    let offered: BTreeSet<String> = view.offers.keys().cloned().collect();
    let same_gate = |before: &Made| {
        Arc::ptr_eq(before.gate.verifier(), &view.verifier)
            && before.repo.policy == view.repo.policy
            // What another registry had, or a larger part of it, is not served on.
            && (view.images.is_some() || before.images.is_none())
    };
    let same_index = |before: &Made| {
        before.images.as_ref().map(Arc::as_ptr) == view.images.as_ref().map(Arc::as_ptr)
            && before.repo == view.repo
            && before.offered == offered
    };
    let is_same = before.as_ref().is_some_and(same_index);
    let (gate, is_new) = match before.filter(same_gate) {
        Some(before) => (before.gate, false),
        None => (Arc::new(gate(config, view).with_uses(Arc::clone(uses))), true),
    };
    if let Some(images) = view.images.as_ref().filter(|_| is_new || !is_same) {
        let registry = match &view.repo.source {
            RepoSource::Registry(registry) => registry.url.clone(),
            RepoSource::OciLayout(_) | RepoSource::Ostree(_) => config.at(""),
        };
        let index = Index::new(Arc::clone(images), &registry, |image| token_type(view, image));
        gate.set(Arc::new(index));
    }
    Made { gate, images: view.images.clone(), repo: view.repo.clone(), offered }
}

fn gate(config: &Config, view: &RepoView) -> IndexGate {
    let settings = IndexGateConfig {
        name: view.repo.name.clone(),
        private: view.repo.policy == RepoPolicy::Private,
        public_url: view.url.clone(),
        sign_in_url: config.at("sign-in"),
        problem_url: config.at("problems/"),
    };
    IndexGate::new(settings, Arc::clone(&view.verifier))
}

/// The token type that clients are told. It must make them ask for a token wherever they need one: for what is for sale, and for
/// everything where the registry gives nothing without a token.
fn token_type(view: &RepoView, image: &Image) -> i32 {
    let said = image.token_type().unwrap_or_default();
    let asks_always = match &view.repo.source {
        RepoSource::Registry(registry) => registry.access != RegistryAccess::None,
        RepoSource::OciLayout(_) => view.repo.policy == RepoPolicy::Private,
        RepoSource::Ostree(_) => false,
    };
    match said {
        0 if view.is_offered(image.name()) => MUST_BE_BOUGHT,
        0 if asks_always && view.repo.policy == RepoPolicy::Private => SIGN_IN,
        0 if asks_always => ASK,
        said => said,
    }
}
