//! The HTTP client with its limits: time, size, redirects and trusted roots.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;

use super::address::AuthorityUrl;
use super::error::{AuthorityError, shown};

/// What one call to an authority may cost, and whom to trust beside the system's certificate authorities.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Time to connect, TLS included.
    pub connect: Duration,
    /// Time for the whole call, the body included.
    pub total: Duration,
    /// The largest body that is read, in bytes.
    pub body_bytes: usize,
    /// More trusted roots, from [`read_roots`].
    pub extra_roots: Vec<Certificate>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(30),
            body_bytes: 4 * 1024 * 1024,
            extra_roots: Vec::new(),
        }
    }
}

/// Redirects on the same origin that are followed.
const MAX_REDIRECTS: usize = 3;

/// Reads trusted roots from a PEM file (the environment's `FLATPASS_CA_FILE`).
///
/// # Errors
/// [`AuthorityError::Tls`] if the file cannot be read or has no certificate in it.
pub fn read_roots(file: &Path) -> Result<Vec<Certificate>, AuthorityError> {
    let broken = |cause: String| AuthorityError::Tls { cause: format!("{}: {cause}", file.display()) };
    let pem = std::fs::read(file).map_err(|error| broken(error.to_string()))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|error| broken(error.to_string()))?;
    if roots.is_empty() {
        return Err(broken("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// Whether the body says that it is JSON.
    pub is_json: bool,
    /// The body, at most [`HttpConfig::body_bytes`].
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the body is a problem document (RFC 9457) of this kind: the last part of its `type`.
    #[must_use]
    pub fn is_problem(&self, kind: &str) -> bool {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        problem.kind.is_some_and(|address| address.trim_end_matches('/').rsplit('/').next() == Some(kind))
    }

    /// The authority's own words, fit to be shown, if it has any.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let problem: Problem = serde_json::from_slice(&self.body).unwrap_or_default();
        [problem.detail, problem.error_description, problem.title, problem.error]
            .into_iter()
            .flatten()
            .map(|text| shown(&text))
            .find(|text| !text.is_empty())
    }
}

/// A client for one authority.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    host: String,
    base: String,
    body_bytes: usize,
}

impl Http {
    /// A client that talks to `url`'s origin and follows redirects nowhere else.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] if this machine has no trusted roots.
    pub fn new(url: &AuthorityUrl, config: &HttpConfig) -> Result<Self, AuthorityError> {
        let home = url.clone();
        let policy = redirect::Policy::custom(move |attempt| {
            if home.is_same_origin(attempt.url()) && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.error("a redirect that is not followed")
            }
        });
        let builder = Client::builder()
            .user_agent(concat!("flatpass-authenticator/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect)
            .timeout(config.total)
            .redirect(policy)
            .referer(false);
        let builder = if url.is_loopback() {
            // A proxy would carry the tokens off this machine; and no roots are needed.
            builder.no_proxy().tls_certs_only(config.extra_roots.iter().cloned())
        } else {
            builder.https_only(true).tls_certs_merge(config.extra_roots.iter().cloned())
        };
        let client = builder.build().map_err(|error| AuthorityError::Tls { cause: innermost(&error) })?;
        Ok(Self { client, host: url.host(), base: url.to_string(), body_bytes: config.body_bytes })
    }

    /// The client, to build a request.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the whole answer. HTTP 5xx and 429 are errors already; other statuses are not.
    ///
    /// # Errors
    /// Everything that can go wrong on the way, as [`AuthorityError`].
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, AuthorityError> {
        let mut response = request
            .header(ACCEPT, "application/json")
            .send()
            .await
            .map_err(|error| self.transport(&error))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(AuthorityError::TooManyRequests { host: self.host.clone() });
        }
        if status.is_server_error() {
            return Err(AuthorityError::Fault { host: self.host.clone(), status: status.as_u16() });
        }
        let is_json = is_json(&response);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error))? {
            if body.len() + chunk.len() > self.body_bytes {
                return Err(AuthorityError::TooLarge { host: self.host.clone() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, is_json, body })
    }

    /// What a status that no caller has a better word for means.
    #[must_use]
    pub fn refusal(&self, answer: &Answer) -> AuthorityError {
        let status = answer.status.as_u16();
        if !answer.is_json {
            return AuthorityError::NotAnAuthority { url: self.base.clone(), status };
        }
        let detail = answer.detail().unwrap_or_else(|| "it gave no reason".to_owned());
        AuthorityError::Refused { host: self.host.clone(), status, detail }
    }

    fn transport(&self, error: &reqwest::Error) -> AuthorityError {
        transport(self.host.clone(), error)
    }
}

/// What kept a call from reaching `host`, or its answer from coming back.
#[must_use]
pub fn transport(host: String, error: &reqwest::Error) -> AuthorityError {
    if error.is_redirect() {
        return AuthorityError::RedirectedElsewhere { host };
    }
    if error.is_timeout() {
        return AuthorityError::Timeout { host };
    }
    let cause = innermost(error);
    match tls_failure(error) {
        Some(cause) => AuthorityError::Certificate { host, cause },
        None => AuthorityError::Unreachable { host, cause },
    }
}

/// A problem document (RFC 9457) or an OAuth error (RFC 6749 section 5.2).
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: Option<String>,
    detail: Option<String>,
    error_description: Option<String>,
    title: Option<String>,
    error: Option<String>,
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The sentence at the end of a chain of causes: the system's own words.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut last = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        last = error.to_string();
        cause = error.source();
    }
    shown(&last)
}

/// What rustls found wrong with the other side's certificate, if that is what went wrong.
fn tls_failure(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(shown(&tls.to_string()));
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}
