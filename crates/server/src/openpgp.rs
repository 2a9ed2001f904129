//! The OpenPGP key that signs what a gate makes of an operator's index (RFC 9580, with keys and signatures of version 4, which is what
//! the GnuPG of today's clients reads).

use std::fmt;

use flatpass_gate::IndexSigner;
use flatpass_token::UnixTime;
use pgp::composed::{
    Deserializable, DetachedSignature, SignedKeyDetails, SignedPublicKey, SignedSecretKey, SignedSecretSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, KeyVersion, Password, Timestamp};

/// No key file has more bytes than this: one with a photo in it has some ten thousand.
pub const MAX_KEY_BYTES: usize = 1 << 20;

/// Why a file is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum OpenPgpKeyError {
    /// It cannot be read as a secret key.
    #[error("this is not an exported OpenPGP secret key: {0}")]
    Unreadable(String),
    /// It has a passphrase.
    #[error("the key has a passphrase; a server cannot type it")]
    Passphrase,
    /// It is not one that signs, or only its public half is there.
    #[error("the key cannot sign: no part of it is for signing and has its secret half")]
    CannotSign,
    /// It is newer than what clients read.
    #[error("the key is of another version than 4; the GnuPG of Flatpak's clients does not read it")]
    Version,
    /// A signature could not be made.
    #[error("the key does not sign: {0}")]
    Failed(String),
}

/// An OpenPGP key that signs. Its `Debug` shows its fingerprint alone.
pub struct OpenPgpKey {
    key: SignedSecretKey,
    /// Which subkey signs; `None` for the primary key.
    subkey: Option<usize>,
}

impl fmt::Debug for OpenPgpKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "OpenPgpKey({})", self.fingerprint())
    }
}

impl OpenPgpKey {
    /// Reads an exported secret key, armored or binary, as `gpg --export-secret-keys` writes it.
    ///
    /// # Errors
    /// [`OpenPgpKeyError`], [`OpenPgpKeyError::Failed`] excepted.
    pub fn read(bytes: &[u8]) -> Result<Self, OpenPgpKeyError> {
        let unreadable = |error: pgp::errors::Error| OpenPgpKeyError::Unreadable(error.to_string());
        let (key, _) = SignedSecretKey::from_reader_single(bytes).map_err(unreadable)?;
        key.verify_bindings().map_err(unreadable)?;
        if key.primary_key.version() != KeyVersion::V4 {
            return Err(OpenPgpKeyError::Version);
        }
        let signs = |subkey: &SignedSecretSubKey| subkey.signatures.iter().any(|one| one.key_flags().sign());
        // As GnuPG chooses: the newest subkey for signing, else the primary key.
        let subkey = key
            .secret_subkeys
            .iter()
            .enumerate()
            .filter(|(_, subkey)| signs(subkey))
            .max_by_key(|(_, subkey)| subkey.key.created_at())
            .map(|(at, _)| at);
        let flags = || key.details.users.iter().flat_map(|user| &user.signatures).map(Signature::key_flags);
        if subkey.is_none() && flags().next().is_some() && !flags().any(|flags| flags.sign()) {
            return Err(OpenPgpKeyError::CannotSign);
        }
        let read = Self { key, subkey };
        let secret = match read.signing_subkey() {
            Some(subkey) => subkey.secret_params(),
            None => read.key.primary_key.secret_params(),
        };
        if secret.is_encrypted() {
            return Err(OpenPgpKeyError::Passphrase);
        }
        read.sign_at(b"", Timestamp::from_secs(0)).map_err(|_| OpenPgpKeyError::CannotSign)?;
        Ok(read)
    }

