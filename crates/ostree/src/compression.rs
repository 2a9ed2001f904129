//! gzip, as flatpak uses it for per-architecture summaries and lists of apps.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::{Checksum, ReadError};

/// Uncompresses content whose checksum is `expected` and that has at most `limit` bytes. Memory never grows beyond that limit,
/// whatever the file claims.
///
/// # Errors
/// [`ReadError::BadCompression`], [`ReadError::TooLarge`] or [`ReadError::Mismatch`].
pub fn gunzip(compressed: &[u8], expected: &Checksum, limit: u64) -> Result<Vec<u8>, ReadError> {
    let bytes = unpack(GzDecoder::new(compressed), limit)?;
    let found = Checksum::of(&bytes);
    if found == *expected { Ok(bytes) } else { Err(ReadError::Mismatch { expected: *expected, found }) }
}

/// Reads all that a decoder gives, up to `limit` bytes.
pub(crate) fn unpack(decoder: impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    decoder.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|_| ReadError::BadCompression)?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit }) } else { Ok(bytes) }
}

/// Compresses content. The same content always becomes the same bytes: no time and no name is in them.
#[must_use]
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}
