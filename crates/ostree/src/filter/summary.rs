//! `summary`, or one of the per-architecture ones, taken apart and put together without some refs.

use std::collections::HashSet;

use crate::variant::{check_normal, elements, members, split_variant, string, write};
use crate::{Checksum, DeltaName, ReadError};

const SUMMARY: &str = "(a(s(taya{sv}))a{sv})";
const REFS: &str = "a(s(taya{sv}))";
const REF: &str = "(s(taya{sv}))";
const REF_DETAILS: &str = "(taya{sv})";
const COLLECTIONS: &str = "a{sa(s(taya{sv}))}";
const COLLECTION: &str = "{sa(s(taya{sv}))}";
/// `xa.cache`: sizes and metadata of each ref, with a variant around it for old versions of ostree.
const SIZES: &str = "a{s(tts)}";
const SIZES_OF_REF: &str = "{s(tts)}";
/// `xa.sparse-cache`: token type and end of life of some refs.
const DETAILS: &str = "a{sa{sv}}";
const DETAILS_OF_REF: &str = "{sa{sv}}";

/// What becomes of a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes, with all that is said of it.
    Leave,
    /// It stays as it is.
    Keep,
    /// It stays and points to this commit. What the caches say of the other commit goes.
    Point {
        /// The commit.
        commit: Checksum,
        /// Bytes of that commit object.
        size: u64,
    },
}

/// A summary taken apart, once, to be put together for many.
#[derive(Debug)]
pub struct SummarySource {
    refs: Vec<Ref>,
    metadata: Vec<Datum>,
}

/// One ref with the bytes of its element.
#[derive(Debug)]
struct Ref {
    name: Box<str>,
    commit: Checksum,
    element: Box<[u8]>,
}

/// One entry of the summary's metadata.
#[derive(Debug)]
enum Datum {
    /// About the repository as a whole: the whole entry.
    Whole(Box<[u8]>),
    /// By ref, with the bytes of each entry.
    ByRef { key: &'static str, entries: Vec<Entry> },
    /// `ostree.static-deltas`
    Deltas(Vec<(DeltaName, Box<[u8]>)>),
    /// `ostree.summary.collection-map`
    Collections(Vec<(Box<str>, Vec<Ref>)>),
}

impl SummarySource {
    /// Takes a summary apart, uncompressed.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::WrongType`], [`ReadError::BadChecksum`] or [`ReadError::BadDeltaName`].
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        check_normal(bytes, SUMMARY)?;
        let [refs, metadata] = members(SUMMARY, bytes).ok_or(NOT_NORMAL)?;
        let metadata = elements("a{sv}", metadata).ok_or(NOT_NORMAL)?;
        Ok(Self {
            refs: read_refs(refs)?,
            metadata: metadata
                .into_iter()
                .filter_map(|entry| Datum::read(entry).transpose())
                .collect::<Result<_, _>>()?,
        })
    }

    /// The refs with their commits, in the order of the file.
    pub fn refs(&self) -> impl Iterator<Item = (&str, &Checksum)> {
        self.refs.iter().map(|one| (&*one.name, &one.commit))
    }

    /// The refs of other collections that the repository carries.
    pub fn mirrored(&self) -> impl Iterator<Item = (&str, &Checksum)> {
        self.metadata
            .iter()
            .flat_map(|datum| match datum {
                Datum::Collections(collections) => collections.as_slice(),
                _ => &[],
            })
            .flat_map(|(_, refs)| refs)
            .map(|one| (&*one.name, &one.commit))
    }

    /// Puts a summary together, of the refs that `fate` does not let go.
    pub fn with_refs(&self, fate: impl Fn(&str) -> Fate) -> Vec<u8> {
        let mut commits = Commits::default();
        for (name, commit) in self.refs().chain(self.mirrored()) {
            match fate(name) {
                Fate::Leave => commits.gone.insert(*commit),
                Fate::Keep => commits.kept.insert(*commit),
                Fate::Point { commit: new, .. } => {
                    commits.gone.insert(*commit);
                    commits.kept.insert(new)
                }
            };
        }
        let refs = write_refs(&self.refs, &fate);
        let metadata = self.metadata.iter().map(|datum| datum.write(&fate, &commits));
        let metadata = write::array("{sv}", metadata);
        write::tuple(SUMMARY, &[&refs, &metadata])
    }
}

/// Which commits the remaining refs point to, and which only those that went.
#[derive(Default)]
struct Commits {
    kept: HashSet<Checksum>,
    gone: HashSet<Checksum>,
}

impl Commits {
    fn keep(&self, delta: &DeltaName) -> bool {
        let only_of_others = |commit: &Checksum| self.gone.contains(commit) && !self.kept.contains(commit);
        self.kept.contains(&delta.to) && !delta.from.as_ref().is_some_and(only_of_others)
    }
}

const NOT_NORMAL: ReadError = ReadError::NotNormal { type_string: SUMMARY };

fn read_refs(list: &[u8]) -> Result<Vec<Ref>, ReadError> {
    let read = |element: &[u8]| {
        let [name, details] = members(REF, element).ok_or(NOT_NORMAL)?;
        let [_size, commit, _metadata] = members(REF_DETAILS, details).ok_or(NOT_NORMAL)?;
        Ok(Ref {
            name: string(name).ok_or(NOT_NORMAL)?.into(),
            commit: Checksum::read(commit, "a ref's commit")?,
            element: element.into(),
        })
    };
    elements(REFS, list).ok_or(NOT_NORMAL)?.into_iter().map(read).collect()
}

