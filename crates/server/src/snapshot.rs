//! What the request paths need to know, in memory: repos with their offers and refs, the signing key, the gates.
//! It is rebuilt beside the requests when the store or a repo's summary changes, and swapped in whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flatpass_gate::{
    FileCache, Gate, GateConfig, IndexSigner, Listing, ObjectIndex, ObjectIndexConfig, Policy, Rules, Uses,
};
use flatpass_oci::Catalogue;
use flatpass_ostree::{Checksum, Summary, SummaryRef};
use flatpass_store::{
    Entitlement, FlatManager, KeyPhase, Repo, RepoListing, RepoPolicy, RepoSource, RepoTokens, SecretFor,
    Store, StoreError, StoredOffer, is_repo_name,
};
use flatpass_token::{
    AccessTable, FlatManagerKeys, KeySet, RefKind, RefName, SigningKey, UnixTime, Verifier, VerifierConfig,
};
use url::Url;

use crate::catalogues::Catalogues;
use crate::config::{Config, DOWNLOAD_TOKEN_SECONDS, LONGEST_LEEWAY_SECONDS};
use crate::lookups::{Lookups, has_references};
use crate::openpgp::OpenPgpKey;
use crate::revocations::Refused;

/// The token type of refs that every account may have.
pub(crate) const SIGN_IN: i32 = 3;

/// What the summary, or an image, says of a ref.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) commit: Checksum,
    pub(crate) token_type: i32,
}

/// The refs of a repo as its summary lists them, or its images have them.
#[derive(Debug, Default)]
pub(crate) struct Refs {
    listed: HashMap<String, Listed>,
    app_ids: HashSet<String>,
    default_token_type: i32,
    /// Size, time and file of the summary this was read from.
    stamp: Option<(u64, SystemTime, u64)>,
}

impl Refs {
    fn stamp_of(repo: &Repo) -> Option<(u64, SystemTime, u64)> {
        let metadata = std::fs::metadata(repo.source.ostree()?.join("summary")).ok()?;
        Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
    }

    /// Reads the summary; a repo without a readable one has no refs that anybody could ask for.
    fn read(repo: &Repo) -> Self {
        let Some(root) = repo.source.ostree() else { return Self::default() };
        let stamp = Self::stamp_of(repo);
        let summary = match std::fs::read(root.join("summary")).map(|bytes| Summary::parse(&bytes)) {
            Ok(Ok(summary)) => summary,
            Ok(Err(error)) => {
                tracing::error!(repo = repo.name, %error, "the summary is damaged; no ref tokens are given until it is made anew");
                return Self { stamp, ..Self::default() };
            }
            Err(error) => {
                tracing::warn!(repo = repo.name, %error, "the repo has no summary; run flatpak build-update-repo");
                return Self { stamp, ..Self::default() };
            }
        };
        let default_token_type = summary.metadata.default_token_type.unwrap_or(0);
        let app_ids = summary
            .refs
            .iter()
            .filter_map(|entry| entry.name.strip_prefix("app/")?.split('/').next().map(str::to_owned))
            .collect();
        let listed = |entry: SummaryRef| {
            let token_type = entry.token_type.unwrap_or(default_token_type);
            (entry.name, Listed { commit: entry.checksum, token_type })
        };
        Self { app_ids, default_token_type, listed: summary.refs.into_iter().map(listed).collect(), stamp }
    }

    /// The refs of images, each with the image that counts for it. A ref that several images have counts as guarded if one of them says
    /// so: a token for a repository opens all that is in it. What an image does not say is said by the offers.
    fn of_images(images: &Catalogue) -> Self {
        let mut refs = Self::default();
        for image in images.by_ref().into_values().chain(images.images()) {
            let (name, said) = (image.name(), image.token_type().unwrap_or_default());
            if name.kind() == RefKind::App {
                refs.app_ids.insert(name.id().to_owned());
            }
            let commit = Checksum::from_bytes(*image.digest.as_bytes());
            let listed = refs.listed.entry(name.to_string());
            let listed = listed.or_insert(Listed { commit, token_type: said });
            listed.token_type = listed.token_type.max(said);
        }
        refs
    }

