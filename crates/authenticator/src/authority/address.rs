//! The two kinds of address that decide whom a token is for: the authority's base URL, and a repo's URL.
//!
//! Both come from a remote's configuration, which a hostile remote may have written, so both are read strictly:
//! what two URL parsers could understand in two ways is refused.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use url::{Host, Url};

/// The longest address that is read, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// Why an address cannot be an authority's base URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityUrlError {
    /// Not a URL at all.
    #[error("\u{201c}{given}\u{201d} is not a web address; write it like https://shop.example/")]
    Malformed {
        /// What was given, shortened.
        given: String,
    },
    /// Neither `https`, nor `http` on this machine.
    #[error("{host} must be reached over https; http is for loopback addresses only")]
    Insecure {
        /// The host that was named.
        host: String,
    },
    /// The URL has a user, a query or a fragment.
    #[error("the address of {host} must be a plain base address, with no user, query or fragment")]
    NotABase {
        /// The host that was named.
        host: String,
    },
}

/// The base URL of an authority: `https`, or `http` on a loopback address, without query, fragment or user.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthorityUrl {
    base: Url,
}

impl AuthorityUrl {
    /// Reads a base URL such as `https://shop.example/`; a final slash makes no difference.
    ///
    /// # Errors
    /// [`AuthorityUrlError`] says what is wrong with it, as a sentence for a person.
    pub fn parse(text: &str) -> Result<Self, AuthorityUrlError> {
        let text = text.trim();
        let malformed = || AuthorityUrlError::Malformed { given: shortened(text) };
        if text.len() > MAX_URL_BYTES {
            return Err(malformed());
        }
        let mut base = Url::parse(text).map_err(|_| malformed())?;
        let host = host_and_port(&base).ok_or_else(malformed)?;
        match base.scheme() {
            "https" => {}
            "http" if is_loopback(&base) => {}
            "http" => return Err(AuthorityUrlError::Insecure { host }),
            _ => return Err(malformed()),
        }
        let plain = base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        if !plain {
            return Err(AuthorityUrlError::NotABase { host });
        }
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self { base })
    }

    /// The address as it is shown to people and stored: always with a final slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.base.as_str()
    }

    /// The address without its final slash: the form in which issuers are compared.
    #[must_use]
    pub fn without_slash(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Host, and the port if it is not the scheme's own; for messages.
    #[must_use]
    pub fn host(&self) -> String {
        host_and_port(&self.base).unwrap_or_default()
    }

    /// Whether the authority is on this machine and spoken to without TLS.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }

    /// The address of something below the base, such as `.well-known/oauth-authorization-server`.
    #[must_use]
    pub fn join(&self, below: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{below}", self.base.path()));
        url
    }

    /// Whether `other` has the same scheme, host and port.
    #[must_use]
    pub fn is_same_origin(&self, other: &Url) -> bool {
        self.base.origin() == other.origin()
    }
}

impl fmt::Display for AuthorityUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AuthorityUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why no token can be sent to a `remote_uri`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepoUrlError {
    /// Something that clients might read in more than one way.
    #[error(
        "the remote's address is not one that a token can be sent to; remove the remote and add it again"
    )]
    Malformed,
    /// `http` to another machine: everybody on the way could read the token.
    #[error(
        "the repository at {host} is reached over http, so no token is sent to it; change it to https with `flatpak remote-modify --url`"
    )]
    Insecure {
        /// The repository's host.
        host: String,
    },
    /// A scheme that has no bearer tokens, such as `file`.
    #[error("a repository with a {scheme}: address cannot be used with Flatpass")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
}

/// The URL of a repo, without the user and password that a private remote has in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoUrl(String);

