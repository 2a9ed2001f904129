//! Tells the local network that a peer is there (DNS-SD, RFC 6763), and of which store and repo: nothing of what is in it.

use std::collections::HashMap;
use std::net::SocketAddr;

use mdns_sd::{ServiceDaemon, ServiceInfo};

use crate::settings::Settings;

/// The DNS-SD service type of peers.
pub const SERVICE: &str = "_flatpass-peer._tcp.local.";

/// An announcement; dropped, it is taken back.
pub(crate) struct Announcement(ServiceDaemon);

/// Begins to announce. A network that cannot be told is no reason not to serve.
pub(crate) fn announce(settings: &Settings, at: SocketAddr) -> Option<Announcement> {
    if !settings.announce || at.ip().is_loopback() {
        return None;
    }
    let begun = begin(settings, at);
    if let Err(error) = &begun {
        tracing::warn!(%error, "the local network is not told of this peer");
    }
    begun.ok()
}

fn begin(settings: &Settings, at: SocketAddr) -> Result<Announcement, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host = host.split('.').next().filter(|name| !name.is_empty()).unwrap_or("peer").to_owned();
    // Instances are told apart by host and repo.
    let instance = format!("{host}-{}", settings.repo);
    let says = HashMap::from([
        ("store".to_owned(), settings.store.to_string()),
        ("repo".to_owned(), settings.repo.clone()),
    ]);
    let addresses = if at.ip().is_unspecified() { String::new() } else { at.ip().to_string() };
    let service =
        ServiceInfo::new(SERVICE, &instance, &format!("{host}.local."), addresses.as_str(), at.port(), says)?;
    let service = if at.ip().is_unspecified() { service.enable_addr_auto() } else { service };
    daemon.register(service)?;
    Ok(Announcement(daemon))
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let _gone = self.0.shutdown();
    }
}
