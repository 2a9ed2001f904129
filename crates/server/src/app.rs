//! The application's state and its router: one line for each endpoint.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use flatpass_gate::{CacheLimits, Clock, FileCache, Gates, Unmounted, Uses};
use flatpass_store::{Random, Store};
use flatpass_token::UnixTime;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::{Notify, watch};

use crate::broker::Broker;
use crate::catalogues::Catalogues;
use crate::config::Config;
use crate::indexes::Indexes;
use crate::layouts::Layouts;
use crate::lookups::Lookups;
use crate::pass_through::{self, PassThrough};
use crate::payment::{self, PaymentProvider};
use crate::problem::ApiError;
use crate::registries::Registries;
use crate::snapshot::{Snapshot, SnapshotError, Sources};
use crate::tries::Tries;
use crate::web::page::PageError;
use crate::{api, oauth, pages};

/// Bodies over this many bytes are refused: 1000 refs with their commits fit.
const BODY_BYTES: usize = 512 * 1024;
/// The longest form is that of a consent, with the refs that are asked for in it.
const FORM_BYTES: usize = 64 * 1024;

/// What the handlers share.
pub struct App {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) gates: Arc<Gates>,
    /// When and from where access tokens were used, until it is written down.
    pub(crate) uses: Arc<Uses>,
    /// The images of container registries and layouts.
    pub(crate) catalogues: Catalogues,
    /// Where tokens are looked up.
    pub(crate) lookups: Lookups,
    /// Who looks at the registries.
    pub(crate) registries: Registries,
    /// Who fetches tokens of registries with accounts of their own.
    pub(crate) broker: Broker,
    /// The way to the flat-managers that publish to repos.
    pub(crate) pass_through: PassThrough,
    /// What Flatpak reads of both.
    pub(crate) indexes: Indexes,
    /// Who looks at the layouts.
    pub(crate) layouts: Layouts,
    pub(crate) payment: Box<dyn PaymentProvider>,
    pub(crate) clock: Clock,
    pub(crate) tries: Tries,
    /// The second since when changes could not be taken up; 0 while all is well.
    pub(crate) stuck_since: AtomicI64,
    /// Raised when a request changed what gates must know at once.
    pub(crate) wake: Notify,
    /// The store's change counter that was last taken up.
    pub(crate) taken_up: watch::Sender<u64>,
}

/// An answer waits no longer than this for the gates to know what it says.
const TAKE_UP: Duration = Duration::from_secs(2);

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
        let uses = Arc::new(Uses::new(config.limits.trusted_proxies.clone()));
        let catalogues = Catalogues::default();
        let registries = Registries::remember(&config, &store, &catalogues).await?;
        let layouts = Layouts::new(&config);
        layouts.look(&store.repos().await?, &catalogues, now).await;
        let lookups = Lookups::new(&config, &store)?;
        let sources = Sources {
            config: &config,
            store: &store,
            files: &files,
            uses: &uses,
            catalogues: &catalogues,
            lookups: &lookups,
        };
        let snapshot = Snapshot::make(sources, None, now).await?;
        let indexes = Indexes::default();
        let unmounted = unmounted(&config, &snapshot);
        let mut mounts = layouts.mounts(&config, &snapshot, &files, &uses);
        mounts.extend(indexes.mounts(&config, &snapshot, &uses, &unmounted));
        let gates = Arc::new(Gates::new(files).with_unmounted(unmounted));
        gates.replace(mounts);
        Ok(Arc::new(Self {
            payment: payment::provider(&config, &store).map_err(SnapshotError::Payment)?,
            tries: Tries::new(&config.limits),
            stuck_since: AtomicI64::new(0),
            uses,
            catalogues,
            lookups,
            registries,
            broker: Broker::default(),
            pass_through: PassThrough::default(),
            layouts,
            indexes,
            wake: Notify::new(),
            taken_up: watch::Sender::new(0),
            snapshot: ArcSwap::from_pointee(snapshot),
            config,
            store,
            gates,
            clock,
        }))
    }

    /// Lets the gates know what was changed before this call, and waits for it, so that an answer that follows is true. When the
    /// changes cannot be taken up the answer must go out all the same.
    pub(crate) async fn take_up(&self) {
        let Ok(changed) = self.store.change_counter().await else { return };
        let mut taken_up = self.taken_up.subscribe();
        if *taken_up.borrow() >= changed {
            return;
        }
        self.wake.notify_one();
        let _ = tokio::time::timeout(TAKE_UP, taken_up.wait_for(|counter| *counter >= changed)).await;
    }

    /// What a snapshot is made of.
    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources {
            config: &self.config,
            store: &self.store,
            files: self.gates.cache(),
            uses: &self.uses,
            catalogues: &self.catalogues,
            lookups: &self.lookups,
        }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now().unix()
    }
}

