//! A bridge that runs inside another command, for as long as that takes: `remote-add --bridge`, and `run`.

use std::net::Ipv4Addr;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::book::{Book, BookError};
use super::peer::{self, Listener};
use super::tokens::TokenSource;
use super::{Bridge, Limits, ServeError, serve};
use crate::authority::http::HttpConfig;

/// Why there is none.
#[derive(Debug, Error)]
pub enum AlongsideError {
    /// The book.
    #[error("{0}")]
    Book(#[from] BookError),
    /// Somebody else's program holds the port that the remotes name.
    #[error(
        "Port {port} of this computer, which remotes with the bridge name, is held by another user's program. Ask its owner to end it; `ss -ltnp sport = :{port}` as root shows it."
    )]
    Foreign {
        /// The port.
        port: u16,
    },
    /// The system.
    #[error("The bridge cannot listen on port {port} ({cause}).")]
    Socket {
        /// The port.
        port: u16,
        /// The system's words.
        cause: std::io::Error,
    },
}

/// A bridge in this process. When it is dropped, it ends.
#[derive(Debug)]
pub struct Alongside {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Alongside {
    /// Starts a bridge if there are remotes for it and none runs yet.
    ///
    /// # Errors
    /// [`AlongsideError`].
    pub async fn start(
        book: Book,
        http: HttpConfig,
        source: impl TokenSource,
    ) -> Result<Option<Self>, AlongsideError> {
        let Some(port) = book.read()?.port else { return Ok(None) };
        let socket = |cause| AlongsideError::Socket { port, cause };
        match peer::listener(port).map_err(socket)? {
            Listener::Ours => return Ok(None),
            Listener::Foreign => return Err(AlongsideError::Foreign { port }),
            Listener::Nobody => {}
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(socket)?;
        let bridge = Bridge { book, http, limits: Limits::default() };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(Box::pin(async move {
            let stop = async {
                let _dropped = stopped.await;
            };
            serve(listener, bridge, source, stop).await
        }));
        Ok(Some(Self { stop, serving }))
    }

    /// Ends it, once what is under way is done.
    pub async fn end(self) {
        drop(self.stop);
        match self.serving.await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the bridge did not serve"),
        }
    }
}
