//! `peers off`.

use anyhow::anyhow;
use clap::Args;

use super::remotes::{Candidate, Which};
use crate::cli::{Failure, surroundings};
use crate::installation::keyfile::{self, CONTENT_URL, EditError, FORMER_URL};
use crate::peers::uses::Use;

/// Let remotes use their store and nothing else, as before `peers on`.
#[derive(Debug, Args)]
pub(super) struct Off {
    #[command(flatten)]
    which: Which,
}

impl Off {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let sessions = surroundings::sessions()?;
        let book = &sessions.environment().bridge;
        let mut done = 0;
        for remote in self.which.find(&book.read()?)? {
            match &remote.bridged {
                Some(bridged) if bridged.peers.is_some() => book.set_peers(&bridged.key, None).await?,
                Some(_) => continue,
                None if remote.uses == Use::Not => continue,
                None => turn_off(&remote)?,
            }
            println!("The remote {} uses no peer any more.", remote.title());
            done += 1;
        }
        if done == 0 && self.which.is_named() {
            return Err(anyhow!("No peer is used there, so nothing was changed.").into());
        }
        if done == 0 {
            println!("No remote uses a peer.");
        }
        Ok(())
    }
}

/// Takes exactly what `on` did out of the configuration.
pub(super) fn turn_off(remote: &Candidate) -> anyhow::Result<()> {
    let name = remote.name.as_str();
    let locked = remote.installation.lock()?;
    match &remote.uses {
        Use::Not => {}
        Use::Beside(list) => {
            let value = remote.remote.content_url.as_deref().unwrap_or_default();
            let edit = |text: &[u8]| keyfile::without_key(text, name, CONTENT_URL, value);
            locked.edit(edit, |text| {
                keyfile::remote(text, name).is_some_and(|now| now.content_url.is_none())
            })?;
            // After nothing leads to it any more.
            let _gone = std::fs::remove_file(list);
        }
        Use::Alone(_, former) => {
            let edit = |text: &[u8]| -> Result<Vec<u8>, EditError> {
                let restored = keyfile::with_url(text, name, &remote.remote.url, former)?;
                keyfile::without_key(&restored, name, FORMER_URL, former)
            };
            locked
                .edit(edit, |text| keyfile::remote(text, name).is_some_and(|now| now.former_url.is_none()))?;
        }
    }
    Ok(())
}
