//! The bridge: a loopback HTTP service that lets a stock Flatpak use a private repo with no secret in any
//! configuration file.
//!
//! A remote's URL is `http://127.0.0.1:PORT/KEY`. A request walks in a straight line: [`server`] accepts the
//! connection if [`peer`] finds in the [`tcp_table`] that it is this user's; [`sieve`] finds the remote in the
//! [`book`] and judges the [`path`]; [`tokens`] has a summary token, from [`dbus_source`] (or, inside another
//! command, [`session_source`]); [`upstream`] asks the repo; [`answer`] streams what it says.
//!
//! What it promises:
//! - only this user (and root) gets an answer, and only who was given the key: another user of the machine, or a web
//!   page, learns not even what listens here;
//! - a summary token goes to the repo that it is for, and nowhere else: not to the client, not along a redirect, not
//!   into the log;
//! - a client that brings a token of its own is passed on with that and no other;
//! - a peer of the local network ([`neighbours`]) is sent tokens for peers alone, and nothing that it sends reaches the client before it was
//!   compared with its checksum ([`object`]), but what has a signature that Flatpak checks.
//!
//! What it does not: a program that runs as this user can read the book, and the session bus. It is no boundary
//! inside a session.

pub mod alongside;
pub mod answer;
pub mod book;
pub mod dbus_source;
pub mod lies;
mod neighbours;
mod object;
pub mod path;
mod patience;
pub mod peer;
mod pipe;
pub mod server;
pub mod session_source;
pub mod sieve;
pub mod tcp_table;
pub mod tokens;
pub mod upstream;

pub use self::server::{Bridge, Limits, ServeError, serve};
