//! `flatpass serve`: the listener, TLS, and the one loop beside the requests that takes up changes.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flatpass_gate::{CacheLimits, Clock, Limits, Opaque, Peer, serve_connection};
use flatpass_store::{AccessTokenUse, Sealer, Store, StoreError, StoreOptions};
use flatpass_token::CertificateHash;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::app::{App, router, unmounted};
use crate::client_certificate::AnyCertificate;
use crate::config::{Config, Tls};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::{metrics, payment};

/// Why the server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}. Is another server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{path}: {what}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The database cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in the store cannot be served.
    #[error("{0}")]
    Snapshot(String),
}

impl From<SnapshotError> for ServeError {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error.to_string())
    }
}

/// How often changes are looked for.
const LOOK: Duration = Duration::from_millis(300);
/// How often it is written down when access tokens were used.
const NOTE: Duration = Duration::from_secs(2);
/// How often the store forgets what has ended.
const PRUNE: Duration = Duration::from_secs(60 * 60);
/// How often pending orders are asked about, and unused cache entries and old tries are forgotten.
const TIDY: Duration = Duration::from_secs(30);

/// Opens the store that a configuration names.
///
/// # Errors
/// [`StoreError`], also when the key file is not there or not 0600.
pub async fn open_store(config: &Config) -> Result<Store, StoreError> {
    const DAY: i64 = 24 * 60 * 60;
    let sealer = Sealer::from_key_file(&config.secret_key)?;
    let options = StoreOptions {
        access_token_seconds: config.tokens.access_token_seconds,
        refresh_idle_seconds: config.tokens.refresh_token_days * DAY,
        ..StoreOptions::default()
    };
    Store::open_with(&config.database, sealer, options).await
}

/// Serves until `shutdown` says true; then finishes the answers under way. Calls `ready` once connections are accepted.
///
/// # Errors
/// A [`ServeError`] before the first connection; afterwards only the log hears of trouble.
pub async fn serve(
    config: Config,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
    ready: impl FnOnce(&Config),
) -> Result<(), ServeError> {
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, cause })?;
    serve_on(listener, config, clock, shutdown, ready).await
}

/// As [`serve`], on a listener that is there already; the configuration's own address does not count.
///
/// # Errors
/// As those of [`serve`].
pub async fn serve_on(
    listener: TcpListener,
    config: Config,
    clock: Clock,
    mut shutdown: watch::Receiver<bool>,
    ready: impl FnOnce(&Config),
) -> Result<(), ServeError> {
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let store = open_store(&config).await?;
    let app = App::start(config, store, clock.clone()).await?;
    let metrics_listener = match app.config.metrics.listen {
        Some(address) => {
            let listening = TcpListener::bind(address).await;
            let listener = listening.map_err(|cause| ServeError::Listen { address, cause })?;
            Some((listener, Arc::clone(&app.lookups.metrics)))
        }
        None => None,
    };
    let limits = Arc::new(Limits {
        head_read: Duration::from_secs(app.config.limits.header_seconds),
        idle: Duration::from_secs(app.config.limits.idle_seconds),
        ..Limits::default()
    });
    let most = connections(app.config.limits.connections);
    let connections = Arc::new(Semaphore::new(most));
    let beside = tokio::spawn(keep_up(Arc::clone(&app)));
    if let Some((listener, metrics)) = metrics_listener {
        tokio::spawn(metrics::serve(listener, metrics, shutdown.clone()));
    }
    ready(&app.config);

    let connection =
        Connection { router: router(Arc::clone(&app)), limits, clock, shutdown: shutdown.clone(), app };
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
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give connections the time to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (connection, tls) = (connection.clone(), tls.clone());
        tokio::spawn(async move {
            connection.run(stream, peer, tls).await;
            drop(permit);
        });
    }
    beside.abort();
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let grace = Duration::from_secs(connection.app.config.limits.shutdown_seconds);
    // All permits back means that all connections have ended.
    let _ = tokio::time::timeout(grace, connections.acquire_many(all)).await;
    note_uses(&connection.app).await;
    connection.app.store.close().await;
    Ok(())
}

#[derive(Clone)]
struct Connection {
    app: Arc<App>,
    router: axum::Router,
    limits: Arc<Limits>,
    clock: Clock,
    shutdown: watch::Receiver<bool>,
}

