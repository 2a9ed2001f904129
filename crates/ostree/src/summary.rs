//! Summaries: `summary`, and the per-architecture ones in `summaries/HEX.gz`.

use std::collections::BTreeMap;

use gvariant::{Marker, NonFixedWidthArray, Str, Structure, Variant, gv};

use crate::compression::gunzip;
use crate::variant::{Dictionary, check_normal};
use crate::{Checksum, DeltaName, ReadError};

/// `OSTREE_SUMMARY_GVARIANT_FORMAT` in libostree: refs with size, checksum and metadata of each, then metadata of the whole.
const SUMMARY: &str = "(a(s(taya{sv}))a{sv})";

/// The list of a repository's refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The refs, in the order of the file, which is that of their names.
    pub refs: Vec<SummaryRef>,
    /// Refs of other collections that the repository carries, by collection ID.
    pub mirrored: BTreeMap<String, Vec<SummaryRef>>,
    /// What is said of the repository.
    pub metadata: SummaryMetadata,
    /// The static deltas, each with the SHA-256 of its superblock. A repository with `indexed_deltas` may leave them out.
    pub deltas: BTreeMap<DeltaName, Checksum>,
}

/// One ref in a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRef {
    /// `app/ID/ARCH/BRANCH`, `runtime/…`, `appstream2/ARCH`, `ostree-metadata`, …
    pub name: String,
    /// The ref's newest commit.
    pub checksum: Checksum,
    /// Bytes of that commit object; exact when a little-endian machine made the summary.
    pub commit_size: u64,
    /// What flatpak believes to be needed to download it (`tokt`); `None` when the repository's default counts.
    pub token_type: Option<i32>,
    /// Bytes that it takes when installed, where the summary says so.
    pub installed_size: Option<u64>,
    /// Bytes that a full download takes, where the summary says so.
    pub download_size: Option<u64>,
}

/// What `summary` and `summary.idx` say of the repository as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SummaryMetadata {
    /// A name for people, `xa.title`.
    pub title: Option<String>,
    /// `archive-z2` or another mode, `ostree.summary.mode`.
    pub mode: Option<String>,
    /// The collection ID, `ostree.summary.collection-id`.
    pub collection_id: Option<String>,
    /// Whether clients look for deltas in `delta-indexes/`, `ostree.summary.indexed-deltas`.
    pub indexed_deltas: bool,
    /// When the file was made, in seconds since 1970 UTC, `ostree.summary.last-modified`.
    pub last_modified: Option<u64>,
    /// The token type of refs that have none of their own, `xa.default-token-type`.
    pub default_token_type: Option<i32>,
    /// Whom clients ask for tokens.
    pub authenticator: Option<Authenticator>,
    /// Another URL that clients shall use from now on, `xa.redirect-url`. It drops user and password from a private remote's URL.
    pub redirect_url: Option<String>,
    /// How summaries are laid out, `xa.summary-version`: 0 for `summary`, 1 for per-architecture summaries.
    pub layout: u32,
}

/// The authenticator that a repository names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticator {
    /// The D-Bus name, `xa.authenticator-name`.
    pub name: String,
    /// Whether flatpak shall install it from this repository, `xa.authenticator-install`.
    pub install: bool,
    /// What flatpak passes on to it, `xa.authenticator-options.KEY`.
    pub options: BTreeMap<String, String>,
}

/// What the caches in a summary of layout 0 say of one ref.
#[derive(Default)]
struct Cached {
    token_type: Option<i32>,
    installed_size: Option<u64>,
    download_size: Option<u64>,
}

impl Summary {
    /// Reads a summary, of a whole repository or of one architecture, uncompressed.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::DuplicateKey`], [`ReadError::WrongType`], [`ReadError::BadChecksum`] or
    /// [`ReadError::BadDeltaName`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, SUMMARY)?;
        let (refs, metadata) = gv!("(a(s(taya{sv}))a{sv})").cast(bytes.as_ref()).to_tuple();
        let metadata = Dictionary::new(metadata)?;
        let caches = read_caches(&metadata)?;
        let mut mirrored = BTreeMap::new();
        if let Some(collections) = metadata.get("ostree.summary.collection-map", gv!("a{sa(s(taya{sv}))}"))? {
            for entry in collections {
                let (collection, refs) = entry.to_tuple();
                let mut list = Vec::new();
                for entry in refs {
                    let (name, details) = entry.to_tuple();
                    let (size, checksum, metadata) = details.to_tuple();
                    list.push(read_ref(name, *size, checksum, &Dictionary::new(metadata)?, &caches)?);
                }
                mirrored.insert(collection.to_str().to_owned(), list);
            }
        }
        let mut list = Vec::new();
        for entry in refs {
            let (name, details) = entry.to_tuple();
            let (size, checksum, metadata) = details.to_tuple();
            list.push(read_ref(name, *size, checksum, &Dictionary::new(metadata)?, &caches)?);
        }
        Ok(Self {
            refs: list,
            mirrored,
            metadata: SummaryMetadata::read(&metadata)?,
            deltas: match metadata.get("ostree.static-deltas", gv!("a{sv}"))? {
                Some(deltas) => read_deltas(deltas)?,
                None => BTreeMap::new(),
            },
        })
    }

    /// Reads a file `summaries/HEX.gz` whose name is `expected`, of at most `limit` bytes uncompressed. Memory never grows
    /// beyond that limit, whatever the file claims.
    ///
    /// # Errors
    /// [`ReadError::BadCompression`], [`ReadError::TooLarge`], [`ReadError::Mismatch`] or those of [`Self::parse`].
    pub fn parse_compressed(compressed: &[u8], expected: &Checksum, limit: u64) -> Result<Self, ReadError> {
        Self::parse(&gunzip(compressed, expected, limit)?)
    }

    /// The ref with this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&SummaryRef> {
        self.refs.iter().find(|entry| entry.name == name)
    }
}

