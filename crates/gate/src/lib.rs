//! The OSTree gate of Flatpass: hands out the files of a Flatpak repository to those who may have them.
//!
//! A [`Gate`] guards one repo by its [`Rules`]; [`Gates`] is the table of all gates of a server by path prefix;
//! [`serve_connection`] speaks HTTP/1.1 on one connection and answers requests to gates itself, as fast as a server of plain
//! files, while everything else goes to hyper with the service it is given.
//!
//! ```no_run
//! use std::sync::Arc;
//! use flatpass_gate::{CacheLimits, FileCache, Gate, GateConfig, Gates, Policy, Rules};
//! use flatpass_token::{KeySet, Verifier, VerifierConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let repo = "https://shop.example/repo/apps";
//! let verifier = Arc::new(Verifier::new(VerifierConfig::new("https://shop.example/", repo), KeySet::new()));
//! let cache = Arc::new(FileCache::new(CacheLimits::default()));
//! let config = GateConfig {
//!     name: "apps".to_owned(),
//!     root: "/srv/apps".into(),
//!     rules: Rules::new(Policy::Refs).with_guarded_ids(["org.test.Paid".to_owned()]),
//!     public_url: repo.to_owned(),
//!     sign_in_url: "https://shop.example/sign-in".to_owned(),
//!     problem_url: "https://shop.example/problems/".to_owned(),
//!     objects: None,
//! };
//! let gates = Gates::new(Arc::clone(&cache));
//! gates.replace(vec![("/repo/apps".to_owned(), Arc::new(Gate::open(config, verifier, cache)?))]);
//! # Ok(())
//! # }
//! ```

mod accept;
mod adapter;
mod answer;
mod conditional;
mod credentials;
mod disk;
mod facts;
mod file_cache;
mod gate;
mod lane;
mod listing;
mod moment;
mod mounts;
mod object_index;
mod oci;
mod origin;
mod passage;
mod policy;
mod prepared;
mod refusal;
mod registry_index;
mod representation;
mod request;
mod resource;
mod unmounted;
mod uses;

pub use accept::{Accept, ManifestKind};
pub use adapter::{GateBody, answer_request};
pub use answer::{Answer, Body, FileBody, HeadWriter};
pub use file_cache::{CacheLimits, FileCache};
pub use gate::{Gate, GateConfig, GateError, WouldWait};
pub use lane::{Limits, Opaque, Peer, Transport, serve_connection};
pub use listing::{IndexSigner, Listing};
pub use moment::{Clock, Moment};
pub use mounts::{Gates, Mount, Mounted};
pub use object_index::{ObjectIndex, ObjectIndexConfig, ObjectIndexError, ObjectIndexState};
pub use oci::{
    ImagePath, Layout, LayoutError, LayoutGate, LayoutGateConfig, LayoutNote, PathError, Registry,
    RegistryConfig, Wanted,
};
pub use origin::{NotBrought, Origin};
pub use policy::{Policy, Rules, UnknownPolicy};
pub use prepared::Prepared;
pub use registry_index::{IndexGate, IndexGateConfig, SecretPaths};
pub use request::{Field, Headers, Method, Request};
pub use unmounted::Unmounted;
pub use uses::{Use, Uses};
