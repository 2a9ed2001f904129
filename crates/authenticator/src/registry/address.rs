//! A registry's address: the one thing that credentials are bound to.

use std::fmt;

use thiserror::Error;
use url::Url;

use crate::authority::address::{host_and_port, is_loopback};

/// The longest address that is read, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// Docker Hub has one name for people, one for credentials, and one where it is.
const DOCKER_HUB: [&str; 4] =
    ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
/// Where it is.
const DOCKER_HUB_REGISTRY: &str = "https://registry-1.docker.io/";
/// Under which name programs keep the credentials of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Not the address of a registry that two parsers would read in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the registry's address is not one that a token can be sent to")]
pub struct RegistryUrlError;

/// Scheme, host and port of a registry. A path makes no difference: all of a registry is below `/v2/`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryUrl {
    origin: Url,
}

impl RegistryUrl {
    /// Reads what an index says in `Registry`, as Flatpak resolved it: `https` or `http`, no user, query or fragment,
    /// and only the plainest shape (as [`RepoUrl::parse`](crate::authority::address::RepoUrl::parse)).
    ///
    /// # Errors
    /// [`RegistryUrlError`].
    pub fn parse(text: &str) -> Result<Self, RegistryUrlError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/._~-+=[]".contains(&byte);
        if text.len() > MAX_URL_BYTES || !text.bytes().all(is_plain) {
            return Err(RegistryUrlError);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RegistryUrlError)?;
        let server = rest.split('/').next().filter(|server| !server.is_empty()).ok_or(RegistryUrlError)?;
        if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
            return Err(RegistryUrlError);
        }
        let origin = Url::parse(&format!("{scheme}://{server}/")).map_err(|_| RegistryUrlError)?;
        let has_host = origin.host_str().is_some_and(|host| !host.is_empty());
        if has_host { Ok(Self { origin }) } else { Err(RegistryUrlError) }
    }

    /// The registry that a person names in a command: `registry.example`, with its port if it has one of its own.
    /// On this machine it is spoken to without TLS.
    ///
    /// # Errors
    /// [`RegistryUrlError`].
    pub fn named(text: &str) -> Result<Self, RegistryUrlError> {
        let text = text.trim().trim_end_matches('/');
        let (is_url, server) = text.split_once("://").map_or((false, text), |(_, server)| (true, server));
        if server.contains('/') {
            return Err(RegistryUrlError);
        }
        if is_url {
            return Self::parse(text);
        }
        let plain = Self::parse(&format!("http://{text}"))?;
        if plain.is_loopback() {
            return Ok(plain);
        }
        let secure = Self::parse(&format!("https://{text}"))?;
        if secure.is_docker_hub() { Self::parse(DOCKER_HUB_REGISTRY) } else { Ok(secure) }
    }

    /// What a person types so that [`Self::named`] gives this registry.
    #[must_use]
    pub fn as_argument(&self) -> String {
        let key = self.key();
        if Self::named(key).as_ref() == Ok(self) { key.to_owned() } else { self.to_string() }
    }

    /// Host, and the port if it is not the scheme's own; for messages, and to compare.
    #[must_use]
    pub fn host(&self) -> String {
        host_and_port(&self.origin).unwrap_or_default()
    }

    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.origin.scheme() == "https"
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.origin)
    }

    /// Whether nobody on the way can read what is sent there.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.is_tls() || self.is_loopback()
    }

    /// The address of something of the registry's, such as `v2/`.
    #[must_use]
    pub fn join(&self, below: &str) -> Url {
        let mut url = self.origin.clone();
        url.set_path(below);
        url
    }

    /// Whether an address has the same scheme, host and port.
    #[must_use]
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.origin.origin() == url.origin()
    }

    /// What it is called where credentials are kept: `host` or `host:port`.
    #[must_use]
    pub fn key(&self) -> &str {
        let host = self.origin.host_str().unwrap_or_default();
        if self.is_docker_hub() {
            return DOCKER_HUB[0];
        }
        match self.origin.port() {
            // The text after the scheme, without its final slash.
            Some(_) => &self.origin[url::Position::BeforeHost..url::Position::AfterPort],
            None => host,
        }
    }

    /// What a credential helper is asked for.
    #[must_use]
    pub fn helper_key(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB_KEY } else { self.key() }
    }

    /// Whether the server of an entry of a credentials file (`host`, `host:port`, without a path) is this one.
    #[must_use]
    pub fn is_called(&self, server: &str) -> bool {
        if self.is_docker_hub() {
            return DOCKER_HUB.contains(&server);
        }
        let port = if self.is_tls() { ":443" } else { ":80" };
        let server = match server.strip_suffix(port) {
            Some(host) if self.origin.port().is_none() => host,
            _ => server,
        };
        server.eq_ignore_ascii_case(self.key())
    }

    /// Whether its host is below a domain, which begins with a dot; of any port, unless one is named.
    #[must_use]
    pub fn is_below(&self, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        [self.key(), self.origin.host_str().unwrap_or_default()].iter().any(|name| name.ends_with(&domain))
    }

    fn is_docker_hub(&self) -> bool {
        let host = self.origin.host_str().unwrap_or_default();
        self.is_tls() && self.origin.port().is_none() && DOCKER_HUB.contains(&host)
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.as_str())
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.origin.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_its_scheme_host_and_port() {
        let url = |text: &str| RegistryUrl::parse(text).expect("valid");
        assert_eq!(url("https://Registry.example:443/below/"), url("https://registry.example"));
        assert_ne!(url("https://registry.example:444"), url("https://registry.example"));
        assert_ne!(url("http://registry.example"), url("https://registry.example"));
        assert!(!url("http://registry.example").is_guarded() && url("http://127.0.0.1:5000/").is_guarded());
        for bad in [
            "https://user@registry.example/",
            "https://registry.example@evil.example/",
            "https://registry.example\\@evil.example/",
            "https://evil.example#@registry.example/",
            "https:///registry.example",
            "ftp://registry.example/",
            "registry.example",
            "https://",
            "",
        ] {
            assert!(RegistryUrl::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            RegistryUrl::named("localhost:5000").expect("valid").to_string(),
            "http://localhost:5000/"
        );
        assert!(RegistryUrl::named("registry.example/team").is_err() && RegistryUrl::named("").is_err());
        for (url, argument) in [
            ("https://registry.example/", "registry.example"),
            ("http://127.0.0.1:5000/", "127.0.0.1:5000"),
            ("https://127.0.0.1:5000/", "https://127.0.0.1:5000/"),
            ("https://registry-1.docker.io/", "docker.io"),
        ] {
            let registry = RegistryUrl::parse(url).expect("valid");
            assert_eq!(registry.as_argument(), argument);
            assert_eq!(RegistryUrl::named(argument), Ok(registry));
        }
        assert_eq!(RegistryUrl::named("quay.io").expect("valid").to_string(), "https://quay.io/");
    }

    #[test]
    fn credentials_belong_to_one_host_and_port() {
        let registry = RegistryUrl::parse("https://registry.example/").expect("valid");
        for (server, is_it) in [
            ("registry.example", true),
            ("Registry.Example", true),
            ("registry.example:443", true),
            ("registry.example:80", false),
            ("registry.example:5000", false),
            ("registry.example.evil.example", false),
            ("evil.example", false),
            ("example", false),
            ("", false),
        ] {
            assert_eq!(registry.is_called(server), is_it, "{server}");
        }
        let with_port = RegistryUrl::parse("http://127.0.0.1:5000/").expect("valid");
        assert!(with_port.is_called("127.0.0.1:5000") && !with_port.is_called("127.0.0.1"));
        let hub = RegistryUrl::parse("https://registry-1.docker.io/").expect("valid");
        assert!(hub.is_called("docker.io") && hub.is_called("index.docker.io"));
        assert_eq!(hub.helper_key(), "https://index.docker.io/v1/");
    }
}