impl SummaryMetadata {
    pub(crate) fn read(metadata: &Dictionary<'_>) -> Result<Self, ReadError> {
        let authenticator = match metadata.string("xa.authenticator-name")?.filter(|name| !name.is_empty()) {
            Some(name) => Some(Authenticator {
                name,
                install: metadata.flag("xa.authenticator-install")?,
                options: metadata.strings_below("xa.authenticator-options."),
            }),
            None => None,
        };
        Ok(Self {
            title: metadata.string("xa.title")?,
            mode: metadata.string("ostree.summary.mode")?,
            collection_id: metadata.string("ostree.summary.collection-id")?.filter(|id| !id.is_empty()),
            indexed_deltas: metadata.flag("ostree.summary.indexed-deltas")?,
            last_modified: metadata.big_endian_u64("ostree.summary.last-modified")?,
            default_token_type: metadata.little_endian_i32("xa.default-token-type")?,
            authenticator,
            redirect_url: metadata.string("xa.redirect-url")?,
            layout: metadata.little_endian_u32("xa.summary-version")?.unwrap_or(0),
        })
    }
}

/// Layout 0 has sizes in `xa.cache` and token types in `xa.sparse-cache`, by ref name.
fn read_caches(metadata: &Dictionary<'_>) -> Result<BTreeMap<String, Cached>, ReadError> {
    let mut caches: BTreeMap<String, Cached> = BTreeMap::new();
    // A variant in a variant, so that old versions of ostree could leave it as it is.
    let cache = metadata.get("xa.cache", gv!("v"))?.and_then(|inner| inner.get(gv!("a{s(tts)}")));
    for entry in cache.into_iter().flatten() {
        let (name, sizes) = entry.to_tuple();
        let (installed, download, _metadata) = sizes.to_tuple();
        let cached = caches.entry(name.to_str().to_owned()).or_default();
        cached.installed_size = Some(u64::from_be(*installed));
        cached.download_size = Some(u64::from_be(*download));
    }
    for entry in metadata.get("xa.sparse-cache", gv!("a{sa{sv}}"))?.into_iter().flatten() {
        let (name, details) = entry.to_tuple();
        let token_type = Dictionary::new(details)?.little_endian_i32("tokt")?;
        caches.entry(name.to_str().to_owned()).or_default().token_type = token_type;
    }
    Ok(caches)
}

fn read_ref(
    name: &Str,
    commit_size: u64,
    checksum: &[u8],
    metadata: &Dictionary<'_>,
    caches: &BTreeMap<String, Cached>,
) -> Result<SummaryRef, ReadError> {
    let name = name.to_str().to_owned();
    // Layout 1 has both in the ref's own metadata.
    let sizes = metadata.get("xa.data", gv!("(tts)"))?.map(Structure::to_tuple);
    let cached = caches.get(&name);
    let token_type = metadata.little_endian_i32("tokt")?.or_else(|| cached?.token_type);
    Ok(SummaryRef {
        checksum: Checksum::read(checksum, "a ref's commit")?,
        // The one number that libostree leaves in the order of the machine that wrote it.
        commit_size: u64::from_le(commit_size),
        token_type,
        installed_size: sizes
            .map(|(installed, ..)| u64::from_be(*installed))
            .or_else(|| cached?.installed_size),
        download_size: sizes
            .map(|(_, download, _)| u64::from_be(*download))
            .or_else(|| cached?.download_size),
        name,
    })
}

/// `ostree.static-deltas`: name of each delta to the SHA-256 of its superblock.
pub(crate) fn read_deltas<Entry>(
    entries: &NonFixedWidthArray<Entry>,
) -> Result<BTreeMap<DeltaName, Checksum>, ReadError>
where
    Entry: for<'a> Structure<'a, RefTuple = (&'a Str, &'a Variant)> + ?Sized,
{
    let deltas = Dictionary::new(entries)?;
    deltas
        .names()
        .map(|name| {
            let superblock = deltas.get(name, gv!("ay"))?.unwrap_or_default();
            Ok((DeltaName::parse(name)?, Checksum::read(superblock, "a delta's superblock")?))
        })
        .collect()
}
