//! gzip, as flatpak uses it for per-architecture summaries and lists of apps, and its deflate out of pieces (RFC 1951, RFC 1952).

use std::io::{Read, Write};

use flate2::read::GzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compress, Compression, Crc, FlushCompress};

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

/// Compresses content, more quickly than well. The same content always becomes the same bytes: no time and no name is in them.
#[must_use]
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// Compresses bytes as pieces of a stream: a piece refers to nothing before it, ends at a byte and does not end the stream. So a stream is put
/// together of pieces that were compressed once.
pub(crate) struct PieceEncoder(Compress);

impl PieceEncoder {
    pub(crate) fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    /// The deflate of the content.
    pub(crate) fn piece(&mut self, content: &[u8]) -> Box<[u8]> {
        self.0.reset();
        let mut piece = Vec::with_capacity(content.len() / 2 + 64);
        loop {
            let done = usize::try_from(self.0.total_in()).unwrap_or(content.len());
            let rest = content.get(done..).unwrap_or_default();
            // Compressing into memory does not fail. There is room left only when all was written.
            let made = self.0.compress_vec(rest, &mut piece, FlushCompress::Sync);
            if made.is_err() || piece.len() < piece.capacity() {
                return piece.into();
            }
            piece.reserve(64.max(content.len() / 4));
        }
    }
}

/// What ends a stream of pieces: an empty last block with fixed codes.
pub(crate) const DEFLATE_END: [u8; 2] = [3, 0];

/// The deflate of bytes that are compressed already: it stores them.
pub(crate) fn deflate_stored(content: &[u8], onto: Vec<u8>) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(onto, Compression::none());
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default()
}

/// The gzip file of a whole stream of deflate, and the content that it is of.
pub(crate) fn gzip_of(deflated: &[u8], content: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(content);
    // No name, no time, an unknown system.
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    [&head, deflated, &crc.sum().to_le_bytes(), &crc.amount().to_le_bytes()].concat()
}
