//! How remotes of this computer use peers. The installation's configuration says it, so that it says the same to every program.

use std::path::PathBuf;
use std::time::Duration;

use super::address::PeerUrl;
use super::list::MirrorList;
use super::probe::{Answers, probe};
use crate::authority::ref_tokens::Purpose;
use crate::installation::keyfile::Remote;
use crate::installation::{Installation, Scope};

/// A peer that is asked while Flatpak waits must answer in this time.
const PATIENCE: Duration = Duration::from_millis(1200);

/// How a remote uses peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// Not at all.
    Not,
    /// Objects come from a peer if it has them, all else from the store. The list is in this file.
    Beside(PathBuf),
    /// Everything comes from this peer. The remote's own URL, which is kept, is the second.
    Alone(PeerUrl, String),
}

impl Use {
    /// What the configuration says.
    #[must_use]
    pub fn of(installation: &Installation, name: &str, remote: &Remote) -> Self {
        let alone = remote.former_url.as_ref().and_then(|former| {
            let peer = PeerUrl::parse(&remote.url, "").ok()?;
            Some(Self::Alone(peer, former.clone()))
        });
        let beside = || {
            let url = remote.content_url.as_deref()?;
            MirrorList::at(url, &installation.mirror_lists(), name).map(Self::Beside)
        };
        alone.or_else(beside).unwrap_or(Self::Not)
    }
}

/// Where Flatpak will send the tokens for a remote that has the URL `remote_uri`, and what they may be therefore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The URL that the store knows the repo by, still with user and password.
    pub repo: String,
    /// What tokens are asked for.
    pub purpose: Purpose,
    /// The remote has a password for the peer in its URL: no token is needed, and one would take the password's place.
    pub has_password: bool,
    /// The list of servers that will be sent the tokens, with the configuration that names it.
    list: Option<(PathBuf, PathBuf)>,
}

impl Destination {
    /// Looks into the configurations of the user's and of the computer's installation. Blocks shortly.
    ///
    /// Of remotes with the same URL the one whose tokens go furthest counts: which of them is meant is not said for certain.
    #[must_use]
    pub fn of(remote_uri: &str) -> Self {
        let mut found =
            Self { repo: remote_uri.to_owned(), purpose: Purpose::Origin, has_password: false, list: None };
        for installation in [Scope::User, Scope::System].into_iter().filter_map(Installation::of) {
            for name in installation.remotes().unwrap_or_default() {
                let Ok(Some(remote)) = installation.remote(&name) else { continue };
                if remote.url.trim_end_matches('/') != remote_uri.trim_end_matches('/') {
                    continue;
                }
                match Use::of(&installation, &name, &remote) {
                    // A list of somebody else's, or one of ours for another environment: whoever is in it is sent the token.
                    Use::Not if remote.has_mirror_list() => found.purpose = Purpose::Mirrors,
                    Use::Not => {}
                    Use::Beside(list) => {
                        found.purpose = Purpose::Mirrors;
                        found.list = Some((list, installation.config()));
                    }
                    Use::Alone(peer, repo) => {
                        let has_password = peer.has_password();
                        return Self { repo, purpose: Purpose::Peers, has_password, list: None };
                    }
                }
            }
        }
        found
    }

    /// Takes a peer that does not answer out of the list, and one that does in: a pull that begins with one that accepts
    /// connections and says nothing would wait for ever.
    pub async fn freshen(&self) {
        let Some((path, config)) = &self.list else { return };
        let Ok(mut list) = MirrorList::read(path) else { return };
        let mut used = None;
        for peer in &list.peers {
            if tokio::time::timeout(PATIENCE, probe(peer)).await == Ok(Answers::Yes) {
                used = Some(peer.clone());
                break;
            }
        }
        if used == list.used {
            return;
        }
        list.used = used;
        if let Err(error) = list.write(path, config) {
            tracing::debug!(%error, "the list of peers stays as it is");
        }
    }
}
