//! Content objects as archive repositories have them, checked while they arrive: `objects/xx/HEX.filez`.

use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use crate::{Checksum, ReadError};

/// `OSTREE_ZLIB_FILE_HEADER` in libostree: size, user, group, mode, device, target of a symbolic link, extended attributes.
const FILEZ_HEADER: &str = "(tuuuusa(ayay))";
/// The size of the header and four bytes of padding come before it.
const PREFIX_BYTES: usize = 8;
/// In the header: the size that the checksum leaves out, then four numbers.
const SIZE_BYTES: usize = 8;
const NUMBERS_BYTES: usize = 16;
/// Extended attributes do not come to more than this; Linux allows 64 KiB for each name.
const MAX_HEADER_BYTES: usize = 1 << 20;
/// Kind of file, in the mode.
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const CHUNK_BYTES: usize = 64 << 10;

/// Checks a `filez` object piece by piece, in little memory: its checksum is that of the header, written as libostree does for that, and of the
/// content uncompressed. Nothing may stand in the file beside those, so what has the right checksum holds nothing that was not
/// checked.
///
/// ```
/// use flatpass_ostree::ContentCheck;
/// assert!(ContentCheck::new().finish().is_err(), "nothing is no object");
/// ```
#[derive(Debug)]
pub struct ContentCheck {
    hash: Sha256,
    head: Vec<u8>,
    content: Option<Content>,
    chunk: Vec<u8>,
}

#[derive(Debug)]
struct Content {
    /// `None` for a symbolic link, which has no content.
    inflate: Option<Decompress>,
    ended: bool,
    size: u64,
}

impl Default for ContentCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentCheck {
    /// Nothing has arrived yet.
    #[must_use]
    pub fn new() -> Self {
        Self { hash: Sha256::new(), head: Vec::new(), content: None, chunk: Vec::new() }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`] or [`ReadError::BadCompression`]: it is no such object, whatever follows.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), ReadError> {
        if self.content.is_none() {
            bytes = self.take_head(bytes)?;
        }
        let Some(content) = &mut self.content else { return Ok(()) };
        if bytes.is_empty() {
            return Ok(());
        }
        let inflate = content.inflate.as_mut().filter(|_| !content.ended).ok_or(ReadError::BadCompression)?;
        self.chunk.resize(CHUNK_BYTES, 0);
        loop {
            let (read, written) = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(bytes, &mut self.chunk, FlushDecompress::None)
                .map_err(|_| ReadError::BadCompression)?;
            let read = usize::try_from(inflate.total_in() - read).unwrap_or(bytes.len());
            let written = usize::try_from(inflate.total_out() - written).unwrap_or_default();
            self.hash.update(self.chunk.get(..written).unwrap_or_default());
            if inflate.total_out() > content.size {
                return Err(ReadError::TooLarge { limit: content.size });
            }
            bytes = bytes.get(read..).unwrap_or_default();
            if status == Status::StreamEnd {
                content.ended = true;
                return if bytes.is_empty() { Ok(()) } else { Err(ReadError::BadCompression) };
            }
            // With room left in the chunk all input was taken; more of it must come.
            if written < self.chunk.len() && (bytes.is_empty() || read == 0) {
                return if bytes.is_empty() { Ok(()) } else { Err(ReadError::BadCompression) };
            }
        }
    }

    /// The checksum by which the object is known, once all of the file has arrived.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`] or [`ReadError::BadCompression`] when the file is cut off.
    pub fn finish(self) -> Result<Checksum, ReadError> {
        let content = self.content.ok_or(NOT_NORMAL)?;
        if let Some(inflate) = content.inflate
            && (!content.ended || inflate.total_out() != content.size)
        {
            return Err(ReadError::BadCompression);
        }
        let digest: [u8; 32] = self.hash.finalize().into();
        Checksum::try_from(digest.as_slice()).map_err(|_| NOT_NORMAL)
    }

    /// Takes what belongs to the header and gives the rest.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], ReadError> {
        let mut rest = bytes;
        let mut wanted = PREFIX_BYTES;
        loop {
            let (taken, left) = rest.split_at(rest.len().min(wanted.saturating_sub(self.head.len())));
            self.head.extend_from_slice(taken);
            rest = left;
            if self.head.len() < wanted {
                return Ok(rest);
            }
            let length = be_u32(&self.head, 0).and_then(|length| usize::try_from(length).ok());
            let length = length.filter(|length| *length <= MAX_HEADER_BYTES).ok_or(NOT_NORMAL)?;
            if wanted == PREFIX_BYTES + length {
                break;
            }
            wanted = PREFIX_BYTES + length;
        }
        let head = std::mem::take(&mut self.head);
        let (prefix, variant) = head.split_at_checked(PREFIX_BYTES).ok_or(NOT_NORMAL)?;
        if prefix.get(4..) != Some(&[0; 4]) {
            return Err(NOT_NORMAL);
        }
        let header = Header::read(variant).ok_or(NOT_NORMAL)?;
        self.hash.update(header.as_hashed());
        let inflate = match header.mode & S_IFMT {
            S_IFREG => Some(Decompress::new(false)),
            // The checksum knows nothing of the size.
            S_IFLNK if header.size == 0 => None,
            _ => return Err(NOT_NORMAL),
        };
        self.content = Some(Content { ended: inflate.is_none(), inflate, size: header.size });
        Ok(rest)
    }
}

const NOT_NORMAL: ReadError = ReadError::NotNormal { type_string: FILEZ_HEADER };

/// The header, taken apart only as far as its two forms differ.
struct Header<'a> {
    size: u64,
    mode: u32,
    numbers: &'a [u8],
    /// The target of a symbolic link with the NUL at its end.
    target: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> Header<'a> {
    /// `(tuuuusa(ayay))` in normal form, all numbers big-endian as libostree writes them.
    fn read(variant: &'a [u8]) -> Option<Self> {
        let width = offset_width(variant.len());
        let body = variant.len().checked_sub(width)?;
        let offset =
            variant.get(body..)?.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let target = variant.get(SIZE_BYTES + NUMBERS_BYTES..offset.min(body))?;
        let (nul, text) = target.split_last()?;
        if offset > body || *nul != 0 || text.contains(&0) || std::str::from_utf8(text).is_err() {
            return None;
        }
        Some(Self {
            size: u64::from_be_bytes(variant.get(..SIZE_BYTES)?.try_into().ok()?),
            mode: be_u32(variant, SIZE_BYTES + 8)?,
            numbers: variant.get(SIZE_BYTES..SIZE_BYTES + NUMBERS_BYTES)?,
            target,
            attributes: variant.get(offset..body)?,
        })
    }

    /// `(uuuusa(ayay))` with its size and padding before it: what the checksum is of.
    fn as_hashed(&self) -> Vec<u8> {
        let end_of_target = self.numbers.len() + self.target.len();
        let body = end_of_target + self.attributes.len();
        let width = [1, 2, 4].into_iter().find(|width| offset_width(body + width) == *width).unwrap_or(4);
        let length = u32::try_from(body + width).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + body + width);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.numbers);
        bytes.extend_from_slice(self.target);
        bytes.extend_from_slice(self.attributes);
        bytes.extend(end_of_target.to_le_bytes().iter().take(width));
        bytes
    }
}

/// How many bytes a framing offset has in a container of that size (GVariant specification, 2.3.6); headers are not longer than 4 GiB.
const fn offset_width(length: usize) -> usize {
    match length {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