    /// The primary key's fingerprint in hexadecimal, as GnuPG shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(self.key.primary_key.fingerprint().as_bytes())
    }

    /// The public half, binary, as `gpg --export` writes it.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.key.to_public_key().to_bytes().unwrap_or_default()
    }

    /// Whether a binary signature of `message` was made with this key, with whichever part of it.
    #[must_use]
    pub fn made(&self, signature: &[u8], message: &[u8]) -> bool {
        let Ok(signature) = DetachedSignature::from_bytes(signature) else { return false };
        let public = self.key.to_public_key();
        signature.verify(&public.primary_key, message).is_ok()
            || public.public_subkeys.iter().any(|subkey| signature.verify(&subkey.key, message).is_ok())
    }

    /// Whether its public half is among these keys, binary: what clients have as the repository's key.
    #[must_use]
    pub fn is_among(&self, keys: &[u8]) -> bool {
        let own = self.key.primary_key.fingerprint();
        let Ok(mut keys) = SignedPublicKey::from_bytes_many(keys) else { return false };
        keys.any(|key| key.is_ok_and(|key| key.primary_key.fingerprint() == own))
    }

    /// When it ends, by what its file says: clients refuse all its signatures afterwards. `None` when it does not.
    #[must_use]
    pub fn ends_at(&self) -> Option<UnixTime> {
        let primary = end(self.key.primary_key.created_at(), of_itself(&self.key.details));
        let subkey = self.subkey.and_then(|at| self.key.secret_subkeys.get(at));
        let subkey = subkey.and_then(|subkey| end(subkey.key.created_at(), subkey.signatures.iter()));
        primary.into_iter().chain(subkey).min()
    }

    fn signing_subkey(&self) -> Option<&pgp::packet::SecretSubkey> {
        self.key.secret_subkeys.get(self.subkey?).map(|subkey| &subkey.key)
    }

    fn sign_at(&self, message: &[u8], at: Timestamp) -> Result<Vec<u8>, OpenPgpKeyError> {
        let failed = |error: pgp::errors::Error| OpenPgpKeyError::Failed(error.to_string());
        let signature = match self.signing_subkey() {
            Some(subkey) => sign(subkey, message, at),
            None => sign(&self.key.primary_key, message, at),
        };
        DetachedSignature::new(signature.map_err(failed)?).to_bytes().map_err(failed)
    }
}

impl IndexSigner for OpenPgpKey {
    fn sign(&self, message: &[u8], at: UnixTime) -> Result<Vec<u8>, String> {
        let at = u32::try_from(at.0).map_err(|_| "the clock is beyond OpenPGP's time".to_owned())?;
        self.sign_at(message, Timestamp::from_secs(at)).map_err(|error| error.to_string())
    }
}

/// A signature over bytes. It says when it was made and by which key, and nothing else.
fn sign(key: &impl pgp::types::SigningKey, message: &[u8], at: Timestamp) -> pgp::errors::Result<Signature> {
    // SHA-512 is for all keys, and GnuPG has taken it for as long as Ed25519 wants it.
    let mut config = SignatureConfig::v4(SignatureType::Binary, key.algorithm(), HashAlgorithm::Sha512);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(at))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    config.sign(key, &Password::empty(), message)
}

/// When the last of these public keys, binary, ends by itself. `None` when one of them does not, or they cannot be read.
#[must_use]
pub fn public_keys_end_at(keys: &[u8]) -> Option<UnixTime> {
    let keys: Vec<_> = SignedPublicKey::from_bytes_many(keys).ok()?.collect::<Result<_, _>>().ok()?;
    let ends = keys.iter().map(|key| end(key.primary_key.created_at(), of_itself(&key.details)));
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The signatures by which a primary key says something about itself.
fn of_itself(details: &SignedKeyDetails) -> impl Iterator<Item = &Signature> {
    details.direct_signatures.iter().chain(details.users.iter().flat_map(|user| &user.signatures))
}

/// What the newest of the signatures that speak of it says; zero means never (RFC 9580, 5.2.3.13).
fn end<'a>(made: Timestamp, signatures: impl Iterator<Item = &'a Signature>) -> Option<UnixTime> {
    let newest = signatures.max_by_key(|signature| signature.created().map(Timestamp::as_secs))?;
    let life = newest.key_expiration_time()?.as_secs();
    (life != 0).then(|| UnixTime(i64::from(made.as_secs()) + i64::from(life)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
