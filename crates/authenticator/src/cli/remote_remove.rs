//! `remote-remove`: `flatpak remote-delete`, and the end of the secret that was in the address.

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::process::Command;

use super::remote_rotate::WhichRemote;
use super::{Failure, surroundings};
use crate::authority::error::AuthorityError;
use crate::bridge::book::Led;

/// Remove a remote, and end the secret in its address, or its way over the bridge.
#[derive(Debug, Args)]
pub struct RemoteRemove {
    #[command(flatten)]
    which: WhichRemote,
    /// Remove it even if apps from it are installed
    #[arg(long)]
    force: bool,
}

impl RemoteRemove {
    /// Removes the remote.
    ///
    /// # Errors
    /// If flatpak does not remove it. That the secret could not be ended is only a warning.
    pub async fn run(self) -> Result<(), Failure> {
        let name = self.which.name();
        let found = self.which.find()?;
        let mut command = Command::new("flatpak");
        command.arg("remote-delete").arg(found.installation.scope.option());
        if self.force {
            command.arg("--force");
        }
        let status = command.arg("--").arg(name).status().await;
        if !status.context("Cannot run flatpak. Install it, then try again")?.success() {
            return Err(anyhow!("flatpak did not remove the remote; what it said stands above.").into());
        }
        println!("Removed the remote {name}.");
        let sessions = surroundings::sessions()?;
        let Some(secret) = &found.secret else {
            let book = &sessions.environment().bridge;
            if let Led::To(bridged) = book.read()?.follow(&found.plain) {
                book.remove(&bridged.key).await?;
                println!("The bridge does not serve {} any more.", bridged.repo);
            }
            return Ok(());
        };
        let ended = async {
            let store = self.which.store(&found, &sessions).await?;
            let session = sessions.with(&store)?;
            match session.authority().revoke_device_secret(secret, sessions.environment().now()).await {
                Ok(()) | Err(AuthorityError::InvalidSecret { .. }) => anyhow::Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        match ended.await {
            Ok(()) => println!("Its secret has ended."),
            Err(error) => eprintln!("Its secret could not be ended: {error:#} End it on your account page."),
        }
        Ok(())
    }
}
