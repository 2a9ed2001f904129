//! The table of objects, as it lies in its file: which set of classes each object belongs to.
//!
//! All numbers are little-endian. After the header come: the objects in order, each as the first 16 bytes of its checksum and the
//! number of its set; where in them each bucket begins (a bucket is what the first bits of the checksum say); where each
//! set ends among the members; the members, which are numbers of classes in ascending order; the commits that the table was made
//! from; the classes as text; where the repo is.
//!
//! The table is a function of the commits alone: each object was reached from a commit through content that has the checksum it is
//! known by. Sixteen bytes tell objects apart by accident for ever; to make two objects agree in them on purpose takes 2^64 tries,
//! and gains a publisher only that one of his objects goes where another of his does.

use std::io::{self, Read, Write};
use std::ops::Range;

use flatpass_ostree::Checksum;
use sha2::{Digest, Sha256};

use super::class::{Class, ClassId};
use super::unnamed::View;

const MAGIC: &[u8; 8] = b"fpobject";
/// Of this layout. A file of another one is made anew.
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 96;
const DIGEST: Range<usize> = 64..HEADER_BYTES;
pub(super) const PREFIX_BYTES: usize = 16;
pub(super) const ENTRY_BYTES: usize = PREFIX_BYTES + 4;
const COMMIT_BYTES: usize = 32 + 4 + 1;

/// The beginning of a checksum, which stands for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix(pub(super) u64, pub(super) u64);

impl Prefix {
    pub(crate) fn of(checksum: &Checksum) -> Self {
        Self::read(checksum.as_bytes()).unwrap_or(Self(0, 0))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk::<8>()?;
        Some(Self(u64::from_be_bytes(*first), u64::from_be_bytes(*rest.first_chunk::<8>()?)))
    }

    pub(super) fn to_bytes(self) -> [u8; PREFIX_BYTES] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_be_bytes()
    }

    pub(super) const fn bucket(self, bits: u32) -> usize {
        if bits == 0 { 0 } else { (self.0 >> (64 - bits)) as usize }
    }
}

/// What is known of a commit that a table was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) class: ClassId,
    /// Whether all of it was found.
    pub(crate) whole: bool,
}

/// The number of a set of classes in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId(pub(super) u32);

/// Why a file is not a table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("it has another format")]
    OtherFormat,
    #[error("it is damaged")]
    Damaged,
    #[error("it is of another repository")]
    OtherRepo,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How many of each there are, the part of the header that is not fixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bucket_bits: u32,
    pub(super) sets: u32,
    pub(super) entries: u64,
    pub(super) members: u64,
    pub(super) commits: u64,
    pub(super) class_bytes: u64,
    pub(super) origin_bytes: u64,
}

impl Counts {
    pub(super) fn to_bytes(self) -> [u8; DIGEST.start] {
        let mut bytes = Vec::with_capacity(DIGEST.start);
        bytes.extend_from_slice(MAGIC);
        for number in [VERSION, self.bucket_bits, self.sets, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.entries, self.members, self.commits, self.class_bytes, self.origin_bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut fixed = [0; DIGEST.start];
        fixed.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        fixed
    }

    fn read(header: &[u8]) -> Result<Self, TableError> {
        let small = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
        let large = |at: usize| Some(u64::from_le_bytes(*header.get(at..)?.first_chunk()?));
        if !header.starts_with(MAGIC) || small(8) != Some(VERSION) {
            return Err(TableError::OtherFormat);
        }
        let read = || {
            Some(Self {
                bucket_bits: small(12)?,
                sets: small(16)?,
                entries: large(24)?,
                members: large(32)?,
                commits: large(40)?,
                class_bytes: large(48)?,
                origin_bytes: large(56)?,
            })
        };
        read().filter(|counts| counts.bucket_bits <= 32).ok_or(TableError::Damaged)
    }
}

/// Where each part lies.
#[derive(Clone, Debug)]
struct Layout {
    entries: Range<usize>,
    buckets: Range<usize>,
    set_ends: Range<usize>,
    members: Range<usize>,
    commits: Range<usize>,
    classes: Range<usize>,
    origin: Range<usize>,
}

impl Layout {
    fn of(counts: &Counts) -> Option<Self> {
        let mut end = HEADER_BYTES;
        let mut take = |count: u64, size: usize| {
            let begin = end;
            end = usize::try_from(count).ok()?.checked_mul(size)?.checked_add(begin)?;
            Some(begin..end)
        };
        Some(Self {
            entries: take(counts.entries, ENTRY_BYTES)?,
            buckets: take((1_u64 << counts.bucket_bits) + 1, 4)?,
            set_ends: take(u64::from(counts.sets), 4)?,
            members: take(counts.members, 4)?,
            commits: take(counts.commits, COMMIT_BYTES)?,
            classes: take(counts.class_bytes, 1)?,
            origin: take(counts.origin_bytes, 1)?,
        })
    }
}

/// A table, looked up in place. Nothing in it is taken on trust: what lies outside of it is not found.
#[derive(Debug)]
pub(crate) struct Table {
    view: View,
    counts: Counts,
    layout: Layout,
    classes: Box<[Class]>,
}

impl Table {
    /// Takes up a file that was just written, or copied by [`copy_checked`].
    pub(crate) fn open(view: View) -> Result<Self, TableError> {
        let counts = Counts::read(&view)?;
        let layout = Layout::of(&counts).ok_or(TableError::Damaged)?;
        if layout.origin.end != view.len() {
            return Err(TableError::Damaged);
        }
        let text = view.get(layout.classes.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let classes = text.and_then(|text| text.lines().map(Class::from_line).collect::<Option<_>>());
        Ok(Self { classes: classes.ok_or(TableError::Damaged)?, view, counts, layout })
    }

    /// Which set the object belongs to; `None` when no commit contains it.
    pub(crate) fn find(&self, checksum: &Checksum) -> Option<SetId> {
        let prefix = Prefix::of(checksum);
        let bucket = prefix.bucket(self.counts.bucket_bits);
        let begin = self.number(&self.layout.buckets, bucket)? as usize;
        let end = self.number(&self.layout.buckets, bucket + 1)? as usize;
        let entries = self.view.get(self.layout.entries.clone())?;
        let (entries, _) = entries.get(begin * ENTRY_BYTES..end * ENTRY_BYTES)?.as_chunks::<ENTRY_BYTES>();
        let at = entries.binary_search_by_key(&Some(prefix), |entry| Prefix::read(entry)).ok()?;
        entries.get(at).and_then(set_of)
    }

    /// The classes of a set.
    pub(crate) fn set(&self, set: SetId) -> Set<'_> {
        let read = || {
            let at = set.0 as usize;
            let begin = match at.checked_sub(1) {
                Some(before) => self.number(&self.layout.set_ends, before)?,
                None => 0,
            };
            let end = self.number(&self.layout.set_ends, at)?;
            let members = self.view.get(self.layout.members.clone())?;
            Some(members.get(begin as usize * 4..end as usize * 4)?.as_chunks().0)
        };
        Set(read().unwrap_or_default())
    }

