//! The rest of a connection, after a request that is not plainly one for a gate: hyper reads it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use flatpass_token::CertificateHash;
use http_body::Body as HttpBody;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::limits::Limits;
use super::transport::Transport;
use super::watch::{Phase, Watch};
use crate::adapter::{GateBody, answer_request};
use crate::moment::Clock;
use crate::mounts::Gates;

/// The other side of the connection: an extension of each request that goes to the fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(
    /// The address.
    pub SocketAddr,
    /// The certificate that it proved to have the key of.
    pub Option<CertificateHash>,
);

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self(address, None)
    }
}

/// hyper does not work with less.
const LEAST_BUFFER_BYTES: usize = 8 << 10;

/// Serves what comes after (and including) `received`.
#[expect(clippy::too_many_arguments, reason = "it takes over all that a connection has")]
pub(crate) async fn serve_rest<S, F, B>(
    stream: S,
    received: Bytes,
    peer: Peer,
    gates: Arc<Gates>,
    limits: Limits,
    clock: Clock,
    mut shutdown: watch::Receiver<bool>,
    fallback: F,
) where
    S: Transport,
    F: Service<http::Request<Incoming>, Response = http::Response<B>> + Send + Sync + 'static,
    F::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let watch = Watch::new(&limits, shutdown.clone());
    let stream = Rest { received, stream, watch, sent: 0 };
    let router = Router { gates, clock, peer, fallback: Arc::new(fallback) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_read)
        .max_headers(limits.header_fields)
        .max_buf_size(limits.head_bytes.max(LEAST_BUFFER_BYTES))
        .serve_connection(TokioIo::new(stream), router);
    let mut connection = pin!(connection);
    // What `wait_for` gives holds a lock, which must not live while the connection goes on.
    let ending = async move { drop(shutdown.wait_for(|end| *end).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = ending => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, %error, "connection broke");
    }
}

/// Requests below a mount go to its gate, others to the fallback.
struct Router<F> {
    gates: Arc<Gates>,
    clock: Clock,
    peer: Peer,
    fallback: Arc<F>,
}

impl<F, B> Service<http::Request<Incoming>> for Router<F>
where
    F: Service<http::Request<Incoming>, Response = http::Response<B>> + Send + Sync + 'static,
    F::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = http::Response<Either<GateBody, B>>;
    type Error = F::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, F::Error>> + Send>>;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        let gates = Arc::clone(&self.gates);
        let clock = self.clock.clone();
        let fallback = Arc::clone(&self.fallback);
        request.extensions_mut().insert(self.peer);
        Box::pin(async move {
            // The head alone: a body would not have to be, and is not, shared between threads.
            let (head, body) = request.into_parts();
            if let Some(answer) = answer_request(&gates, &clock, &head).await {
                return Ok(answer.map(Either::Left));
            }
            let answer = fallback.call(http::Request::from_parts(head, body)).await?;
            Ok(answer.map(Either::Right))
        })
    }
}

/// A stream that begins with what was already received, and whose writes do not wait for ever.
struct Rest<S> {
    received: Bytes,
    stream: S,
    watch: Watch,
    sent: u64,
}

impl<S> Rest<S> {
    fn note(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(count)) => {
                self.sent += count as u64;
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self
                .watch
                .poll(cx, Phase::Write, self.sent)
                .map(|_stop| Err(io::Error::from(io::ErrorKind::TimedOut))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rest<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.get_mut();
        if rest.received.is_empty() {
            return Pin::new(&mut rest.stream).poll_read(cx, buffer);
        }
        let count = rest.received.len().min(buffer.remaining());
        buffer.put_slice(rest.received.get(..count).unwrap_or_default());
        rest.received.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rest<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let rest = self.get_mut();
        let written = Pin::new(&mut rest.stream).poll_write(cx, bytes);
        rest.note(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let rest = self.get_mut();
        let written = Pin::new(&mut rest.stream).poll_write_vectored(cx, slices);
        rest.note(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
