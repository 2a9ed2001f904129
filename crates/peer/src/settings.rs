//! What whoever runs a peer decided at its set-up: `peer.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::PeerError;
use crate::durable;

/// A peer that was offline for longer takes no tokens, unless its settings say otherwise.
pub const OFFLINE_DAYS: u32 = 90;
/// Where a peer listens unless its settings say otherwise.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8480);

/// The settings of a peer, as they stand in `peer.toml` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The store's URL: `https://shop.example/`.
    pub store: Url,
    /// The repo's name in the store.
    pub repo: String,
    /// A file of `flatpass robot secret --out`: the account by which the peer fills itself. Without it only what is free comes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// Where to listen.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// So many bytes of objects are kept.
    pub max_size: u64,
    /// After so many days without the store no tokens are taken.
    #[serde(default = "offline_days")]
    pub offline_for_days: u32,
    /// Whether the peer tells the local network that it is there.
    #[serde(default = "announce")]
    pub announce: bool,
}

const fn listen() -> SocketAddr {
    LISTEN
}

const fn offline_days() -> u32 {
    OFFLINE_DAYS
}

const fn announce() -> bool {
    true
}

impl Settings {
    /// Reads them from the peer's folder.
    ///
    /// # Errors
    /// [`PeerError::NoPeer`] when there are none, [`PeerError::Settings`] when they cannot be understood.
    pub fn load(folder: &Path) -> Result<Self, PeerError> {
        let path = folder.join("peer.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(PeerError::NoPeer(folder.to_owned()));
            }
            Err(cause) => return Err(PeerError::File { path, cause }),
        };
        let settings: Self = toml::from_str(&text)
            .map_err(|error| PeerError::Settings { path, what: error.message().to_owned() })?;
        settings.check()?;
        Ok(settings)
    }

    /// Writes them into the peer's folder.
    ///
    /// # Errors
    /// [`PeerError::File`]
    pub fn save(&self, folder: &Path) -> Result<(), PeerError> {
        let path = folder.join("peer.toml");
        let text = toml::to_string(self)
            .map_err(|error| PeerError::Settings { path: path.clone(), what: error.to_string() })?;
        durable::write(&path, text.as_bytes(), false).map_err(|cause| PeerError::File { path, cause })
    }

    /// Whether keys and files come from the store over a way that nobody can change them on.
    pub(crate) fn check(&self) -> Result<(), PeerError> {
        if crate::wire::is_secure(&self.store) {
            Ok(())
        } else {
            Err(PeerError::Insecure(self.store.to_string()))
        }
    }
}

/// Reads a number of bytes as people write it: `50G`, `800M`, `1T`, or plain bytes. The units are powers of 1024.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit = |letter: char| match letter.to_ascii_uppercase() {
        'K' => Some(1_u64 << 10),
        'M' => Some(1 << 20),
        'G' => Some(1 << 30),
        'T' => Some(1 << 40),
        _ => None,
    };
    let last = text.chars().last().and_then(unit);
    let digits = if last.is_some() { text.get(..text.len() - 1).unwrap_or_default() } else { text };
    let number: Option<u64> = digits.trim().parse().ok();
    number
        .and_then(|number| number.checked_mul(last.unwrap_or(1)))
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("{text:?} is no size: write 50G, 800M or a number of bytes"))
}
