//! What a registry's 401 asks for: a token of its token server, or a password.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use super::address::RegistryAddress;
use super::error::{RegistryError, shown};
use super::secure::{host_and_port, is_loopback, is_secret};
use crate::Challenge;

/// The address of a token server. It is https, or on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realm(Url);

impl Realm {
    /// Reads the address that the registry at `host` names.
    ///
    /// # Errors
    /// [`RegistryError::InsecureRealm`], also for an address with a user or password in it.
    pub fn parse(text: &str, host: &str) -> Result<Self, RegistryError> {
        let insecure = || RegistryError::InsecureRealm { host: host.to_owned(), realm: shown(text) };
        let mut url = Url::parse(text).map_err(|_| insecure())?;
        url.set_fragment(None);
        let is_plain = url.username().is_empty() && url.password().is_none();
        if is_plain && is_secret(&url) && url.has_host() { Ok(Self(url)) } else { Err(insecure()) }
    }

    /// The address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// `host` or `host:port`: what credentials are stored by.
    #[must_use]
    pub fn host(&self) -> String {
        host_and_port(&self.0)
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }
}

/// What the registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// A token of this token server.
    Token {
        /// Where it is.
        realm: Realm,
        /// What the registry calls itself there.
        service: Option<String>,
    },
    /// User and password with each request.
    Basic,
}

impl Asked {
    /// Reads the answer with status 401 of the registry at that address. One of the network cannot name a token server on this machine:
    /// it would have requests sent to what else listens here.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn by(address: &RegistryAddress, headers: &HeaderMap) -> Result<Self, RegistryError> {
        let host = address.host();
        match Self::read(headers, &host)? {
            Self::Token { realm, .. } if realm.is_loopback() && !address.is_loopback() => {
                Err(RegistryError::InsecureRealm { host, realm: shown(realm.0.as_str()) })
            }
            asked => Ok(asked),
        }
    }

    /// Reads the answer with status 401 that the registry at `host` gave. Where it leaves a choice, it is the token.
    ///
    /// The scope that stands there is left out: what a client is about to do, it knows itself, and a registry cannot make it ask for more.
    ///
    /// # Errors
    /// [`RegistryError::Challenge`], [`RegistryError::Scheme`] or [`RegistryError::InsecureRealm`].
    pub fn read(headers: &HeaderMap, host: &str) -> Result<Self, RegistryError> {
        let mut challenges = Vec::new();
        for field in headers.get_all(WWW_AUTHENTICATE) {
            let field = field.to_str().map_err(|_| RegistryError::Scheme { host: host.to_owned() })?;
            let read = Challenge::parse_all(field)
                .map_err(|why| RegistryError::Challenge { host: host.to_owned(), why })?;
            challenges.extend(read);
        }
        let with_realm = |challenge: &Challenge| challenge.get("realm").map(str::to_owned);
        let bearer = challenges.iter().filter(|challenge| challenge.is("Bearer"));
        for challenge in bearer {
            if let Some(realm) = with_realm(challenge) {
                let service = challenge.get("service").map(str::to_owned);
                return Ok(Self::Token { realm: Realm::parse(&realm, host)?, service });
            }
        }
        if challenges.iter().any(|challenge| challenge.is("Basic")) {
            return Ok(Self::Basic);
        }
        Err(RegistryError::Scheme { host: host.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registry_on_this_machine_names_a_token_server_there() {
        let asked = |registry: &str, realm: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, format!("Bearer realm=\"{realm}\"").parse().unwrap());
            Asked::by(&RegistryAddress::parse(registry).unwrap(), &headers)
        };
        let here =
            ["http://127.0.0.1:6379/", "https://localhost/t", "http://[::1]/t", "https://a.localhost/t"];
        for realm in here {
            let wrong = asked("https://registry.example", realm).unwrap_err();
            assert!(matches!(wrong, RegistryError::InsecureRealm { .. }), "{wrong}");
            assert!(asked("http://127.0.0.1:5000", realm).is_ok(), "{realm}");
        }
        assert!(asked("https://registry.example", "https://auth.example/t").is_ok());
        assert!(asked("http://127.0.0.1:5000", "https://auth.example/t").is_ok());
    }
}
