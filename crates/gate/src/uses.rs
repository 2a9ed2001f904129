//! When and from where access tokens are used: noted in memory, for whoever keeps the books to fetch now and then.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use flatpass_token::UnixTime;

use crate::request::Request;

/// So many requests can be noted at the same time.
const SHARDS: usize = 16;

/// The last use of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The access token's id.
    pub id: Box<str>,
    /// When.
    pub at: UnixTime,
    /// From where: the connection's other end, or what a trusted proxy says.
    pub address: IpAddr,
}

/// By access token: when, and from where.
type Noted = HashMap<Box<str>, (UnixTime, IpAddr)>;

/// The last use of each access token since it was asked. A note costs a look into a table in memory, and an allocation only
/// for the first use after each [`Uses::take`]. There are never more notes than access tokens.
#[derive(Debug)]
pub struct Uses {
    trusted_proxies: Vec<IpAddr>,
    hasher: RandomState,
    shards: [Mutex<Noted>; SHARDS],
}

impl Uses {
    /// Nothing was used yet. What these proxies say in `X-Forwarded-For` is believed.
    pub fn new(trusted_proxies: Vec<IpAddr>) -> Self {
        Self {
            trusted_proxies,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// What was used since the last call, in no order.
    pub fn take(&self) -> Vec<Use> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.drain().map(|(id, (at, address))| Use { id, at, address }));
        }
        all
    }

    /// Notes that the access token with that id was used by that request.
    pub(crate) fn note(&self, id: &str, at: UnixTime, request: &Request<'_>) {
        if let Some(address) = self.address(request) {
            self.note_from(id, at, address);
        }
    }

    /// Notes that the access token with that id was used from there.
    pub fn note_from(&self, id: &str, at: UnixTime, address: IpAddr) {
        let [number, ..] = self.hasher.hash_one(id).to_le_bytes();
        let Some(shard) = self.shards.get(usize::from(number) % SHARDS) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(id) {
            Some(noted) => *noted = (at, address),
            None => {
                shard.insert(id.into(), (at, address));
            }
        }
    }

    fn address(&self, request: &Request<'_>) -> Option<IpAddr> {
        let peer = request.peer?.to_canonical();
        if !self.trusted_proxies.contains(&peer) {
            return Some(peer);
        }
        // The last entry, which the nearest proxy wrote; those before it are anybody's word.
        let said = request.headers.forwarded_for.and_then(|value| std::str::from_utf8(value).ok());
        let last = said.and_then(|text| text.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
        Some(last.map_or(peer, |address| address.to_canonical()))
    }
}