    /// All refs with what is said of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Listed)> {
        self.listed.iter().map(|(name, listed)| (name.as_str(), *listed))
    }

    /// What the summary says of the ref; `None` when it does not list it.
    pub(crate) fn find(&self, name: &str) -> Option<Listed> {
        self.listed.get(name).copied()
    }

    /// The token type of commits that say none.
    pub(crate) fn default_token_type(&self) -> i32 {
        self.default_token_type
    }
}

/// Which app an id belongs to, in a few lookups however many apps there are.
#[derive(Debug, Default)]
struct Owners {
    apps: HashSet<String>,
    /// By the id as flatpak writes it at the front of an extension's, with `_` for `-`.
    fronts: HashMap<String, String>,
}

impl Owners {
    fn new(apps: impl Iterator<Item = String>) -> Self {
        let apps: HashSet<String> = apps.collect();
        let fronts = apps.iter().map(|app| (app.replace('-', "_"), app.clone())).collect();
        Self { apps, fronts }
    }

    /// The app with that id.
    fn app(&self, id: &str) -> Option<&str> {
        self.apps.get(id).map(String::as_str)
    }

    /// The app that a runtime with that id extends: the longest that it continues after a dot.
    fn extended(&self, id: &str) -> Option<&str> {
        id.rmatch_indices('.').find_map(|(dot, _)| self.fronts.get(id.get(..dot)?).map(String::as_str))
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
    /// The images, if it is no OSTree repository and they were seen.
    pub(crate) images: Option<Arc<Catalogue>>,
    pub(crate) verifier: Arc<Verifier>,
    /// The flat-manager that publishes to it, if that is known.
    pub(crate) flat_manager: Option<FlatManager>,
    /// Of the apps that are in the repo or offered.
    owners: Owners,
    /// Which commits contain an object, under the policies that ask for it.
    pub(crate) objects: Option<Arc<ObjectIndex>>,
    /// Of the apps that are offered: what the gate guards.
    offered: Owners,
}

impl RepoView {
    fn new(
        repo: Repo,
        url: String,
        offers: BTreeMap<String, StoredOffer>,
        refs: Arc<Refs>,
        verifier: Arc<Verifier>,
        objects: Option<Arc<ObjectIndex>>,
    ) -> Self {
        let owners = Owners::new(refs.app_ids.iter().chain(offers.keys()).cloned());
        let offered = Owners::new(offers.keys().cloned());
        Self { repo, url, offers, refs, images: None, verifier, flat_manager: None, owners, objects, offered }
    }

    /// The app whose rights open the ref: for an app itself, for an extension the app that it extends, for any other runtime
    /// itself. An app never belongs to another one: `org.test.Paid.Pro` is not an extension of `org.test.Paid`.
    pub(crate) fn owner<'a>(&'a self, name: &'a RefName) -> &'a str {
        match name.kind() {
            RefKind::App => name.id(),
            RefKind::Runtime => {
                self.owners.app(name.id()).or_else(|| self.owners.extended(name.id())).unwrap_or(name.id())
            }
        }
    }

    /// The app of the repo that an id without a kind means; `None` when no app owns it.
    pub(crate) fn owner_in_repo(&self, id: &str) -> Option<&str> {
        self.owners.app(id).or_else(|| self.owners.extended(id))
    }

    /// Whether who has these entitlements in the repo may know what is in it.
    pub(crate) fn may_be_seen(&self, entitlements: &[Entitlement]) -> bool {
        self.repo.policy != RepoPolicy::Private || !entitlements.is_empty()
    }

    /// Whether it is an app that has an offer, or an extension of one.
    pub(crate) fn is_offered(&self, name: &RefName) -> bool {
        self.offered.app(name.id()).is_some()
            || (name.kind() == RefKind::Runtime && self.offered.extended(name.id()).is_some())
    }

    /// Whether the gate asks nobody for a token for this ref, beyond what it asks for the whole repo. The same rule as the
    /// gate's: it guards offered apps with their extensions, and what has a token type that is not open.
    pub(crate) fn is_free(&self, name: &RefName, token_type: i32) -> bool {
        !self.is_offered(name) && open_token_types(&self.repo).contains(&token_type)
    }

