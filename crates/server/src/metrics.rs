//! Numbers for the operator, in the text format of Prometheus, on a listener of their own that only this machine reaches.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use flatpass_token::LookupError;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// All numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    lookups: Mutex<BTreeMap<String, Arc<LookupCounters>>>,
}

/// What became of the questions about tokens at one place.
#[derive(Debug)]
pub(crate) struct LookupCounters {
    answered: AtomicU64,
    unreachable: AtomicU64,
    busy: AtomicU64,
    shared: AtomicU64,
    outages: AtomicU64,
    up: AtomicBool,
}

impl Default for LookupCounters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            answered: zero(),
            unreachable: zero(),
            busy: zero(),
            shared: zero(),
            outages: zero(),
            up: AtomicBool::new(true),
        }
    }
}

impl LookupCounters {
    pub(crate) fn count<V>(&self, answer: &Result<V, LookupError>) {
        let counter = match answer {
            Ok(_) => &self.answered,
            Err(LookupError::Unreachable) => &self.unreachable,
            Err(LookupError::Busy) => &self.busy,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A question that somebody else was asking at the same moment.
    pub(crate) fn shared(&self) {
        self.shared.fetch_add(1, Relaxed);
    }

    pub(crate) fn begin_outage(&self) {
        self.outages.fetch_add(1, Relaxed);
        self.set_up(false);
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Relaxed);
    }
}

impl Metrics {
    /// The counters of that place: `store`, or `issuer:NAME`.
    pub(crate) fn lookups(&self, source: &str) -> Arc<LookupCounters> {
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lookups.entry(source.to_owned()).or_default())
    }

    /// All of them.
    pub(crate) fn render(&self) -> String {
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let mut put =
            |name: &str, kind: &str, help: &str, values: &mut dyn Iterator<Item = (String, u64)>| {
                // Writing to a text cannot fail.
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
                for (labels, value) in values {
                    let _ = writeln!(text, "{name}{{{labels}}} {value}");
                }
            };
        // Names of issuers have no character that would have to be escaped.
        put(
            "flatpass_token_lookups_total",
            "counter",
            "Requests that waited for it to be found out what their token is, by outcome.",
            &mut lookups.iter().flat_map(|(source, one)| {
                [("answered", &one.answered), ("unreachable", &one.unreachable), ("busy", &one.busy)].map(
                    |(outcome, count)| {
                        (format!("source=\"{source}\",outcome=\"{outcome}\""), count.load(Relaxed))
                    },
                )
            }),
        );
        let labels = |source: &str| format!("source=\"{source}\"");
        put(
            "flatpass_token_lookups_shared_total",
            "counter",
            "Those of them that waited for the answer to somebody else's same question.",
            &mut lookups.iter().map(|(source, one)| (labels(source), one.shared.load(Relaxed))),
        );
        put(
            "flatpass_token_lookup_outages_total",
            "counter",
            "How often nobody could say any more what tokens are.",
            &mut lookups.iter().map(|(source, one)| (labels(source), one.outages.load(Relaxed))),
        );
        put(
            "flatpass_token_lookup_up",
            "gauge",
            "1 if the last question was answered, 0 during an outage.",
            &mut lookups.iter().map(|(source, one)| (labels(source), u64::from(one.up.load(Relaxed)))),
        );
        text
    }
}

/// Answers `GET /metrics` and nothing else, until `shutdown` says true.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, mut shutdown: watch::Receiver<bool>) {
    let show = async move || {
        let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
        (kind, metrics.render())
    };
    let router = Router::new().route("/metrics", get(show));
    let address = listener.local_addr().ok();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        let _ = shutdown.wait_for(|end| *end).await;
    });
    if let Err(error) = served.await {
        tracing::error!(?address, %error, "the metrics are not served any more");
    }
}

/// `[metrics]`: where they are served; nowhere without it.
#[derive(Clone, Debug, Default, serde::Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MetricsSettings {
    /// An address of this machine's loopback interface, and a port.
    pub listen: Option<SocketAddr>,
}
