//! Commits: `objects/xx/HEX.commit`.

use gvariant::{Marker, Structure, gv};

use crate::variant::{Dictionary, check_normal};
use crate::{Checksum, ReadError};

/// `OSTREE_COMMIT_GVARIANT_FORMAT` in libostree: metadata, parent, related objects (never used), subject, body, timestamp,
/// root directory's content, root directory's metadata.
const COMMIT: &str = "(a{sv}aya(say)sstayay)";

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The refs that the commit was made for, `ostree.ref-binding`. Empty when the commit does not say, so a commit that nothing is known of.
    pub refs: Vec<String>,
    /// The collection that the refs belong to, `ostree.collection-binding`. The empty text that flatpak writes for "none" is `None`.
    pub collection_id: Option<String>,
    /// What is needed to download it, `xa.token-type`; `None` when the commit does not say, and the repository's default counts.
    pub token_type: Option<i32>,
    /// The commit before it.
    pub parent: Option<Checksum>,
    /// When it was made, in seconds since 1970 UTC.
    pub timestamp: u64,
    /// One line on what it is.
    pub subject: String,
    /// More lines, usually none.
    pub body: String,
    /// The root directory's `dirtree` object.
    pub root_tree: Checksum,
    /// The root directory's `dirmeta` object.
    pub root_meta: Checksum,
    /// Whether it is a flatpak app's or runtime's, and what its `metadata` file says: `xa.metadata`, a key file.
    pub flatpak_metadata: Option<String>,
    /// Bytes that its files take when installed, `xa.installed-size`.
    pub installed_size: Option<u64>,
    /// Bytes that a full download takes, `xa.download-size`.
    pub download_size: Option<u64>,
}

impl Commit {
    /// Reads a commit object's content. Whether that content is the one that its name promises is for the caller to ask
    /// [`Checksum::of`].
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::DuplicateKey`], [`ReadError::WrongType`] or [`ReadError::BadChecksum`]. A token
    /// type of another type than `i` is an error, so that nothing is open by mistake.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, COMMIT)?;
        let (metadata, parent, _related, subject, body, timestamp, tree, meta) =
            gv!("(a{sv}aya(say)sstayay)").cast(bytes.as_ref()).to_tuple();
        let metadata = Dictionary::new(metadata)?;
        Ok(Self {
            refs: metadata.strings("ostree.ref-binding")?,
            collection_id: metadata.string("ostree.collection-binding")?.filter(|id| !id.is_empty()),
            token_type: metadata.little_endian_i32("xa.token-type")?,
            parent: if parent.is_empty() { None } else { Some(Checksum::read(parent, "the parent")?) },
            timestamp: u64::from_be(*timestamp),
            subject: subject.to_str().to_owned(),
            body: body.to_str().to_owned(),
            root_tree: Checksum::read(tree, "the root directory's content")?,
            root_meta: Checksum::read(meta, "the root directory's metadata")?,
            flatpak_metadata: metadata.string("xa.metadata")?,
            installed_size: metadata.big_endian_u64("xa.installed-size")?,
            download_size: metadata.big_endian_u64("xa.download-size")?,
        })
    }
}