    /// Whether the gate serves the ref to everybody.
    pub(crate) fn is_open(&self, name: &RefName, token_type: i32) -> bool {
        match self.repo.policy {
            RepoPolicy::Open => true,
            RepoPolicy::Private => false,
            RepoPolicy::Refs | RepoPolicy::Objects => self.is_free(name, token_type),
        }
    }
}

/// All of it, at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) repos: BTreeMap<String, Arc<RepoView>>,
    pub(crate) signing_key: Arc<SigningKey>,
    pub(crate) jwks: String,
    pub(crate) gates: Vec<(String, Arc<Gate>)>,
    /// How the index of each private repo is made.
    listings: BTreeMap<String, Option<RepoListing>>,
    /// What checks tokens where no repo is: it knows the same keys, and finds no token good.
    pub(crate) unmounted: Arc<Verifier>,
    /// When a key begins or ends to be used, or somebody's right begins or ends, so that the snapshot must be made anew.
    pub(crate) good_until: UnixTime,
}

/// Why a snapshot cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no key signs at this moment; make one with `flatpass key rotate`")]
    NoKey,
    #[error("the payment provider cannot be set up: {0}")]
    Payment(std::io::Error),
    #[error("the signing keys cannot be used: {0}")]
    Key(String),
    #[error("requests to issuers of tokens cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// What a snapshot is made of.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) files: &'a Arc<FileCache>,
    pub(crate) uses: &'a Arc<Uses>,
    pub(crate) catalogues: &'a Catalogues,
    pub(crate) lookups: &'a Lookups,
}

/// How long a request may wait for the index of objects to see a commit that was just published.
const OBJECT_PATIENCE: Duration = Duration::from_secs(3);
/// At least this often everything is read anew, because entitlements end with time alone.
const AT_LEAST_EVERY: i64 = 30;

impl Snapshot {
    /// The repo that clients have under this URL, however its host is written, with or without a slash at the end. A URL with
    /// user and password is nobody's: the authenticator takes them off, and others should not send them around.
    pub(crate) fn repo_by_url(&self, url: &str) -> Option<&Arc<RepoView>> {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        let normal = |url: &str| Url::parse(url).map(|url| plain(url.as_str())).ok();
        let asked = normal(url)?;
        self.repos.values().find(|view| {
            plain(&view.url) == asked
                || view.repo.urls.iter().any(|other| normal(other).as_ref() == Some(&asked))
        })
    }

    /// As [`Self::repo_by_url`]. Where a repo of ours could have that URL and none has, it is a private one with nothing in it: so all
    /// that follows is the same for somebody who may not know whether there is one.
    pub(crate) fn repo_or_empty(&self, config: &Config, url: &str) -> Option<Arc<RepoView>> {
        if let Some(view) = self.repo_by_url(url) {
            return Some(Arc::clone(view));
        }
        let name = config.repo_name_in(url).filter(|name| is_repo_name(name))?;
        let url = config.repo_url(&name);
        let repo = Repo {
            name,
            source: RepoSource::Ostree(PathBuf::new()),
            policy: RepoPolicy::Private,
            urls: Vec::new(),
            open_token_types: Vec::new(),
            gpg_key: None,
            tokens: RepoTokens::Jwt,
            former_tokens: None,
            created_at: UnixTime(0),
        };
        let (offers, refs) = (BTreeMap::new(), Arc::default());
        Some(Arc::new(RepoView::new(repo, url, offers, refs, Arc::clone(&self.unmounted), None)))
    }

    /// Whether a repo's summary changed on the disk, or its images did, since this was made.
    pub(crate) fn is_stale(&self, catalogues: &Catalogues) -> bool {
        self.repos.values().any(|view| {
            Refs::stamp_of(&view.repo) != view.refs.stamp
                || !same_images(
                    catalogues.get(&view.repo.name, &view.repo.source).as_ref(),
                    view.images.as_ref(),
                )
        })
    }

