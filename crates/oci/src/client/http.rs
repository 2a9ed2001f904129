//! HTTP with limits: time, size, redirects, and who is trusted.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use super::error::{RegistryError, innermost, shown};
use super::secure::{host_and_port, is_loopback};

/// A longer wait than this is not believed.
const LONGEST_WAIT: u64 = 60 * 60;
/// So much of a refusal's body is read for its words.
const REFUSAL_BYTES: usize = 16 * 1024;

/// What one call may cost, and whom to trust beside the system's certificate authorities.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time for a whole call, the body included.
    pub total: Duration,
    /// More trusted roots.
    pub extra_roots: Vec<Certificate>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), total: Duration::from_secs(30), extra_roots: Vec::new() }
    }
}

/// The clients for this machine, and for all others. They follow no redirect by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    network: Client,
    loopback: Client,
}

impl Http {
    pub(crate) fn new(limits: &HttpLimits) -> Result<Self, RegistryError> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("flatpass/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(limits.connect)
                .timeout(limits.total)
                .redirect(redirect::Policy::none())
                .referer(false)
        };
        let roots = || limits.extra_roots.iter().cloned();
        let failed = |error: reqwest::Error| RegistryError::Setup(innermost(&error));
        Ok(Self {
            network: builder().tls_certs_merge(roots()).build().map_err(failed)?,
            // A proxy would carry the tokens off this machine; and no other roots are needed.
            loopback: builder().no_proxy().tls_certs_only(roots()).build().map_err(failed)?,
        })
    }

    pub(crate) fn for_url(&self, url: &Url) -> &Client {
        if is_loopback(url) { &self.loopback } else { &self.network }
    }
}

/// Sends it, and waits for the head of the answer.
pub(crate) async fn send(request: RequestBuilder, url: &Url) -> Result<Response, RegistryError> {
    request.send().await.map_err(|error| RegistryError::transport(host_and_port(url), &error))
}

/// The whole body, if it has no more than `limit` bytes.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, RegistryError> {
    let host = host_and_port(response.url());
    if response.content_length().is_some_and(|length| length > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(RegistryError::TooLarge { host, limit });
    }
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| RegistryError::transport(host.clone(), &error))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(RegistryError::TooLarge { host, limit });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What an answer that is no success means.
pub(crate) async fn refusal(response: Response, what: &str) -> RegistryError {
    let host = host_and_port(response.url());
    let status = response.status();
    match status {
        StatusCode::NOT_FOUND => return RegistryError::NotFound { host, what: what.to_owned() },
        StatusCode::TOO_MANY_REQUESTS => {
            return RegistryError::Throttled { host, retry_after: retry_after(response.headers()) };
        }
        StatusCode::SERVICE_UNAVAILABLE if response.headers().contains_key(RETRY_AFTER) => {
            return RegistryError::Throttled { host, retry_after: retry_after(response.headers()) };
        }
        _ => {}
    }
    let body = body(response, REFUSAL_BYTES).await.unwrap_or_default();
    let words = words(&body).unwrap_or_else(|| "it gives no reason".to_owned());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            RegistryError::Refused { host, status: status.as_u16(), words }
        }
        _ => RegistryError::Status { host, status: status.as_u16(), words },
    }
}

/// Seconds (RFC 9110, 10.2.3). The other form, a date, is taken for none: whose clock it is by is not known.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST_WAIT)))
}

/// The words of a refusal: registries' own format, and those of token servers.
fn words(body: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        errors: Vec<Item>,
        error_description: Option<String>,
        details: Option<String>,
        detail: Option<String>,
        message: Option<String>,
        error: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Item {
        code: Option<String>,
        message: Option<String>,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let first = refusal.errors.into_iter().find_map(|item| item.message.or(item.code));
    let all =
        [first, refusal.error_description, refusal.details, refusal.detail, refusal.message, refusal.error];
    all.into_iter().flatten().map(|text| shown(&text)).find(|text| !text.is_empty())
}
