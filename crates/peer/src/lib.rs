//! A peer: a gate for a local network that has no database. It holds copies of parts of a store's repo, checks tokens offline with
//! the store's public keys, and fills itself from the store.
//!
//! [`init`] makes one in a folder, [`Peer::open`] opens it and [`Peer::serve`] serves it. Nothing is served that was not compared with
//! its checksum, and nothing goes to anybody to whom the store itself would not give it.

mod announce;
mod check;
mod contact;
mod contents;
mod durable;
mod error;
mod evict;
mod export;
mod fetch;
mod fill;
mod folder;
mod import;
mod index;
mod known;
mod last_use;
mod listed;
mod mirror;
mod peer;
mod robot;
mod serve;
mod settings;
mod sites;
mod skeleton;
mod soundness;
mod trust;
mod wire;

pub use announce::SERVICE;
pub use contents::{Contents, contents};
pub use error::PeerError;
pub use import::{Imported, Stick};
pub use mirror::{Mirrored, Progress};
pub use peer::{Peer, init};
pub use settings::{LISTEN, OFFLINE_DAYS, Settings, parse_size};
pub use sites::{
    Device, SITE_VERBS, Site, add_device, add_licence, device_secret_prefix, remove_device, sites,
};
pub use trust::{StoreInfo, Trust};
