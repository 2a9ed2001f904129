//! Which token server may be asked, and which may get credentials.
//!
//! Credentials are stored for a registry's host and port. A hostile index can name any registry, and a hostile
//! registry any token server; so:
//! - what is stored for a host is looked up by the host that Flatpak will pull from, never by what an index calls it,
//!   and never by the token server's;
//! - the token server of a registry may be on another host (`registry-1.docker.io` names `auth.docker.io`), because
//!   the registry itself said so *over TLS*: whoever can say that could have asked for the password in the first
//!   place. What comes over http from this machine's own ports proves nothing, as any user may listen there: then
//!   only a token server on this machine gets credentials;
//! - a registry of the network cannot name this machine: a port here may be another user's.

use flatpass_oci::client::Realm;

use super::address::RegistryUrl;
use super::refusal::RegistryRefusal;
use crate::authority::address::is_loopback;

/// Whether the token server that a registry names may be asked at all. ([`Realm`] is https, or on this machine.)
///
/// # Errors
/// [`RegistryRefusal::Insecure`], [`RegistryRefusal::RealmHere`].
pub fn may_be_asked(registry: &RegistryUrl, realm: &Realm) -> Result<(), RegistryRefusal> {
    if !registry.is_guarded() {
        return Err(RegistryRefusal::Insecure { host: registry.host() });
    }
    if is_here(realm) && !registry.is_loopback() {
        return Err(RegistryRefusal::RealmHere { host: registry.host(), realm: realm.host() });
    }
    Ok(())
}

/// Whether it may get credentials that are stored for the registry.
#[must_use]
pub fn may_have_credentials(registry: &RegistryUrl, realm: &Realm) -> bool {
    may_be_asked(registry, realm).is_ok() && (registry.is_tls() || is_here(realm))
}

/// Whether a token server is on this machine. One without TLS is: else it would be no [`Realm`].
fn is_here(realm: &Realm) -> bool {
    let url = realm.url();
    url.scheme() == "http"
        || is_loopback(url)
        || url.domain().is_some_and(|name| name.ends_with(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_follow_what_a_registry_says_over_tls_and_stay_on_this_machine_otherwise() {
        let registry = |text: &str| RegistryUrl::parse(text).expect("valid");
        let realm = |text: &str| Realm::parse(text, "host").expect("valid");
        for (at, to, asked, may) in [
            ("https://registry.example/", "https://registry.example/token", true, true),
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true, true),
            ("https://registry.example/", "http://127.0.0.1:9000/token", false, false),
            ("https://registry.example/", "https://localhost/token", false, false),
            ("https://registry.example/", "http://registry.localhost/token", false, false),
            ("https://registry.example/", "https://registry.localhost/token", false, false),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:8080/token", true, true),
            ("http://127.0.0.1:5000/", "https://collector.example/token", true, false),
            ("https://127.0.0.1:5000/", "https://auth.example/token", true, true),
            ("http://registry.example/", "https://auth.example/token", false, false),
        ] {
            let (at, to) = (registry(at), realm(to));
            assert_eq!(may_be_asked(&at, &to).is_ok(), asked, "{at} {to:?}");
            assert_eq!(may_have_credentials(&at, &to), may, "{at} {to:?}");
        }
        for bad in ["http://registry.example/token", "https://user@registry.example/", "ftp://a/", "token"] {
            assert!(Realm::parse(bad, "host").is_err(), "{bad}");
        }
    }
}