/// What answers where no repo is.
pub(crate) fn unmounted(config: &Config, snapshot: &Snapshot) -> Unmounted {
    Unmounted {
        prefix: "/repo".to_owned(),
        public_url: config.at("repo"),
        is_name: flatpass_store::is_repo_name,
        sign_in_url: config.at("sign-in"),
        problem_url: config.at("problems/"),
        verifier: Arc::clone(&snapshot.unmounted),
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
    let pages = Router::new()
        .route("/", get(pages::home::show))
        .route("/sign-in", get(pages::sign_in::show).post(pages::sign_in::submit))
        .route("/sign-up", get(pages::sign_up::show).post(pages::sign_up::submit))
        .route("/sign-up/{secret}", get(pages::sign_up_link::show).post(pages::sign_up_link::submit))
        .route("/sign-out", post(pages::sign_in::sign_out))
        .route("/account", get(pages::account::show))
        .route("/account/password", post(pages::account::change_password))
        .route("/account/devices/{id}/sign-out", post(pages::account::sign_out_device))
        .route("/account/access-tokens/{id}/revoke", post(pages::account_repo::revoke_access_token))
        .route("/account/repos/{repo}", get(pages::account_repo::show))
        .route("/account/repos/{repo}/flatpakrepo", post(pages::flatpak_files::download_repo))
        .route("/account/repos/{repo}/container-login", post(pages::container_login::make))
        .route("/account/repos/{repo}/flatpakref", post(pages::flatpak_files::download_ref))
        .route("/account/verify", post(pages::verify::send))
        .route("/verify/{secret}", get(pages::verify::show).post(pages::verify::confirm))
        .route("/join/{secret}", get(pages::join::show).post(pages::join::join))
        .route("/groups/{id}", get(pages::group::show))
        .route("/groups/{id}/leave", post(pages::group::leave))
        .route("/groups/{id}/invitations", post(pages::group::invite))
        .route("/groups/{id}/invitations/{invitation}/revoke", post(pages::group::revoke_invitation))
        .route("/groups/{id}/members/{account}/role", post(pages::group::set_role))
        .route("/groups/{id}/members/{account}/remove", post(pages::group::remove))
        .route("/apps/{repo}/{app}", get(pages::offer::show).post(pages::offer::buy))
        .route("/orders/{id}", get(pages::order::show))
        .route("/sandbox/pay/{reference}", get(pages::sandbox::show).post(pages::sandbox::decide))
        .route("/oauth/authorize", get(oauth::authorize::show).post(oauth::authorize::decide))
        .route("/device", get(oauth::device::show).post(oauth::device::decide))
        .route("/login", get(api::sample::login))
        .route("/api/login", get(api::sample::login).post(api::sample::allow))
        .route("/api/purchase/{repo}/{app}", get(api::sample::purchase))
        .route("/purchase", get(api::purchases::page::show).post(api::purchases::page::decide))
        .route(
            "/flat-manager/{repo}/purchase",
            get(api::purchases::page::show).post(api::purchases::page::decide),
        )
        .method_not_allowed_fallback(async || PageError::Method)
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), take_up_changes));
    let api = Router::new()
        .route("/healthz", get(pages::home::health))
        .route("/repos/{file}", get(pages::flatpak_files::public))
        .route("/static/{file}", get(pages::style::show))
        .route("/oauth/token", post(oauth::token::submit))
        .route("/oauth/device_authorization", post(oauth::device_authorization::submit))
        .route("/oauth/revoke", post(oauth::revoke::submit))
        .route("/oauth/introspect", post(oauth::introspect::submit))
        .route("/oauth/jwks", get(oauth::metadata::jwks))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata::show))
        .route("/payment/events", post(api::payment_events::submit))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), take_up_changes))
        .route("/oauth/registry-token", oauth::registry_token::route())
        .route("/api/v1/ref-tokens", post(api::ref_tokens::submit))
        .route("/api/v1/peers/{repo}", get(api::peers::show))
        .route("/api/v1/registry-events/{repo}", post(api::registry_events::submit))
        .route("/api/v1/summary-tokens", post(api::summary_tokens::submit))
        .route("/api/v1/access-tokens", get(api::access_tokens::list).post(api::access_tokens::create))
        .route("/api/v1/access-tokens/rotate", post(api::access_tokens::rotate))
        .route("/api/v1/access-tokens/revoke", post(api::access_tokens::revoke))
        .route("/api/v1/access-tokens/{id}", delete(api::access_tokens::delete))
        .route("/api/v1/get_tokens", post(api::sample::get_tokens))
        .route("/api/v1/begin_purchase", post(api::sample::begin_purchase))
        .merge(api::purchases::routes("/purchases"))
        .merge(api::purchases::routes("/flat-manager/{repo}/purchases"))
        .method_not_allowed_fallback(async || ApiError::Method)
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    let longest = Duration::from_secs(app.config.limits.request_seconds);
    pages
        .merge(api)
        .fallback(pages::home::not_found)
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            // The body's arrival is part of it, so who sends it one byte at a time holds nothing for long.
            tokio::time::timeout(longest, next.run(request)).await.map_err(|_| ApiError::Slow)
        }))
        // Uploads take their time, and are watched by others.
        .merge(pass_through::routes())
        .with_state(app)
}

/// What a request changed, such as a device that was signed out, is in force when its answer arrives.
async fn take_up_changes(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.take_up().await;
    response
}
