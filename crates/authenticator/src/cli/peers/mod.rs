//! `peers`: which servers of the local network remotes use beside their store, or in its place.

mod list;
mod off;
mod on;
mod remotes;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Failure;
use crate::authority::error::shown;
use crate::peers::FoundPeer;
use crate::peers::discover::discover;

/// Use peers: servers of the local network that have copies of a store's apps.
///
/// A peer is found by itself where the network lets multicast DNS pass; else name it with `--peer`. With `on`, Flatpak fetches
/// files from the peer if it has them, and from the store if not; the list of apps always comes from the store. What a peer is
/// sent opens nothing but the very versions that you install, for minutes; what it sends is compared with its checksum.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PeersCommand {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "Examples:
  flatpass-authenticator peers list
  flatpass-authenticator peers on
  flatpass-authenticator peers on --peer http://192.168.1.5:8480 --alone shop
  flatpass-authenticator peers off

A peer learns which versions of which apps are fetched by whom. If a pull ends with `Corrupted … object; checksum expected` or
`Transferred a partial file`, the peer sent wrong bytes and none was kept: run `peers off`, then try again. Remotes of the bridge
need not: the bridge fetches such a file from the store and leaves the peer alone.";

#[derive(Debug, Subcommand)]
enum Action {
    List(list::List),
    On(on::On),
    Off(off::Off),
}

impl PeersCommand {
    /// Runs it.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(command) => command.run().await,
            Action::On(command) => command.run().await,
            Action::Off(command) => command.run().await,
        }
    }
}

/// How long to look for peers.
#[derive(Debug, Args)]
struct Search {
    /// Wait for answers of the local network for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    wait: u64,
}

impl Search {
    async fn peers(&self) -> Vec<FoundPeer> {
        match discover(Duration::from_secs(self.wait.clamp(1, 60))).await {
            Ok(found) => found,
            Err(error) => {
                eprintln!("The local network cannot be asked for peers ({}).", shown(&error));
                Vec::new()
            }
        }
    }
}
