//! One file of a repo as it was in one moment, ready to be served.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flatpass_oci::{Digest, DigestReader};
use flatpass_ostree::Checksum;

use crate::answer::{Body, FileBody, HeadWriter};
use crate::disk::{Disk, DiskError, Version, fill, read_whole};
use crate::facts::Facts;
use crate::moment::{Moment, kernel_now};
use crate::representation::slice;

/// So much of a file is read at once to make its digest.
const DIGEST_BYTES: usize = 256 << 10;

/// Who may keep an answer, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Content that its name is the checksum of: anybody, for ever.
    Immutable,
    /// A file that may change: anybody, but it must be asked about each time.
    Mutable,
    /// Content that needed a token: nobody.
    Gated,
}

impl Caching {
    pub(crate) const fn cache_control(self) -> &'static str {
        match self {
            Caching::Immutable => "public, max-age=31536000, immutable",
            Caching::Mutable => "no-cache",
            Caching::Gated => "private, no-store",
        }
    }
}

/// One file of a repo as it was in one moment. Content, size, validators and what was read out of it (the commit's refs,
/// say) come from the same bytes and are replaced together.
#[derive(Debug)]
pub(crate) struct Resource {
    version: Version,
    content: Content,
    etag: String,
    last_modified: Option<String>,
    /// When the file was last seen to be in this state, in milliseconds.
    checked: AtomicI64,
    heads: [OnceLock<Bytes>; 3],
    pub(crate) facts: OnceLock<Facts>,
    /// Of a blob, whether its content is what its name says.
    pub(crate) sound: OnceLock<bool>,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    File(Arc<OwnedFd>),
}

impl Resource {
    /// Takes up an open file: into memory when it has at most `memory_limit` bytes.
    pub(crate) fn load(
        fd: OwnedFd,
        version: Version,
        memory_limit: u64,
        now: Moment,
        disk: Disk,
    ) -> Result<Self, DiskError> {
        let (content, version) = if version.size <= memory_limit {
            let (bytes, version) = read_whole(&fd, version, memory_limit, disk)?;
            (Content::Memory(bytes.into()), version)
        } else {
            (Content::File(Arc::new(fd)), version)
        };
        Ok(Self {
            etag: entity_tag(&content, &version),
            last_modified: last_modified(&version),
            version,
            content,
            checked: AtomicI64::new(now.millis()),
            heads: [const { OnceLock::new() }; 3],
            facts: OnceLock::new(),
            sound: OnceLock::new(),
        })
    }

    /// A file that is not on the disk.
    pub(crate) fn made(content: Vec<u8>) -> Self {
        let version = Version::of_size(content.len() as u64);
        let content = Content::Memory(content.into());
        Self {
            etag: entity_tag(&content, &version),
            last_modified: None,
            version,
            content,
            checked: AtomicI64::new(i64::MIN),
            heads: [const { OnceLock::new() }; 3],
            facts: OnceLock::new(),
            sound: OnceLock::new(),
        }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn size(&self) -> u64 {
        self.version.size
    }

    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }

    pub(crate) fn last_modified(&self) -> Option<&str> {
        self.last_modified.as_deref()
    }

    /// When the file was last seen to be in this state.
    pub(crate) fn checked(&self) -> Moment {
        Moment::from_millis(self.checked.load(Ordering::Relaxed))
    }

    pub(crate) fn set_checked(&self, now: Moment) {
        self.checked.store(now.millis(), Ordering::Relaxed);
    }

