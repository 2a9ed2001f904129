//! Makes a table out of an earlier one and what was found since.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use flatpass_ostree::Checksum;

use super::class::{Class, ClassId};
use super::table::{
    Counts, HEADER_BYTES, Made, Prefix, Set, SetId, Table, TableDigest, TableError, commit_to_bytes,
};
use super::unnamed::{self, View};

/// A bucket has this many objects at least, on average, and less than twice as many.
const BUCKET: u64 = 4;

/// So much is written at once.
const PENDING_BYTES: usize = 256 << 10;

/// That an object belongs to a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    pub(crate) object: Prefix,
    pub(crate) class: ClassId,
}

/// What a new table is made of.
pub(crate) struct Plan<'a> {
    /// The earlier table.
    pub(crate) base: Option<&'a Table>,
    /// What becomes of its classes: their new numbers, in the same order, or nothing when their objects are to be forgotten.
    pub(crate) kept: Vec<Option<ClassId>>,
    /// The objects that were found, by the new numbers.
    pub(crate) found: Vec<Pair>,
    /// The classes by their new numbers.
    pub(crate) classes: &'a [Class],
    /// The commits that it then is made from.
    pub(crate) commits: &'a HashMap<Checksum, Made>,
    /// Which repo it is of.
    pub(crate) origin: &'a [u8],
}

/// Writes the table into an unnamed file in `folder`.
pub(crate) fn merge(mut plan: Plan<'_>, folder: &Path) -> Result<Table, TableError> {
    plan.found.sort_unstable();
    plan.found.dedup();
    let most = plan.base.map_or(0, Table::len) + distinct(&plan.found);
    let mut writer = Writer::new(unnamed::create(folder)?, most)?;
    let mut sets = Sets::default();
    let mut renumbered = Renumbered::new(plan.base, &plan.kept);
    let mut found = plan.found.chunk_by(|one, next| one.object == next.object).peekable();
    let mut members = Vec::new();
    for (object, old) in plan.base.into_iter().flat_map(Table::entries) {
        while let Some(group) = found.next_if(|group| group.first().is_some_and(|pair| pair.object < object))
        {
            writer.group(group, sets.intern(group.iter().map(|pair| pair.class), &mut members)?)?;
        }
        match found.next_if(|group| group.first().is_some_and(|pair| pair.object == object)) {
            Some(group) => {
                let classes = renumbered.members(old).chain(group.iter().map(|pair| pair.class));
                writer.group(group, sets.intern(classes, &mut members)?)?;
            }
            None => {
                if let Some(set) = renumbered.set(old, &mut sets, &mut members)? {
                    writer.entry(object, set)?;
                }
            }
        }
    }
    for group in found {
        writer.group(group, sets.intern(group.iter().map(|pair| pair.class), &mut members)?)?;
    }
    writer.finish(&sets, &plan)
}

fn distinct(sorted: &[Pair]) -> u64 {
    sorted.chunk_by(|one, next| one.object == next.object).count() as u64
}

/// The sets of classes, each once.
#[derive(Default)]
struct Sets {
    numbers: HashMap<Box<[ClassId]>, SetId>,
    ends: Vec<u32>,
    members: Vec<ClassId>,
}

impl Sets {
    /// The number of the set with these members. `room` is reused from call to call.
    fn intern(
        &mut self,
        members: impl Iterator<Item = ClassId>,
        room: &mut Vec<ClassId>,
    ) -> Result<SetId, TableError> {
        room.clear();
        room.extend(members);
        room.sort_unstable();
        room.dedup();
        if let Some(known) = self.numbers.get(room.as_slice()) {
            return Ok(*known);
        }
        let full = |_| io::Error::other("the apps of the repo share their files in too many ways");
        let number = SetId(u32::try_from(self.ends.len()).map_err(full)?);
        self.members.extend_from_slice(room);
        self.ends.push(u32::try_from(self.members.len()).map_err(full)?);
        self.numbers.insert(room.as_slice().into(), number);
        Ok(number)
    }
}

/// The sets of the earlier table under their new numbers.
struct Renumbered<'a> {
    base: Option<&'a Table>,
    kept: &'a [Option<ClassId>],
    known: Vec<Known>,
}

