//! A peer, opened from its folder: its gate, what fills it, what it believes.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gate, GateConfig, Gates, ObjectIndex, ObjectIndexConfig, Policy,
};
use flatpass_token::{KeySet, UnixTime, Verifier, VerifierConfig};

use crate::fetch::Fetcher;
use crate::fill::Filler;
use crate::folder::Folder;
use crate::index::as_error;
use crate::known::Known;
use crate::last_use::LastUse;
use crate::listed::Listed;
use crate::robot::Robot;
use crate::settings::Settings;
use crate::trust::Trust;
use crate::wire::{Wire, shown};
use crate::{PeerError, contact, durable, evict, index, sites};

/// A gate of a machine with little memory: the kernel has the files too.
const CACHE: CacheLimits = CacheLimits { bytes: 8 << 20, small_file_bytes: 16 << 10, open_files: 512 };
/// A request for an object that came a moment ago waits so long for the index of objects.
const INDEX_PATIENCE: Duration = Duration::from_secs(5);

/// A peer.
#[derive(Debug)]
pub struct Peer {
    pub(crate) folder: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) filler: Filler,
    pub(crate) gates: Arc<Gates>,
    pub(crate) clock: Clock,
    verifier: Arc<Verifier>,
    /// The gate that is mounted, and whether it knows the objects of commits.
    gate: Mutex<Option<(Arc<Gate>, bool)>>,
}

/// Makes a peer: asks the store for its keys and rules, and writes them down.
///
/// # Errors
/// A [`PeerError`]; nothing is made then.
pub async fn init(folder: &Path, settings: &Settings, now: UnixTime) -> Result<Trust, PeerError> {
    settings.check()?;
    if folder.join("peer.toml").exists() {
        return Err(PeerError::Exists(folder.to_owned()));
    }
    let wire = Wire::new(&settings.store)?;
    let robot = settings.credentials.as_ref().map(|path| Robot::read(path, &settings.store)).transpose()?;
    let trust = contact::ask(&wire, settings, robot.as_ref(), None, now).await?;
    // What is in it is for who has a token, not for all who have an account on this machine.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| PeerError::File { path: folder.to_owned(), cause })?;
    trust.save(folder)?;
    // Last, so that half a peer is none.
    settings.save(folder)?;
    Ok(trust)
}

/// This file says that the store does not want the peer, and why.
const CLOSED: &str = "closed";

