//! The loopback listener: an unguessable path, one use, this request's `state` only, closed at the end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use url::Url;

use super::page::Page;
use crate::secret::SecretText;

/// Connections that are served at once. Others wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 8;
/// Time for the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Time for a connection as a whole: the exchange of the code happens in it.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// Time for the last page to reach the browser.
const FINISH_TIME: Duration = Duration::from_secs(2);
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The parameters of the authority's answer (RFC 6749 section 4.1.2, RFC 9207 section 2), not yet judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callback {
    /// The authorization code.
    pub code: Option<String>,
    /// The issuer.
    pub iss: Option<String>,
    /// The error code.
    pub error: Option<String>,
    /// The error in words.
    pub error_description: Option<String>,
}

/// The browser that brought the answer and waits for its last page. If it is dropped, the page says that it failed.
#[derive(Debug)]
pub struct WaitingBrowser(oneshot::Sender<Page>);

impl WaitingBrowser {
    /// Sends the last page. Nothing happens if the browser has gone.
    pub fn show(self, page: Page) {
        let _gone = self.0.send(page);
    }
}

/// A listener on 127.0.0.1 for one answer.
#[derive(Debug)]
pub struct LoopbackListener {
    redirect_uri: Url,
    answer: oneshot::Receiver<(Callback, WaitingBrowser)>,
    slots: Arc<Semaphore>,
    accepting: AbortHandle,
}

/// What each connection needs to know.
struct Expected {
    host: String,
    path: String,
    state: SecretText,
    answer: Mutex<Option<oneshot::Sender<(Callback, WaitingBrowser)>>>,
}

impl LoopbackListener {
    /// Listens on a port that the system picks, for a request of `path` with this `state`.
    ///
    /// # Errors
    /// The system's, if no loopback socket can be had.
    pub async fn bind(path: String, state: SecretText) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let host = listener.local_addr()?.to_string();
        let redirect_uri = Url::parse(&format!("http://{host}{path}")).map_err(io::Error::other)?;
        let (sender, answer) = oneshot::channel();
        let expected = Arc::new(Expected { host, path, state, answer: Mutex::new(Some(sender)) });
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        let accepting = tokio::spawn(accept(listener, expected, Arc::clone(&slots))).abort_handle();
        Ok(Self { redirect_uri, answer, slots, accepting })
    }

    /// The redirect URI: this listener's address with its path.
    #[must_use]
    pub fn redirect_uri(&self) -> &Url {
        &self.redirect_uri
    }

    /// Waits for the one answer. Never ends after it was had.
    pub async fn callback(&mut self) -> (Callback, WaitingBrowser) {
        if !self.answer.is_terminated()
            && let Ok(answer) = (&mut self.answer).await
        {
            return answer;
        }
        std::future::pending().await
    }

    /// Closes the socket, and waits shortly until the open connections have had their pages.
    pub async fn finish(self) {
        self.accepting.abort();
        let _late = tokio::time::timeout(FINISH_TIME, self.slots.acquire_many(MAX_CONNECTIONS)).await;
    }
}

impl Drop for LoopbackListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, expected: Arc<Expected>, slots: Arc<Semaphore>) {
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection to the loopback listener failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let expected = Arc::clone(&expected);
        tokio::spawn(async move {
            let _slot = slot;
            let serving = serve(stream, peer, expected);
            if tokio::time::timeout(CONNECTION_TIME, serving).await.is_err() {
                tracing::debug!("a connection to the loopback listener took too long");
            }
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, expected: Arc<Expected>) {
    let _unsupported = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let expected = Arc::clone(&expected);
        async move { Ok::<_, Infallible>(answer(&request, peer, &expected).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the loopback listener broke");
    }
}

async fn answer(request: &Request<Incoming>, peer: SocketAddr, expected: &Expected) -> Response<Full<Bytes>> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // A page of another site can reach this port under a name of its own (DNS rebinding), but not with this Host.
    if !peer.ip().is_loopback() || host != Some(expected.host.as_str()) {
        return page(&Page::NotForYou, StatusCode::MISDIRECTED_REQUEST);
    }
    let path = request.uri().path().as_bytes();
    if verify_slices_are_equal(path, expected.path.as_bytes()).is_err() {
        return page(&Page::NotForYou, StatusCode::NOT_FOUND);
    }
    if request.method() != Method::GET {
        return page(&Page::NotForYou, StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some((state, callback)) = read_query(request.uri().query().unwrap_or("")) else {
        return page(&Page::NotForYou, StatusCode::BAD_REQUEST);
    };
    if verify_slices_are_equal(state.as_bytes(), expected.state.expose().as_bytes()).is_err() {
        return page(&Page::NotForYou, StatusCode::BAD_REQUEST);
    }
    let sender = expected.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(sender) = sender else {
        return page(&Page::AlreadyUsed, StatusCode::GONE);
    };
    let (browser, last_page) = oneshot::channel();
    if sender.send((callback, WaitingBrowser(browser))).is_err() {
        return page(&Page::AlreadyUsed, StatusCode::GONE);
    }
    let last = last_page.await.unwrap_or_else(|_| {
        Page::Failed("The program that asked for the sign-in has ended. Start it again.".to_owned())
    });
    page(&last, StatusCode::OK)
}

/// The answer's `state` and other parameters; `None` if one of them is there twice or `state` is missing.
fn read_query(query: &str) -> Option<(String, Callback)> {
    let mut values: HashMap<String, String> = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if values.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    let state = values.remove("state")?;
    let callback = Callback {
        code: values.remove("code"),
        iss: values.remove("iss"),
        error: values.remove("error"),
        error_description: values.remove("error_description"),
    };
    Some((state, callback))
}

fn page(page: &Page, status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.html())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONNECTION, "close"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
