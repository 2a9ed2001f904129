//! The keep-alive loop of one connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flatpass_token::CertificateHash;
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::head::{Head, Malformed, read_head};
use super::input::Input;
use super::limits::Limits;
use super::output::{Broken, Output};
use super::rest::{Peer, serve_rest};
use super::transport::Transport;
use super::watch::{Phase, Stop, Watch};
use crate::answer::Answer;
use crate::moment::{Clock, Moment};
use crate::mounts::{Gates, Mount};
use crate::refusal::connection_error;
use crate::request::{OwnedRequest, Request};

/// After the last answer, so much and so long is read and thrown away: closing a socket with unread bytes would take the
/// answer from the other side (RFC 9112, 9.6).
const LINGER_BYTES: usize = 256 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// Serves HTTP/1.1 on one connection until it ends.
///
/// Plain `GET` and `HEAD` requests below a mount of `gates` are answered here. The first request that is anything else is handed to
/// hyper, with all that follows it on this connection: there, requests below a mount are answered just the same, and all others go
/// to `fallback`, each with [`Peer`](crate::Peer) as an extension.
///
/// `shutdown` becoming true, or its sender being dropped, ends the connection after the answer under way. On TCP streams
/// `TCP_NODELAY` is set here; under TLS it is for the caller to set.
pub async fn serve_connection<S, F, B>(
    mut stream: S,
    peer: impl Into<Peer>,
    gates: Arc<Gates>,
    limits: &Limits,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    fallback: F,
) where
    S: Transport,
    F: Service<http::Request<Incoming>, Response = http::Response<B>> + Send + Sync + 'static,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let whole: Peer = peer.into();
    let peer = whole.0;
    if let Some(Err(error)) = stream.plain_tcp().map(|tcp| tcp.set_nodelay(true)) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let mut lane = Lane {
        peer: peer.ip(),
        certificate: whole.1,
        gates: &gates,
        limits,
        clock: &clock,
        watch: Watch::new(limits, shutdown.clone()),
        input: Input::new(limits.head_bytes),
        output: Output::new(),
        requests: 0,
    };
    match lane.run(&mut stream).await {
        Ok(End::Close) => linger(&mut stream).await,
        Ok(End::HandOver) => {
            let received = lane.input.take();
            // A future of its own on the heap: few connections need its size.
            Box::pin(serve_rest(stream, received, whole, gates, *limits, clock, shutdown, fallback)).await;
        }
        Err(Broken::Stopped(stop)) => {
            tracing::debug!(%peer, ?stop, "connection ended while it waited");
            match stop {
                Stop::Timeout(Phase::Head) => {
                    let slow =
                        connection_error(408, "Request timeout", "The request did not arrive in time.");
                    let now = clock.now();
                    let said = lane.output.put(&mut stream, &mut lane.watch, slow, now, true).await;
                    if said.is_ok() && lane.output.flush(&mut stream, &mut lane.watch).await.is_ok() {
                        linger(&mut stream).await;
                    }
                }
                // A request may be on its way; it is not to take the last answer along.
                Stop::Shutdown => linger(&mut stream).await,
                Stop::Timeout(Phase::Idle | Phase::Write) => {}
            }
        }
        Err(error) => tracing::debug!(%peer, %error, "connection broke"),
    }
}

/// How the fast lane of a connection ends.
enum End {
    Close,
    HandOver,
}

struct Lane<'a> {
    peer: IpAddr,
    certificate: Option<CertificateHash>,
    gates: &'a Gates,
    limits: &'a Limits,
    clock: &'a Clock,
    watch: Watch,
    input: Input,
    output: Output,
    /// How many requests were read.
    requests: u64,
}

/// What to do next about the bytes received.
enum Step {
    /// Receive more.
    Receive,
    /// The next request's answer.
    Answer { answer: Answer, now: Moment, close: bool },
    /// The next request's answer has to wait for the disk.
    Wait { mount: Mount, request: OwnedRequest, now: Moment, close: bool },
    /// The next request is for hyper.
    HandOver,
    /// The bytes are no request.
    Malformed(Malformed),
}

