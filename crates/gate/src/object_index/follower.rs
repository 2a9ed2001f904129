//! Keeps the table up to what the repo has: walks the commits that came, forgets those that went.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flatpass_ostree::graph::{Gap, MAX_DIRTREE_SIZE, Unread, Walk};
use flatpass_ostree::{Checksum, Commit, ObjectKind, RepoPath};

use super::class::{Class, ClassId};
use super::merge::{Pair, Plan, merge};
use super::scan::Scan;
use super::table::{Made, Prefix, Table, TableError};
use super::{LookError, ObjectIndex, store};
use crate::disk::{Disk, DiskError, read_whole};
use crate::facts::MAX_COMMIT_BYTES;

/// When so many objects are in memory they are put into a table on the disk: about 100 MB.
const BATCH: usize = 4 << 20;
/// How often the operator hears of a long walk.
const TELL: Duration = Duration::from_secs(3);

/// What the thread that follows the repo knows of it.
#[derive(Debug, Default)]
pub(super) struct Follower {
    scan: Scan,
    /// The newest table, and the commits that it was made from.
    table: Option<Arc<Table>>,
    made: HashMap<Checksum, Made>,
    /// What is missing of the commits that are not whole.
    gaps: HashMap<Checksum, Vec<Gap>>,
    /// Commits that cannot be read, of which the operator was told.
    unreadable: HashSet<Checksum>,
    /// Whether requests are answered from the table.
    published: bool,
    /// Whether the last look failed, so that the next one must not rely on nothing having changed.
    failed: bool,
    /// Whether the table is not in its file yet, and whether the operator was told why.
    unsaved: bool,
    told_unsaved: bool,
}

/// A commit that is there and whole in itself.
type Read = (Checksum, Commit);

/// From one table to the next.
struct Step {
    classes: Vec<Class>,
    /// What becomes of the classes of the table before.
    kept: Vec<Option<ClassId>>,
    /// The commits to walk.
    walk: BTreeMap<ClassId, Vec<Read>>,
    /// The commits that the table is made from then.
    made: HashMap<Checksum, Made>,
}

impl Follower {
    /// Looks at the repo once, and publishes what changed.
    pub(super) fn look(&mut self, index: &ObjectIndex) -> Result<(), LookError> {
        if self.table.is_none() {
            self.load(index);
        }
        let failed = std::mem::replace(&mut self.failed, true);
        let changed = self.scan.look(&index.root)?;
        if changed || failed || !self.published {
            let present = self.scan.commits();
            self.unreadable.retain(|commit| present.contains(commit));
            self.gaps.retain(|commit, _| present.contains(commit));
            // What came first: people wait for it. While nobody is answered yet, what went must go before.
            if self.take_up_new(index, &present)? && self.published {
                self.publish(index);
            }
            let fewer = self.forget_gone(index, &present)?;
            if fewer || !self.published {
                self.publish(index);
            }
        }
        self.failed = false;
        Ok(())
    }

    fn publish(&mut self, index: &ObjectIndex) {
        if let Some(table) = &self.table {
            index.publish(Arc::clone(table));
            self.published = true;
        }
    }

    /// Takes up the file of an earlier run, if there is a good one.
    fn load(&mut self, index: &ObjectIndex) {
        let (name, file) = (&index.config.name, index.config.file.display());
        match store::load(&index.config.file, &index.origin()) {
            Ok(Some(table)) => {
                self.made = table.commits().collect();
                self.table = Some(Arc::new(table));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(repo = name, %file, %error, "the object index cannot be used; it is made anew");
            }
        }
    }

    /// Puts the table into its file, if it is not there yet.
    pub(super) fn save(&mut self, index: &ObjectIndex) {
        let Some(table) = self.table.as_ref().filter(|_| self.unsaved) else { return };
        let (name, file) = (&index.config.name, &index.config.file);
        match store::save(table, file) {
            Ok(()) => (self.unsaved, self.told_unsaved) = (false, false),
            Err(error) if !self.told_unsaved => {
                self.told_unsaved = true;
                let file = file.display();
                tracing::error!(repo = name, %file, %error, "the object index cannot be kept; after a restart it is made anew");
            }
            Err(_) => {}
        }
    }

