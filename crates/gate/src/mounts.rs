//! The mount table: which path prefix leads to which gate.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::answer::Answer;
use crate::file_cache::FileCache;
use crate::gate::Gate;
use crate::moment::Moment;
use crate::request::Request;
use crate::unmounted::Unmounted;

/// The gates of a server by path prefix. Lookups never wait, also while the table is replaced.
#[derive(Debug)]
pub struct Gates {
    table: ArcSwap<Table>,
    cache: Arc<FileCache>,
    unmounted: Option<Unmounted>,
}

#[derive(Debug, Default)]
struct Table {
    gates: HashMap<Box<str>, Arc<Gate>>,
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
        Self { unmounted: Some(unmounted), ..self }
    }

    /// From now on these gates count, by path prefix without a slash at its end: `/repo/apps`. Where one prefix lies below another,
    /// the shorter one counts. Requests under way finish with the
    /// gate they found.
    pub fn replace(&self, gates: Vec<(String, Arc<Gate>)>) {
        let gates: HashMap<Box<str>, _> =
            gates.into_iter().map(|(prefix, gate)| (prefix.into(), gate)).collect();
        let slashes = |prefix: &str| prefix.bytes().filter(|byte| *byte == b'/').count();
        let deepest = gates.keys().map(|prefix| slashes(prefix)).max().unwrap_or_default();
        self.table.store(Arc::new(Table { gates, deepest }));
    }

    /// The gate that a raw request path (without query) leads to, and the path below its mount without a leading slash. Prefixes
    /// are compared as they are: an encoded or doubled slash leads nowhere.
    pub fn find<'a>(&self, path: &'a str) -> Option<(Arc<Gate>, &'a str)> {
        let table = self.table.load();
        memchr::memchr_iter(b'/', path.as_bytes()).skip(1).take(table.deepest).find_map(|slash| {
            let (prefix, rest) = (path.get(..slash)?, path.get(slash + 1..)?);
            table.gates.get(prefix).map(|gate| (Arc::clone(gate), rest))
        })
    }

    /// The answer to a request with that raw path, below no mount, if it is one for a repo.
    pub(crate) fn answer_unmounted(&self, request: &Request<'_>, now: Moment) -> Option<Answer> {
        let unmounted = self.unmounted.as_ref()?;
        let (name, _) = unmounted.name(request.path)?;
        Some(unmounted.answer(name, request, now))
    }

    /// The cache of all the gates.
    pub const fn cache(&self) -> &Arc<FileCache> {
        &self.cache
    }
}
