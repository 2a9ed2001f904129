//! The application's state and its router: one line for each endpoint.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use flatpass_gate::{CacheLimits, Clock, FileCache, Gates};
use flatpass_store::{Random, Store};
use flatpass_token::UnixTime;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use crate::config::Config;
use crate::payment::{self, PaymentProvider};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::{api, oauth, pages};

/// Bodies over this many bytes are refused: 1000 refs fit twice.
const BODY_BYTES: usize = 512 * 1024;

/// What the handlers share.
pub struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) gates: Arc<Gates>,
    pub(crate) payment: Box<dyn PaymentProvider>,
    pub(crate) clock: Clock,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    by_account: DefaultKeyedRateLimiter<String>,
    tokens_by_address: DefaultKeyedRateLimiter<IpAddr>,
}

impl App {
    /// Reads the store and mounts its gates.
    pub(crate) async fn start(
        config: Config,
        store: Store,
        clock: Clock,
    ) -> Result<Arc<Self>, SnapshotError> {
        let now = clock.now().unix();
        store.ensure_signing_key(now, &mut UnwrapErr(SysRng)).await?;
        let files = Arc::new(FileCache::new(CacheLimits {
            bytes: config.gate.cache_bytes,
            ..CacheLimits::default()
        }));
        let snapshot = Snapshot::make(&config, &store, &files, None, now).await?;
        let gates = Arc::new(Gates::new(files));
        gates.replace(snapshot.gates.clone());
        let per_minute = |count: u32| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        Ok(Arc::new(Self {
            payment: payment::provider(&config, &store),
            by_address: RateLimiter::keyed(per_minute(config.limits.sign_in_per_minute)),
            by_account: RateLimiter::keyed(per_minute(config.limits.sign_in_per_minute)),
            tokens_by_address: RateLimiter::keyed(per_minute(config.limits.token_per_minute)),
            snapshot: ArcSwap::from_pointee(snapshot),
            config,
            store,
            gates,
            clock,
        }))
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now().unix()
    }

    /// Counts one try to sign in, or the like, against the address and, when given, the account. `Err`: wait so many seconds.
    pub(crate) fn allow_try(&self, address: IpAddr, account: Option<&str>) -> Result<(), u64> {
        let clock = DefaultClock::default();
        let seconds = |not_until: governor::NotUntil<_>| not_until.wait_time_from(clock.now()).as_secs() + 1;
        self.by_address.check_key(&address).map_err(seconds)?;
        if let Some(account) = account {
            self.by_account.check_key(&account.trim().to_lowercase()).map_err(seconds)?;
        }
        Ok(())
    }

    /// Counts one call of the token endpoint. `Err`: wait so many seconds.
    pub(crate) fn allow_token_call(&self, address: IpAddr) -> Result<(), u64> {
        let now = DefaultClock::default().now();
        self.tokens_by_address
            .check_key(&address)
            .map_err(|not_until| not_until.wait_time_from(now).as_secs() + 1)
    }

    /// Forgets addresses and accounts that have not tried for a while, so that the tables stay small.
    pub(crate) fn forget_old_tries(&self) {
        self.by_address.retain_recent();
        self.by_account.retain_recent();
        self.tokens_by_address.retain_recent();
        self.by_address.shrink_to_fit();
        self.by_account.shrink_to_fit();
    }
}

/// The system's generator, as the store takes it.
pub(crate) struct Rng(UnwrapErr<SysRng>);

impl Rng {
    pub(crate) fn system() -> Self {
        Self(UnwrapErr(SysRng))
    }

    pub(crate) fn as_random(&mut self) -> Random<'_> {
        &mut self.0
    }
}

/// Everything but the gates.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(pages::home::show))
        .route("/healthz", get(pages::home::health))
        .route("/static/{file}", get(pages::style::show))
        .route("/sign-in", get(pages::sign_in::show).post(pages::sign_in::submit))
        .route("/sign-up", get(pages::sign_up::show).post(pages::sign_up::submit))
        .route("/sign-out", post(pages::sign_in::sign_out))
        .route("/account", get(pages::account::show))
        .route("/account/password", post(pages::account::change_password))
        .route("/account/devices/{id}/sign-out", post(pages::account::sign_out_device))
        .route("/apps/{repo}/{app}", get(pages::offer::show).post(pages::offer::buy))
        .route("/orders/{id}", get(pages::order::show))
        .route("/sandbox/pay/{reference}", get(pages::sandbox::show).post(pages::sandbox::decide))
        .route("/oauth/authorize", get(oauth::authorize::show).post(oauth::authorize::decide))
        .route("/oauth/token", post(oauth::token::submit))
        .route("/oauth/revoke", post(oauth::revoke::submit))
        .route("/oauth/introspect", post(oauth::introspect::submit))
        .route("/oauth/jwks", get(oauth::metadata::jwks))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata::show))
        .route("/api/v1/ref-tokens", post(api::ref_tokens::submit))
        .route("/api/login", get(api::sample::login).post(api::sample::allow))
        .route("/api/v1/get_tokens", post(api::sample::get_tokens))
        .route("/api/v1/begin_purchase", post(api::sample::begin_purchase))
        .route("/api/purchase/{repo}/{app}", get(api::sample::purchase))
        .fallback(pages::home::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(app)
}