    /// Walks the commits that the table does not know yet, or not whole. Gives whether there is another table now.
    fn take_up_new(&mut self, index: &ObjectIndex, present: &HashSet<Checksum>) -> Result<bool, LookError> {
        let is_new = |commit: &&Checksum| self.made.get(*commit).is_none_or(|made| !made.whole);
        let new: Vec<Checksum> = present.iter().filter(is_new).copied().collect();
        if new.is_empty() && self.table.is_some() {
            return Ok(false);
        }
        let mut classes = self.table.as_ref().map_or_else(Vec::new, |table| table.classes().to_vec());
        let kept = (0..).map(Some).take(classes.len()).collect();
        let mut numbers: HashMap<Class, ClassId> = classes.iter().cloned().zip(0..).collect();
        let mut walk: BTreeMap<ClassId, Vec<Read>> = BTreeMap::new();
        for checksum in new {
            let Some(commit) = self.read_commit(index, checksum)? else { continue };
            let class = Class::of(&commit);
            let next = ClassId::try_from(classes.len()).map_err(|_| LookError::TooMany)?;
            let number = *numbers.entry(class).or_insert_with_key(|class| {
                classes.push(class.clone());
                next
            });
            walk.entry(number).or_default().push((checksum, commit));
        }
        let made = self.made.clone();
        self.step(index, Step { classes, kept, walk, made })
    }

    /// Forgets what only commits had that are gone. Gives whether there is another table now.
    fn forget_gone(&mut self, index: &ObjectIndex, present: &HashSet<Checksum>) -> Result<bool, LookError> {
        let Some(table) = self.table.clone() else { return Ok(false) };
        let gone = self.made.iter().filter(|(commit, _)| !present.contains(commit));
        // Who else in its class has an object of a commit that went is not written down: the class is walked anew.
        let affected: BTreeSet<ClassId> = gone.map(|(_, made)| made.class).collect();
        if affected.is_empty() {
            return Ok(false);
        }
        let mut walk: BTreeMap<ClassId, Vec<Read>> = BTreeMap::new();
        let mut made = self.made.clone();
        made.retain(|_, made| !affected.contains(&made.class));
        for (checksum, before) in self.made.clone() {
            if affected.contains(&before.class)
                && present.contains(&checksum)
                && let Some(commit) = self.read_commit(index, checksum)?
            {
                walk.entry(before.class).or_default().push((checksum, commit));
            }
        }
        // The classes that are left move together.
        let left: BTreeSet<ClassId> =
            made.values().map(|made| made.class).chain(walk.keys().copied()).collect();
        let numbers: BTreeMap<ClassId, ClassId> = left.iter().copied().zip(0..).collect();
        let number = |old: ClassId| numbers.get(&old).copied();
        let old = || (0..).zip(table.classes());
        let classes = old().filter(|(old, _)| left.contains(old)).map(|(_, class)| class.clone()).collect();
        let kept = old().map(|(old, _)| number(old).filter(|_| !affected.contains(&old))).collect();
        let walk = walk.into_iter().filter_map(|(old, commits)| Some((number(old)?, commits))).collect();
        let made: HashMap<_, _> = made
            .into_iter()
            .filter_map(|(commit, made)| Some((commit, Made { class: number(made.class)?, ..made })))
            .collect();
        // They are found anew.
        self.gaps.retain(|commit, _| made.contains_key(commit));
        self.step(index, Step { classes, kept, walk, made })
    }

