//! Which commits contain an object: what the policies `objects` and `private` ask for every dirtree, dirmeta and filez.
//!
//! A [`Table`](table::Table) in an unnamed, memory-mapped file leads from an object to the set of *classes* it belongs to; a class
//! is the refs and the token type of commits. One thread beside the requests follows the repo ([`ObjectIndex::follow`]). It
//! makes a new table when commits come or go and puts it in the place of the old one; requests only ever look things up. An
//! object that no table has yet waits for that thread's next look.

mod class;
mod follower;
mod judgement;
mod looks;
mod merge;
mod scan;
mod store;
mod table;
mod unnamed;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use flatpass_ostree::Checksum;

pub(crate) use judgement::{Judgement, Way};

use crate::disk::{DiskError, Root};
use crate::moment::kernel_now;
use class::ClassId;
use follower::Follower;
use looks::Looks;
pub(crate) use table::SetId;
use table::{Table, TableError};

/// How often the repo is looked at when nobody asks for it. A look at a repo in which nothing changed takes 256 system calls.
const LOOK: Duration = Duration::from_millis(300);
/// The least time between two looks; between long ones there is as much rest as they took, up to a second.
const REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Where an index gets its objects from, and where it keeps itself.
#[derive(Clone, Debug)]
pub struct ObjectIndexConfig {
    /// The repo's name, for the log.
    pub name: String,
    /// The repo's folder. Nothing is ever written there.
    pub root: PathBuf,
    /// The file that the index survives a restart in. Its folder is made if it is not there, for this user alone.
    pub file: PathBuf,
    /// How long a request for an object that the index does not have may wait for the next look at the repo. Clients that are
    /// sent away with 503 come again at once, six times in all.
    pub patience: Duration,
}

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub enum ObjectIndexError {
    /// The repo's folder cannot be opened.
    #[error("cannot open the repository {}: {source}", path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder of the index's file cannot be made.
    #[error("cannot make the folder of {}: {source}. Let the user that runs this write there", path.display())]
    Folder {
        /// The index's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No thread can be begun.
    #[error("cannot begin a thread: {0}")]
    Thread(io::Error),
}

/// Why a look at the repo led to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error("cannot read {0}: {1}")]
    Disk(String, DiskError),
    #[error("cannot write the table: {0}")]
    Table(TableError),
    #[error("cannot make the folder of the index: {0}")]
    Folder(#[from] io::Error),
    #[error("there are too many kinds of commits")]
    TooMany,
}

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectIndexState {
    /// No request is answered from it yet.
    Building {
        /// Commits that were walked.
        done: u64,
        /// Commits to walk in all, 0 while they are counted.
        of: u64,
    },
    /// It answers.
    Ready {
        /// The objects in it.
        objects: u64,
        /// The bytes of its memory-mapped file.
        bytes: u64,
    },
}

/// The index of one repo's objects. Gates share it.
#[derive(Debug)]
pub struct ObjectIndex {
    config: ObjectIndexConfig,
    root: Root,
    current: ArcSwapOption<Current>,
    follower: Mutex<Follower>,
    looks: Arc<Looks>,
    progress: Progress,
    published: AtomicU64,
}

#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    of: AtomicU64,
}

/// What requests are answered from.
#[derive(Debug)]
pub(crate) struct Current {
    /// Another one for each table.
    number: u64,
    table: Arc<Table>,
    /// The classes that have a ref with that id.
    by_id: BTreeMap<Box<str>, Vec<ClassId>>,
    /// The classes of the lists of apps.
    lists: Vec<ClassId>,
}

impl ObjectIndex {
    /// An index that knows nothing yet: see [`ObjectIndex::follow`].
    ///
    /// # Errors
    /// [`ObjectIndexError::Root`] or [`ObjectIndexError::Folder`].
    pub fn open(config: ObjectIndexConfig) -> Result<Arc<Self>, ObjectIndexError> {
        let root = Root::open(&config.root)
            .map_err(|source| ObjectIndexError::Root { path: config.root.clone(), source: source.into() })?;
        store::make_folder(&config.file)
            .map_err(|source| ObjectIndexError::Folder { path: config.file.clone(), source })?;
        Ok(Arc::new(Self {
            config,
            root,
            current: ArcSwapOption::empty(),
            follower: Mutex::default(),
            looks: Arc::default(),
            progress: Progress::default(),
            published: AtomicU64::new(0),
        }))
    }

