//! Indexes of static deltas: `delta-indexes/XX/REST.index`.

use std::collections::BTreeMap;
use std::fmt;

use gvariant::{Marker, gv};

use crate::summary::read_deltas;
use crate::variant::{Dictionary, check_normal};
use crate::{Checksum, ReadError};

/// Which static deltas lead to one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaIndex {
    /// The deltas, each with the SHA-256 of its superblock.
    pub deltas: BTreeMap<DeltaName, Checksum>,
}

/// Between which commits a static delta leads. Written `TO` or `FROM-TO`, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeltaName {
    /// The commit that the client must have; `None` for a delta from nothing.
    pub from: Option<Checksum>,
    /// The commit that it leads to.
    pub to: Checksum,
}

impl DeltaIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::DuplicateKey`], [`ReadError::WrongType`], [`ReadError::BadChecksum`] or
    /// [`ReadError::BadDeltaName`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, "a{sv}")?;
        let metadata = Dictionary::new(gv!("a{sv}").cast(bytes.as_ref()))?;
        let deltas = match metadata.get("ostree.static-deltas", gv!("a{sv}"))? {
            Some(deltas) => read_deltas(deltas)?,
            None => BTreeMap::new(),
        };
        Ok(Self { deltas })
    }
}

impl DeltaName {
    pub(crate) fn parse(name: &str) -> Result<Self, ReadError> {
        let parsed = match name.split_once('-') {
            Some((from, to)) => {
                Checksum::from_hex(from).and_then(|from| Ok((Some(from), Checksum::from_hex(to)?)))
            }
            None => Checksum::from_hex(name).map(|to| (None, to)),
        };
        let (from, to) = parsed.map_err(|_| ReadError::BadDeltaName { name: name.to_owned() })?;
        Ok(Self { from, to })
    }
}

impl fmt::Display for DeltaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(from) = self.from {
            write!(f, "{from}-")?;
        }
        write!(f, "{}", self.to)
    }
}
