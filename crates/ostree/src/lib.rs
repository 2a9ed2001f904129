//! OSTree archive repositories, read: what a request path means, which refs a commit belongs to and what token it needs,
//! what a static delta leads to, what a summary lists, which objects a commit is made of.
//!
//! Nothing here asks the network or keeps state, and no bytes, however damaged, make it panic. [`repo`] reads files, for
//! tools; everything else takes bytes.
//!
//! ```
//! use flatpass_ostree::{ObjectKind, RepoPath};
//!
//! let name = "ab".repeat(32);
//! let path = RepoPath::parse(&format!("objects/ab/{}.commit", &name[2..])).unwrap();
//! let RepoPath::Object { checksum, kind: ObjectKind::Commit } = path else { panic!("another path") };
//! assert_eq!(checksum.to_hex(), name);
//! assert_eq!(RepoPath::parse("objects/ab/../../config"), None);
//! ```

mod checksum;
mod commit;
mod compression;
mod content;
mod delta_index;
mod dirtree;
mod error;
mod filter;
pub mod graph;
mod path;
pub mod repo;
mod signatures;
mod summary;
mod summary_index;
mod superblock;
mod variant;

pub use checksum::{Checksum, ChecksumError, DELTA_BASE64_LENGTH, HEX_LENGTH};
pub use commit::Commit;
pub use compression::{gunzip, gzip};
pub use content::ContentCheck;
pub use delta_index::{DeltaIndex, DeltaName};
pub use dirtree::{DirTree, DirectoryEntry, FileEntry};
pub use error::ReadError;
#[doc(hidden)]
pub use filter::filtered_components;
pub use filter::{AppList, AppListError, AppListSource, Fate, IndexSource, SummarySource, signature_file};
pub use path::{DeltaFile, MAX_PATH_LENGTH, ObjectKind, RefPath, RepoPath};
pub use signatures::Signatures;
pub use summary::{Authenticator, Summary, SummaryMetadata, SummaryRef};
pub use summary_index::{SubSummaryEntry, SummaryIndex};
pub use superblock::{DeltaPart, DeltaSuperblock};
#[doc(hidden)]
pub use variant::is_normal;