    /// Walks, and makes the next table.
    fn step(&mut self, index: &ObjectIndex, step: Step) -> Result<bool, LookError> {
        let Step { classes, mut kept, walk, mut made } = step;
        let origin = index.origin();
        let folder = index.folder()?;
        let fewer = self.table.is_none() || kept.iter().any(Option::is_none);
        let progress = &index.progress;
        progress.of.store(walk.values().map(Vec::len).sum::<usize>() as u64, Ordering::Relaxed);
        progress.done.store(0, Ordering::Relaxed);
        let (mut found, mut news) = (Vec::new(), false);
        let mut batch: Option<Arc<Table>> = None;
        let mut told = Instant::now();
        let mut gaps_now = HashMap::new();
        for (class, commits) in walk {
            let mut walk = Walk::new();
            for (checksum, commit) in commits {
                let before = found.len();
                let note = |_, object| found.push(Pair { object: Prefix::of(&object), class });
                let gaps = walk.commit(&commit, |tree| read_tree(index, tree), note)?;
                progress.done.fetch_add(1, Ordering::Relaxed);
                if told.elapsed() >= TELL {
                    told = Instant::now();
                    let (done, of) = (&progress.done, &progress.of);
                    tracing::info!(repo = index.config.name, commits = ?done, ?of, "making the object index");
                }
                let whole = gaps.is_empty();
                if whole {
                    self.gaps.remove(&checksum);
                }
                if !whole && self.gaps.get(&checksum) == Some(&gaps) {
                    // As much is missing as before, so nothing else can have been found.
                    found.truncate(before);
                    continue;
                }
                if let Some(gap) = gaps.first() {
                    tracing::warn!(
                        repo = index.config.name, commit = %checksum, %gap, gaps = gaps.len(),
                        "a commit is not whole; what is missing of it is not served"
                    );
                    gaps_now.insert(checksum, gaps);
                }
                made.insert(checksum, Made { class, whole });
                news = true;
                if found.len() >= BATCH {
                    let base = batch.as_deref().or(self.table.as_deref());
                    let found = std::mem::take(&mut found);
                    let kept_now = std::mem::take(&mut kept);
                    let (commits, classes, origin) = (&HashMap::new(), classes.as_slice(), origin.as_slice());
                    let plan = Plan { base, kept: kept_now, found, classes, commits, origin };
                    batch = Some(Arc::new(merge(plan, folder)?));
                    kept = (0..).map(Some).take(classes.len()).collect();
                }
            }
        }
        if !news && !fewer && made == self.made {
            return Ok(false);
        }
        let base = batch.as_deref().or(self.table.as_deref());
        let plan = Plan { base, kept, found, classes: &classes, commits: &made, origin: &origin };
        let table = merge(plan, folder)?;
        self.gaps.extend(gaps_now);
        (self.table, self.made, self.unsaved) = (Some(Arc::new(table)), made, true);
        Ok(true)
    }

    /// The commit; `None` when it is gone again, or when it is not what its name says.
    fn read_commit(&mut self, index: &ObjectIndex, checksum: Checksum) -> Result<Option<Commit>, LookError> {
        let damage = match read_object(index, &checksum, ObjectKind::Commit, MAX_COMMIT_BYTES) {
            Ok(bytes) if Checksum::of(&bytes) != checksum => "its content has another checksum".to_owned(),
            Ok(bytes) => match Commit::parse(&bytes) {
                Ok(commit) => {
                    self.unreadable.remove(&checksum);
                    return Ok(Some(commit));
                }
                Err(error) => error.to_string(),
            },
            Err(Unread::Absent) => return Ok(None),
            Err(Unread::TooLarge) => "it is too large".to_owned(),
            Err(Unread::Failed(error)) => return Err(error),
        };
        if self.unreadable.insert(checksum) {
            tracing::error!(
                repo = index.config.name, commit = %checksum, damage,
                "a commit is damaged; objects that no other commit has are not served"
            );
        }
        Ok(None)
    }
}

fn read_tree(index: &ObjectIndex, tree: &Checksum) -> Result<Vec<u8>, Unread<LookError>> {
    read_object(index, tree, ObjectKind::DirTree, MAX_DIRTREE_SIZE)
}

fn read_object(
    index: &ObjectIndex,
    checksum: &Checksum,
    kind: ObjectKind,
    limit: u64,
) -> Result<Vec<u8>, Unread<LookError>> {
    let path = RepoPath::Object { checksum: *checksum, kind }.relative_path();
    let failed = |error: DiskError| Unread::Failed(LookError::Disk(path.clone(), error));
    match index.root.open_file(&path, Disk::Wait).map_err(failed)? {
        None => Err(Unread::Absent),
        Some((file, version)) => match read_whole(&file, version, limit, Disk::Wait) {
            Ok((bytes, _)) => Ok(bytes),
            Err(DiskError::TooLarge(_)) => Err(Unread::TooLarge),
            Err(error) => Err(failed(error)),
        },
    }
}

impl From<DiskError> for LookError {
    fn from(error: DiskError) -> Self {
        Self::Disk("objects".to_owned(), error)
    }
}

impl From<TableError> for LookError {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}