impl RepoUrl {
    /// Reads Flatpak's `remote_uri` argument and drops user, password and final slash.
    ///
    /// Flatpak hands that text to its own URL parser when it downloads. So that no text can mean one host to us and
    /// another to it, only the plainest shape passes: a host of letters, digits, dots and dashes (or an address),
    /// and a path without escapes that could be resolved, query, fragment, backslash or anything outside ASCII.
    ///
    /// # Errors
    /// [`RepoUrlError`] says why nothing may be sent there.
    pub fn parse(remote_uri: &str) -> Result<Self, RepoUrlError> {
        if remote_uri.len() > MAX_URL_BYTES || !remote_uri.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RepoUrlError::Malformed);
        }
        let (scheme, rest) = remote_uri.split_once(':').ok_or(RepoUrlError::Malformed)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "https" && scheme != "http" {
            return Err(RepoUrlError::Scheme { scheme: scheme.chars().take(20).collect() });
        }
        let rest = rest.strip_prefix("//").ok_or(RepoUrlError::Malformed)?;
        let (server, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = match server.split_once('@') {
            Some((user, host)) if user.bytes().all(is_user_byte) => host,
            Some(_) => return Err(RepoUrlError::Malformed),
            None => server,
        };
        let host_is_plain = !host.is_empty() && host.bytes().all(is_host_byte);
        let path_is_plain = path.bytes().all(is_path_byte);
        if !host_is_plain || !path_is_plain {
            return Err(RepoUrlError::Malformed);
        }
        let plain = format!("{scheme}://{host}{path}");
        let url = Url::parse(&plain).map_err(|_| RepoUrlError::Malformed)?;
        let path = path.trim_end_matches('/');
        if url.path().trim_end_matches('/') != path {
            return Err(RepoUrlError::Malformed);
        }
        let host = host_and_port(&url).ok_or(RepoUrlError::Malformed)?;
        if scheme == "http" && !is_loopback(&url) {
            return Err(RepoUrlError::Insecure { host });
        }
        Ok(Self(format!("{scheme}://{host}{path}")))
    }

    /// The URL without final slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which kind of repository a remote's address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteKind {
    /// An OSTree repository.
    Ostree,
    /// The index of a container registry: the address begins with `oci+`.
    Oci,
}

impl RemoteKind {
    /// Which kind an address is of, and the address without what says so.
    #[must_use]
    pub fn of(remote_uri: &str) -> (Self, &str) {
        match remote_uri.strip_prefix("oci+") {
            Some(rest) => (Self::Oci, rest),
            None => (Self::Ostree, remote_uri),
        }
    }
}

impl RepoUrl {
    /// Reads the address of a remote of either kind. A secret in the path of an OCI remote (`…/i/SECRET/NAME`) is
    /// dropped: the repository that it opens is `…/repo/NAME`.
    ///
    /// # Errors
    /// [`RepoUrlError`] says why nothing may be sent there.
    pub fn of_remote(remote_uri: &str) -> Result<(RemoteKind, Self), RepoUrlError> {
        let (kind, address) = RemoteKind::of(remote_uri);
        let read = Self::parse(address)?;
        if kind == RemoteKind::Ostree {
            return Ok((kind, read));
        }
        Ok((
            kind,
            match read.path_secret() {
                Some((above, _, name)) => Self(format!("{above}/repo/{name}")),
                None => read,
            },
        ))
    }

    /// Taken apart, if it is the address of an index with a secret in its path: what is above, the secret, and the
    /// repository's name.
    #[must_use]
    pub fn path_secret(&self) -> Option<(&str, &str, &str)> {
        let (rest, name) = self.0.rsplit_once('/')?;
        let (rest, secret) = rest.rsplit_once('/')?;
        let above = rest.strip_suffix("/i").filter(|above| above.contains("://"))?;
        let is_whole = !secret.is_empty() && !name.is_empty() && !above.ends_with('/');
        is_whole.then_some((above, secret, name))
    }

    /// The store that the repository would belong to, if its address has the shape of one of Flatpass: what is above
    /// `/repo/NAME`.
    #[must_use]
    pub fn likely_store(&self) -> Option<AuthorityUrl> {
        let (rest, name) = self.0.rsplit_once('/')?;
        let above = rest.strip_suffix("/repo").filter(|_| !name.is_empty())?;
        AuthorityUrl::parse(above).ok()
    }

    /// The same repository as an OCI remote names it.
    #[must_use]
    pub fn as_oci_remote(&self) -> String {
        format!("oci+{}", self.0)
    }

    /// Whether the repo is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| is_loopback(&url))
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~-%:!$&'()*+,;=".contains(&byte)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._~-+:=@,".contains(&byte)
}

