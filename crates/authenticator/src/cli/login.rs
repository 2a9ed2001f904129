//! `login`: the same sign-in as Flatpak's, ahead of time.

use clap::Args;

use super::sign_in::HowToSignIn;
use super::{Failure, StoreArgument, surroundings};
use crate::authority::address::AuthorityUrl;

/// Sign in to a store.
///
/// Installations and updates then need nobody until the store ends the sign-in. Signing in again replaces the former
/// sign-in, also with another account. It happens in your browser; on a computer that has none you are shown a code to
/// type on another device.
#[derive(Debug, Args)]
pub struct Login {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    how: HowToSignIn,
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
        self.how.sign_in(&sessions, &session).await.map_err(Failure::ended)?;
        println!("You are signed in to {}.", url.host());
        Ok(())
    }
}
