//! HTTP/1.1 for gates: a short way for the requests that nearly all are, and hyper for the rest.

mod connection;
mod head;
mod input;
mod limits;
mod output;
mod rest;
mod transport;
mod watch;

pub use connection::serve_connection;
pub use limits::Limits;
pub(crate) use output::piece;
pub use rest::Peer;
pub use transport::{Opaque, Transport};