fn write_refs(refs: &[Ref], fate: &impl Fn(&str) -> Fate) -> Vec<u8> {
    write::array(
        REF,
        refs.iter().filter_map(|one| match fate(&one.name) {
            Fate::Leave => None,
            Fate::Keep => Some(one.element.to_vec()),
            Fate::Point { commit, size } => one.pointing_to(&commit, size),
        }),
    )
}

impl Ref {
    fn pointing_to(&self, commit: &Checksum, size: u64) -> Option<Vec<u8>> {
        let [name, details] = members(REF, &self.element)?;
        let [_, _, metadata] = members(REF_DETAILS, details)?;
        // Sizes and the like are the other commit's.
        let kept = elements("a{sv}", metadata)?.into_iter().filter(|entry| {
            members("{sv}", entry).and_then(|[key, _]| string(key)).is_some_and(|key| !key.starts_with("xa."))
        });
        let metadata = write::array("{sv}", kept);
        let details = write::tuple(REF_DETAILS, &[&size.to_le_bytes(), commit.as_bytes(), &metadata]);
        Some(write::tuple(REF, &[name, &details]))
    }
}

impl Datum {
    /// `None` for what may name refs in a way that is not known here.
    fn read(entry: &[u8]) -> Result<Option<Self>, ReadError> {
        let [key, value] = members("{sv}", entry).ok_or(NOT_NORMAL)?;
        let key = string(key).ok_or(NOT_NORMAL)?;
        let (type_string, value) = split_variant(value).ok_or(NOT_NORMAL)?;
        let wrong =
            |expected| ReadError::WrongType { key: key.to_owned(), expected, found: type_string.to_owned() };
        let by_ref = |key, list_type, entry_type, list| {
            Ok(Some(Self::ByRef { key, entries: read_entries(list_type, entry_type, list)? }))
        };
        match key {
            "xa.cache" => {
                let inner = (type_string == "v").then(|| split_variant(value)).flatten();
                match inner {
                    Some((SIZES, list)) => by_ref("xa.cache", SIZES, SIZES_OF_REF, list),
                    _ => Err(wrong("v")),
                }
            }
            "xa.sparse-cache" if type_string == DETAILS => {
                by_ref("xa.sparse-cache", DETAILS, DETAILS_OF_REF, value)
            }
            "xa.sparse-cache" => Err(wrong(DETAILS)),
            "ostree.static-deltas" if type_string == "a{sv}" => {
                let read = |(name, entry): (Box<str>, _)| Ok((DeltaName::parse(&name)?, entry));
                Ok(Some(Self::Deltas(
                    read_entries("a{sv}", "{sv}", value)?.into_iter().map(read).collect::<Result<_, _>>()?,
                )))
            }
            "ostree.static-deltas" => Err(wrong("a{sv}")),
            "ostree.summary.collection-map" if type_string == COLLECTIONS => {
                let read = |entry: &[u8]| {
                    let [collection, refs] = members(COLLECTION, entry).ok_or(NOT_NORMAL)?;
                    Ok((string(collection).ok_or(NOT_NORMAL)?.into(), read_refs(refs)?))
                };
                let list = elements(COLLECTIONS, value).ok_or(NOT_NORMAL)?;
                Ok(Some(Self::Collections(list.into_iter().map(read).collect::<Result<_, _>>()?)))
            }
            "ostree.summary.collection-map" => Err(wrong(COLLECTIONS)),
            _ => Ok(super::is_plain(type_string).then(|| Self::Whole(entry.into()))),
        }
    }

    fn write(&self, fate: &impl Fn(&str) -> Fate, commits: &Commits) -> Vec<u8> {
        match self {
            Self::Whole(entry) => entry.to_vec(),
            Self::ByRef { key, entries } => {
                let kept =
                    entries.iter().filter(|(name, _)| fate(name) == Fate::Keep).map(|(_, entry)| entry);
                if *key == "xa.cache" {
                    write::entry(key, "v", &write::variant(SIZES, &write::array(SIZES_OF_REF, kept)))
                } else {
                    write::entry(key, DETAILS, &write::array(DETAILS_OF_REF, kept))
                }
            }
            Self::Deltas(deltas) => {
                let kept = deltas.iter().filter(|(name, _)| commits.keep(name)).map(|(_, entry)| entry);
                write::entry("ostree.static-deltas", "a{sv}", &write::array("{sv}", kept))
            }
            Self::Collections(collections) => {
                let kept = collections
                    .iter()
                    .filter(|(_, refs)| refs.iter().any(|one| fate(&one.name) != Fate::Leave));
                let kept = kept.map(|(name, refs)| {
                    write::tuple(COLLECTION, &[&write::text(name), &write_refs(refs, fate)])
                });
                write::entry("ostree.summary.collection-map", COLLECTIONS, &write::array(COLLECTION, kept))
            }
        }
    }
}

/// An entry of a dictionary: its key, and all of it as it stands there.
type Entry = (Box<str>, Box<[u8]>);

/// The entries of a dictionary by text.
fn read_entries(list_type: &str, entry_type: &str, list: &[u8]) -> Result<Vec<Entry>, ReadError> {
    let read = |entry: &[u8]| {
        let [name, _] = members(entry_type, entry)?;
        Some((string(name)?.into(), entry.into()))
    };
    let entries = elements(list_type, list).ok_or(NOT_NORMAL)?;
    entries.into_iter().map(read).collect::<Option<_>>().ok_or(NOT_NORMAL)
}