impl Connection {
    async fn run(self, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let _ = stream.set_nodelay(true);
        let fallback = TowerToHyperService::new(self.router);
        let gates = Arc::clone(&self.app.gates);
        match tls {
            None => {
                serve_connection(stream, peer, gates, &self.limits, self.clock, self.shutdown, fallback)
                    .await;
            }
            Some(tls) => {
                let Ok(Ok(stream)) = tokio::time::timeout(self.limits.head_read, tls.accept(stream)).await
                else {
                    return;
                };
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let certificate = shown.map(|certificate| CertificateHash::of(certificate));
                serve_connection(
                    Opaque(stream),
                    Peer(peer, certificate),
                    gates,
                    &self.limits,
                    self.clock,
                    self.shutdown,
                    fallback,
                )
                .await;
            }
        }
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ServeError> {
    let wrong = |path: &Path, what: String| ServeError::Certificate { path: path.to_owned(), what };
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&tls.certificate, format!("not a certificate chain in PEM: {error}")))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| wrong(&tls.key, format!("not a private key in PEM: {error}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = match tls.client_certificates {
                true => builder.with_client_cert_verifier(Arc::new(AnyCertificate::new(&provider))),
                false => builder.with_no_client_auth(),
            };
            builder.with_single_cert(chain, key)
        })
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes up what commands, other servers and publishers changed, and settles what was paid while nobody listened.
async fn keep_up(app: Arc<App>) {
    let mut look = tokio::time::interval(LOOK);
    let mut note = tokio::time::interval(NOTE);
    let mut prune = tokio::time::interval(PRUNE);
    let mut tidy = tokio::time::interval(TIDY);
    let mut seen = None;
    loop {
        tokio::select! {
            _ = look.tick() => seen = reload(&app, seen).await,
            () = app.wake.notified() => seen = reload(&app, seen).await,
            _ = note.tick() => note_uses(&app).await,
            _ = prune.tick() => {
                if let Err(error) = app.store.prune(app.now()).await {
                    tracing::warn!(%error, "what has ended cannot be deleted; it is tried again in an hour");
                }
            }
            _ = tidy.tick() => {
                payment::settle_all(&app).await;
                app.gates.cache().sweep(app.clock.now());
            }
        }
    }
}

/// Writes down when and from where access tokens were used. What was noted in the last seconds before a crash is lost.
async fn note_uses(app: &App) {
    let uses = app.uses.take().into_iter().map(|used| AccessTokenUse {
        id: used.id.into(),
        at: used.at,
        address: used.address.to_string(),
    });
    if let Err(error) = app.store.note_access_token_uses(&uses.collect::<Vec<_>>()).await {
        tracing::warn!(%error, "the use of access tokens cannot be recorded");
    }
}

/// Makes the snapshot anew if anything changed. When that fails the last good one stays, `/healthz` says so, and the next look
/// tries again.
async fn reload(app: &Arc<App>, seen: Option<u64>) -> Option<u64> {
    match try_reload(app, seen).await {
        Ok(counter) => {
            if app.stuck_since.swap(0, Ordering::Relaxed) != 0 {
                tracing::info!("changes are taken up again");
            }
            app.taken_up.send_replace(counter);
            Some(counter)
        }
        Err(error) => {
            let first =
                app.stuck_since.compare_exchange(0, app.now().0, Ordering::Relaxed, Ordering::Relaxed);
            // Three times a second would fill the disk that may be the trouble.
            if first.is_ok() {
                tracing::error!(%error, "changes cannot be taken up; what was read last stays in force");
            }
            seen
        }
    }
}

async fn try_reload(app: &Arc<App>, seen: Option<u64>) -> Result<u64, SnapshotError> {
    let counter = app.store.change_counter().await?;
    let before = app.snapshot.load_full();
    if seen == Some(counter) && app.now() < before.good_until {
        let (looked_at, now_there) = (Arc::clone(&before), Arc::clone(app));
        let stale = tokio::task::spawn_blocking(move || {
            looked_at.is_stale(&now_there.catalogues) || now_there.layouts.is_stale(now_there.now())
        })
        .await;
        if !stale.unwrap_or(true) {
            return Ok(counter);
        }
    }
    app.layouts.look(&app.store.repos().await?, &app.catalogues, app.now()).await;
    let snapshot = Snapshot::make(app.sources(), Some(&before), app.now()).await?;
    app.catalogues.keep(|repo| snapshot.repos.contains_key(repo));
    let mut mounts = app.layouts.mounts(&app.config, &snapshot, app.gates.cache(), &app.uses);
    mounts.extend(app.indexes.mounts(&app.config, &snapshot, &app.uses, &unmounted(&app.config, &snapshot)));
    app.gates.replace(mounts);
    app.snapshot.store(Arc::new(snapshot));
    app.registries.follow(app);
    Ok(counter)
}

/// How many connections are taken at once: what the configuration says, or fewer if the system allows fewer open files than
/// they, the files of the gates and the database need.
fn connections(configured: usize) -> usize {
    /// The database, the listener, the log, the runtime.
    const OTHERS: u64 = 64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let Some(files) = limit.current else { return configured };
    let left = files.saturating_sub(OTHERS + CacheLimits::default().open_files).max(files / 4);
    let most = usize::try_from(left).unwrap_or(usize::MAX).max(1);
    if most < configured {
        tracing::warn!(
            configured,
            most,
            "fewer connections than configured, because the system allows {files} open files; raise LimitNOFILE"
        );
    }
    configured.min(most)
}
