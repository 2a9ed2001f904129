//! `peers list`.

use clap::Args;
use serde_json::{Value, json};

use super::Search;
use super::remotes::{Candidate, Which};
use crate::bridge::book::BridgedPeers;
use crate::bridge::lies::Lies;
use crate::cli::{Failure, surroundings};
use crate::peers::list::MirrorList;
use crate::peers::probe::{Answers, probe};
use crate::peers::uses::Use;
use crate::peers::{FoundPeer, PeerUrl};

/// Show the peers of the local network, which of your remotes they are of, and which remotes use one.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    search: Search,
    /// Print JSON: {"peers":[{"url","store","repo","answers","remotes"}],"remotes":[{"name","installation","uses","peer","answers"}],"liars":[{"peer","file"}]}
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let sessions = surroundings::sessions()?;
        let environment = sessions.environment();
        let remotes = self.which.find(&environment.bridge.read()?)?;
        let found = self.search.peers().await;
        let mut peers = Vec::new();
        for peer in found {
            let answers = probe(&peer.url).await;
            peers.push((peer, answers));
        }
        let mut used = Vec::new();
        for remote in &remotes {
            let (word, peer) = usage(remote);
            let answers = match &peer {
                Some(peer) => Some(probe(peer).await),
                None => None,
            };
            used.push((remote, word, peer, answers));
        }
        let liars = Lies::beside(&environment.bridge).read();
        if self.json {
            let peers: Vec<Value> =
                peers.iter().map(|(peer, answers)| peer_json(peer, *answers, &remotes)).collect();
            let used: Vec<Value> = used
                .iter()
                .map(|(remote, word, peer, answers)| {
                    json!({
                        "name": remote.name, "installation": remote.installation.scope.word(), "uses": word,
                        "peer": peer.as_ref().map(PeerUrl::plain), "answers": answers.map(|answers| answers == Answers::Yes),
                    })
                })
                .collect();
            println!("{}", json!({ "peers": peers, "remotes": used, "liars": liars }));
            return Ok(());
        }
        if peers.is_empty() {
            println!("No peer says in this network that it is there.");
        }
        for (peer, answers) in &peers {
            println!("{}  {}", peer.url, words(*answers));
            println!("  copies of {} at {}{}", peer.repo, peer.store, for_remotes(&names(peer, &remotes)));
        }
        for (remote, word, peer, answers) in &used {
            let state = answers.map(|answers| format!(", which {}", words(answers))).unwrap_or_default();
            match (*word, peer) {
                ("none", _) => {}
                ("bridge", _) => println!("{}: the bridge uses the peers that it finds", remote.title()),
                ("alone", Some(peer)) => println!("{}: everything comes from {peer}{state}", remote.title()),
                (_, Some(peer)) => {
                    println!("{}: files come from {peer}{state}, else from the store", remote.title());
                }
                (_, None) => {
                    println!("{}: its peer was away last time; files come from the store", remote.title());
                }
            }
        }
        for lie in &liars {
            println!("{} sent wrong bytes for {}, which came from the store instead.", lie.peer, lie.file);
        }
        Ok(())
    }
}

/// In one word how the remote uses peers, and the peer if it is one.
fn usage(remote: &Candidate) -> (&'static str, Option<PeerUrl>) {
    if let Some(bridged) = &remote.bridged {
        return match &bridged.peers {
            Some(BridgedPeers { by_hand, .. }) => ("bridge", by_hand.first().cloned()),
            None => ("none", None),
        };
    }
    match &remote.uses {
        Use::Not => ("none", None),
        Use::Beside(list) => ("beside", MirrorList::read(list).ok().and_then(|list| list.used)),
        Use::Alone(peer, _) => ("alone", Some(peer.clone())),
    }
}

fn names<'a>(peer: &FoundPeer, remotes: &'a [Candidate]) -> Vec<&'a str> {
    remotes.iter().filter(|remote| remote.is_of(peer)).map(|remote| remote.name.as_str()).collect()
}

fn for_remotes(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!(", for your {}", names.join(", ")) }
}

fn words(answers: Answers) -> String {
    match answers {
        Answers::Yes => "answers".to_owned(),
        Answers::Otherwise(status) => format!("answers that it has no such repository ({status})"),
        Answers::No => "does not answer".to_owned(),
    }
}

fn peer_json(peer: &FoundPeer, answers: Answers, remotes: &[Candidate]) -> Value {
    json!({
        "url": peer.url.plain(), "store": peer.store.as_str(), "repo": peer.repo,
        "answers": answers == Answers::Yes, "remotes": names(peer, remotes),
    })
}
