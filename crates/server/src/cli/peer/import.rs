//! `flatpass peer import`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use flatpass_gate::Clock;
use flatpass_peer::{Peer, Stick};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::{Answer, FOUND_PROBLEMS};
use super::Which;

pub(super) const HELP: &str = "Example:\n  \
    On a machine that has the app:  flatpak create-usb /media/stick org.example.App\n  \
    At the peer:                    flatpass peer import --dir /srv/peer /media/stick\n\n\
    Each file is compared with its checksum. A commit that is not in the store's own list, as the peer last read it, goes only to who has a\n\
    token that names it: a stick is outside any gate. The peer's robot must hold the verb export for what is not free.";

/// What to import.
#[derive(Args)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    which: Which,
    /// Where the stick is mounted, or a repository of mode archive-z2
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

pub(super) async fn run(import: Import) -> Result<Answer, Failure> {
    let peer = Peer::open(&import.which.dir, Clock::system())?;
    let stick = Stick::open(&import.path)?;
    // Whatever the store says now counts, if it can be reached.
    if let Err(error) = peer.refresh().await {
        let _nobody_looks =
            writeln!(std::io::stderr(), "Going by what the store said at {}: {error}", peer.trust().seen_at);
    }
    let imported = tokio::task::block_in_place(|| {
        peer.import(&stick, |name| {
            if std::io::stderr().is_terminal() {
                let _nobody_looks = writeln!(std::io::stderr(), "{name}");
            }
        })
    })?;
    let gone = peer.settle()?;
    let mut text = String::new();
    for (name, commit, new) in &imported.taken {
        text.push_str(&format!("{name}  {commit}: {new} new files\n"));
    }
    for (name, why) in &imported.left {
        text.push_str(&format!("{name}  NOT taken: {why}\n"));
    }
    if imported.taken.is_empty() && imported.left.is_empty() {
        text.push_str("There is no app on it.\n");
    }
    let json = json!({
        "taken": imported.taken.iter().map(|(name, commit, new)| json!({ "ref": name, "commit": commit.to_hex(), "new": new })).collect::<Vec<_>>(),
        "left": imported.left.iter().map(|(name, why)| json!({ "ref": name, "reason": why })).collect::<Vec<_>>(),
        "evicted_bytes": gone,
    });
    let code = if imported.left.is_empty() { 0 } else { FOUND_PROBLEMS };
    Ok(Answer::new(text.trim_end(), json).with_code(code))
}
