//! Fills the gate's folder when something is asked for that is not there: for whom, from where, once for all who wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use flatpass_gate::{NotBrought, Origin, Policy};
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use flatpass_token::{Grant, RefKind, RefName, Secret, Verb, VerifiedToken};
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::check::Check;
use crate::export::ExportTokens;
use crate::fetch::{Failed, Fetcher};
use crate::known::Known;
use crate::last_use::LastUse;
use crate::robot::Robot;
use crate::skeleton;

/// A request waits so long for its file; clients that are sent away come again.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many files are under way at once, with all that wait for them.
const MOST_UNDER_WAY: usize = 256;
/// So many requests wait for files at once: each holds a thread, and to finish a file takes one as well.
const MOST_WAITING: usize = 192;
/// What the store does not have is not asked for again for so long.
const ABSENT: Duration = Duration::from_secs(30);
/// So many absent files are remembered.
const MOST_ABSENT: usize = 8192;
/// Of so many commits of a token the origin is asked for one object.
const MOST_COMMITS: usize = 4;
/// Refs that a token may mean by the parts of their names.
const MOST_NAMES: usize = 16;

/// Fills one folder.
#[derive(Clone, Debug)]
pub(crate) struct Filler(pub(crate) Arc<Parts>);

/// What a filler works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) fetcher: Fetcher,
    pub(crate) known: ArcSwap<Known>,
    pub(crate) robot: Option<Robot>,
    pub(crate) tokens: ExportTokens,
    pub(crate) last_use: LastUse,
    /// Raised when more is kept than may be.
    pub(crate) too_much: Notify,
    under_way: Mutex<HashMap<Key, Outcome>>,
    absent: Cache<Box<str>, Instant>,
    waiting: AtomicUsize,
    runtime: Handle,
}

type Key = (String, Vec<Checksum>);
type Outcome = watch::Receiver<Option<Result<(), NotBrought>>>;

/// By what right the store is asked.
#[derive(Clone, Debug)]
enum Right {
    /// None: it is free.
    Free,
    /// That of the peer's account to one of these commits, of these refs.
    Export(Vec<(Checksum, Vec<RefName>)>),
    /// As before, but perhaps it is free.
    FreeOrExport(Vec<(Checksum, Vec<RefName>)>),
    /// To the list of refs.
    List,
}

impl Filler {
    pub(crate) fn new(
        fetcher: Fetcher,
        known: Known,
        robot: Option<Robot>,
        last_use: LastUse,
        runtime: Handle,
    ) -> Self {
        Self(Arc::new(Parts {
            fetcher,
            known: ArcSwap::from_pointee(known),
            robot,
            tokens: ExportTokens::default(),
            last_use,
            too_much: Notify::new(),
            under_way: Mutex::default(),
            absent: Cache::new(MOST_ABSENT),
            waiting: AtomicUsize::new(0),
            runtime,
        }))
    }

    /// Brings the file in, or waits for who does.
    fn start(&self, path: &RepoPath, right: Right) -> Result<Outcome, NotBrought> {
        let commits = match &right {
            Right::Export(commits) | Right::FreeOrExport(commits) => {
                commits.iter().map(|(commit, _)| *commit).collect()
            }
            Right::Free | Right::List => Vec::new(),
        };
        let key = (path.relative_path(), commits);
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.get(&key) {
            return Ok(outcome.clone());
        }
        if under_way.len() >= MOST_UNDER_WAY {
            return Err(NotBrought::Pending);
        }
        let (done, outcome) = watch::channel(None);
        under_way.insert(key.clone(), outcome.clone());
        drop(under_way);
        let (parts, path) = (Arc::clone(&self.0), path.clone());
        // A task of its own: it goes on when who asked does not wait any more.
        self.0.runtime.spawn(async move {
            let brought = parts.bring(&path, right).await;
            if let Err(Failed::Absent) = &brought {
                parts.absent.insert(path.relative_path().into(), Instant::now());
            }
            let brought = brought.map_err(|failed| told(&path, &failed));
            parts.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            done.send_replace(Some(brought));
            if parts.fetcher.folder.bytes() > parts.fetcher.max_size() {
                parts.too_much.notify_one();
            }
        });
        Ok(outcome)
    }
}

/// Tells the operator what only they can mend.
fn told(path: &RepoPath, failed: &Failed) -> NotBrought {
    match failed {
        Failed::Wrong(_) => tracing::error!(%path, %failed, "a file is not kept"),
        Failed::Full(_) | Failed::Disk(_) => {
            tracing::error!(%path, %failed, "a file cannot be kept; what is here is served on");
        }
        Failed::Unreachable(_) => tracing::debug!(%path, %failed, "a file cannot be fetched"),
        Failed::Absent | Failed::Refused => {}
    }
    failed.told()
}

