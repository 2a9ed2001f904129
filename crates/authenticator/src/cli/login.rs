//! `login`: the same web flow as Flatpak's, ahead of time.

use std::time::Duration;

use clap::Args;

use super::browser::Terminal;
use super::{Failure, StoreArgument, surroundings};
use crate::authority::address::AuthorityUrl;
use crate::session::refusal::Ended;

/// Sign in to a store in your browser.
///
/// Installations and updates then need nobody until the store ends the sign-in. Signing in again replaces the former sign-in, also with another account.
#[derive(Debug, Args)]
pub struct Login {
    #[command(flatten)]
    store: StoreArgument,
}

impl Login {
    /// Signs in.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn run(self) -> Result<(), Failure> {
        let url = AuthorityUrl::parse(&self.store.url)?;
        let sessions = surroundings::sessions()?;
        let session = sessions.with(&url)?;
        let ended = tokio::select! {
            ended = session.sign_in(&Terminal) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Err(Ended::Cancelled)
            }
        };
        sessions.settle(Duration::from_secs(35)).await;
        match ended {
            Ok(()) => {
                println!("You are signed in to {}.", url.host());
                Ok(())
            }
            Err(Ended::Cancelled) => Err(Failure::Cancelled),
            Err(Ended::Refused(refusal)) => Err(refusal.into()),
        }
    }
}
