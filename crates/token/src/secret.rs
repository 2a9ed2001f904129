//! Secrets that are shown once and kept only as a hash.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use rand::CryptoRng;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const RANDOM_CHARACTERS: usize = 32;

/// A secret in clear text: just made, to be shown once, or just received. `Debug` does not show it, there is no
/// `Display`, and the memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Makes a secret: `prefix`, by which people and scanners tell what kind it is, and 32 random characters of
    /// `A-Z a-z 0-9` (190 bits). It fits into a URL, a header and a shell without quoting, as long as the
    /// prefix does.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(prefix: &str, rng: &mut R) -> Self {
        let length = prefix.len() + RANDOM_CHARACTERS;
        // With its full capacity from the start: growing would leave copies behind that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(prefix);
        let mut bytes = Zeroizing::new([0_u8; 64]);
        while text.len() < length {
            rng.fill_bytes(bytes.as_mut_slice());
            // 64 values for 62 characters: those above are thrown away, so that each character is equally likely.
            let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
            let missing = length - text.len();
            text.extend(characters.take(missing).map(|byte| char::from(*byte)));
        }
        Self(text)
    }

    /// The secret itself, for the one moment it is shown or sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What to store of it.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

/// A secret that was received or read from its keeper.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The SHA-256 of a [`Secret`]. As text it is 64 lower-case hexadecimal digits.
///
/// A plain hash is enough for what has 190 random bits; passwords are another matter. Comparing takes the same
/// time wherever two hashes differ.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a secret as somebody presents it.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(sha256(secret.as_bytes()))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As text: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

/// The SHA-256 of a client's certificate (DER), whose key somebody proved to have. It is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateHash([u8; 32]);

impl CertificateHash {
    /// The hash of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// What stands where the hash of a secret would, for an access token of that repo. So one certificate may stand for an access token
    /// in each repo. It is made of bytes that are no UTF-8, as every secret is, so nobody can send a secret that has this hash.
    #[must_use]
    pub fn for_repo(&self, repo: &str) -> SecretHash {
        let mut bytes = vec![0xff];
        bytes.extend_from_slice(repo.as_bytes());
        bytes.push(0xff);
        bytes.extend_from_slice(&self.0);
        SecretHash(sha256(&bytes))
    }
}

/// As the tools for certificates show it.
impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no [`SecretHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a secret is 64 lower-case hexadecimal digits")]
pub struct SecretHashError;

impl FromStr for SecretHash {
    type Err = SecretHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(SecretHashError),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return Err(SecretHashError);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Only the beginning, enough to tell two apart in a log.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, ..] = self.0;
        write!(f, "SecretHash({a:02x}{b:02x}{c:02x}…)")
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for SecretHash {}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}
