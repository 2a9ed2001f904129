//! The mount table: which path prefix leads to what.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::answer::Answer;
use crate::file_cache::FileCache;
use crate::gate::{Gate, WouldWait};
use crate::moment::Moment;
use crate::refusal::connection_error;
use crate::request::{OwnedRequest, Request};
use crate::unmounted::Unmounted;

/// Something that answers the requests below a path prefix, beside the gates of OSTree repositories.
pub trait Mounted: Debug + Send + Sync {
    /// Answers a request if that is possible without waiting for the disk.
    ///
    /// # Errors
    /// [`WouldWait`]: ask [`Mounted::answer`], on another thread.
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait>;

    /// Answers a request on a thread that may wait for the disk.
    fn answer(&self, request: &Request<'_>, now: Moment) -> Answer;
}

/// What stands at a path prefix.
#[derive(Clone, Debug)]
pub enum Mount {
    /// The gate of an OSTree repository.
    Repo(Arc<Gate>),
    /// Anything else, such as a registry or an index.
    Other(Arc<dyn Mounted>),
}

impl From<Arc<Gate>> for Mount {
    fn from(gate: Arc<Gate>) -> Self {
        Self::Repo(gate)
    }
}

impl From<Arc<dyn Mounted>> for Mount {
    fn from(mounted: Arc<dyn Mounted>) -> Self {
        Self::Other(mounted)
    }
}

impl Mount {
    /// As [`Mounted::answer_cached`].
    pub(crate) fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        match self {
            Self::Repo(gate) => gate.answer_cached(request, now),
            Self::Other(mounted) => mounted.answer_cached(request, now),
        }
    }

    /// Answers a request, on a thread of the blocking pool.
    pub(crate) async fn answer_anyhow(self, request: OwnedRequest, now: Moment) -> Answer {
        let mounted = match self {
            Self::Repo(gate) => return gate.answer_anyhow(request, now).await,
            Self::Other(mounted) => mounted,
        };
        let answer = tokio::task::spawn_blocking(move || mounted.answer(&request.borrow(), now)).await;
        answer.unwrap_or_else(|_| {
            connection_error(503, "This cannot be answered now", "The request was given up. Try again later.")
        })
    }
}

/// What a server mounts, by path prefix. Lookups never wait, also while the table is replaced.
#[derive(Debug)]
pub struct Gates {
    table: ArcSwap<Table>,
    cache: Arc<FileCache>,
    unmounted: Option<Arc<Unmounted>>,
}

#[derive(Debug, Default)]
struct Table {
    mounts: HashMap<Box<str>, Mount>,
    /// The largest number of slashes in a prefix. A path is not looked at beyond that, however many slashes it has.
    deepest: usize,
}

impl Gates {
    /// No gate yet. `cache` is the one that the gates are opened with.
    pub fn new(cache: Arc<FileCache>) -> Self {
        Self { table: ArcSwap::default(), cache, unmounted: None }
    }

    /// Where no gate is found, this answers below its prefix.
    #[must_use]
    pub fn with_unmounted(self, unmounted: Unmounted) -> Self {
        Self { unmounted: Some(Arc::new(unmounted)), ..self }
    }

    /// From now on these mounts count, by path prefix without a slash at its end: `/repo/apps`. Where one prefix lies below another,
    /// the shorter one counts. Requests under way finish with the
    /// gate they found.
    pub fn replace<M: Into<Mount>>(&self, mounts: Vec<(String, M)>) {
        let mounts: HashMap<Box<str>, _> =
            mounts.into_iter().map(|(prefix, mount)| (prefix.into(), mount.into())).collect();
        let slashes = |prefix: &str| prefix.bytes().filter(|byte| *byte == b'/').count();
        let deepest = mounts.keys().map(|prefix| slashes(prefix)).max().unwrap_or_default();
        self.table.store(Arc::new(Table { mounts, deepest }));
    }

    /// What a raw request path (without query) leads to, and the path below its mount without a leading slash. Prefixes
    /// are compared as they are: an encoded or doubled slash leads nowhere.
    pub fn find<'a>(&self, path: &'a str) -> Option<(Mount, &'a str)> {
        let table = self.table.load();
        memchr::memchr_iter(b'/', path.as_bytes()).skip(1).take(table.deepest).find_map(|slash| {
            let (prefix, rest) = (path.get(..slash)?, path.get(slash + 1..)?);
            table.mounts.get(prefix).map(|mount| (mount.clone(), rest))
        })
    }

    /// The same, where a repo could be too though none is: what answers there takes the whole path.
    pub(crate) fn find_anyhow<'a>(&self, path: &'a str) -> Option<(Mount, &'a str)> {
        self.find(path).or_else(|| {
            let unmounted = self.unmounted.as_ref().filter(|unmounted| unmounted.name(path).is_some())?;
            Some((Mount::Other(Arc::clone(unmounted) as _), path))
        })
    }

    /// The cache of all the gates.
    pub const fn cache(&self) -> &Arc<FileCache> {
        &self.cache
    }
}
