//! What the request paths need to know, in memory: repos with their offers and refs, the signing key, the gates.
//! It is rebuilt beside the requests when the store or a repo's summary changes, and swapped in whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use flatpass_gate::{FileCache, Gate, GateConfig, Policy, Rules};
use flatpass_ostree::Summary;
use flatpass_store::{KeyPhase, Repo, RepoPolicy, Store, StoreError, StoredOffer};
use flatpass_token::{AccessTable, KeySet, Revocations, SigningKey, UnixTime, Verifier, VerifierConfig};

use crate::config::Config;

/// The refs of a repo as its summary lists them, with their token types.
#[derive(Debug, Default)]
pub(crate) struct Refs {
    token_types: HashMap<String, Option<i32>>,
    app_ids: HashSet<String>,
    default_token_type: i32,
    /// Size and time of the summary this was read from.
    stamp: Option<(u64, SystemTime)>,
}

impl Refs {
    fn stamp_of(repo: &Repo) -> Option<(u64, SystemTime)> {
        let metadata = std::fs::metadata(repo.path.join("summary")).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// Reads the summary; a repo without a readable one has no refs that anybody could ask for.
    fn read(repo: &Repo) -> Self {
        let stamp = Self::stamp_of(repo);
        let Some(summary) =
            std::fs::read(repo.path.join("summary")).ok().and_then(|bytes| Summary::parse(&bytes).ok())
        else {
            return Self { stamp, ..Self::default() };
        };
        let app_ids = summary
            .refs
            .iter()
            .filter_map(|entry| entry.name.strip_prefix("app/")?.split('/').next().map(str::to_owned))
            .collect();
        Self {
            app_ids,
            default_token_type: summary.metadata.default_token_type.unwrap_or(0),
            token_types: summary.refs.into_iter().map(|entry| (entry.name, entry.token_type)).collect(),
            stamp,
        }
    }

    /// All refs.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.token_types.keys().map(String::as_str)
    }

    /// The ref's token type; `None` when the repo does not list the ref.
    pub(crate) fn token_type(&self, name: &str) -> Option<i32> {
        self.token_types.get(name).map(|kind| kind.unwrap_or(self.default_token_type))
    }
}

/// One repo as the authority sees it.
#[derive(Debug)]
pub(crate) struct RepoView {
    pub(crate) repo: Repo,
    /// Its public URL, the audience of its tokens.
    pub(crate) url: String,
    pub(crate) offers: BTreeMap<String, StoredOffer>,
    pub(crate) refs: Arc<Refs>,
    pub(crate) verifier: Arc<Verifier>,
}

impl RepoView {
    /// The app that a ref's id belongs to: itself, or the app that it extends. Apps of the repo and offered apps count, the
    /// longest id wins, so that `org.test.Paid.Pro` never belongs to `org.test.Paid`.
    pub(crate) fn owner<'a>(&'a self, id: &'a str) -> &'a str {
        self.owner_in_repo(id).unwrap_or(id)
    }

    /// The same; `None` when no app of the repo owns the id.
    pub(crate) fn owner_in_repo(&self, id: &str) -> Option<&str> {
        let known = self.refs.app_ids.iter().chain(self.offers.keys()).map(String::as_str);
        if let Some(exact) = known.clone().find(|app| *app == id) {
            return Some(exact);
        }
        // Flatpak writes `_` for `-` at the front of an extension's id: `com.x.my-app` has `com.x.my_app.Locale`.
        known
            .filter(|app| {
                id.strip_prefix(app.replace('-', "_").as_str()).is_some_and(|rest| rest.starts_with('.'))
            })
            .max_by_key(|app| app.len())
    }

    /// Whether the ref's token type is an open one and nobody sells its app.
    pub(crate) fn is_free(&self, name: &str, owner: &str) -> bool {
        let kind = self.refs.token_type(name).unwrap_or(0);
        !self.offers.contains_key(owner) && self.repo.open_token_types.contains(&kind)
    }

    /// Whether the ref is served without a token.
    pub(crate) fn is_open(&self, name: &str, id: &str, hint: Option<i32>) -> bool {
        if self.repo.policy == RepoPolicy::Private {
            return false;
        }
        if self.repo.policy == RepoPolicy::Open {
            return true;
        }
        // The client's word counts only for refs that the summary does not list; the gate decides by the commit itself.
        let kind = self.refs.token_type(name).or(hint).unwrap_or(0);
        !self.offers.contains_key(self.owner(id)) && self.repo.open_token_types.contains(&kind)
    }
}

/// All of it, at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) repos: BTreeMap<String, Arc<RepoView>>,
    pub(crate) signing_key: Arc<SigningKey>,
    pub(crate) jwks: String,
    pub(crate) gates: Vec<(String, Arc<Gate>)>,
    /// When a key begins or ends to be used, so that the snapshot must be made anew.
    pub(crate) good_until: UnixTime,
}

/// Why a snapshot cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no key signs at this moment; make one with `flatpass key rotate`")]
    NoKey,
    #[error("the signing keys cannot be used: {0}")]
    Key(String),
}

/// At least this often everything is read anew, because entitlements end with time alone.
const AT_LEAST_EVERY: i64 = 30;

