//! `flatpass peer serve`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use flatpass_gate::Clock;
use flatpass_peer::{Peer, PeerError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::failure::Failure;
use super::super::output::Answer;
use super::Which;

pub(super) const HELP: &str = "Clients use it as the remote's URL, http://PEER:8480/repo/NAME, or beside the store with:\n  \
    flatpass-authenticator peers on\n\n\
    It needs no store to answer: tokens are checked with the store's public keys, which it reads again whenever it is online.\n\
    A clock that is more than two minutes wrong makes good tokens look bad; the refusal says so.";

/// How to serve a peer.
#[derive(Args)]
pub(in crate::cli) struct Serve {
    #[command(flatten)]
    which: Which,
    /// Listen here, whatever peer.toml says
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Serves until SIGTERM or SIGINT, then lets running answers finish.
pub(super) async fn run(serve: Serve) -> Result<Answer, Failure> {
    tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let peer = Arc::new(Peer::open(&serve.which.dir, Clock::system())?);
    let address = serve.listen.unwrap_or(peer.settings().listen);
    let listener = TcpListener::bind(address).await.map_err(|cause| PeerError::Listen { address, cause })?;
    let (end, shutdown) = watch::channel(false);
    let cannot = |error: std::io::Error| {
        Failure::told(format!("cannot listen for signals: {error}"), "start it again; if it stays, report it")
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = end.send(true);
    });
    let at = listener.local_addr().unwrap_or(address);
    tracing::info!(store = %peer.settings().store, repo = peer.settings().repo, listen = %at, "serving");
    peer.serve(listener, shutdown).await?;
    Ok(Answer::text("stopped"))
}
