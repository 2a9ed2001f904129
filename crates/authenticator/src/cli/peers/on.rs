//! `peers on`.

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::Search;
use super::remotes::{Candidate, Which};
use crate::bridge::book::{Book, BridgedPeers};
use crate::cli::{Failure, surroundings};
use crate::installation::keyfile::{self, CONTENT_URL, EditError, FORMER_URL};
use crate::peers::PeerUrl;
use crate::peers::list::MirrorList;
use crate::peers::probe::{Answers, probe};
use crate::peers::uses::Use;

/// Let remotes use a peer that is found in the local network, or that you name.
///
/// Beside the store, which is what happens without `--alone`, the list of apps comes from the store and files come from the peer
/// or, what it does not have, from the store. With `--alone` the peer's address takes the place of the store's until `peers off`: for
/// where the store cannot be reached. Then the peer's list of apps is believed if its signature is right, so that is for
/// remotes whose signatures are checked.
#[derive(Debug, Args)]
pub(super) struct On {
    #[command(flatten)]
    which: Which,
    /// Use this peer, and do not ask the network: http://HOST:PORT, or with /repo/NAME
    #[arg(long, value_name = "URL")]
    peer: Option<String>,
    /// Use the peer in place of the store
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    search: Search,
}

impl On {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let sessions = surroundings::sessions()?;
        let book = &sessions.environment().bridge;
        let remotes = self.which.find(&book.read()?)?;
        let found = if self.peer.is_some() { Vec::new() } else { self.search.peers().await };
        let mut done = 0;
        for remote in &remotes {
            let peers = match &self.peer {
                Some(text) => vec![PeerUrl::parse(text, remote.repo_name())?],
                None => found.iter().filter(|peer| remote.is_of(peer)).map(|peer| peer.url.clone()).collect(),
            };
            if peers.iter().any(PeerUrl::has_password) && !self.alone {
                return Err(crate::peers::address::PeerUrlError::Password.into());
            }
            match self.turn_on(remote, peers, book).await {
                Ok(said) => {
                    println!("{said}");
                    done += 1;
                }
                // Who asked for all remotes meant those for which there is a peer.
                Err(_) if !self.which.is_named() && remotes.len() > 1 => {}
                Err(error) => return Err(error.into()),
            }
        }
        if done == 0 {
            return Err(anyhow!(
                "No peer of a store that you have a remote of answers in this network. Name one: --peer http://HOST:PORT"
            )
            .into());
        }
        Ok(())
    }

    async fn turn_on(&self, remote: &Candidate, peers: Vec<PeerUrl>, book: &Book) -> anyhow::Result<String> {
        let title = remote.title();
        if let Some(bridged) = &remote.bridged {
            if self.alone {
                return Err(anyhow!(
                    "The remote {title} goes by the bridge, which asks a peer by itself when the store cannot be reached: leave --alone out."
                ));
            }
            // The bridge looks for peers itself, each time.
            let by_hand = if self.peer.is_some() { peers } else { Vec::new() };
            let index = remote.remote.is_signed;
            book.set_peers(&bridged.key, Some(BridgedPeers { by_hand, index })).await?;
            let offline = if index {
                ""
            } else {
                " (Its signatures are not checked, so no list of apps is taken from a peer.)"
            };
            return Ok(format!("The bridge uses peers for {title} from now on.{offline}"));
        }
        if let Use::Alone(peer, _) = &remote.uses {
            return Err(anyhow!(
                "The remote {title} uses the peer {peer} alone. First run `peers off {}`.",
                remote.name
            ));
        }
        let mut answering = None;
        for peer in &peers {
            match probe(peer).await {
                Answers::Yes => {
                    answering = Some(peer.clone());
                    break;
                }
                Answers::Otherwise(status) => {
                    eprintln!("{} has no repository {} ({status}).", peer.host(), remote.repo_name());
                }
                Answers::No => eprintln!("{} does not answer.", peer.host()),
            }
        }
        let Some(peer) = answering else {
            return Err(anyhow!(
                "No peer of {} answers in this network, so nothing was changed. Name one: --peer http://HOST:PORT",
                remote.repo
            ));
        };
        if self.alone { alone(remote, &peer) } else { beside(remote, peers, peer) }
    }
}

fn beside(remote: &Candidate, peers: Vec<PeerUrl>, peer: PeerUrl) -> anyhow::Result<String> {
    let (name, installation) = (remote.name.as_str(), &remote.installation);
    let no_list = || anyhow!("The remote {name} has a name that no list of peers can have; rename it.");
    let path = MirrorList::path(&installation.mirror_lists(), name).ok_or_else(no_list)?;
    let value = MirrorList::content_url(&path).ok_or_else(no_list)?;
    let locked = installation.lock()?;
    let said = format!(
        "The remote {} takes files from {} now, and what that does not have from the store.",
        remote.title(),
        peer.host()
    );
    let list = MirrorList { peers, used: Some(peer), origin: remote.remote.url.clone() };
    // Before the configuration leads to it: a list that is not there ends every pull.
    list.write(&path, &installation.config()).with_context(|| format!("Cannot write {}", path.display()))?;
    let is_on = |text: &[u8]| {
        keyfile::remote(text, name).is_some_and(|now| now.content_url.as_deref() == Some(&value))
    };
    if !matches!(remote.uses, Use::Beside(_)) {
        let edit = |text: &[u8]| keyfile::with_key(text, name, CONTENT_URL, &value);
        if let Err(error) = locked.edit(edit, is_on) {
            let _gone = std::fs::remove_file(&path);
            return Err(error.into());
        }
    }
    Ok(said)
}

fn alone(remote: &Candidate, peer: &PeerUrl) -> anyhow::Result<String> {
    let (name, url) = (remote.name.as_str(), remote.remote.url.as_str());
    if !remote.remote.is_signed {
        return Err(anyhow!(
            "The remote {} does not check signatures (gpg-verify, gpg-verify-summary), so whoever answers in the store's place could give you \
             anything; nothing was changed. Use the peer beside the store, without --alone.",
            remote.title()
        ));
    }
    if remote.uses != Use::Not {
        super::off::turn_off(remote)?;
    }
    let edit = |text: &[u8]| -> Result<Vec<u8>, EditError> {
        let kept = keyfile::with_key(text, name, FORMER_URL, url)?;
        keyfile::with_url(&kept, name, url, peer.whole())
    };
    let is_done = |text: &[u8]| {
        keyfile::remote(text, name).is_some_and(|now| now.former_url.is_some() && now.url == peer.whole())
    };
    remote.installation.lock()?.edit(edit, is_done)?;
    Ok(format!(
        "The remote {} uses {} in place of the store until you run `flatpass-authenticator peers off {name}`.",
        remote.title(),
        peer.host()
    ))
}
