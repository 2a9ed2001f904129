//! Why a command of a peer fails.

use std::io;
use std::path::PathBuf;

/// Why a peer cannot be set up, filled or served. Its `Display` is a sentence with the next step.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The folder holds no peer.
    #[error(
        "{0} holds no peer: make one with flatpass peer init --dir {0} --store https://shop.example --repo apps"
    )]
    NoPeer(PathBuf),
    /// The folder holds a peer already.
    #[error("{0} holds a peer already: use another folder, or change its peer.toml")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The store's URL is plain http.
    #[error("{0} is not secret on its way: keys are taken only over https, or from this machine")]
    Insecure(String),
    /// The repo's tokens are not signed ones.
    #[error(
        "the tokens of {repo} can only be checked online ({kind}), so it cannot have peers: ask whoever runs the store for signed tokens"
    )]
    OnlyOnline {
        /// The repo.
        repo: String,
        /// The kind of its tokens.
        kind: String,
    },
    /// The store cannot be reached.
    #[error("{host} cannot be reached: {what}. Is the peer online?")]
    Unreachable {
        /// The store.
        host: String,
        /// What went wrong.
        what: String,
    },
    /// The store says no.
    #[error("{0}")]
    Refused(String),
    /// What the store says cannot be believed.
    #[error("what {host} says cannot be used: {what}")]
    Answer {
        /// The store.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// There is no room on the disk.
    #[error("there is no room left for {0}: make room, or give the peer a smaller max_size in peer.toml")]
    Full(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}. Is another server running there?")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// A part of the program cannot be started.
    #[error("{0}")]
    Start(String),
}