    /// Bytes of memory that it holds, for files kept open none.
    pub(crate) fn memory(&self) -> Option<u64> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes.len() as u64),
            Content::File(_) => None,
        }
    }

    /// The whole content, for reading facts out of it.
    pub(crate) fn whole(&self, limit: u64, disk: Disk) -> Result<Bytes, DiskError> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.clone()),
            Content::File(fd) => {
                let (bytes, version) = read_whole(fd, self.version, limit, disk)?;
                if version == self.version { Ok(bytes.into()) } else { Err(DiskError::Changing) }
            }
        }
    }

    /// The digest of the content. For a large file that takes long.
    pub(crate) fn digest(&self) -> Result<Digest, DiskError> {
        let fd = match &self.content {
            Content::Memory(bytes) => return Ok(Digest::of(bytes)),
            Content::File(fd) => fd,
        };
        let (mut reader, mut piece, mut at) = (DigestReader::new(), vec![0; DIGEST_BYTES], 0);
        loop {
            let count = fill(fd, &mut piece, at, Disk::Wait)?;
            reader.update(piece.get(..count).unwrap_or_default());
            at = at.saturating_add(count as u64);
            if count < piece.len() {
                break;
            }
        }
        let same = at == self.size() && self.version.is_that_of(fd)?;
        if same { Ok(reader.finish()) } else { Err(DiskError::Changing) }
    }

    /// Bytes `start..end` as a body. The caller has cut the range to the size.
    pub(crate) fn body(&self, start: u64, end: u64) -> Body {
        if start >= end {
            return Body::Empty;
        }
        match &self.content {
            Content::Memory(bytes) => slice(bytes, start, end),
            Content::File(fd) => Body::File(FileBody { fd: Arc::clone(fd), range: start..end }),
        }
    }

    /// The head of the answer 200 with the whole content, as `make` made it for the first one.
    pub(crate) fn head(&self, caching: Caching, make: impl FnOnce() -> Bytes) -> Bytes {
        let [immutable, mutable, gated] = &self.heads;
        let slot = match caching {
            Caching::Immutable => immutable,
            Caching::Mutable => mutable,
            Caching::Gated => gated,
        };
        slot.get_or_init(make).clone()
    }

    /// The fields that 200, 206 and 304 have in common (RFC 9110, 15.4.5).
    pub(crate) fn describe(&self, head: HeadWriter, caching: Caching) -> HeadWriter {
        head.field("Accept-Ranges", "bytes")
            .field("Cache-Control", caching.cache_control())
            .optional("Vary", (caching == Caching::Gated).then_some("Authorization"))
            .field("ETag", &self.etag)
            .optional("Last-Modified", self.last_modified())
    }
}

/// A strong validator (RFC 9110, 8.8.1). Content in memory is its own: so copies of a repo on several machines agree, and
/// a file that was written again with the same bytes is not sent again.
fn entity_tag(content: &Content, version: &Version) -> String {
    match content {
        Content::Memory(bytes) => {
            let hex = Checksum::of(bytes).to_hex();
            format!("\"{}\"", hex.get(..32).unwrap_or(&hex))
        }
        Content::File(_) => {
            // Not the plain numbers: an inode says more about the server than a client needs to know.
            let mut hasher = DefaultHasher::new();
            version.hash(&mut hasher);
            format!("\"{:016x}-{:x}\"", hasher.finish(), version.size)
        }
    }
}

/// `Last-Modified`, which counts in seconds: the first full second in which the file surely was there in this state, so that
/// who saw an earlier state cannot have the same date. Left out while that second is not over (RFC 9110, 8.8.2.2).
fn last_modified(version: &Version) -> Option<String> {
    let second = version.latest_change().millis().div_euclid(1000) + 1;
    let over = kernel_now().millis() >= (second + 1) * 1000;
    let since = Duration::from_secs(u64::try_from(second).ok().filter(|_| over)?);
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since))
}

/// Reads one piece of a file body; an error when the file has become shorter than it was promised to be.
pub(crate) fn read_piece(file: &FileBody, at: u64, length: usize, disk: Disk) -> Result<Bytes, DiskError> {
    let mut piece = vec![0; length];
    if fill(&*file.fd, &mut piece, at, disk)? == length { Ok(piece.into()) } else { Err(DiskError::Changing) }
}