/// The place of one request that waits.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, NotBrought> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING {
            Ok(place)
        } else {
            Err(NotBrought::Pending)
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Origin for Filler {
    fn bring(&self, path: &RepoPath, visitor: Option<&VerifiedToken>) -> Result<(), NotBrought> {
        let right = self.0.right(path, visitor)?;
        let name: Box<str> = path.relative_path().into();
        if self.0.absent.get(&name).is_some_and(|since| since.elapsed() < ABSENT) {
            return Err(NotBrought::Absent);
        }
        if self.0.fetcher.wire.is_down() {
            return Err(NotBrought::Unreachable);
        }
        let mut outcome = self.start(path, right)?;
        let _place = Place::take(&self.0.waiting)?;
        self.0.runtime.block_on(async {
            let waited = tokio::time::timeout(PATIENCE, outcome.wait_for(Option::is_some)).await;
            match waited {
                Ok(Ok(brought)) => (*brought).unwrap_or(Err(NotBrought::Pending)),
                Ok(Err(_)) | Err(_) => Err(NotBrought::Pending),
            }
        })
    }

    fn used(&self, path: &RepoPath) {
        self.0.last_use.note(path);
    }

    fn is_sound(&self, path: &RepoPath) -> bool {
        self.0.fetcher.sound.has(path)
    }

    fn inspect(&self, path: &RepoPath) -> bool {
        self.0.inspect(path)
    }

    fn withholds(&self, commit: &Checksum) -> bool {
        !self.0.known.load().listed.has(commit) && self.0.fetcher.folder.withholds(commit)
    }
}

impl Parts {
    /// By what right the store may be asked for a file, for that visitor.
    fn right(&self, path: &RepoPath, visitor: Option<&VerifiedToken>) -> Result<Right, NotBrought> {
        let known = self.known.load();
        let policy = known.rules.policy();
        match path {
            RepoPath::SubSummary(_) | RepoPath::SummaryIdxSigOf(_) => Ok(Right::List),
            RepoPath::Object { checksum: commit, kind: ObjectKind::Commit | ObjectKind::CommitMeta }
            | RepoPath::Delta { to: commit, .. }
            | RepoPath::DeltaIndex { to: commit } => self.right_to_commit(&known, commit, visitor),
            RepoPath::Object {
                kind: ObjectKind::DirTree | ObjectKind::DirMeta | ObjectKind::FileZ, ..
            } => {
                let commits = || visitor.map(|visitor| self.commits(&known, visitor)).unwrap_or_default();
                match policy {
                    Policy::Open | Policy::Refs => Ok(Right::Free),
                    Policy::Objects => Ok(Right::FreeOrExport(commits())),
                    Policy::Private => Ok(Right::Export(commits())),
                }
            }
            // What no name verifies is only there as the store's index was copied whole.
            RepoPath::Config
            | RepoPath::Summary
            | RepoPath::SummarySig
            | RepoPath::SummaryIdx
            | RepoPath::SummaryIdxSig
            | RepoPath::SubSummaryDelta { .. }
            | RepoPath::Ref(_) => Err(NotBrought::Absent),
        }
    }

    fn right_to_commit(
        &self,
        known: &Known,
        commit: &Checksum,
        visitor: Option<&VerifiedToken>,
    ) -> Result<Right, NotBrought> {
        if known.rules.policy() != Policy::Private && known.is_open(commit) {
            return Ok(Right::Free);
        }
        let visitor = visitor.ok_or(NotBrought::TokenNeeded)?;
        let mut names = known.listed.names(commit);
        names.retain(|name| may_have(visitor, name, known.rules.policy()));
        if names.is_empty() {
            // Not of today's summary: it is the store's all the same when the store's token names it.
            let hex = commit.to_hex();
            let names_it = |grant: &&Grant| grant.commits.as_ref().is_some_and(|all| all.contains(&hex));
            names = visitor.grants().iter().filter(names_it).flat_map(names_in).take(MOST_NAMES).collect();
        }
        if names.is_empty() {
            Err(NotBrought::TokenNeeded)
        } else {
            Ok(Right::Export(vec![(*commit, names)]))
        }
    }

    /// The commits that a token is for, and the refs that they are of.
    fn commits(&self, known: &Known, visitor: &VerifiedToken) -> Vec<(Checksum, Vec<RefName>)> {
        let mut found: Vec<(Checksum, Vec<RefName>)> = Vec::new();
        for grant in visitor.grants() {
            for commit in grant.commits.iter().flatten().filter_map(|hex| hex.parse::<Checksum>().ok()) {
                let listed = known.listed.names(&commit);
                let names = if listed.is_empty() { names_in(grant) } else { listed };
                found.push((commit, names));
            }
        }
        if found.is_empty() {
            // A device of a site: whatever of today it may have.
            let policy = known.rules.policy();
            let of_today =
                known.listed.refs().filter_map(|(name, commit)| Some((RefName::parse(name).ok()?, commit)));
            let may = of_today.filter(|(name, _)| may_have(visitor, name, policy));
            found = may.take(MOST_COMMITS).map(|(name, commit)| (commit, vec![name])).collect();
        }
        found.truncate(MOST_COMMITS);
        found
    }

    async fn bring(&self, path: &RepoPath, right: Right) -> Result<(), Failed> {
        let known = self.known.load_full();
        let info = &known.trust.info;
        let wire = &self.fetcher.wire;
        match right {
            Right::Free => self.bring_with(path, None).await,
            Right::List => {
                let token = ExportTokens::of_list(wire, self.robot.as_ref(), info).await?;
                self.fetcher.bring(path, token.as_ref().map(Secret::expose)).await
            }
            Right::FreeOrExport(commits) => match self.bring_with(path, None).await {
                Err(Failed::Refused) if !commits.is_empty() => self.export(&known, path, &commits).await,
                other => other,
            },
            Right::Export(commits) => self.export(&known, path, &commits).await,
        }
    }

    async fn export(
        &self,
        known: &Known,
        path: &RepoPath,
        commits: &[(Checksum, Vec<RefName>)],
    ) -> Result<(), Failed> {
        let mut failed = Failed::Refused;
        for (commit, names) in commits {
            // Once more if the store does not take the token that is remembered.
            for is_last in [false, true] {
                let token = match self.token(known, commit, names).await {
                    Ok(token) => token,
                    Err(error @ Failed::Refused) => {
                        failed = error;
                        break;
                    }
                    Err(error) => return Err(error),
                };
                match self.bring_with(path, token.as_ref().map(Secret::expose)).await {
                    Err(Failed::Refused) if !is_last => self.tokens.forget(commit),
                    Err(error @ (Failed::Refused | Failed::Absent)) => {
                        failed = error;
                        break;
                    }
                    other => return other,
                }
            }
        }
        Err(failed)
    }

    /// A token by which the peer's account may carry that commit on.
    pub(crate) async fn token(
        &self,
        known: &Known,
        commit: &Checksum,
        names: &[RefName],
    ) -> Result<Option<Secret>, Failed> {
        self.tokens.of(&self.fetcher.wire, self.robot.as_ref(), &known.trust.info, commit, names).await
    }

    async fn bring_with(&self, path: &RepoPath, token: Option<&str>) -> Result<(), Failed> {
        let RepoPath::Object { checksum, kind: ObjectKind::Commit } = path else {
            return self.fetcher.bring(path, token).await;
        };
        // Who uses this peer beside the store fetches signatures there; who uses it alone will need them here.
        match self.fetcher.bring(&skeleton::object(*checksum, ObjectKind::CommitMeta), token).await {
            Ok(()) | Err(Failed::Absent) => {}
            Err(error) => return Err(error),
        }
        // Under these policies the gate must know all names that a commit contains before it serves one of them.
        if self.known.load().rules.policy().checks_objects() {
            skeleton::bring(&self.fetcher, checksum, token).await
        } else {
            self.fetcher.bring(path, token).await
        }
    }

    /// Compares a file with its name. One that is something else is removed, to be fetched anew.
    fn inspect(&self, path: &RepoPath) -> bool {
        let folder = &self.fetcher.folder;
        match Check::of_file(path, folder) {
            Ok(()) => {
                self.fetcher.sound.note(path);
                true
            }
            Err(error) => {
                tracing::error!(%path, %error, "a file on this peer's disk is damaged; it is removed and fetched anew");
                if let Err(error) = folder.remove(path) {
                    tracing::error!(%path, %error, "the damaged file cannot be removed");
                }
                false
            }
        }
    }
}

/// Whether a token opens a ref, or shows it where that is enough.
fn may_have(visitor: &VerifiedToken, name: &RefName, policy: Policy) -> bool {
    visitor.allows_some_commit(Verb::Download, name)
        || (policy == Policy::Private && visitor.allows_some_commit(Verb::List, name))
}

/// The refs that a grant names by their parts.
fn names_in(grant: &Grant) -> Vec<RefName> {
    let kinds = grant.kinds.clone().unwrap_or_else(|| vec![RefKind::App, RefKind::Runtime]);
    let mut names = Vec::new();
    for kind in kinds {
        let kind = match kind {
            RefKind::App => "app",
            RefKind::Runtime => "runtime",
        };
        for id in &grant.ids {
            for arch in &grant.arches {
                let branches = grant.branches.iter();
                names.extend(
                    branches
                        .filter_map(|branch| RefName::parse(&format!("{kind}/{id}/{arch}/{branch}")).ok()),
                );
                if names.len() >= MOST_NAMES {
                    return names;
                }
            }
        }
    }
    names
}
