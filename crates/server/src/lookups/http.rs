//! Asking an issuer: with a time limit, a size limit, no redirects, and nothing secret over an open network.

use std::time::Duration;

use reqwest::{Certificate, Client, RequestBuilder, StatusCode, header, redirect};
use url::Url;

use super::desk::Trouble;
use crate::config::is_loopback;

const CONNECT: Duration = Duration::from_secs(3);
const TOTAL: Duration = Duration::from_secs(5);

/// The clients for this machine, and for all others.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    network: Client,
    loopback: Client,
}

impl Http {
    /// With these roots beside the system's.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn new(roots: &[Certificate]) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("flatpass/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .timeout(TOTAL)
                .redirect(redirect::Policy::none())
                .referer(false)
        };
        let roots = || roots.iter().cloned();
        Ok(Self {
            network: builder().tls_certs_merge(roots()).build()?,
            // A proxy would carry it off this machine.
            loopback: builder().no_proxy().tls_certs_only(roots()).build()?,
        })
    }

    pub(crate) fn for_url(&self, url: &Url) -> &Client {
        if is_here(url) { &self.loopback } else { &self.network }
    }

    /// What is at that address: JSON of at most so many bytes.
    pub(crate) async fn get(&self, url: &Url, limit: usize) -> Result<Vec<u8>, Trouble> {
        let request = self.for_url(url).get(url.clone()).header(header::ACCEPT, "application/json");
        fetch(request, url, limit).await
    }
}

/// Whether the address is one of this machine.
pub(crate) fn is_here(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback(&host))
}

/// Whether nobody on the way can read or change what is said: over https, or on this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_here(url))
}

/// Sends it. Anything but 200 and a body of at most so many bytes is an outage; 400, 413 and 429 are about this one question.
pub(crate) async fn fetch(request: RequestBuilder, url: &Url, limit: usize) -> Result<Vec<u8>, Trouble> {
    let host = url.host_str().unwrap_or_default();
    let failed = |error: &reqwest::Error| Trouble::Outage(format!("{host}: {}", innermost(error)));
    let mut response = request.send().await.map_err(|error| failed(&error))?;
    match response.status() {
        StatusCode::OK => {}
        // Of the last two, whoever sends invented tokens could otherwise make an outage for all.
        status
        @ (StatusCode::BAD_REQUEST | StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE) => {
            return Err(Trouble::Question(format!("{host} answers {status}")));
        }
        status if status.is_redirection() => {
            return Err(Trouble::Outage(format!("{host} answers {status}, and redirects are not followed")));
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Trouble::Outage(format!(
                "{host} refuses this store ({}); set its secret anew with flatpass issuer set",
                response.status()
            )));
        }
        status => return Err(Trouble::Outage(format!("{host} answers {status}"))),
    }
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    if !(kind == "application/json" || kind == "application/jwk-set+json") {
        return Err(Trouble::Outage(format!("{host} answers with something else than JSON")));
    }
    let large = || Trouble::Outage(format!("{host} answers with more than {limit} bytes"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn innermost(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    flatpass_store::shortened(&last.to_string(), 200)
}
