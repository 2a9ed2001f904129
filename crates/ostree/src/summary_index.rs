//! flatpak's index of per-architecture summaries: `summary.idx`.

use std::collections::BTreeMap;

use gvariant::{Marker, Structure, gv};

use crate::variant::{Dictionary, check_normal};
use crate::{Checksum, ReadError, SummaryMetadata};

/// `FLATPAK_SUMMARY_INDEX_GVARIANT_STRING` in flatpak: subsets, each with checksum, older checksums and metadata, then metadata of the whole.
const SUMMARY_INDEX: &str = "(a{s(ayaaya{sv})}a{sv})";

/// Where the per-architecture summaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryIndex {
    /// By architecture (`x86_64`), or subset and architecture (`floss-x86_64`).
    pub subsummaries: BTreeMap<String, SubSummaryEntry>,
    /// What is said of the repository.
    pub metadata: SummaryMetadata,
}

/// One per-architecture summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubSummaryEntry {
    /// The SHA-256 of its uncompressed content, which is the name of its file.
    pub checksum: Checksum,
    /// Earlier ones, newest first, from which there may be a `.delta`.
    pub history: Vec<Checksum>,
}

impl SummaryIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::DuplicateKey`], [`ReadError::WrongType`] or [`ReadError::BadChecksum`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, SUMMARY_INDEX)?;
        let (entries, metadata) = gv!("(a{s(ayaaya{sv})}a{sv})").cast(bytes.as_ref()).to_tuple();
        let mut subsummaries = BTreeMap::new();
        for entry in entries {
            let (name, details) = entry.to_tuple();
            let (checksum, history, _metadata) = details.to_tuple();
            let entry = SubSummaryEntry {
                checksum: Checksum::read(checksum, "a summary")?,
                history: history
                    .iter()
                    .map(|checksum| Checksum::read(checksum, "an earlier summary"))
                    .collect::<Result<_, _>>()?,
            };
            if subsummaries.insert(name.to_str().to_owned(), entry).is_some() {
                return Err(ReadError::DuplicateKey { key: name.to_str().to_owned() });
            }
        }
        Ok(Self { subsummaries, metadata: SummaryMetadata::read(&Dictionary::new(metadata)?)? })
    }
}