    /// Begins the thread that follows the repo until nobody has the index any more. It is to be begun once.
    ///
    /// # Errors
    /// [`ObjectIndexError::Thread`]
    pub fn follow(self: &Arc<Self>) -> Result<(), ObjectIndexError> {
        // Between two looks it holds nothing but where it is woken.
        let (index, looks) = (Arc::downgrade(self), Arc::clone(&self.looks));
        std::thread::Builder::new()
            .name("object-index".to_owned())
            .spawn(move || keep_following(&index, &looks))
            .map(drop)
            .map_err(ObjectIndexError::Thread)
    }

    /// What it is of, and where it is kept.
    pub const fn config(&self) -> &ObjectIndexConfig {
        &self.config
    }

    /// How far it is.
    pub fn state(&self) -> ObjectIndexState {
        match &*self.current.load() {
            Some(current) => {
                let bytes = current.table.as_bytes().len() as u64;
                ObjectIndexState::Ready { objects: current.table.len(), bytes }
            }
            None => ObjectIndexState::Building {
                done: self.progress.done.load(Ordering::Relaxed),
                of: self.progress.of.load(Ordering::Relaxed),
            },
        }
    }

    /// Whether some commit contains that object, as far as the index knows.
    pub fn contains(&self, object: &Checksum) -> bool {
        self.current.load().as_ref().is_some_and(|current| current.find(object).is_some())
    }

    /// What requests are answered from; `None` while there is nothing whole.
    pub(crate) fn current(&self) -> Guard<Option<Arc<Current>>> {
        self.current.load()
    }

    /// Waits, for a visitor, for a look at the repo that begins after this call. Gives whether there was one in time. `false` at once when
    /// too many wait already.
    pub(crate) fn wait_for_look(&self, visitor: Option<&str>) -> bool {
        self.looks.wait(visitor, self.config.patience)
    }

    /// Looks at the repo once, in this thread.
    pub(crate) fn look(&self) -> Result<(), LookError> {
        let mut follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.looks.begin();
        self.root.follow(kernel_now());
        follower.look(self)?;
        // Who waits need not wait for the disk.
        self.looks.end(look);
        follower.save(self);
        Ok(())
    }

    fn publish(&self, table: Arc<Table>) {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let mut by_id: BTreeMap<Box<str>, Vec<ClassId>> = BTreeMap::new();
        for (number, class) in (0..).zip(table.classes()) {
            for name in &class.refs {
                by_id.entry(name.id().into()).or_default().push(number);
            }
        }
        let lists = (0..).zip(table.classes()).filter(|(_, class)| class.is_list_of_apps);
        let lists = lists.map(|(number, _)| number).collect();
        self.current.store(Some(Arc::new(Current { number, table, by_id, lists })));
    }

    /// Which repo this is, as the file says it.
    fn origin(&self) -> Vec<u8> {
        let (_, inode) = self.root.identity();
        [self.config.root.as_os_str().as_bytes(), format!("\n{inode}").as_bytes()].concat()
    }

    /// The folder of the file, which may have been removed.
    fn folder(&self) -> io::Result<&Path> {
        store::make_folder(&self.config.file)?;
        Ok(store::folder_of(&self.config.file))
    }
}

impl Drop for ObjectIndex {
    fn drop(&mut self) {
        self.looks.wake();
    }
}

fn keep_following(index: &Weak<ObjectIndex>, looks: &Looks) {
    let mut fails = false;
    while let Some(index) = index.upgrade() {
        let begun = Instant::now();
        let was_ready = index.current().is_some();
        match index.look() {
            Ok(()) => {
                if !was_ready && let ObjectIndexState::Ready { objects, .. } = index.state() {
                    let millis = begun.elapsed().as_millis();
                    tracing::info!(repo = index.config.name, objects, millis, "the object index is ready");
                }
                if std::mem::take(&mut fails) {
                    tracing::info!(repo = index.config.name, "the object index follows the repo again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    let repo = &index.config.name;
                    tracing::error!(repo, %error, "the object index does not follow the repo; it tries on");
                }
            }
        }
        drop(index);
        let rest = begun.elapsed().clamp(REST, LONGEST_REST);
        std::thread::sleep(rest);
        looks.wait_for_wish(LOOK.saturating_sub(rest));
    }
}
