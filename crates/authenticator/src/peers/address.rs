//! Where a peer has a copy of a repo.

use std::fmt;

use thiserror::Error;
use url::Url;

use crate::authority::address::{RepoUrl, host_and_port, is_loopback};

/// Why an address is not a peer's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PeerUrlError {
    /// It has a shape that clients might read in more than one way.
    #[error("{0} is not the address of a peer; write it as http://HOST:PORT/repo/NAME")]
    Malformed(String),
    /// It has a user and a password, and not on a way on which they are for the peer.
    #[error("the address of a peer has no password in it, unless --alone is there as well")]
    Password,
}

/// The address of a repo at a peer, without a final slash: http or https.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerUrl {
    /// Without user and password.
    plain: String,
    /// As it was given.
    whole: String,
}

impl PeerUrl {
    /// Reads an address. One without a path is that of the peer itself: its repo is `repo/NAME`, with `name`.
    ///
    /// # Errors
    /// [`PeerUrlError::Malformed`].
    pub fn parse(text: &str, name: &str) -> Result<Self, PeerUrlError> {
        let malformed = || PeerUrlError::Malformed(crate::authority::error::shown(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        if scheme != "http" && scheme != "https" {
            return Err(malformed());
        }
        // The shape that Flatpak and we read alike is that of a repo's address.
        RepoUrl::parse(&format!("https://{rest}")).map_err(|_| malformed())?;
        let rest = rest.trim_end_matches('/');
        let rest = if rest.contains('/') { rest.to_owned() } else { format!("{rest}/repo/{name}") };
        let plain = rest.split_once('@').map_or(rest.as_str(), |(_, plain)| plain);
        let whole = format!("{scheme}://{rest}");
        let plain = format!("{scheme}://{plain}");
        Url::parse(&plain).map_err(|_| malformed())?;
        Ok(Self { plain, whole })
    }

    /// The address without user and password.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// The address with the user and password that were given, if any were.
    #[must_use]
    pub fn whole(&self) -> &str {
        &self.whole
    }

    /// Whether there is a password in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.plain != self.whole
    }

    /// The address of a file of the repo.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Url> {
        Url::parse(&format!("{}/{path}", self.plain)).ok()
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn host(&self) -> String {
        Url::parse(&self.plain).ok().as_ref().and_then(host_and_port).unwrap_or_default()
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.plain).is_ok_and(|url| is_loopback(&url))
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

impl fmt::Debug for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_flatpak_reads_it_or_not_at_all() {
        let plain = |text: &str| PeerUrl::parse(text, "apps").map(|url| url.plain().to_owned());
        for (text, read) in [
            ("http://192.168.1.5:8480/repo/apps/", "http://192.168.1.5:8480/repo/apps"),
            ("http://192.168.1.5:8480", "http://192.168.1.5:8480/repo/apps"),
            ("http://[fd00::1]:8480/", "http://[fd00::1]:8480/repo/apps"),
            ("http://d:secret@peer.local:8480/repo/other", "http://peer.local:8480/repo/other"),
        ] {
            assert_eq!(plain(text).as_deref(), Ok(read));
        }
        assert!(PeerUrl::parse("http://d:s@peer:1/", "apps").is_ok_and(|url| url.has_password()));
        for bad in [
            "peer:8480",
            "file:///r",
            "http://",
            "http://a\\b/",
            "http://a/%2e%2e/x",
            "http://a/x?y",
            "http://a\nb/",
        ] {
            assert!(matches!(plain(bad), Err(PeerUrlError::Malformed(_))), "{bad}");
        }
    }
}