#[derive(Clone, Copy)]
enum Known {
    NotYet,
    Empty,
    Set(SetId),
}

impl<'a> Renumbered<'a> {
    fn new(base: Option<&'a Table>, kept: &'a [Option<ClassId>]) -> Self {
        let sets = base.map_or(0, Table::sets) as usize;
        Self { base, kept, known: vec![Known::NotYet; sets] }
    }

    fn members(&self, old: SetId) -> impl Iterator<Item = ClassId> + use<'a> {
        let kept = self.kept;
        let set = self.base.map(|base| base.set(old));
        set.into_iter()
            .flat_map(Set::iter)
            .filter_map(move |class| kept.get(class as usize).copied().flatten())
    }

    fn set(
        &mut self,
        old: SetId,
        sets: &mut Sets,
        room: &mut Vec<ClassId>,
    ) -> Result<Option<SetId>, TableError> {
        let members = self.members(old);
        let known = self.known.get_mut(old.0 as usize).ok_or(TableError::Damaged)?;
        if matches!(known, Known::NotYet) {
            let mut members = members.peekable();
            *known = match members.peek() {
                None => Known::Empty,
                Some(_) => Known::Set(sets.intern(members, room)?),
            };
        }
        Ok(match known {
            Known::Set(set) => Some(*set),
            Known::NotYet | Known::Empty => None,
        })
    }
}

/// Writes the parts one after the other.
struct Writer {
    file: File,
    /// What is to be counted into the digest and written next.
    pending: Vec<u8>,
    digest: TableDigest,
    counts: Counts,
    /// Where the buckets begin that are known to begin.
    buckets: Vec<u32>,
}

impl Writer {
    fn new(mut file: File, most: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
        let bucket_bits = (most / BUCKET).checked_ilog2().unwrap_or(0).min(30);
        Ok(Self {
            file,
            pending: Vec::with_capacity(PENDING_BYTES),
            digest: TableDigest::default(),
            counts: Counts { bucket_bits, ..Counts::default() },
            buckets: Vec::with_capacity((1 << bucket_bits) + 1),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.pending.len() + bytes.len() > PENDING_BYTES {
            self.flush()?;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.digest.body(&self.pending);
        self.file.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn group(&mut self, group: &[Pair], set: SetId) -> io::Result<()> {
        group.first().map_or(Ok(()), |pair| self.entry(pair.object, set))
    }

    fn entry(&mut self, object: Prefix, set: SetId) -> io::Result<()> {
        self.begin_buckets(object.bucket(self.counts.bucket_bits) + 1)?;
        self.counts.entries += 1;
        self.write(&object.to_bytes())?;
        self.write(&set.0.to_le_bytes())
    }

    /// The first `count` buckets begin at the next object at the latest.
    fn begin_buckets(&mut self, count: usize) -> io::Result<()> {
        let at = u32::try_from(self.counts.entries).map_err(|_| io::Error::other("too many objects"))?;
        while self.buckets.len() < count {
            self.buckets.push(at);
        }
        Ok(())
    }

    fn finish(mut self, sets: &Sets, plan: &Plan<'_>) -> Result<Table, TableError> {
        self.begin_buckets((1 << self.counts.bucket_bits) + 1)?;
        for number in std::mem::take(&mut self.buckets).iter().chain(&sets.ends).chain(&sets.members) {
            self.write(&number.to_le_bytes())?;
        }
        for (checksum, made) in plan.commits {
            self.write(&commit_to_bytes(checksum, *made))?;
        }
        let classes: String = plan.classes.iter().map(Class::to_line).collect();
        self.write(classes.as_bytes())?;
        self.write(plan.origin)?;
        self.flush()?;
        let Self { mut file, digest, counts, .. } = self;
        let counts = Counts {
            sets: u32::try_from(sets.ends.len()).map_err(io::Error::other)?,
            members: sets.members.len() as u64,
            commits: plan.commits.len() as u64,
            class_bytes: classes.len() as u64,
            origin_bytes: plan.origin.len() as u64,
            ..counts
        };
        let header = counts.to_bytes();
        let digest = digest.finish(&header);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        file.write_all(&digest)?;
        Table::open(View::of(file)?)
    }
}