    /// Reads everything. What did not change since `before` is taken over: verifiers keep their caches, gates their files.
    pub(crate) async fn make(
        sources: Sources<'_>,
        before: Option<&Self>,
        now: UnixTime,
    ) -> Result<Self, SnapshotError> {
        let Sources { config, store, files, uses, catalogues, lookups } = sources;
        let stored_keys = store.signing_keys(now).await?;
        let mut public = KeySet::default();
        let mut signing = None;
        let mut good_until = now.plus_seconds(AT_LEAST_EVERY);
        for stored in &stored_keys {
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
        if let Some(moment) = store.next_begin_or_end(now).await? {
            good_until = good_until.min(moment);
        }
        let keys = || KeySet::from_jwks_json(&jwks).map_err(|error| SnapshotError::Key(error.to_string()));
        let unmounted = match before {
            Some(before) => Arc::clone(&before.unmounted),
            // No repo has this URL, so no token is for it.
            None => Arc::new(Verifier::new(
                VerifierConfig::new(config.issuer(), config.repo_url("")),
                KeySet::default(),
            )),
        };
        unmounted.set_keys(keys()?);
        let refused = Refused::read(store, now).await?;
        let mut repos = BTreeMap::new();
        let mut listings = BTreeMap::new();
        let mut gates = Vec::new();
        let all = store.repos().await?;
        let any_references = all.iter().any(|repo| has_references(repo, now));
        lookups.arm_for_references(&unmounted, "", any_references);
        for repo in all {
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
                    settings.repo.clone_from(&repo.name);
                    Arc::new(Verifier::new(settings, KeySet::default()))
                }
            };
            verifier.set_keys(keys()?);
            verifier.set_access_tokens(access);
            let flat_manager = store.flat_manager(&repo.name, now).await?;
            verifier.set_flat_manager(flat_manager_keys(&repo, flat_manager.as_ref(), now));
            if let Some(moment) = flat_manager.as_ref().and_then(|known| known.next_change(now)) {
                good_until = good_until.min(moment);
            }
            lookups.arm(&verifier, &repo, &url, any_references).await?;
            verifier.set_revocations(refused.in_repo(store, &repo.name, now).await?);
            let images = catalogues.get(&repo.name, &repo.source);
            let refs = match (old, &images) {
                (Some(old), Some(_)) if same_images(old.images.as_ref(), images.as_ref()) => {
                    Arc::clone(&old.refs)
                }
                (_, Some(images)) => Arc::new(Refs::of_images(images)),
                (Some(old), None) if old.repo == repo && Refs::stamp_of(&repo) == old.refs.stamp => {
                    Arc::clone(&old.refs)
                }
                _ => {
                    let repo = repo.clone();
                    tokio::task::spawn_blocking(move || Arc::new(Refs::read(&repo))).await.unwrap_or_default()
                }
            };
            let prefix = format!("/repo/{}", repo.name);
            let listing = store.repo_listing(&repo.name).await?;
            let listed_so = before.and_then(|before| before.listings.get(&repo.name)) == Some(&listing);
            let root = repo.source.ostree();
            let objects = root
                .and_then(|root| object_index(config, &repo, root, old.and_then(|old| old.objects.as_ref())));
            let settings = root.map(|root| gate_config(config, &repo, root, &offers, objects.clone()));
            let kept = old
                .filter(|old| listed_so && old.repo == repo && old.offers.keys().eq(offers.keys()))
                .filter(|old| old.objects.is_some() == objects.is_some())
                .and_then(|_| before?.gates.iter().find(|(mounted, _)| *mounted == prefix));
            match (kept, settings) {
                (Some(gate), _) => gates.push(gate.clone()),
                (None, None) => {}
                (None, Some(settings)) => {
                    match Gate::open(settings, Arc::clone(&verifier), Arc::clone(files)) {
                        Ok(gate) => {
                            let listing = gate_listing(&repo.name, listing.as_ref());
                            let gate = gate.with_uses(Arc::clone(uses)).with_listing(listing);
                            gates.push((prefix, Arc::new(gate)));
                        }
                        // One repo that is not there must not take the others down.
                        Err(error) => tracing::error!(repo = repo.name, %error, "this repo is not served"),
                    }
                }
            }
            let name = repo.name.clone();
            listings.insert(name.clone(), listing);
            let view = RepoView::new(repo, url, offers, refs, verifier, objects);
            repos.insert(name, Arc::new(RepoView { images, flat_manager, ..view }));
        }
        lookups.keep(|repo| repos.contains_key(repo));
        Ok(Self { repos, signing_key, jwks, gates, listings, unmounted, good_until })
    }
}

