//! `flatpass peer`: a gate for a local network, which needs no store of its own.

mod import;
mod init;
mod licence;
mod mirror;
mod serve;
mod status;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flatpass_peer::PeerError;

use super::failure::Failure;
use super::output::Answer;

/// What can be done with a peer.
#[derive(Subcommand)]
pub(super) enum PeerCommand {
    /// Make a peer of a store's repo: read the store's public keys and rules and pin them
    #[command(after_help = init::EXAMPLES)]
    Init(init::Init),
    /// Serve the peer: check tokens offline, fetch from the store what is asked for and not here
    #[command(after_help = serve::HELP)]
    Serve(serve::Serve),
    /// Fetch chosen apps whole, before anybody asks for them
    #[command(after_help = mirror::HELP)]
    Mirror(mirror::Mirror),
    /// Take apps from a USB stick that flatpak create-usb made
    #[command(after_help = import::HELP)]
    Import(import::Import),
    /// Site licences: let devices of a site that never gets online have what its licence says
    #[command(subcommand)]
    Licence(licence::LicenceCommand),
    /// Show what the peer has, what it believes of its store, and since when
    Status(Which),
}

/// Which peer.
#[derive(Args)]
pub(super) struct Which {
    /// The peer's folder
    #[arg(long, value_name = "DIR", env = "FLATPASS_PEER", default_value = ".")]
    dir: PathBuf,
}

/// Does it. No store's configuration is read.
pub(super) async fn run(command: PeerCommand) -> Result<Answer, Failure> {
    match command {
        PeerCommand::Init(command) => init::run(command).await,
        PeerCommand::Serve(command) => serve::run(command).await,
        PeerCommand::Mirror(command) => mirror::run(command).await,
        PeerCommand::Import(command) => import::run(command).await,
        PeerCommand::Licence(command) => licence::run(command),
        PeerCommand::Status(which) => status::run(&which),
    }
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}
