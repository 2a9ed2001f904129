//! Remotes whose address is the bridge's: the store knows the repo under its own address only.

use super::Sessions;
use super::refusal::Refusal;
use crate::authority::address::{AuthorityUrl, RepoUrl};
use crate::bridge::book::Led;
use crate::bridge::peer::{self, Listener};

impl Sessions {
    /// The repo that a remote's address stands for: itself, or the one behind the bridge.
    ///
    /// What Flatpak gets a token for here, it sends to that address. So a loopback address is nobody's but this
    /// user's bridge, and that only for the remote's own store and while this user holds the port; the bridge's
    /// addresses are told to no store.
    ///
    /// # Errors [`Refusal`], if there can be no token for that address.
    pub async fn real_repo(&self, store: &AuthorityUrl, address: RepoUrl) -> Result<RepoUrl, Refusal> {
        if !address.is_loopback() {
            return Ok(address);
        }
        let book = self.environment.bridge.clone();
        let store = store.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let page = book.read().map_err(Refusal::Book)?;
            match (page.follow(&address), page.port) {
                (Led::To(remote), Some(port)) if remote.store == store => match peer::listener(port) {
                    Ok(Listener::Ours) => Ok(remote.repo),
                    Ok(Listener::Nobody) => Err(Refusal::BridgeDown),
                    Ok(Listener::Foreign) | Err(_) => Err(Refusal::BridgeForeign { port }),
                },
                // A store on this machine may have its repos there.
                (Led::Elsewhere, _) if store.is_loopback() => Ok(address),
                _ => Err(Refusal::BridgeUnknown),
            }
        });
        looking.await.unwrap_or(Err(Refusal::Stopping))
    }
}
