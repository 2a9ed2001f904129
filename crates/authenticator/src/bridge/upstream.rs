//! Fetches from the repo itself, and follows its redirects without the credentials.

use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::{Client, Response, redirect};
use thiserror::Error;
use url::Url;

use super::path::BelowRepo;
use crate::authority::address::{RepoUrl, host_and_port, is_loopback};
use crate::authority::error::{AuthorityError, shown};
use crate::authority::http::{HttpConfig, transport};
use crate::secret::SecretText;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Connections to one host that wait for their next use.
const MAX_IDLE: usize = 8;

/// What a client says that the repo may hear, wherever it is.
const ABOUT_THE_FILE: [HeaderName; 7] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::USER_AGENT,
];
/// What only the store hears: which app is fetched, and which version is there already.
const FOR_THE_STORE: [&str; 2] = ["flatpak-ref", "flatpak-upgrade-from"];

/// Why there is no answer of the repo.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UpstreamError {
    /// No connection, no answer in time, or a certificate that is not valid.
    #[error("{0}")]
    Transport(#[from] AuthorityError),
    /// A redirect that is not followed: to http, to the bridge itself, with a password in it, or to no address at
    /// all.
    #[error("{host} sends this request on to an address that is not followed. Tell the store's operator.")]
    Redirect {
        /// The host that redirects.
        host: String,
    },
    /// Too many of them.
    #[error("{host} sends this request on and on. Tell the store's operator.")]
    RedirectLoop {
        /// The repo's host.
        host: String,
    },
}

/// The clients for repos on this machine, and for all others.
#[derive(Debug, Clone)]
pub struct Upstream {
    secure: Client,
    loopback: Client,
    head_time: Duration,
    own_port: u16,
}

impl Upstream {
    /// Clients that trust what `config` trusts. Nothing is sent yet. `own_port` is the bridge's.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] if this machine has no trusted roots.
    pub fn new(config: &HttpConfig, head_time: Duration, own_port: u16) -> Result<Self, AuthorityError> {
        let builder = || {
            Client::builder()
                .connect_timeout(config.connect)
                .pool_max_idle_per_host(MAX_IDLE)
                .redirect(redirect::Policy::none())
                .referer(false)
        };
        let roots = || config.extra_roots.iter().cloned();
        let failed = |error: reqwest::Error| AuthorityError::Tls { cause: shown(&error.to_string()) };
        Ok(Self {
            secure: builder().https_only(true).tls_certs_merge(roots()).build().map_err(failed)?,
            // A proxy would carry the tokens off this machine; and no roots are needed.
            loopback: builder().no_proxy().tls_certs_only(roots()).build().map_err(failed)?,
            head_time,
            own_port,
        })
    }

    /// Asks the repo for a file. The body of the answer has not been read.
    ///
    /// `bearer` goes to addresses below the repo only, and to none after one redirect away from it.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn fetch(
        &self,
        repo: &RepoUrl,
        path: BelowRepo<'_>,
        method: &Method,
        asked: &HeaderMap,
        bearer: Option<&SecretText>,
    ) -> Result<Response, UpstreamError> {
        let not_followed =
            |url: &Url| UpstreamError::Redirect { host: host_and_port(url).unwrap_or_default() };
        let base = Url::parse(&format!("{}/", repo.as_str()))
            .map_err(|_| AuthorityError::NotAnAuthority { url: repo.to_string(), status: 0 })?;
        let mut url = base.join(path.as_str()).map_err(|_| not_followed(&base))?;
        url.set_query(path.query());
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            at_home = at_home && is_below(&base, &url);
            let mut request = self.client(&url).request(method.clone(), url.clone());
            request = request.headers(passed_on(asked, at_home));
            if let Some(bearer) = bearer.filter(|_| at_home) {
                request = request.bearer_auth(bearer.expose());
            }
            let host = host_and_port(&url).unwrap_or_default();
            let response = match tokio::time::timeout(self.head_time, request.send()).await {
                Ok(sent) => sent.map_err(|error| transport(host, &error))?,
                Err(_) => return Err(AuthorityError::Timeout { host }.into()),
            };
            let Some(location) = redirection(&response) else { return Ok(response) };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            let next = next.filter(|next| self.may_follow(&base, next)).ok_or_else(|| not_followed(&url))?;
            url = next;
        }
        Err(UpstreamError::RedirectLoop { host: host_and_port(&base).unwrap_or_default() })
    }

    fn client(&self, url: &Url) -> &Client {
        if url.scheme() == "http" { &self.loopback } else { &self.secure }
    }

    /// Never from https to http, never with a password, never from the network to this machine, never to this bridge.
    fn may_follow(&self, base: &Url, next: &Url) -> bool {
        let from_here = is_loopback(base);
        let is_plain = next.username().is_empty() && next.password().is_none();
        let is_safe = match next.scheme() {
            "https" => from_here || !is_loopback(next),
            "http" => from_here && base.scheme() == "http" && is_loopback(next),
            _ => false,
        };
        is_plain && is_safe && !(is_loopback(next) && next.port() == Some(self.own_port))
    }
}

/// Whether an address is the repo's own.
fn is_below(base: &Url, url: &Url) -> bool {
    base.origin() == url.origin() && url.path().starts_with(base.path())
}

/// Where an answer redirects to, if it does (RFC 9110 section 15.4).
fn redirection(response: &Response) -> Option<&HeaderValue> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if redirects { response.headers().get(header::LOCATION) } else { None }
}

fn passed_on(asked: &HeaderMap, at_home: bool) -> HeaderMap {
    let for_the_store = FOR_THE_STORE.into_iter().filter(|_| at_home).map(HeaderName::from_static);
    let mut headers = HeaderMap::new();
    for name in ABOUT_THE_FILE.into_iter().chain(for_the_store) {
        if let Some(value) = asked.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}
