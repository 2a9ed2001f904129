//! `logout`: forgets a sign-in and tells the store.

use clap::Args;

use super::{Failure, StoreArgument, surroundings};
use crate::authority::address::AuthorityUrl;

/// Sign out of a store.
///
/// This computer forgets the sign-in, and the store ends it, and with it the secrets of private remotes that were added
/// with it.
#[derive(Debug, Args)]
pub struct Logout {
    #[command(flatten)]
    store: StoreArgument,
}

impl Logout {
    /// Signs out.
    ///
    /// # Errors
    /// If the sign-in cannot be removed here. That the store could not be told is only a warning.
    pub async fn run(self) -> Result<(), Failure> {
        let url = AuthorityUrl::parse(&self.store.url)?;
        let sessions = surroundings::sessions()?;
        let session = sessions.with(&url)?;
        let record = sessions.environment().credentials.peek(&url).await?;
        match session.sign_out().await? {
            None => println!("You were not signed in to {}.", url.host()),
            Some(Ok(())) => {
                println!("You are signed out of {}.", url.host());
                if record.is_some_and(|record| record.has_secrets) {
                    println!("Private remotes that were added with it do not work any more.");
                }
            }
            Some(Err(error)) => {
                println!("This computer is signed out of {}.", url.host());
                eprintln!(
                    "But the store could not be told ({error}) \
                     To end the sign-in there too, sign this device out on your account page: {}account",
                    url.as_str()
                );
            }
        }
        Ok(())
    }
}
