//! `flatpass peer serve`: the listener, and the loops beside it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flatpass_gate::{Limits, serve_connection};
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::announce::announce;
use crate::{Peer, PeerError};

/// How often the store is asked what is new.
const FOLLOW: Duration = Duration::from_secs(30);
/// How often it is written down what was used.
const NOTE: Duration = Duration::from_secs(5 * 60);
/// So many connections at once: a building, not the world.
const MOST_CONNECTIONS: usize = 512;
/// Answers under way have so long to end.
const GRACE: Duration = Duration::from_secs(10);

impl Peer {
    /// Serves until `shutdown` says true, then finishes the answers under way.
    ///
    /// # Errors
    /// [`PeerError::Start`] before the first connection; afterwards only the log hears of trouble.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), PeerError> {
        let following = tokio::spawn(Arc::clone(&self).follow());
        let noting = tokio::spawn(Arc::clone(&self).note());
        let evicting = tokio::spawn(Arc::clone(&self).keep_within());
        let announcement = listener.local_addr().ok().and_then(|at| announce(&self.settings, at));
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let limits = Arc::new(Limits::default());
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&connections).acquire_owned() => permit,
                _ = shutdown.wait_for(|end| *end) => break,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|end| *end) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (peer, limits, shutdown) = (Arc::clone(&self), Arc::clone(&limits), shutdown.clone());
            tokio::spawn(async move {
                let about = Bytes::from(peer.about());
                let elsewhere = service_fn(move |request: http::Request<_>| {
                    let answer = elsewhere(&request, &about);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let (gates, clock) = (Arc::clone(&peer.gates), peer.clock.clone());
                serve_connection(stream, address, gates, &limits, clock, shutdown, elsewhere).await;
                drop(permit);
            });
        }
        drop(announcement);
        following.abort();
        noting.abort();
        evicting.abort();
        let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
        let _ended = tokio::time::timeout(GRACE, connections.acquire_many(all)).await;
        self.save_last_use();
        Ok(())
    }

    /// Asks the store what is new, for ever.
    async fn follow(self: Arc<Self>) {
        let mut fails = false;
        let mut every = tokio::time::interval(FOLLOW);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let reached = self.refresh().await;
            match &reached {
                Ok(()) if std::mem::take(&mut fails) => tracing::info!("the store is reached again"),
                Ok(()) => {}
                // Told already, with what it means.
                Err(PeerError::Refused(_) | PeerError::OnlyOnline { .. }) => fails = true,
                Err(error) if !std::mem::replace(&mut fails, true) => {
                    let until = self.trust().ends_at(self.settings.offline_for_days);
                    tracing::warn!(%error, "what is here is served on, and tokens are checked until {until}");
                }
                Err(_) => {}
            }
            // Devices of a site come and go without the store.
            if !matches!(reached, Ok(()) | Err(PeerError::Refused(_) | PeerError::OnlyOnline { .. }))
                && let Err(error) = self.trust().keys().and_then(|keys| self.take_up(keys))
            {
                tracing::error!(%error, "what changed on this peer cannot be taken up");
            }
        }
    }

    async fn note(self: Arc<Self>) {
        let mut every = tokio::time::interval(NOTE);
        loop {
            every.tick().await;
            self.save_last_use();
            self.gates.cache().sweep(self.clock.now());
        }
    }

    /// Counts what is here, and makes room whenever it is too much.
    async fn keep_within(self: Arc<Self>) {
        loop {
            let peer = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || peer.evict()).await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(gone)) => {
                    tracing::info!(bytes = gone, "made room: what nobody used for the longest time went");
                }
                Ok(Err(error)) => tracing::error!(%error, "no room can be made"),
            }
            self.filler.0.too_much.notified().await;
        }
    }

    fn save_last_use(&self) {
        if let Err(error) = self.filler.0.last_use.save() {
            tracing::warn!(%error, "when files were last used cannot be written down");
        }
    }

    /// What it says of itself at `/`.
    fn about(&self) -> String {
        format!(
            "This is a peer of {}: it serves copies of files of its repo at /repo/{}.\n",
            self.settings.store, self.settings.repo
        )
    }
}

/// Everything that is not below the repo.
fn elsewhere<B>(request: &http::Request<B>, about: &Bytes) -> http::Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/" => (http::StatusCode::OK, about.clone()),
        "/healthz" => (http::StatusCode::OK, Bytes::from_static(b"ok\n")),
        _ => (http::StatusCode::NOT_FOUND, Bytes::from_static(b"There is nothing here.\n")),
    };
    let mut answer = http::Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
