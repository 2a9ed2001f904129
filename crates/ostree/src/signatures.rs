//! Signatures of summaries and commits: `summary.sig`, `summary.idx.sig`, `objects/xx/HEX.commitmeta`.

use gvariant::{Marker, gv};

use crate::ReadError;
use crate::variant::{Dictionary, check_normal};

/// How many signatures a file holds. Whether they are good, and whose, takes keys to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signatures {
    /// OpenPGP signatures, `ostree.gpgsigs`.
    pub openpgp: usize,
    /// Ed25519 signatures, `ostree.sign.ed25519`.
    pub ed25519: usize,
}

impl Signatures {
    /// Reads a signature file or a commit's detached metadata.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::DuplicateKey`] or [`ReadError::WrongType`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, "a{sv}")?;
        let metadata = Dictionary::new(gv!("a{sv}").cast(bytes.as_ref()))?;
        let count = |key| Ok(metadata.get(key, gv!("aay"))?.map_or(0, |list| list.len()));
        Ok(Self { openpgp: count("ostree.gpgsigs")?, ed25519: count("ostree.sign.ed25519")? })
    }

    /// The OpenPGP signatures of such a file, each binary.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn openpgp_packets(bytes: &[u8]) -> Result<Vec<Vec<u8>>, ReadError> {
        let bytes = check_normal(bytes, "a{sv}")?;
        let metadata = Dictionary::new(gv!("a{sv}").cast(bytes.as_ref()))?;
        let list = metadata.get("ostree.gpgsigs", gv!("aay"))?;
        Ok(list.into_iter().flatten().map(<[u8]>::to_vec).collect())
    }

    /// Whether there is no signature of a known kind.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.openpgp == 0 && self.ed25519 == 0
    }
}
