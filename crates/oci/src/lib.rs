//! Container registries, as Flatpak uses them: what stands in requests, challenges, manifests and tokens.
//!
//! Everything here but the client is without I/O. Readers of outside bytes have bounds for size and number, and take nothing that they do
//! not understand for something else.
//!
//! | module | holds | from |
//! |---|---|---|
//! | `name`, `digest` | names of repositories, tags, digests | OCI distribution-spec 1.1, image-spec 1.1 |
//! | `scope` | what a client asks a token server for | Docker registry token scope |
//! | `challenge` | `WWW-Authenticate` | RFC 9110, 11.6.1 |
//! | `error` | the body of a refusal | distribution-spec, error codes |
//! | `manifest` | manifests, indexes and image configurations | image-spec |
//! | `catalogue` | the Flatpak images of a repo | Flatpak's `flatpak-oci-registry.c` |
//! | `index` | what Flatpak reads to know what a registry has | Flatpak's OCI specifications, registry index |
//! | `notification` | what a registry tells of changes | docker-registry's notifications |
//! | `claims` | a token that registries check | Docker registry token specification |

mod catalogue;
mod challenge;
mod claims;
#[cfg(feature = "client")]
pub mod client;
mod digest;
mod error;
pub mod index;
mod manifest;
mod name;
mod notification;
mod scope;

pub use catalogue::{
    Catalogue, Image, ImageList, LATEST, NoFlatpak, REF_LABEL, TIMESTAMP_LABEL, TOKEN_TYPE_LABEL,
};
pub use challenge::{Challenge, ChallengeError, MAX_CHALLENGE_BYTES};
pub use claims::{Access, RegistryClaims};
pub use digest::{Digest, DigestError, DigestReader};
pub use error::{ErrorCode, error_body};
pub use manifest::{
    Descriptor, Document, ImageConfig, ImageIndex, MAX_DOCUMENT_BYTES, Manifest, ManifestError, MediaType,
    Platform,
};
pub use name::{NameError, Reference, ReferenceError, RepositoryName, Tag, TagError};
pub use notification::{MAX_NOTIFICATION_BYTES, NotificationError, changed_repositories};
pub use scope::{Action, Actions, MAX_SCOPES, Scope, ScopeError, Target};