/// The secrets whose tokens open the repo: none, unless flat-manager's tokens do, or did until a while ago.
fn flat_manager_keys(repo: &Repo, known: Option<&FlatManager>, now: UnixTime) -> Option<FlatManagerKeys> {
    let longest = DOWNLOAD_TOKEN_SECONDS + LONGEST_LEEWAY_SECONDS;
    let lives_on = repo.former_tokens.as_ref().is_some_and(|former| {
        former.tokens == RepoTokens::FlatManager && now < former.until.plus_seconds(longest)
    });
    let known = known.filter(|_| lives_on || repo.tokens == RepoTokens::FlatManager)?;
    let keys = FlatManagerKeys::new(known.name.as_str(), known.accepted(SecretFor::Download, now));
    Some(if repo.policy == RepoPolicy::Private { keys.secretly() } else { keys })
}

fn same_images(one: Option<&Arc<Catalogue>>, other: Option<&Arc<Catalogue>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// Token types that need nothing bought. Who may see something in a private repo is signed in, which is all that one of them asks.
pub(crate) fn open_token_types(repo: &Repo) -> Vec<i32> {
    let mut open = repo.open_token_types.clone();
    if repo.policy == RepoPolicy::Private {
        open.push(SIGN_IN);
    }
    open
}

/// How the gate makes the index. With a key that cannot be used it is still nobody's but each person's own: then it is not signed, and
/// clients that verify signatures refuse it.
fn gate_listing(repo: &str, listing: Option<&RepoListing>) -> Listing {
    let Some(listing) = listing else { return Listing::Shared };
    let signer = listing.signing_key.as_ref().and_then(|key| {
        let key = OpenPgpKey::read(key).inspect_err(|error| {
            tracing::error!(repo, %error, "the index per person is not signed; set the key anew with flatpass repo set");
        });
        Some(Arc::new(key.ok()?) as Arc<dyn IndexSigner>)
    });
    Listing::PerPerson { signer }
}

/// The index of the repo's objects, if its policy asks for one. It goes on from snapshot to snapshot.
fn object_index(
    config: &Config,
    repo: &Repo,
    root: &Path,
    old: Option<&Arc<ObjectIndex>>,
) -> Option<Arc<ObjectIndex>> {
    if !policy(repo.policy).checks_objects() {
        return None;
    }
    if let Some(old) = old.filter(|old| old.config().root == root) {
        return Some(Arc::clone(old));
    }
    let settings = ObjectIndexConfig {
        name: repo.name.clone(),
        root: root.to_owned(),
        file: config.state.join(format!("{}.objects", repo.name)),
        patience: OBJECT_PATIENCE,
    };
    let index = ObjectIndex::open(settings).and_then(|index| index.follow().map(|()| index));
    index
        .inspect_err(|error| {
            tracing::error!(repo = repo.name, %error, "the repo's objects are not served without an index");
        })
        .ok()
}

const fn policy(policy: RepoPolicy) -> Policy {
    match policy {
        RepoPolicy::Open => Policy::Open,
        RepoPolicy::Refs => Policy::Refs,
        RepoPolicy::Objects => Policy::Objects,
        RepoPolicy::Private => Policy::Private,
    }
}

/// What of a repo needs a token.
pub(crate) fn rules(repo: &Repo, offers: &BTreeMap<String, StoredOffer>) -> Rules {
    Rules::new(policy(repo.policy))
        .with_open_token_types(open_token_types(repo))
        .with_guarded_ids(offers.keys().cloned())
}

fn gate_config(
    config: &Config,
    repo: &Repo,
    root: &Path,
    offers: &BTreeMap<String, StoredOffer>,
    objects: Option<Arc<ObjectIndex>>,
) -> GateConfig {
    GateConfig {
        name: repo.name.clone(),
        root: root.to_owned(),
        rules: rules(repo, offers),
        public_url: config.repo_url(&repo.name),
        sign_in_url: config.at("sign-in"),
        problem_url: config.at("problems/"),
        objects,
    }
}