impl Lane<'_> {
    async fn run<S: Transport>(&mut self, stream: &mut S) -> Result<End, Broken> {
        let mut looked_at = 0;
        let mut ended = false;
        loop {
            let worth_it = self.has_news(looked_at) || self.input.is_full() || ended;
            let step = if worth_it { self.step() } else { Step::Receive };
            let (answer, now, close) = match step {
                Step::Answer { answer, now, close } => (answer, now, close),
                Step::Wait { mount, request, now, close } => {
                    self.output.flush(stream, &mut self.watch).await?;
                    (mount.answer_anyhow(request, now).await, now, close)
                }
                Step::Receive if ended => {
                    self.output.flush(stream, &mut self.watch).await?;
                    return Ok(End::Close);
                }
                Step::Receive if self.input.is_full() => {
                    (malformed(Malformed::TooManyFields), self.clock.now(), true)
                }
                Step::Receive => {
                    self.output.flush(stream, &mut self.watch).await?;
                    looked_at = self.input.bytes().len();
                    ended = self.input.receive(stream, &mut self.watch, self.requests).await? == 0;
                    if self.watch.take_tick() {
                        self.gates.cache().sweep(self.clock.now());
                    }
                    continue;
                }
                Step::HandOver => {
                    self.output.flush(stream, &mut self.watch).await?;
                    return Ok(End::HandOver);
                }
                Step::Malformed(why) => (malformed(why), self.clock.now(), true),
            };
            looked_at = 0;
            let close = close || self.watch.is_ending();
            self.output.put(stream, &mut self.watch, answer, now, close).await?;
            if close {
                self.output.flush(stream, &mut self.watch).await?;
                return Ok(End::Close);
            }
        }
    }

    /// Whether it is worth to look at the bytes again after the first `looked_at` were no whole head: only a line's end can
    /// have completed it. So a head that comes in drops is not read anew for each.
    fn has_news(&self, looked_at: usize) -> bool {
        let news = self.input.bytes().get(looked_at..).unwrap_or_default();
        memchr::memchr(b'\n', news).is_some()
    }

    /// Reads the next request and answers it if that needs no waiting.
    fn step(&mut self) -> Step {
        let (length, step) = match read_head(self.input.bytes(), self.limits.header_fields) {
            Head::Partial => return Step::Receive,
            Head::Other => return Step::HandOver,
            Head::Malformed(why) => return Step::Malformed(why),
            Head::Plain { length, method, path, query, mut headers, close } => {
                headers.certificate = self.certificate;
                let now = self.clock.now();
                let Some((mount, path)) = self.gates.find_anyhow(path) else { return Step::HandOver };
                let request = Request { method, path, query, headers, peer: Some(self.peer) };
                let step = match mount.answer_cached(&request, now) {
                    Ok(answer) => Step::Answer { answer, now, close },
                    Err(_) => Step::Wait { mount, request: OwnedRequest::copy(&request), now, close },
                };
                (length, step)
            }
        };
        self.input.consume(length);
        self.requests += 1;
        step
    }
}

fn malformed(why: Malformed) -> Answer {
    match why {
        Malformed::Syntax => connection_error(400, "Bad request", "This is not an HTTP/1.1 request."),
        Malformed::TooManyFields => {
            connection_error(431, "Request header fields too large", "The head of the request is too large.")
        }
    }
}

/// Says that nothing more comes and waits a moment for the other side to have read it.
async fn linger<S: Transport>(stream: &mut S) {
    let _gone = timeout(LINGER, async {
        stream.shutdown().await?;
        let mut scratch = vec![0; 4 << 10];
        let mut thrown_away = 0;
        while thrown_away < LINGER_BYTES {
            match stream.read(&mut scratch).await? {
                0 => break,
                count => thrown_away += count,
            }
        }
        Ok::<(), std::io::Error>(())
    })
    .await;
}
