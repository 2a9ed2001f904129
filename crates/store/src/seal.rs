//! Secrets at rest: AES-256-GCM under a key that stands in a file beside the database, never in it.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use zeroize::Zeroizing;

use crate::Random;

const KEY_BYTES: usize = 32;
/// The first characters of each sealed text, so that another cipher can follow one day.
const VERSION: &str = "v1.";

/// Seals and opens secrets with the store's key file. Its `Debug` shows no key.
pub struct Sealer {
    key: LessSafeKey,
    hashing: hmac::Key,
    fingerprint: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Sealer(..)")
    }
}

/// Why a key file or a sealed secret was refused.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file is not there or cannot be read or written.
    #[error("cannot open the key file {path}: {cause}")]
    File {
        /// The key file.
        path: PathBuf,
        /// The operating system's answer.
        cause: std::io::Error,
    },
    /// Others on the machine may read or change the key file.
    #[error("the key file {path} may be read or changed by others (mode {mode:04o}); run: chmod 600 {path}")]
    Mode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's content is not a key: 43 characters of base64url.
    #[error(
        "the key file {0} does not hold a key; restore it from a backup, or make a new store with `flatpass init`"
    )]
    Content(PathBuf),
    /// The database was sealed with another key file.
    #[error(
        "this key file is not the one that the database was made with; restore the right key file from a backup"
    )]
    WrongKey,
    /// A sealed secret was damaged or moved to another place.
    #[error("a sealed secret in the database is damaged")]
    Damaged,
}

impl Sealer {
    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// [`SealError::File`] when it cannot be read, [`SealError::Mode`] when group or world have any right to it,
    /// [`SealError::Content`] when it holds no key.
    pub fn from_key_file(path: &Path) -> Result<Self, SealError> {
        let file_error = |cause| SealError::File { path: path.to_owned(), cause };
        let mut file = std::fs::File::open(path).map_err(file_error)?;
        let mode = file.metadata().map_err(file_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        (&mut file).take(1024).read_to_string(&mut text).map_err(file_error)?;
        let decoded =
            Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| SealError::Content(path.to_owned()))?);
        Self::from_bytes(&decoded).ok_or_else(|| SealError::Content(path.to_owned()))
    }

    /// Makes a new random key, writes it to `path` (which must not exist) with mode 0600, and gives its sealer.
    ///
    /// # Errors
    /// [`SealError::File`] when the file exists or cannot be written.
    pub fn create_key_file(path: &Path, rng: Random<'_>) -> Result<Self, SealError> {
        let file_error = |cause| SealError::File { path: path.to_owned(), cause };
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        rng.fill_bytes(&mut *key);
        let text = Zeroizing::new(BASE64.encode(key.as_slice()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(file_error)?;
        writeln!(file, "{}", &*text).map_err(file_error)?;
        // A database whose key was lost with the power is a database without signing keys.
        file.sync_all().map_err(file_error)?;
        Self::from_bytes(&*key).ok_or_else(|| SealError::Content(path.to_owned()))
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
        // A keyed hash of a fixed text: it tells two keys apart and nothing about either.
        let derive = |label: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), label);
        let tag = derive(b"flatpass key file fingerprint");
        let hashing = hmac::Key::new(hmac::HMAC_SHA256, derive(b"flatpass keyed hashes").as_ref());
        Some(Self { key: LessSafeKey::new(key), hashing, fingerprint: BASE64.encode(tag) })
    }

    /// Tells one key file from another.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The hash of a text that is too short for a plain hash: who has not the key file cannot find the text by trying all.
    pub(crate) fn keyed_hash(&self, text: &str) -> String {
        BASE64.encode(hmac::sign(&self.hashing, text.as_bytes()))
    }

    /// Seals `secret` for the place named by `context` (such as `signing-key:KID`); it opens only with the same context.
    pub(crate) fn seal(&self, context: &str, secret: &[u8], rng: Random<'_>) -> Result<String, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError::Damaged)?;
        sealed.splice(0..0, nonce);
        Ok(format!("{VERSION}{}", BASE64.encode(sealed)))
    }

    /// Opens what [`Sealer::seal`] made for `context`.
    pub(crate) fn open(&self, context: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let text = sealed.strip_prefix(VERSION).ok_or(SealError::Damaged)?;
        let bytes = BASE64.decode(text).map_err(|_| SealError::Damaged)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut buffer = Zeroizing::new(rest.to_vec());
        let length = self
            .key
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut buffer)
            .map_err(|_| SealError::Damaged)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}
