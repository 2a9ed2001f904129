//! The keys of an issuer: fetched, followed, and kept for a day when it is away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use flatpass_store::Issuer;
use flatpass_token::{ForeignKeySet, ForeignKeys, KeySource, LookupError, SecretHash, UnixTime};
use url::Url;

use super::desk::{Desk, Trouble};
use super::http::{Http, is_safe};
use super::metadata;

/// How often they are looked at, and how often while that fails.
const LOOK: Duration = Duration::from_secs(300);
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(15);
/// A token with an unknown key leads to no more looks than one in so long.
const NEWS: Duration = Duration::from_secs(10);
/// Keys that could not be looked at for so long are not believed any more.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the keys of one issuer come from.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    issuer: Issuer,
    http: Http,
    desk: Arc<Desk<Arc<ForeignKeySet>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Where they are used.
    used: Weak<ForeignKeys>,
    looked_at: Option<Instant>,
    is_looking: bool,
    good_at: Option<Instant>,
    set: Option<Arc<ForeignKeySet>>,
    /// As the metadata said.
    address: Option<Url>,
}

/// A look that is under way until this is dropped.
struct Look(Arc<Mutex<State>>);

impl Look {
    fn begin(state: &Arc<Mutex<State>>) -> Self {
        let mut now = lock(state);
        (now.looked_at, now.is_looking) = (Some(Instant::now()), true);
        Self(Arc::clone(state))
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        lock(&self.0).is_looking = false;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IssuerKeys {
    pub(super) fn new(issuer: Issuer, http: Http, desk: Arc<Desk<Arc<ForeignKeySet>>>) -> Self {
        Self { issuer, http, desk, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn ask(&self) -> Result<Arc<ForeignKeySet>, LookupError> {
        // One question for all who have it.
        self.desk.ask(SecretHash::of(&self.issuer.name), || {
            let look = Look::begin(&self.state);
            let (issuer, http) = (self.issuer.clone(), self.http.clone());
            async move {
                let before = lock(&look.0).address.clone();
                let found = fetch(&http, &issuer, before).await;
                let mut state = lock(&look.0);
                // What the metadata said may be what is wrong.
                state.address = found.as_ref().ok().map(|(address, _)| address.clone());
                let (_, set) = found?;
                if state.set.as_ref() != Some(&set) {
                    tell(&issuer.name, &set);
                    state.set = Some(Arc::clone(&set));
                }
                state.good_at = Some(Instant::now());
                // Before the look is over: whoever comes after that finds them.
                if let Some(used) = state.used.upgrade() {
                    used.set(Arc::clone(&set));
                }
                Ok(set)
            }
        })
    }

    /// These are the keys that are followed.
    pub(super) fn are_used_in(&self, keys: &Arc<ForeignKeys>) {
        self.state().used = Arc::downgrade(keys);
    }

    /// Looks at the keys now and then, until it is aborted.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            let this = Arc::clone(&self);
            let asked = tokio::task::spawn_blocking(move || this.ask()).await;
            let pause = match asked {
                Ok(Ok(_)) => LOOK,
                _ => {
                    self.forget();
                    LOOK_AFTER_FAILURE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Ends keys that nobody could look at for too long.
    fn forget(&self) {
        let mut state = self.state();
        let is_old = state.good_at.is_some_and(|good| good.elapsed() > KEPT);
        if is_old && state.set.take().is_some() {
            tracing::error!(
                issuer = self.issuer.name,
                "its keys could not be looked at for a day, so no token of it is accepted any more"
            );
            if let Some(used) = state.used.upgrade() {
                used.set(Arc::default());
            }
        }
    }
}

impl KeySource for IssuerKeys {
    fn may_have_news(&self, _: UnixTime) -> bool {
        let state = self.state();
        // Without any key nobody knows; and a look that is under way is waited for.
        state.set.is_none() || state.is_looking || state.looked_at.is_none_or(|at| at.elapsed() >= NEWS)
    }

    fn keys(&self, _: UnixTime) -> Result<Arc<ForeignKeySet>, LookupError> {
        self.ask()
    }
}

/// The keys as they are now, and where they were.
pub(super) async fn fetch(
    http: &Http,
    issuer: &Issuer,
    before: Option<Url>,
) -> Result<(Url, Arc<ForeignKeySet>), Trouble> {
    let address = match (&issuer.jwks_url, before) {
        (Some(url), _) => Url::parse(url)
            .ok()
            .filter(is_safe)
            .ok_or_else(|| Trouble::Outage(format!("{url} cannot be asked")))?,
        (None, Some(known)) => known,
        (None, None) => metadata::keys_of(http, &issuer.url).await?,
    };
    let json = http.get(&address, ForeignKeySet::MAX_BYTES).await?;
    let set = ForeignKeySet::parse(&json).map_err(|error| Trouble::Outage(format!("{address}: {error}")))?;
    Ok((address, Arc::new(set)))
}

/// Says once which keys are not used.
fn tell(issuer: &str, set: &ForeignKeySet) {
    let kids: Vec<_> = set.keys().map(|key| key.kid().unwrap_or("without id")).collect();
    tracing::info!(issuer, ?kids, "the keys of the issuer");
    for refused in set.refused() {
        match refused.why {
            // Every identity provider has keys for other purposes beside.
            why @ (flatpass_token::ForeignKeyError::Use | flatpass_token::ForeignKeyError::Unsupported) => {
                tracing::debug!(issuer, index = refused.index, %why, "a key of the issuer is not used");
            }
            why => tracing::warn!(issuer, index = refused.index, %why, "a key of the issuer is not used"),
        }
    }
}
