//! One look at a manifest: does it open, and if not, what does the registry want?

use flatpass_oci::client::{Asked, RegistryError};
use flatpass_oci::{Digest, RepositoryName};
use reqwest::header::{ACCEPT, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, redirect};
use url::Url;

use super::address::RegistryUrl;
use super::refusal::RegistryRefusal;
use crate::authority::address::{host_and_port, is_loopback};
use crate::authority::error::shown;
use crate::authority::http::HttpConfig;
use crate::secret::SecretText;

/// Redirects that are followed for one look.
const MAX_REDIRECTS: usize = 5;
/// What Flatpak takes for a manifest, and says it does.
const MANIFESTS: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.oci.image.index.v1+json",
);

/// Where a registry says that it is one, and what it wants. Not all answer HEAD there.
const BASE: &str = "v2/";

/// What a manifest's door is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// Whoever asks so may have it.
    Open,
    /// The registry wants this.
    Asks(Asked),
    /// It says no, and not what it wants.
    Refuses {
        /// The HTTP status.
        status: u16,
    },
    /// There is no such image.
    Absent,
}

/// The clients for this machine, and for all others. They follow no redirect by themselves.
#[derive(Debug, Clone)]
pub struct Probe {
    network: Client,
    loopback: Client,
}

impl Probe {
    /// Clients that trust what `config` trusts. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Setup`] if this machine has no trusted roots.
    pub fn new(config: &HttpConfig) -> Result<Self, RegistryError> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("flatpass-authenticator/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(config.connect)
                .timeout(config.total)
                .redirect(redirect::Policy::none())
                .referer(false)
        };
        let roots = || config.extra_roots.iter().cloned();
        let failed = |error: reqwest::Error| RegistryError::Setup(shown(&error.to_string()));
        Ok(Self {
            network: builder().tls_certs_merge(roots()).build().map_err(failed)?,
            // A proxy would carry the tokens off this machine; and no other roots are needed.
            loopback: builder().no_proxy().tls_certs_only(roots()).build().map_err(failed)?,
        })
    }

    /// Asks for the head of a manifest, with a token or without.
    ///
    /// Redirects are followed, without the token when they leave the registry. What is wanted there does not count:
    /// only the registry itself says who may get credentials.
    ///
    /// # Errors
    /// [`RegistryRefusal`], if the registry cannot be asked.
    pub async fn look(
        &self,
        registry: &RegistryUrl,
        repository: &RepositoryName,
        digest: &Digest,
        bearer: Option<&SecretText>,
    ) -> Result<Door, RegistryRefusal> {
        self.look_at(registry, &format!("v2/{repository}/manifests/{digest}"), bearer).await
    }

    /// Asks what the registry wants in general.
    ///
    /// # Errors
    /// [`RegistryRefusal`], if the registry cannot be asked.
    pub async fn look_at_base(&self, registry: &RegistryUrl) -> Result<Door, RegistryRefusal> {
        self.look_at(registry, BASE, None).await
    }

    async fn look_at(
        &self,
        registry: &RegistryUrl,
        below: &str,
        bearer: Option<&SecretText>,
    ) -> Result<Door, RegistryRefusal> {
        let host = registry.host();
        let mut url = registry.join(below);
        // Who was sent away and back comes as a stranger: whoever it was sent to chose where it comes.
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            at_home &= registry.is_origin_of(&url);
            let client = if is_loopback(&url) { &self.loopback } else { &self.network };
            let method = if below == BASE { Method::GET } else { Method::HEAD };
            let mut request = client.request(method, url.clone()).header(ACCEPT, MANIFESTS);
            if let Some(bearer) = bearer.filter(|_| at_home) {
                request = request.bearer_auth(bearer.expose());
            }
            let response = request.send().await.map_err(|error| transport(&url, &error))?;
            if response.status().is_redirection() {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                let next = location.and_then(|location| next(registry, &url, location));
                url = next.ok_or_else(|| RegistryError::Redirect { host: host.clone() })?;
                continue;
            }
            return judge(&host, at_home, &response);
        }
        Err(RegistryError::Redirect { host }.into())
    }
}

fn judge(host: &str, at_home: bool, response: &Response) -> Result<Door, RegistryRefusal> {
    let status = response.status();
    match status {
        StatusCode::UNAUTHORIZED if !at_home => Err(RegistryRefusal::SentOn { host: host.to_owned() }),
        StatusCode::UNAUTHORIZED => Ok(Door::Asks(Asked::read(response.headers(), host)?)),
        StatusCode::FORBIDDEN => Ok(Door::Refuses { status: status.as_u16() }),
        StatusCode::NOT_FOUND => Ok(Door::Absent),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(RegistryError::Throttled { host: host.to_owned(), retry_after: None }.into())
        }
        _ if status.is_success() => Ok(Door::Open),
        _ => Err(RegistryError::Status {
            host: host.to_owned(),
            status: status.as_u16(),
            words: "it gives no reason".to_owned(),
        }
        .into()),
    }
}

/// Where a redirect leads, if it may be followed: not to an address with a password in it, not from https to http, and
/// not from the network to this machine.
fn next(registry: &RegistryUrl, from: &Url, location: &str) -> Option<Url> {
    let next = from.join(location).ok()?;
    let is_plain = next.username().is_empty() && next.password().is_none();
    let is_safe = match next.scheme() {
        "https" => registry.is_loopback() || !is_loopback(&next),
        "http" => from.scheme() == "http" && is_loopback(&next) == registry.is_loopback(),
        _ => false,
    };
    (is_plain && is_safe).then_some(next)
}

fn transport(url: &Url, error: &reqwest::Error) -> RegistryError {
    let host = host_and_port(url).unwrap_or_default();
    if error.is_timeout() {
        return RegistryError::Timeout { host };
    }
    RegistryError::Unreachable { host, cause: shown(&crate::authority::http::innermost(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_neither_to_clear_text_nor_from_the_network_to_this_machine() {
        let follows = |registry: &str, location: &str| {
            let registry = RegistryUrl::parse(registry).expect("valid");
            let from = registry.join("v2/shop/app/manifests/x");
            next(&registry, &from, location).is_some()
        };
        let far = "https://registry.example/";
        assert!(follows(far, "/v2/other") && follows(far, "https://cdn.example/x"));
        for location in [
            "http://cdn.example/x",
            "http://127.0.0.1:27277/key/summary",
            "https://127.0.0.1/x",
            "https://localhost/x",
            "https://user:pw@cdn.example/x",
            "ftp://cdn.example/x",
            "file:///etc/passwd",
            "https://",
        ] {
            assert!(!follows(far, location), "{location}");
        }
        assert!(follows("http://127.0.0.1:5000/", "http://127.0.0.1:5001/x"));
        assert!(!follows("http://127.0.0.1:5000/", "http://cdn.example/x"));
        assert!(!follows("http://registry.example/", "http://127.0.0.1:5001/x"));
    }
}
