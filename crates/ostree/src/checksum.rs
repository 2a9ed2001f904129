//! SHA-256 checksums, the names of everything in an OSTree repository.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::ReadError;

/// Digits of ostree's base64, in which `_` stands where RFC 4648 has `/`, so that a checksum fits in a file name.
const DELTA_DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_";
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// How many base64 characters name a checksum: 256 bits in groups of six, without padding.
pub const DELTA_BASE64_LENGTH: usize = 43;
/// How many hexadecimal characters name a checksum.
pub const HEX_LENGTH: usize = 64;

/// The SHA-256 of an OSTree object, a summary or a delta part.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Checksum([u8; 32]);

/// Why a text is not a checksum in its one canonical spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChecksumError {
    /// The text has another number of characters than the notation has.
    #[error("a checksum in this notation has {expected} characters, not {found}")]
    Length {
        /// Characters that the notation has.
        expected: usize,
        /// Bytes that the text has.
        found: usize,
    },
    /// A character is not a digit of the notation. Upper-case hexadecimal is none: ostree never writes it.
    #[error("the checksum has a character that is not a digit at position {position}")]
    Digit {
        /// Offset of the byte in the text.
        position: usize,
    },
    /// The two bits that base64 leaves over at the end are not zero, so this is a second spelling of another text.
    #[error("the checksum's last base64 digit has bits that belong to no byte")]
    TrailingBits,
}

impl Checksum {
    /// The checksum with these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The SHA-256 of `content`, which for `commit`, `dirtree` and `dirmeta` objects is the object's name.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// The checksum of contents one after the other.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hexadecimal digits, as in `objects/xx/…` and in ref files.
    ///
    /// # Errors
    /// [`ChecksumError::Length`] or [`ChecksumError::Digit`].
    pub fn from_hex(text: &str) -> Result<Self, ChecksumError> {
        let (first, rest) = text.as_bytes().split_at_checked(2).unwrap_or((text.as_bytes(), b""));
        Self::from_split_hex(first, rest)
    }

    /// Takes the 32 bytes of an `ay`; `field` is for the error.
    pub(crate) fn read(bytes: &[u8], field: &'static str) -> Result<Self, ReadError> {
        Self::try_from(bytes).map_err(|_| ReadError::BadChecksum { field })
    }

    /// Reads hexadecimal digits that stand in two places, as object paths have them.
    pub(crate) fn from_split_hex(first: &[u8], rest: &[u8]) -> Result<Self, ChecksumError> {
        check_length(HEX_LENGTH, first.len() + rest.len())?;
        let mut bytes = [0_u8; 32];
        for (position, digit) in first.iter().chain(rest).enumerate() {
            let value = hex_value(*digit).ok_or(ChecksumError::Digit { position })?;
            if let Some(byte) = bytes.get_mut(position / 2) {
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(bytes))
    }

    /// Reads 43 digits of ostree's base64 (`+` and `_`, no padding), as delta directories are named.
    /// See `ostree_checksum_b64_from_bytes` in libostree.
    ///
    /// # Errors
    /// Any [`ChecksumError`].
    pub fn from_delta_base64(text: &str) -> Result<Self, ChecksumError> {
        Self::from_split_delta_base64(text.as_bytes(), b"")
    }

    /// Reads base64 digits that stand in two places, as delta paths have them.
    pub(crate) fn from_split_delta_base64(first: &[u8], rest: &[u8]) -> Result<Self, ChecksumError> {
        check_length(DELTA_BASE64_LENGTH, first.len() + rest.len())?;
        let mut bytes = [0_u8; 32];
        let mut free = bytes.iter_mut();
        let (mut bits, mut count) = (0_u32, 0_u32);
        for (position, digit) in first.iter().chain(rest).enumerate() {
            let value = base64_value(*digit).ok_or(ChecksumError::Digit { position })?;
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                if let Some(byte) = free.next() {
                    *byte = (bits >> count) as u8;
                }
                bits &= (1 << count) - 1;
            }
        }
        if bits == 0 { Ok(Self(bytes)) } else { Err(ChecksumError::TrailingBits) }
    }

    /// The 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut text = String::with_capacity(HEX_LENGTH);
        self.push_hex(&mut text, None);
        text
    }

    /// The 43 digits of ostree's base64.
    #[must_use]
    pub fn to_delta_base64(&self) -> String {
        let mut text = String::with_capacity(DELTA_BASE64_LENGTH);
        self.push_delta_base64(&mut text, None);
        text
    }

    /// Appends the hexadecimal digits, with `separator` after the first two.
    pub(crate) fn push_hex(&self, out: &mut String, separator: Option<char>) {
        let mut digits = [0_u8; HEX_LENGTH];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(HEX_DIGITS, byte >> 4), digit(HEX_DIGITS, byte & 15)]);
        }
        push_digits(out, &digits, separator);
    }

    /// Appends the base64 digits, with `separator` after the first two.
    pub(crate) fn push_delta_base64(&self, out: &mut String, separator: Option<char>) {
        // Room for the padding that RFC 4648 has and ostree leaves out.
        let mut digits = [0_u8; DELTA_BASE64_LENGTH + 1];
        for (quad, group) in digits.chunks_exact_mut(4).zip(self.0.chunks(3)) {
            let bytes: [u8; 3] = std::array::from_fn(|place| group.get(place).copied().unwrap_or(0));
            let [a, b, c] = bytes.map(u32::from);
            let bits = a << 16 | b << 8 | c;
            let values = [bits >> 18, bits >> 12 & 63, bits >> 6 & 63, bits & 63];
            quad.copy_from_slice(&values.map(|value| digit(DELTA_DIGITS, value as u8)));
        }
        push_digits(out, digits.get(..DELTA_BASE64_LENGTH).unwrap_or_default(), separator);
    }
}

/// The digit of a value; the callers' values are below the notation's base.
fn digit(digits: &[u8], value: u8) -> u8 {
    digits.get(usize::from(value)).copied().unwrap_or(b'?')
}

fn push_digits(out: &mut String, digits: &[u8], separator: Option<char>) {
    let text = str::from_utf8(digits).unwrap_or_default();
    let (first, rest) = text.split_at_checked(2).unwrap_or((text, ""));
    out.push_str(first);
    out.extend(separator);
    out.push_str(rest);
}

fn check_length(expected: usize, found: usize) -> Result<(), ChecksumError> {
    if expected == found { Ok(()) } else { Err(ChecksumError::Length { expected, found }) }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

const fn base64_value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

impl TryFrom<&[u8]> for Checksum {
    type Error = ChecksumError;

    /// Takes the 32 bytes as GVariants hold them (`ay`).
    fn try_from(bytes: &[u8]) -> Result<Self, ChecksumError> {
        bytes.try_into().map(Self).map_err(|_| ChecksumError::Length { expected: 32, found: bytes.len() })
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        Self::from_hex(text)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}
