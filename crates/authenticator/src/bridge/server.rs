//! The listener: connections with their limits, from the first look at who is there to the end of the last answer.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::book::Book;
use super::patience::Impatient;
use super::peer;
use super::pipe::Pipe;
use super::tokens::TokenSource;
use crate::authority::error::AuthorityError;
use crate::authority::http::HttpConfig;

/// The largest request head, in bytes. A ref token has at most half of it.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// What clients and repos may take of the bridge's time and memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are served at once. Others wait in the kernel's queue.
    pub connections: usize,
    /// Time for the head of a request, and for the next request of a connection to come.
    pub head: Duration,
    /// Time in which a client must take something of an answer that waits for it.
    pub reading: Duration,
    /// Time for the head of the repo's answer.
    pub upstream_head: Duration,
    /// Longest silence of the repo in the middle of a body.
    pub upstream_silence: Duration,
    /// Time for open answers when the bridge is told to end.
    pub ending: Duration,
    /// End by itself when nobody has been connected for this long.
    pub idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(20),
            reading: Duration::from_secs(60),
            upstream_head: Duration::from_secs(30),
            upstream_silence: Duration::from_secs(60),
            ending: Duration::from_secs(10),
            idle: None,
        }
    }
}

/// Why the bridge does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener is open to other machines.
    #[error(
        "The bridge listens on 127.0.0.1 only, and was given {0}. Mend ListenStream= of flatpass-bridge.socket."
    )]
    NotLoopback(SocketAddr),
    /// The HTTP client cannot be made.
    #[error("{0}")]
    Tls(#[from] AuthorityError),
    /// The socket.
    #[error("The bridge's socket cannot be used ({0}).")]
    Socket(#[from] io::Error),
}

/// What a bridge serves, and with what.
#[derive(Debug)]
pub struct Bridge {
    /// Which remotes there are. It is read again when it changes.
    pub book: Book,
    /// Trusted roots, and the time to connect to a repo.
    pub http: HttpConfig,
    /// Limits.
    pub limits: Limits,
}

/// Serves a bridge on `listener`, which is bound to an address of 127.0.0.1, until `stop` is ready or nobody has been
/// there for [`Limits::idle`]. Answers that are under way then have [`Limits::ending`] to end.
///
/// # Errors [`ServeError`], before the first connection is accepted.
pub async fn serve(
    listener: TcpListener,
    bridge: Bridge,
    source: impl TokenSource,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let local = listener.local_addr()?;
    if local.ip() != Ipv4Addr::LOCALHOST {
        return Err(ServeError::NotLoopback(local));
    }
    let limits = bridge.limits;
    let shared = Arc::new(Shared {
        pipe: Pipe::new(bridge, local, source)?,
        local,
        limits,
        open: watch::Sender::new(Open { connections: 0, since: Instant::now() }),
    });
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (end, ending) = watch::channel(false);
    tokio::pin!(stop);
    let mut unused = std::pin::pin!(unused(shared.open.subscribe(), limits.idle));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
            () = &mut unused => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let guest = Guest::new(Arc::clone(&shared));
                let ending = ending.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    guest.serve(stream, peer, ending).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    end.send_replace(true);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _late = tokio::time::timeout(limits.ending, slots.acquire_many(all)).await;
    Ok(())
}

/// How many connections are open, and since when that is so.
#[derive(Debug, Clone, Copy)]
struct Open {
    connections: usize,
    since: Instant,
}

/// Returns when nobody has been connected for `limit`.
async fn unused(mut open: watch::Receiver<Open>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let now = *open.borrow_and_update();
        tokio::select! {
            changed = open.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(now.since + limit), if now.connections == 0 => return,
        }
    }
}

#[derive(Debug)]
struct Shared {
    pipe: Pipe,
    local: SocketAddr,
    limits: Limits,
    open: watch::Sender<Open>,
}

/// A connection, counted while it is open.
struct Guest(Arc<Shared>);

impl Guest {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.send_modify(|open| open.connections += 1);
        Self(shared)
    }

    async fn serve(self, stream: TcpStream, peer: SocketAddr, mut ending: watch::Receiver<bool>) {
        if !is_mine(peer, self.0.local).await {
            // Not a byte is read, and none is said.
            return;
        }
        let _unsupported = stream.set_nodelay(true);
        let service = service_fn(|request: Request<Incoming>| {
            let shared = Arc::clone(&self.0);
            async move { Ok::<_, Infallible>(Box::pin(shared.pipe.answer(request)).await) }
        });
        let stream = Impatient::new(stream, self.0.limits.reading);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.0.limits.head)
            .max_buf_size(MAX_HEAD_BYTES)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let told = async {
            let _gone = ending.wait_for(|end| *end).await.is_ok();
        };
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = told => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(self.0.limits.ending, connection).await {
                    Ok(served) => served,
                    Err(_) => return tracing::info!("an answer was cut off at the end"),
                }
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to the bridge broke");
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| {
            open.connections -= 1;
            open.since = Instant::now();
        });
    }
}

/// Whether the program at the other end is this user's, or root's.
async fn is_mine(peer: SocketAddr, local: SocketAddr) -> bool {
    match tokio::task::spawn_blocking(move || peer::is_mine(peer, local)).await {
        Ok(Ok(is_mine)) => {
            if !is_mine {
                tracing::debug!("a connection of another user was refused");
            }
            is_mine
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot find out who is connected, so nobody is served: /proc/net/tcp");
            false
        }
        Err(_) => false,
    }
}
