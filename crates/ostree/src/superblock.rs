//! Static deltas: `deltas/…/superblock`.

use gvariant::{Marker, Structure, gv};

use crate::variant::{check_normal, member_range};
use crate::{Checksum, Commit, ReadError};

/// `OSTREE_STATIC_DELTA_SUPERBLOCK_FORMAT` in libostree: metadata, timestamp, from, to, the commit, deltas that it needs, parts, fallbacks.
const SUPERBLOCK: &str = "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))";
/// `OSTREE_STATIC_DELTA_SIGNED_FORMAT`: a magic number, a superblock as bytes, signatures.
const SIGNED: &str = "(taya{sv})";
/// `OSTREE_STATIC_DELTA_SIGNED_MAGIC`, "OSTSGNDT", big-endian.
const SIGNED_MAGIC: &[u8; 8] = b"OSTSGNDT";

/// What a static delta says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaSuperblock {
    /// The commit that the client must have; `None` for a delta from nothing.
    pub from: Option<Checksum>,
    /// The commit that it leads to.
    pub to: Checksum,
    /// That commit, of which the superblock has a copy: with a delta no client asks for the `.commit` object.
    pub commit: Commit,
    /// When it was made, in seconds since 1970 UTC.
    pub timestamp: u64,
    /// The files `0`, `1`, … of its directory, in order.
    pub parts: Vec<DeltaPart>,
    /// How many objects it leaves to be fetched from `objects/`.
    pub fallbacks: usize,
    /// Whether signatures are around it (`ostree static-delta generate --sign`).
    pub signed: bool,
}

/// One part of a static delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPart {
    /// The SHA-256 of the part's file.
    pub checksum: Checksum,
    /// Bytes of the file, as the machine that made the delta ordered them: exact for deltas of little-endian machines.
    pub size: u64,
    /// Bytes of its content uncompressed, as above.
    pub uncompressed_size: u64,
}

impl DeltaSuperblock {
    /// Reads a superblock, signed or not.
    ///
    /// # Errors
    /// Those of [`Commit::parse`], and [`ReadError::Mismatch`] when the commit in it is not the one it says it leads to.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        if !bytes.starts_with(SIGNED_MAGIC) {
            return Self::parse_plain(bytes, false);
        }
        let bytes = check_normal(bytes, SIGNED)?;
        let (_magic, plain, _signatures) = gv!("(taya{sv})").cast(bytes.as_ref()).to_tuple();
        Self::parse_plain(plain, true)
    }

    fn parse_plain(bytes: &[u8], signed: bool) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, SUPERBLOCK)?;
        let (_metadata, timestamp, from, to, _commit, _needed, parts, fallbacks) =
            gv!("(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))").cast(bytes.as_ref()).to_tuple();
        let to = Checksum::read(to, "the commit that the delta leads to")?;
        let commit =
            member_range(SUPERBLOCK, &bytes, 4).and_then(|range| bytes.get(range)).unwrap_or_default();
        let found = Checksum::of(commit);
        if found != to {
            return Err(ReadError::Mismatch { expected: to, found });
        }
        let parts = parts.iter().map(|part| {
            let (_version, checksum, size, uncompressed_size, _objects) = part.to_tuple();
            Ok(DeltaPart {
                checksum: Checksum::read(checksum, "a delta part")?,
                size: u64::from_le(*size),
                uncompressed_size: u64::from_le(*uncompressed_size),
            })
        });
        Ok(Self {
            from: if from.is_empty() {
                None
            } else {
                Some(Checksum::read(from, "the commit that the delta needs")?)
            },
            to,
            commit: Commit::parse(commit)?,
            timestamp: u64::from_be(*timestamp),
            parts: parts.collect::<Result<_, _>>()?,
            fallbacks: fallbacks.len(),
            signed,
        })
    }
}