impl Snapshot {
    /// The repo that clients have under this URL (no user info, with or without a slash at the end).
    pub(crate) fn repo_by_url(&self, url: &str) -> Option<&Arc<RepoView>> {
        let url = url.trim_end_matches('/');
        self.repos.values().find(|view| {
            view.url == url || view.repo.urls.iter().any(|other| other.trim_end_matches('/') == url)
        })
    }

    /// Whether a repo's summary changed on the disk since this was made.
    pub(crate) fn is_stale(&self) -> bool {
        self.repos.values().any(|view| Refs::stamp_of(&view.repo) != view.refs.stamp)
    }

    /// Reads everything. What did not change since `before` is taken over: verifiers keep their caches, gates their files.
    pub(crate) async fn make(
        config: &Config,
        store: &Store,
        files: &Arc<FileCache>,
        before: Option<&Self>,
        now: UnixTime,
    ) -> Result<Self, SnapshotError> {
        let keys = store.signing_keys(now).await?;
        let mut public = KeySet::default();
        let mut signing = None;
        let mut good_until = now.plus_seconds(AT_LEAST_EVERY);
        for stored in &keys {
            let key = stored.signing_key()?;
            public = public.with(&key);
            if stored.phase(now) == KeyPhase::Signing && signing.is_none() {
                signing = Some(key);
            }
            for moment in
                [Some(stored.active_from), stored.retired_at, stored.expires_at].into_iter().flatten()
            {
                if moment > now && moment < good_until {
                    good_until = moment;
                }
            }
        }
        let signing_key = Arc::new(signing.ok_or(SnapshotError::NoKey)?);
        let jwks = public.to_jwks_json();
        let longest = config.tokens.ref_token_seconds + config.tokens.leeway_seconds;
        let mut revocations = Revocations::new();
        for (account, until) in store.refused_tokens(now, longest).await? {
            revocations = revocations.with_subject(account.0, until);
        }
        let mut repos = BTreeMap::new();
        let mut gates = Vec::new();
        for repo in store.repos().await? {
            let mut access = AccessTable::new();
            for (hash, grant) in store.access_grants(&repo.name, now).await? {
                access.insert(hash, grant);
            }
            let offers: BTreeMap<_, _> = store
                .offers(&repo.name)
                .await?
                .into_iter()
                .map(|offer| (offer.app_id.clone(), offer))
                .collect();
            let url = config.repo_url(&repo.name);
            let old = before.and_then(|before| before.repos.get(&repo.name));
            let verifier = match old {
                Some(old) if old.url == url => Arc::clone(&old.verifier),
                _ => {
                    let mut settings = VerifierConfig::new(config.issuer(), url.clone());
                    settings.leeway_seconds = u32::try_from(config.tokens.leeway_seconds).unwrap_or(0);
                    settings.cache_entries = config.gate.cached_tokens;
                    Arc::new(Verifier::new(settings, KeySet::default()))
                }
            };
            verifier.set_keys(
                KeySet::from_jwks_json(&jwks).map_err(|error| SnapshotError::Key(error.to_string()))?,
            );
            verifier.set_access_tokens(access);
            verifier.set_revocations(revocations.clone());
            let refs = match old {
                Some(old) if old.repo == repo && Refs::stamp_of(&repo) == old.refs.stamp => {
                    Arc::clone(&old.refs)
                }
                _ => {
                    let repo = repo.clone();
                    tokio::task::spawn_blocking(move || Arc::new(Refs::read(&repo))).await.unwrap_or_default()
                }
            };
            let prefix = format!("/repo/{}", repo.name);
            let settings = gate_config(config, &repo, &offers);
            let kept = old
                .filter(|old| old.repo == repo && old.offers.keys().eq(offers.keys()))
                .and_then(|_| before?.gates.iter().find(|(mounted, _)| *mounted == prefix));
            match kept {
                Some(gate) => gates.push(gate.clone()),
                None => match Gate::open(settings, Arc::clone(&verifier), Arc::clone(files)) {
                    Ok(gate) => gates.push((prefix, Arc::new(gate))),
                    // One repo that is not there must not take the others down.
                    Err(error) => tracing::error!(repo = repo.name, %error, "this repo is not served"),
                },
            }
            repos.insert(repo.name.clone(), Arc::new(RepoView { repo, url, offers, refs, verifier }));
        }
        Ok(Self { repos, signing_key, jwks, gates, good_until })
    }
}

fn gate_config(config: &Config, repo: &Repo, offers: &BTreeMap<String, StoredOffer>) -> GateConfig {
    let policy = match repo.policy {
        RepoPolicy::Open => Policy::Open,
        RepoPolicy::Refs => Policy::Refs,
        RepoPolicy::Private => Policy::Private,
    };
    GateConfig {
        name: repo.name.clone(),
        root: repo.path.clone(),
        rules: Rules::new(policy)
            .with_open_token_types(repo.open_token_types.clone())
            .with_guarded_ids(offers.keys().cloned()),
        public_url: config.repo_url(&repo.name),
        sign_in_url: config.at("sign-in"),
        problem_url: config.at("problems/"),
    }
}