impl Peer {
    /// Opens the peer in that folder. It is called within a runtime, which fetches files from then on.
    ///
    /// # Errors
    /// A [`PeerError`] when something in the folder cannot be read, or is no peer's.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, PeerError> {
        let settings = Settings::load(folder)?;
        let trust = Trust::load(folder)?;
        let keys = trust.keys()?;
        let file = |cause| PeerError::File { path: folder.to_owned(), cause };
        let files = Arc::new(Folder::open(folder).map_err(file)?);
        let robot =
            settings.credentials.as_ref().map(|path| Robot::read(path, &settings.store)).transpose()?;
        let wire = Wire::new(&settings.store)?;
        let fetcher = Fetcher::new(wire, Arc::clone(&files), &trust.info.repo_url, settings.max_size);
        let known = Known::new(trust, Listed::read(&files));
        let config = VerifierConfig::for_peer(known.trust.info.issuer.clone(), &known.trust.info.repo_url);
        let verifier =
            Arc::new(Verifier::new(VerifierConfig { cache_entries: 1024, ..config }, KeySet::new()));
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|error| PeerError::Start(error.to_string()))?;
        let last_use = LastUse::open(folder, clock.clone());
        let peer = Self {
            folder: folder.to_owned(),
            settings,
            filler: Filler::new(fetcher, known, robot, last_use, runtime),
            gates: Arc::new(Gates::new(Arc::new(FileCache::new(CACHE)))),
            clock,
            verifier,
            gate: Mutex::default(),
        };
        peer.take_up(keys)?;
        Ok(peer)
    }

    /// What it believes of its store.
    pub fn trust(&self) -> Trust {
        self.filler.0.known.load().trust.clone()
    }

    /// Its settings.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The gates that answer for it: one, at the path that the repo has at the store.
    pub const fn gates(&self) -> &Arc<Gates> {
        &self.gates
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now().unix()
    }

    /// Asks the store what is new: keys, rules, the list of refs.
    ///
    /// # Errors
    /// [`PeerError`]. What was known before stays in force.
    pub async fn refresh(&self) -> Result<(), PeerError> {
        let parts = &self.filler.0;
        parts.fetcher.wire.forgive();
        let before = parts.known.load_full();
        let robot = parts.robot.as_ref();
        let asked =
            contact::ask(&parts.fetcher.wire, &self.settings, robot, Some(&before.trust), self.now()).await;
        let trust = match asked {
            Err(error @ (PeerError::Refused(_) | PeerError::OnlyOnline { .. })) => {
                self.close(&error);
                return Err(error);
            }
            asked => asked?,
        };
        let keys = trust.keys()?;
        contact::tell(&before.trust, &trust);
        contact::keep(&self.folder, &before.trust, &trust)?;
        let known = Known::new(trust, Listed::default());
        let copied = index::copy(parts, &known).await;
        let known = Known { listed: Listed::read(&parts.fetcher.folder), ..known };
        parts.known.store(Arc::new(known));
        match std::fs::remove_file(self.folder.join(CLOSED)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(PeerError::File { path: self.folder.join(CLOSED), cause });
            }
            _ => {}
        }
        self.take_up(keys)?;
        copied.map(drop).map_err(|failed| as_error(failed, &shown(&self.settings.store)))
    }

    /// Serves nothing from now on, also after a restart, until the store says yes again: it may have made the repo private, or its tokens
    /// others.
    fn close(&self, why: &PeerError) {
        let path = self.folder.join(CLOSED);
        if !path.exists() {
            tracing::error!(%why, "the store does not want this peer; nothing is served until it does");
            if let Err(error) = durable::write(&path, why.to_string().as_bytes(), false) {
                tracing::error!(%error, "that the peer is closed cannot be written down");
            }
        }
        let mut mounted = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.gates.replace(Vec::<(String, Arc<Gate>)>::new());
        *mounted = None;
    }

    /// Puts what is known into force.
    pub(crate) fn take_up(&self, keys: KeySet) -> Result<(), PeerError> {
        if self.folder.join(CLOSED).exists() {
            return Ok(());
        }
        let known = self.filler.0.known.load_full();
        let trust = &known.trust;
        let trusted_until = trust.ends_at(self.settings.offline_for_days);
        self.verifier.set_access_tokens(sites::devices(&self.folder, &trust.info)?);
        self.verifier.set_keys(keys);
        self.verifier.trust_until(trusted_until);
        let checks_objects = known.rules.policy().checks_objects();
        let mut mounted = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((gate, knows_objects)) = &*mounted
            && *knows_objects == checks_objects
        {
            gate.set_rules(known.rules.clone());
            return Ok(());
        }
        if mounted.is_some() && checks_objects {
            // Their directories may be missing; with them they come again.
            self.forget_commits()?;
        }
        let gate = self.open_gate(&known)?;
        self.gates.replace(vec![(format!("/repo/{}", self.settings.repo), Arc::clone(&gate))]);
        *mounted = Some((gate, checks_objects));
        Ok(())
    }

    /// Removes what is least used if more is here than may be; gives how many bytes went.
    ///
    /// # Errors
    /// [`PeerError::File`]
    pub fn evict(&self) -> Result<u64, PeerError> {
        let parts = &self.filler.0;
        evict::evict(&parts.fetcher.folder, &parts.last_use, parts.fetcher.max_size())
            .map_err(|cause| PeerError::File { path: self.folder.clone(), cause })
    }

    fn open_gate(&self, known: &Known) -> Result<Arc<Gate>, PeerError> {
        let info = &known.trust.info;
        let root = self.filler.0.fetcher.folder.repo().to_owned();
        let start = |error: &dyn std::fmt::Display| PeerError::Start(error.to_string());
        let objects = match known.rules.policy() {
            Policy::Open | Policy::Refs => None,
            Policy::Objects | Policy::Private => {
                let config = ObjectIndexConfig {
                    name: info.repo.clone(),
                    root: root.clone(),
                    file: self.folder.join("objects.index"),
                    patience: INDEX_PATIENCE,
                };
                let index = ObjectIndex::open(config).map_err(|error| start(&error))?;
                index.follow().map_err(|error| start(&error))?;
                Some(index)
            }
        };
        let config = GateConfig {
            name: info.repo.clone(),
            root,
            rules: known.rules.clone(),
            public_url: info.repo_url.clone(),
            sign_in_url: info.sign_in_url.clone(),
            problem_url: info.problem_url.clone(),
            objects,
        };
        let gate = Gate::open(config, Arc::clone(&self.verifier), Arc::clone(self.gates.cache()));
        Ok(Arc::new(gate.map_err(|error| start(&error))?.with_origin(Arc::new(self.filler.clone()))))
    }

    fn forget_commits(&self) -> Result<(), PeerError> {
        let folder = &self.filler.0.fetcher.folder;
        for commit in
            folder.commits().map_err(|cause| PeerError::File { path: self.folder.clone(), cause })?
        {
            let path = crate::skeleton::object(commit, flatpass_ostree::ObjectKind::Commit);
            folder.remove(&path).map_err(|cause| PeerError::File { path: self.folder.clone(), cause })?;
        }
        Ok(())
    }
}
