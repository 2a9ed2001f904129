//! What can be wrong with a file of a repository.

use thiserror::Error;

/// Why bytes are not the file that they are said to be.
///
/// Every reader refuses what is not exactly as libostree writes it. GVariant itself has no such refusals: by its specification, bytes
/// cut off in the middle read as default values, and a commit with default values would be a commit that needs no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The bytes are not a GVariant of the type in normal form: the file is cut off, damaged or another kind of file.
    #[error("the bytes are not a GVariant of type {type_string} in normal form")]
    NotNormal {
        /// The type that the file should have.
        type_string: &'static str,
    },
    /// A dictionary has a key twice, so that two readers could see two values.
    #[error("the key {key:?} is there twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value in a dictionary has another type than the key demands.
    #[error("the value of {key:?} should have the type {expected}, not {found}")]
    WrongType {
        /// The key.
        key: String,
        /// The GVariant type that the key demands.
        expected: &'static str,
        /// The type that is there.
        found: String,
    },
    /// A checksum has not 32 bytes, or is missing where one must be.
    #[error("{field} is not a checksum of 32 bytes")]
    BadChecksum {
        /// Which checksum.
        field: &'static str,
    },
    /// A name that no entry of a directory can have: empty, `.`, `..`, or with a slash in it.
    #[error("{name:?} is not a file name")]
    BadFileName {
        /// What is there.
        name: String,
    },
    /// A name of a delta in an index is not `HEX` or `HEX-HEX`.
    #[error("{name:?} does not name a static delta")]
    BadDeltaName {
        /// What is there.
        name: String,
    },
    /// A superblock says that it is another delta than its directory is named for.
    #[error("the delta should be {expected} and is {found}")]
    OtherDelta {
        /// The delta that the directory is named for.
        expected: Box<crate::DeltaName>,
        /// The delta that it says it is.
        found: Box<crate::DeltaName>,
    },
    /// Content has another checksum than the one it is known by.
    #[error("the content should have the checksum {expected} and has {found}")]
    Mismatch {
        /// The checksum it is known by, in hexadecimal.
        expected: crate::Checksum,
        /// The checksum it has, in hexadecimal.
        found: crate::Checksum,
    },
    /// Compressed content is damaged.
    #[error("the compressed content is damaged")]
    BadCompression,
    /// Uncompressed content is larger than the caller allows, in bytes.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
}
