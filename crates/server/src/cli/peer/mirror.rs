//! `flatpass peer mirror`.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use flatpass_gate::Clock;
use flatpass_peer::{Peer, Progress};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Answer;
use super::Which;

pub(super) const HELP: &str = "Examples:\n  \
    flatpass peer mirror --dir /srv/peer org.example.App//stable\n  \
    flatpass peer mirror --dir /srv/peer org.example.App org.freedesktop.Platform/x86_64/24.08\n\n\
    An id alone means all its branches and architectures; translations (.Locale) come along. What is here already is not fetched again.\n\
    It may run while the peer serves, for instance every night from a timer.";

/// What to mirror.
#[derive(Args)]
pub(in crate::cli) struct Mirror {
    #[command(flatten)]
    which: Which,
    /// Apps or runtimes: ID, ID/ARCH/BRANCH, or ID//BRANCH
    #[arg(required = true, value_name = "REF")]
    refs: Vec<String>,
}

pub(super) async fn run(mirror: Mirror) -> Result<Answer, Failure> {
    let peer = Peer::open(&mirror.which.dir, Clock::system())?;
    peer.refresh().await?;
    let (mut done, mut failed) = (Vec::new(), None);
    for wanted in &mirror.refs {
        let names = peer.matching(wanted);
        if names.is_empty() {
            let next = format!(
                "see what there is: flatpak remote-ls; the list was read from {}",
                peer.trust().info.repo_url
            );
            return Err(Failure::told(format!("there is no {wanted} in the store's list"), next));
        }
        for name in names {
            let shown = Cell::new(usize::MAX);
            match peer.mirror(&name, |progress| show(&progress, &shown)).await {
                Ok(mirrored) => done.push(mirrored),
                Err(error) => failed = Some(error),
            }
        }
    }
    let gone = peer.settle()?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut text = String::new();
    for one in &done {
        text.push_str(&format!(
            "{}  {}: {} files, {} of them new\n",
            one.name, one.commit, one.files, one.new
        ));
    }
    if gone > 0 {
        text.push_str(&format!(
            "Made room: {gone} bytes of what was least used went. The peer's max_size may be too small.\n"
        ));
    }
    let json = done.iter().map(
        |one| json!({ "ref": one.name, "commit": one.commit.to_hex(), "files": one.files, "new": one.new }),
    );
    Ok(Answer::new(text.trim_end(), json!({ "mirrored": json.collect::<Vec<_>>(), "evicted_bytes": gone })))
}

/// One line that changes, where somebody is looking.
fn show(progress: &Progress<'_>, shown: &Cell<usize>) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    let percent = (progress.done * 100).checked_div(progress.of).unwrap_or(100);
    if shown.replace(percent) != percent {
        let end = if progress.done == progress.of { "\n" } else { "" };
        let _nobody_looks = write!(out, "\r{}: {percent} %{end}", progress.name);
        let _nobody_looks = out.flush();
    }
}