/// Whether the URL's host is this machine: 127.0.0.0/8, `::1` or `localhost` (RFC 6761 section 6.3).
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Host, and the port if it is not the scheme's own.
#[must_use]
pub fn host_and_port(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// At most 80 printable characters of something from outside, for a message.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_https_or_on_this_machine() {
        for good in ["https://shop.example", "https://shop.example/", "https://shop.example/a/"] {
            assert!(AuthorityUrl::parse(good).is_ok(), "{good}");
        }
        for good in ["http://127.0.0.1:8080/", "http://[::1]:8080", "http://localhost:1/"] {
            assert!(AuthorityUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://shop.example/",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "ftp://shop.example/",
            "shop.example",
            "",
            "https://",
            "https://user@shop.example/",
            "https://shop.example/?a",
            "https://shop.example/#a",
            "javascript:alert(1)",
        ] {
            assert!(AuthorityUrl::parse(bad).is_err(), "{bad}");
        }
        let one = AuthorityUrl::parse("https://Shop.example:443").expect("valid");
        let two = AuthorityUrl::parse("https://shop.example/").expect("valid");
        assert_eq!(one, two);
        assert_eq!(one.without_slash(), "https://shop.example");
        let below = AuthorityUrl::parse("https://shop.example/a").expect("valid");
        assert_eq!(below.join(".well-known/x").as_str(), "https://shop.example/a/.well-known/x");
    }

    #[test]
    fn the_password_of_a_private_remote_is_not_in_its_repo_url() {
        for (given, plain) in [
            ("https://shop.example/repo/apps", "https://shop.example/repo/apps"),
            ("https://Device:S3cret@Shop.Example:443/repo/apps/", "https://shop.example/repo/apps"),
            ("http://127.0.0.1:8080/repo/apps", "http://127.0.0.1:8080/repo/apps"),
        ] {
            assert_eq!(RepoUrl::parse(given).expect("valid").as_str(), plain);
        }
    }

    #[test]
    fn the_secret_in_the_path_of_an_index_is_not_in_its_repo_url() {
        for (given, plain) in [
            ("oci+https://shop.example/repo/apps", "https://shop.example/repo/apps"),
            ("oci+https://shop.example/i/S3cret/apps/", "https://shop.example/repo/apps"),
            ("oci+http://127.0.0.1:8080/below/i/S3cret/apps", "http://127.0.0.1:8080/below/repo/apps"),
            ("oci+https://shop.example/i/S3cret", "https://shop.example/i/S3cret"),
            ("oci+https://shop.example/i//apps", "https://shop.example/i//apps"),
        ] {
            let (kind, url) = RepoUrl::of_remote(given).expect("valid");
            assert_eq!((kind, url.as_str()), (RemoteKind::Oci, plain));
        }
        let (kind, url) = RepoUrl::of_remote("https://shop.example/i/branch/apps").expect("valid");
        assert_eq!((kind, url.as_str()), (RemoteKind::Ostree, "https://shop.example/i/branch/apps"));
        for bad in ["oci+oci+https://shop.example/a", "oci+file:///a", "oci+http://shop.example/a", "oci+"] {
            assert!(RepoUrl::of_remote(bad).is_err(), "{bad}");
        }
        let store =
            |text: &str| RepoUrl::parse(text).expect("valid").likely_store().map(|url| url.to_string());
        assert_eq!(store("https://shop.example/repo/apps").as_deref(), Some("https://shop.example/"));
        assert_eq!(store("https://shop.example/a/repo/apps").as_deref(), Some("https://shop.example/a/"));
        assert_eq!(store("https://shop.example/apps"), None);
        assert_eq!(store("https://shop.example"), None);
    }

    #[test]
    fn an_address_that_two_parsers_could_read_in_two_ways_gets_no_token() {
        for bad in [
            "http://shop.example/repo/apps",
            "https://shop.example\\@evil.example/repo/apps",
            "https://shop.example@evil.example@shop.example/repo/apps",
            "https://evil.example#@shop.example/repo/apps",
            "https://evil.example?@shop.example/repo/apps",
            "https://shop.example/repo/../evil",
            "https://shop.example/repo/%2e%2e/evil",
            "https://shop.example/repo/./apps",
            "https://shop.example/repo/apps?x",
            "https://shop.example/repo/apps#x",
            "https://shop.example/repo/\u{430}pps",
            "https://sh\u{43e}p.example/repo/apps",
            "https:shop.example/repo/apps",
            "https:///shop.example/repo/apps",
            " https://shop.example/repo/apps",
            "https://shop.example/repo/apps\n",
            "file:///repo",
            "oci+https://shop.example/",
            "",
            "https://",
        ] {
            assert!(RepoUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