    /// How many sets there are.
    pub(crate) const fn sets(&self) -> u32 {
        self.counts.sets
    }

    /// How many objects there are.
    pub(crate) const fn len(&self) -> u64 {
        self.counts.entries
    }

    /// All of the file.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.view
    }

    /// The classes by number.
    pub(crate) const fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Every object with its set, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Prefix, SetId)> {
        let bytes = self.view.get(self.layout.entries.clone()).unwrap_or_default();
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        entries.iter().filter_map(|entry| Some((Prefix::read(entry)?, set_of(entry)?)))
    }

    /// The commits that it was made from.
    pub(crate) fn commits(&self) -> impl Iterator<Item = (Checksum, Made)> {
        let bytes = self.view.get(self.layout.commits.clone()).unwrap_or_default();
        let (commits, _) = bytes.as_chunks::<COMMIT_BYTES>();
        commits.iter().filter_map(|commit| {
            let (checksum, rest) = commit.split_first_chunk::<32>()?;
            let (class, whole) = rest.split_first_chunk::<4>()?;
            let made = Made { class: u32::from_le_bytes(*class), whole: whole == [1] };
            Some((Checksum::from_bytes(*checksum), made))
        })
    }

    /// Which repo it was made from.
    pub(crate) fn origin(&self) -> &[u8] {
        self.view.get(self.layout.origin.clone()).unwrap_or_default()
    }

    fn number(&self, part: &Range<usize>, index: usize) -> Option<u32> {
        let at = part.start.checked_add(index.checked_mul(4)?)?;
        let bytes = self.view.get(at..part.end)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    }
}

fn set_of(entry: &[u8; ENTRY_BYTES]) -> Option<SetId> {
    entry.last_chunk::<4>().map(|bytes| SetId(u32::from_le_bytes(*bytes)))
}

pub(super) fn commit_to_bytes(checksum: &Checksum, made: Made) -> [u8; COMMIT_BYTES] {
    let mut bytes = [0; COMMIT_BYTES];
    let numbers = made.class.to_le_bytes().into_iter().chain([u8::from(made.whole)]);
    bytes
        .iter_mut()
        .zip(checksum.as_bytes().iter().copied().chain(numbers))
        .for_each(|(to, from)| *to = from);
    bytes
}

/// The classes of one set, in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set<'a>(&'a [[u8; 4]]);

impl<'a> Set<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = ClassId> + use<'a> {
        self.0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(crate) const fn len(self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(self, class: ClassId) -> bool {
        self.0.binary_search_by_key(&class, |bytes| u32::from_le_bytes(*bytes)).is_ok()
    }
}

/// The digest that stands in the header: of all that follows it, then of its counts.
#[derive(Default)]
pub(super) struct TableDigest(Sha256);

impl TableDigest {
    pub(super) fn body(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(mut self, counts: &[u8]) -> [u8; 32] {
        self.0.update(counts);
        self.0.finalize().into()
    }
}

/// Copies the file of a table and checks on the way that not one bit of it has changed since it was written.
pub(crate) fn copy_checked(mut from: impl Read, length: u64, to: &mut impl Write) -> Result<(), TableError> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header).map_err(cut_short)?;
    let counts = Counts::read(&header)?;
    // Before anything is copied: a file that claims to be larger than it is takes no room.
    if Layout::of(&counts).is_none_or(|layout| layout.origin.end as u64 != length) {
        return Err(TableError::Damaged);
    }
    to.write_all(&header)?;
    let mut digest = TableDigest::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = from.read(&mut buffer)?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { break };
        digest.body(piece);
        to.write_all(piece)?;
    }
    let (counts, told) = header.split_at(DIGEST.start);
    if digest.finish(counts) == told { Ok(()) } else { Err(TableError::Damaged) }
}

fn cut_short(error: io::Error) -> TableError {
    if error.kind() == io::ErrorKind::UnexpectedEof { TableError::Damaged } else { error.into() }
}
