//! Finds peers by DNS-SD (RFC 6763) over multicast DNS: the type `_flatpass-peer._tcp`. The question names no store and no app;
//! every peer of the network answers it.

use std::net::IpAddr;
use std::time::Duration;

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::time::Instant;

use super::address::PeerUrl;
use crate::authority::address::{AuthorityUrl, RepoUrl};
use crate::authority::error::shown;

/// What peers announce themselves as.
const SERVICE: &str = "_flatpass-peer._tcp.local.";
/// The most peers that are listened to: a network in which more answer is not a network of peers.
const MOST: usize = 64;
/// After an answer others follow within this time, or not at all.
const LULL: Duration = Duration::from_millis(500);

/// A peer that says that it is there. Nothing of what it says has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPeer {
    /// Where it has the repo.
    pub url: PeerUrl,
    /// The store that it says it has copies of.
    pub store: AuthorityUrl,
    /// The name of the repo at the store.
    pub repo: String,
}

impl FoundPeer {
    /// Whether it says that it has copies of `repo`, which belongs to `store` as far as that is known.
    #[must_use]
    pub fn is_of(&self, repo: &RepoUrl, store: Option<&AuthorityUrl>) -> bool {
        let usual = format!("{}repo/{}", self.store.as_str(), self.repo);
        let named = || repo.as_str().rsplit('/').next() == Some(self.repo.as_str());
        repo.as_str() == usual || store == Some(&self.store) && named()
    }
}

/// Asks the local network which peers there are, and waits for answers for `limit` at most.
///
/// # Errors
/// The system's words, if this computer has no network to ask.
pub async fn discover(limit: Duration) -> Result<Vec<FoundPeer>, String> {
    let daemon = ServiceDaemon::new().map_err(|error| shown(&error.to_string()))?;
    let answers = daemon.browse(SERVICE).map_err(|error| shown(&error.to_string()))?;
    let mut found: Vec<FoundPeer> = Vec::new();
    let mut until = Instant::now() + limit;
    while let Ok(Ok(event)) = tokio::time::timeout_at(until, answers.recv_async()).await {
        let ServiceEvent::ServiceResolved(service) = event else { continue };
        if let Some(peer) = read(&service)
            && !found.contains(&peer)
        {
            found.push(peer);
            until = until.min(Instant::now() + LULL);
        }
        if found.len() >= MOST {
            break;
        }
    }
    if let Err(error) = daemon.shutdown() {
        tracing::debug!(%error, "the search for peers did not end");
    }
    Ok(found)
}

/// What an announcement says, if it is one of a peer.
fn read(service: &ResolvedService) -> Option<FoundPeer> {
    let store = AuthorityUrl::parse(service.get_property_val_str("store")?).ok()?;
    let repo = service.get_property_val_str("repo")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if repo.is_empty() || repo.len() > 64 || repo.starts_with('.') || !repo.bytes().all(is_name) {
        return None;
    }
    let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let address = addresses.filter(is_usable).min_by_key(rank)?;
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let url = PeerUrl::parse(&format!("http://{host}:{}/repo/{repo}", service.port), repo).ok()?;
    Some(FoundPeer { url, store, repo: repo.to_owned() })
}

/// An address of a local network, that means the same without naming one of this computer's: an answer must not lead to this computer's own
/// services, nor out of the network.
fn is_usable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Old ones first: the same peer has the same address each time.
fn rank(address: &IpAddr) -> (bool, IpAddr) {
    (address.is_ipv6(), *address)
}
