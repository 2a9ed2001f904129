//! The repos that are OCI image layouts: follows what is in their folders, and mounts them as one registry at `/v2`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flatpass_gate::{FileCache, Layout, LayoutGate, LayoutGateConfig, Mount, Registry, RegistryConfig, Uses};
use flatpass_store::{Repo, RepoSource, is_repo_name};
use flatpass_token::{KeySet, UnixTime, Verifier, VerifierConfig};

use crate::catalogues::Catalogues;
use crate::config::Config;
use crate::snapshot::{RepoView, Snapshot, rules};

/// A layout that cannot be read is tried again after so many seconds.
const TRY_AGAIN: i64 = 5;

/// The layouts by the repo's name.
#[derive(Debug)]
pub(crate) struct Layouts {
    table: Mutex<BTreeMap<String, Followed>>,
    /// Checks tokens for the registry's front door, which are for no repo.
    login: Arc<Verifier>,
}

#[derive(Debug, Default)]
struct Followed {
    path: PathBuf,
    /// As it was read last. What cannot be read any more stays as it was.
    layout: Option<Arc<Layout>>,
    gate: Option<Arc<LayoutGate>>,
    /// What was told of it last, and when it is to be read again.
    trouble: Option<(String, UnixTime)>,
}

impl Followed {
    fn is_stale(&self, now: UnixTime) -> bool {
        match (&self.trouble, &self.layout) {
            (Some((_, again)), _) => now >= *again,
            (None, Some(layout)) => layout.is_stale(),
            (None, None) => true,
        }
    }
}

impl Layouts {
    /// Nothing was looked at yet.
    pub(crate) fn new(config: &Config) -> Self {
        let login = VerifierConfig::new(config.issuer(), config.at("v2/"));
        Self { table: Mutex::default(), login: Arc::new(Verifier::new(login, KeySet::default())) }
    }

    /// Whether something changed on the disk. It waits for the disk.
    pub(crate) fn is_stale(&self, now: UnixTime) -> bool {
        self.lock().values().any(|followed| followed.is_stale(now))
    }

    /// Reads the layouts among these repos that are new or have changed, and forgets those that are not among them. Their images go
    /// to the catalogues.
    pub(crate) async fn look(&self, repos: &[Repo], catalogues: &Catalogues, now: UnixTime) {
        let there: BTreeMap<_, _> =
            repos.iter().filter_map(|repo| Some((&repo.name, repo.source.oci_layout()?))).collect();
        let due: Vec<(String, PathBuf)> = {
            let mut table = self.lock();
            table.retain(|name, followed| there.get(name).is_some_and(|path| *path == followed.path));
            let is_due = |name: &str| table.get(name).is_none_or(|followed| followed.is_stale(now));
            let due = there.iter().filter(|(name, _)| is_due(name));
            due.map(|(name, path)| (String::clone(name), path.to_path_buf())).collect()
        };
        for (name, path) in due {
            let (in_folder, namespace) = (path.clone(), name.clone());
            let read = tokio::task::spawn_blocking(move || Layout::read(&in_folder, &namespace)).await;
            let Ok(read) = read else { continue };
            let mut table = self.lock();
            let followed = table.entry(name.clone()).or_default();
            followed.path = path;
            match read {
                Ok(layout) => {
                    tell(&name, &layout, followed.layout.as_deref());
                    let source = RepoSource::OciLayout(followed.path.clone());
                    catalogues.put(&name, &source, Arc::clone(layout.catalogue()));
                    (followed.layout, followed.trouble) = (Some(Arc::new(layout)), None);
                }
                Err(error) => {
                    let error = error.to_string();
                    if followed.trouble.as_ref().is_none_or(|(told, _)| *told != error) {
                        tracing::error!(repo = name, error, "the images cannot be read");
                    }
                    followed.trouble = Some((error, now.plus_seconds(TRY_AGAIN)));
                }
            }
        }
    }

    /// All that a server mounts: the gates of the snapshot, and the registry of the layouts.
    pub(crate) fn mounts(
        &self,
        config: &Config,
        snapshot: &Snapshot,
        files: &Arc<FileCache>,
        uses: &Arc<Uses>,
    ) -> Vec<(String, Mount)> {
        if let Ok(keys) = KeySet::from_jwks_json(&snapshot.jwks) {
            self.login.set_keys(keys);
        }
        let gates = self
            .lock()
            .iter_mut()
            .filter_map(|(name, followed)| {
                let gate = gate(name, followed, snapshot.repos.get(name)?, files, uses)?;
                followed.gate = Some(Arc::clone(&gate));
                Some(gate)
            })
            .collect::<Vec<_>>();
        let settings = RegistryConfig {
            token_url: config.at("oauth/registry-token"),
            service: config.host(),
            sign_in_url: config.at("sign-in"),
            is_name: is_repo_name,
            login: Arc::clone(&self.login),
            unmounted: Arc::clone(&snapshot.unmounted),
        };
        let registry = ("/v2".to_owned(), Mount::Other(Arc::new(Registry::new(settings, gates))));
        let repos =
            snapshot.gates.iter().map(|(prefix, gate)| (prefix.clone(), Mount::Repo(Arc::clone(gate))));
        repos.chain([registry]).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gate, which goes on from snapshot to snapshot.
fn gate(
    name: &str,
    followed: &Followed,
    view: &RepoView,
    files: &Arc<FileCache>,
    uses: &Arc<Uses>,
) -> Option<Arc<LayoutGate>> {
    let layout = followed.layout.as_ref()?;
    let rules = rules(&view.repo, &view.offers);
    if let Some(kept) = followed.gate.as_ref().filter(|gate| Arc::ptr_eq(gate.verifier(), &view.verifier)) {
        kept.set(rules, layout);
        return Some(Arc::clone(kept));
    }
    let settings = LayoutGateConfig {
        name: name.to_owned(),
        root: followed.path.clone(),
        rules,
        layout: Arc::clone(layout),
    };
    LayoutGate::open(settings, Arc::clone(&view.verifier), Arc::clone(files))
        .map(|gate| Arc::new(gate.with_uses(Arc::clone(uses))))
        .inspect_err(|error| tracing::error!(repo = name, %error, "this repo is not served"))
        .ok()
}

/// Tells the operator what is not served, once.
fn tell(repo: &str, layout: &Layout, before: Option<&Layout>) {
    let told = before.map(Layout::notes).unwrap_or_default();
    for note in layout.notes().iter().filter(|note| !told.contains(note)) {
        tracing::warn!(
            repo,
            what = note.what,
            why = note.why,
            "this is in the image layout and is not served"
        );
    }
}
