//! HTTP to the store, with limits on time, size and redirects.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, StatusCode, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use crate::PeerError;

const CONNECT: Duration = Duration::from_secs(5);
/// The store may take so long to go on with an answer.
const READ: Duration = Duration::from_secs(8);
/// An answer of the API, and the store's index of it, has no more bytes.
const MAX_ANSWER: usize = 4 << 20;
const MAX_REDIRECTS: usize = 3;
/// After the store could not be reached it is not tried again for so long: an offline peer answers at once.
const PAUSE: Duration = Duration::from_secs(10);

/// Why the store gave no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It has none.
    Absent,
    /// It wants another token.
    Refused,
    /// It cannot be reached, or is not well.
    Unreachable(String),
}

/// The way to one store.
#[derive(Debug)]
pub(crate) struct Wire {
    client: Client,
    host: String,
    /// Since when it cannot be reached.
    down: Mutex<Option<Instant>>,
}

/// Whether nobody on the way there can read or change what is sent.
pub(crate) fn is_secure(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port, as people write them.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Wire {
    /// # Errors
    /// [`PeerError::Start`] when TLS cannot be set up.
    pub(crate) fn new(store: &Url) -> Result<Self, PeerError> {
        // Storage that the store sends to gets no token: reqwest drops it on another host.
        let policy = redirect::Policy::custom(|attempt| {
            let is_local = attempt.previous().iter().all(is_loopback);
            let is_fine = attempt.url().scheme() == "https" || (is_local && is_loopback(attempt.url()));
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if !is_fine {
                attempt.error("a redirect to where it could be read on its way")
            } else {
                attempt.follow()
            }
        });
        let mut builder = Client::builder()
            .user_agent(concat!("flatpass-peer/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .redirect(policy)
            .referer(false);
        if is_loopback(store) {
            builder = builder.no_proxy();
        }
        let client =
            builder.build().map_err(|error| PeerError::Start(format!("TLS cannot be set up: {error}")))?;
        Ok(Self { client, host: shown(store), down: Mutex::default() })
    }

    /// Asks for a file of the repo. The body is for the caller to read, with its own limit.
    pub(crate) async fn file(&self, url: &str, token: Option<&str>) -> Result<Response, Trouble> {
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = self.send(request).await.map_err(Trouble::Unreachable)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Trouble::Absent),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Refused),
            status => Err(Trouble::Unreachable(format!("it answers {status}"))),
        }
    }

    /// Asks the API.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        url: Url,
        token: Option<&str>,
    ) -> Result<T, PeerError> {
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        self.ask(request).await
    }

    /// Asks the API with a JSON body.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        token: &str,
        body: &impl Serialize,
    ) -> Result<T, PeerError> {
        self.ask(self.client.post(url).bearer_auth(token).json(body)).await
    }

    /// Asks the token endpoint as a robot (RFC 6749, 4.4).
    pub(crate) async fn sign_in<T: DeserializeOwned>(
        &self,
        url: Url,
        id: &str,
        secret: &str,
    ) -> Result<T, PeerError> {
        let form = [("grant_type", "client_credentials")];
        self.ask(self.client.post(url).basic_auth(id, Some(secret)).form(&form)).await
    }

    /// The text at that address of the store.
    pub(crate) async fn text(&self, url: Url) -> Result<String, PeerError> {
        let body = self.success(self.client.get(url)).await?;
        String::from_utf8(body).map_err(|_| self.wrong("it is no text"))
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, PeerError> {
        let body = self.success(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.wrong(&error.to_string()))
    }

    async fn success(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, PeerError> {
        let unreachable = |what| PeerError::Unreachable { host: self.host.clone(), what };
        let response = self.send(request).await.map_err(unreachable)?;
        let status = response.status();
        let body = whole(response, MAX_ANSWER).await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        if status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        {
            return Err(unreachable(format!("it answers {status}")));
        }
        #[derive(serde::Deserialize)]
        struct Problem {
            #[serde(alias = "error_description", alias = "error")]
            detail: String,
        }
        let words = serde_json::from_slice::<Problem>(&body).map(|problem| problem.detail);
        let words: String = words.unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
        Err(PeerError::Refused(format!("{} says {status}: {words}", self.host)))
    }

    fn wrong(&self, what: &str) -> PeerError {
        PeerError::Answer { host: self.host.clone(), what: what.to_owned() }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, String> {
        if self.is_down() {
            return Err("it could not be reached a moment ago".to_owned());
        }
        let sent = request.send().await;
        let is_gone = sent.as_ref().is_err_and(|error| error.is_connect() || error.is_timeout());
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = is_gone.then(Instant::now);
        sent.map_err(|error| innermost(&error))
    }

    /// Whether the store could not be reached a moment ago.
    pub(crate) fn is_down(&self) -> bool {
        let down = *self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.is_some_and(|since| since.elapsed() < PAUSE)
    }

    /// Tries again now, whatever was a moment ago.
    pub(crate) fn forgive(&self) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The whole body, if it has no more than `limit` bytes.
pub(crate) async fn whole(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + piece.len() > limit {
            return Err(format!("its answer has more than {limit} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What went wrong in the end, without the URL, which may hold secrets.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if std::ptr::addr_eq(cause, error) && error.is_timeout() {
        "it took too long".to_owned()
    } else {
        cause.to_string()
    }
}
