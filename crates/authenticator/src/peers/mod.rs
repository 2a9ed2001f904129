//! Peers: servers of the local network that have copies of parts of a store's repo (`flatpass peer`).
//!
//! [`discover`] finds them by DNS-SD, [`address`] is where one is, and [`probe`] asks whether one answers. A remote uses one
//! in one of the ways of [`uses`]: *beside* the store, by a [`list`] of servers that libostree goes through for each object; or
//! *alone*, in place of the store. Remotes of the bridge use them by the bridge.
//!
//! Anybody in a local network can say that they are a peer. So a token that may come into a peer's hands is for peers alone,
//! or names the commits that it opens and lives for minutes; and what decides which commit is installed comes from the
//! store, or has a signature that is checked.

pub mod address;
pub mod discover;
pub mod list;
pub mod probe;
pub mod uses;

pub use self::address::PeerUrl;
pub use self::discover::FoundPeer;
