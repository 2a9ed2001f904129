//! `summary.idx` with other per-architecture summaries than the operator's.

use super::only_plain;
use crate::variant::{check_normal, elements, members, string, write};
use crate::{Checksum, ReadError};

const INDEX: &str = "(a{s(ayaaya{sv})}a{sv})";
const ENTRIES: &str = "a{s(ayaaya{sv})}";
const ENTRY: &str = "{s(ayaaya{sv})}";
const DETAILS: &str = "(ayaaya{sv})";

/// An index taken apart.
#[derive(Debug)]
pub struct IndexSource {
    entries: Vec<Entry>,
    metadata: Box<[u8]>,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    checksum: Checksum,
    metadata: Box<[u8]>,
}

const NOT_NORMAL: ReadError = ReadError::NotNormal { type_string: INDEX };

impl IndexSource {
    /// Takes an index apart.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`] or [`ReadError::BadChecksum`].
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        check_normal(bytes, INDEX)?;
        let [entries, metadata] = members(INDEX, bytes).ok_or(NOT_NORMAL)?;
        let read = |entry: &[u8]| {
            let [name, details] = members(ENTRY, entry).ok_or(NOT_NORMAL)?;
            let [checksum, _history, metadata] = members(DETAILS, details).ok_or(NOT_NORMAL)?;
            Ok(Entry {
                name: string(name).ok_or(NOT_NORMAL)?.into(),
                checksum: Checksum::read(checksum, "a summary")?,
                metadata: only_plain(metadata).ok_or(NOT_NORMAL)?,
            })
        };
        let entries = elements(ENTRIES, entries).ok_or(NOT_NORMAL)?.into_iter().map(read);
        Ok(Self {
            entries: entries.collect::<Result<_, ReadError>>()?,
            metadata: only_plain(metadata).ok_or(NOT_NORMAL)?,
        })
    }

    /// The per-architecture summaries: name (`x86_64`, or with a subset `floss-x86_64`) and checksum.
    pub fn subsummaries(&self) -> impl Iterator<Item = (&str, &Checksum)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.checksum))
    }

    /// Puts an index together with the checksums that `checksum` gives in the place of those that it is given; an entry for which it gives
    /// none goes. There is no history: nothing leads from older ones to these.
    pub fn with_subsummaries(&self, checksum: impl Fn(&Checksum) -> Option<Checksum>) -> Vec<u8> {
        let entries = self.entries.iter().filter_map(|entry| {
            let new = checksum(&entry.checksum)?;
            let details = write::tuple(DETAILS, &[new.as_bytes(), &[], &entry.metadata]);
            Some(write::tuple(ENTRY, &[&write::text(&entry.name), &details]))
        });
        write::tuple(INDEX, &[&write::array(ENTRY, entries), &self.metadata])
    }
}
