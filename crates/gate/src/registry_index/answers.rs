//! Answers of an index that were made before, each plain and compressed.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use flatpass_oci::Digest;
use flatpass_oci::index::IndexQuery;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::prepared::Prepared;

/// The most memory that the answers of one index take.
const MOST_BYTES: u64 = 64 << 20;
/// So many threads wait for answers of one index at the same time: there are others to be served.
const MOST_WAITING: usize = 128;
/// Less than this is not compressed.
const WORTH_COMPRESSING: usize = 512;
/// So much of a digest tells contents apart for good.
const TAG_DIGITS: usize = 32;

/// A query, and the images that it may be answered with: a bit for each, none at all for every one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) query: IndexQuery,
    pub(super) may_list: Option<Box<[u64]>>,
}

/// The answer to one question.
#[derive(Debug)]
pub(super) struct Reply {
    plain: Prepared,
    compressed: Option<Prepared>,
}

impl Reply {
    /// This content; `caching` is what its `Cache-Control` says, and `vary` what else than the encoding it depends on.
    fn new(content: Vec<u8>, caching: &str, vary: &str) -> Self {
        let digest = Digest::of(&content).hex();
        let tag = digest.get(..TAG_DIGITS).unwrap_or_default();
        let prepare = |content: Bytes, tag: &str, encoding: Option<&str>| {
            let encoding = encoding.map(|encoding| ("Content-Encoding", encoding.to_owned()));
            let fields = [("Cache-Control", caching.to_owned()), ("Vary", vary.to_owned())];
            Prepared::new(content, "application/json", tag, fields.into_iter().chain(encoding))
        };
        let compressed = (content.len() >= WORTH_COMPRESSING).then(|| compress(&content)).flatten();
        Self {
            compressed: compressed.map(|bytes| prepare(bytes.into(), &format!("{tag}-gzip"), Some("gzip"))),
            plain: prepare(content.into(), tag, None),
        }
    }

    /// As the client takes it.
    pub(super) fn encoded(&self, takes_gzip: bool) -> &Prepared {
        self.compressed.as_ref().filter(|_| takes_gzip).unwrap_or(&self.plain)
    }

    fn bytes(&self) -> u64 {
        let compressed = self.compressed.as_ref().map_or(0, |compressed| compressed.content().len());
        (self.plain.content().len() + compressed) as u64
    }
}

/// Writing to memory does not fail; if it did, the plain content is there.
fn compress(content: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).ok()?;
    encoder.finish().ok()
}

#[derive(Clone, Debug)]
struct BySize;

impl Weighter<Question, Arc<Reply>> for BySize {
    fn weight(&self, question: &Question, reply: &Arc<Reply>) -> u64 {
        let bits = question.may_list.as_ref().map_or(0, |bits| bits.len() * 8);
        reply.bytes() + (question.query.bytes() + bits) as u64
    }
}

/// The answers of one state of an index.
#[derive(Debug)]
pub(super) struct Answers {
    made: Cache<Question, Arc<Reply>, BySize>,
    caching: &'static str,
    vary: &'static str,
    /// Held while one is made: many different questions at once must not take all of the machine.
    making: Mutex<()>,
    /// How many wait for one to be made.
    waiting: AtomicUsize,
}

impl Answers {
    pub(super) fn new(caching: &'static str, vary: &'static str) -> Self {
        // So few expected entries make it one piece, which takes a large one too.
        let made = Cache::with_weighter(32, MOST_BYTES, BySize);
        Self { made, caching, vary, making: Mutex::new(()), waiting: AtomicUsize::new(0) }
    }

    /// The answer, if it was made before.
    pub(super) fn known(&self, question: &Question) -> Option<Arc<Reply>> {
        self.made.get(question)
    }

    /// The answer; `make` makes it if need be. `None` when too many wait already, each on a thread of its own.
    pub(super) fn get(
        &self,
        question: Question,
        make: impl FnOnce(&Question) -> Vec<u8>,
    ) -> Option<Arc<Reply>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = self.known(&question).unwrap_or_else(|| {
            let reply = Arc::new(Reply::new(make(&question), self.caching, self.vary));
            self.made.insert(question, Arc::clone(&reply));
            reply
        });
        drop(one);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(reply)
    }
}
