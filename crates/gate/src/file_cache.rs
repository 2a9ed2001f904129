//! The bounded cache of files, shared by all gates: small ones in memory, large ones as open descriptors.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::disk::{Disk, DiskError, Root};
use crate::facts::MAX_COMMIT_BYTES;
use crate::moment::Moment;
use crate::resource::Resource;

/// What a cached file costs beyond its content: keys, heads, facts, tables.
const OVERHEAD_BYTES: u64 = 1024;
/// How long content-addressed objects are served without a look at the disk. They cannot change, only go.
const OBJECT_CHECK_MILLIS: u64 = 1000;
/// Files that nobody asked for in this time are let go by [`FileCache::sweep`].
const UNUSED_MILLIS: u64 = 60_000;

/// How much a [`FileCache`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of memory for content.
    pub bytes: u64,
    /// Files up to this many bytes are kept in memory, larger ones as open files.
    pub small_file_bytes: u64,
    /// How many files are kept open at most.
    pub open_files: u64,
}

impl Default for CacheLimits {
    /// 64 MiB, files up to 64 KiB, 512 open files.
    fn default() -> Self {
        Self { bytes: 64 << 20, small_file_bytes: 64 << 10, open_files: 512 }
    }
}

/// The files that gates have served lately. One is shared by all gates of a server.
#[derive(Debug)]
pub struct FileCache {
    limits: CacheLimits,
    files: Cache<Key, Arc<Resource>, ByCost>,
    gates: AtomicU64,
    swept: AtomicI64,
}

/// Which gate's file, by its canonical path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    gate: u64,
    path: Box<str>,
}

#[derive(PartialEq, Eq)]
struct KeyRef<'a> {
    gate: u64,
    path: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { gate: self.gate, path: &self.path }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.gate);
        state.write(self.path.as_bytes());
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.gate == key.gate && *self.path == *key.path
    }
}

/// An open file weighs its share of what may be open, memory what it is.
#[derive(Clone, Debug)]
struct ByCost {
    open_file: u64,
}

impl Weighter<Key, Arc<Resource>> for ByCost {
    fn weight(&self, _: &Key, file: &Arc<Resource>) -> u64 {
        OVERHEAD_BYTES + file.memory().unwrap_or(self.open_file)
    }
}

/// How soon a change of a file must show, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The name is the content's checksum: it can only go.
    Object,
    /// As [`Freshness::Object`], but in memory whatever its size: decisions are made from the very bytes that are served.
    Commit,
    /// At once.
    Mutable,
}

impl Freshness {
    const fn is_object(self) -> bool {
        matches!(self, Freshness::Object | Freshness::Commit)
    }
}

impl FileCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        let open_file = limits.bytes / limits.open_files.max(1);
        let items = usize::try_from(limits.bytes / (16 << 10)).unwrap_or(usize::MAX).clamp(64, 1 << 14);
        Self {
            limits,
            files: Cache::with_weighter(items, limits.bytes, ByCost { open_file }),
            gates: AtomicU64::new(0),
            swept: AtomicI64::new(i64::MIN),
        }
    }

    /// A number for a new gate, under which its files are kept.
    pub(crate) fn register(&self) -> u64 {
        self.gates.fetch_add(1, Ordering::Relaxed)
    }

    /// How many files are cached.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file is cached.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Lets go of files that nobody asked for in the last minute, so that a deleted file's space on the disk is given back even when nobody
    /// asks for it again. Connections call this now and then; a server without any may call it too.
    pub fn sweep(&self, now: Moment) {
        let swept = self.swept.load(Ordering::Relaxed);
        if now.millis().abs_diff(swept) < UNUSED_MILLIS / 2
            || self.swept.compare_exchange(swept, now.millis(), Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        self.files.retain(|_, file| now.distance_millis(file.checked()) < UNUSED_MILLIS);
    }

    /// The file at `path` (canonical) of that gate, in a state that it had not before this call began (or, for objects,
    /// at most a second before). `None` when there is none.
    ///
    /// # Errors
    /// [`DiskError::WouldWait`] only with [`Disk::Cached`].
    pub(crate) fn fetch(
        &self,
        gate: u64,
        root: &Root,
        path: &str,
        freshness: Freshness,
        now: Moment,
        disk: Disk,
    ) -> Result<Option<Arc<Resource>>, DiskError> {
        let key = KeyRef { gate, path };
        if let Some(file) = self.files.get(&key) {
            if freshness.is_object() && now.distance_millis(file.checked()) < OBJECT_CHECK_MILLIS {
                return Ok(Some(file));
            }
            if root.version(path)?.as_ref() == Some(file.version()) {
                file.set_checked(now);
                return Ok(Some(file));
            }
            self.files.remove(&key);
        }
        let Some((fd, version)) = root.open_file(path, disk)? else {
            return Ok(None);
        };
        let in_memory = match freshness {
            Freshness::Commit => MAX_COMMIT_BYTES,
            Freshness::Object | Freshness::Mutable => self.limits.small_file_bytes,
        };
        let file = Resource::load(fd, version, in_memory, now, disk)?;
        let file = Arc::new(file);
        // What was written a moment ago may be written again without another time stamp: it is read anew each time until then.
        if freshness.is_object() || file.version().is_settled() {
            self.files.insert(Key { gate, path: path.into() }, Arc::clone(&file));
        }
        Ok(Some(file))
    }
}
