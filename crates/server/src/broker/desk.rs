//! One registry: who waits for what, what is kept, what failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flatpass_gate::Clock;
use flatpass_oci::client::RegistryError;
use flatpass_oci::{Digest, RepositoryName};
use flatpass_store::{Registry, RegistryRobot};
use flatpass_token::{Secret, UnixTime};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::NoToken;
use super::fetch::{Fetched, Fetcher, Manifest};
use crate::app::App;

/// Tokens of one registry that are fetched at the same time.
const AT_ONCE: usize = 8;
/// A token is given out while it has this left, or half of its life if that is more. Of a shorter one a tenth may be gone.
const ENOUGH_SECONDS: i64 = 60;
/// When there is no other, a token is given out while it has this left.
const SPARE_SECONDS: i64 = 30;
/// That a registry asks for nothing is believed for so long.
const OPEN_SECONDS: i64 = 60;
/// After a failure nobody goes there for so long, then for twice as long, and so on.
const FIRST_PAUSE: i64 = 2;
/// And at the most for so long, if the registry does not want more.
const LONGEST_PAUSE: i64 = 60;
/// When so many are kept, those that help nobody any more are dropped.
const MOST_KEPT: usize = 4096;

/// What opens a repository.
#[derive(Clone, Debug)]
pub(crate) enum Ticket {
    /// Nothing is needed.
    NotNeeded,
    /// A token, good until then.
    Token { secret: Secret, until: UnixTime },
}

type Outcome = Result<Ticket, NoToken>;

/// An outcome, and from when until when it counts.
#[derive(Clone, Debug)]
struct Kept {
    outcome: Outcome,
    from: UnixTime,
    until: UnixTime,
}

impl Kept {
    /// A clock that was set back makes nothing last longer.
    fn counts(&self, now: UnixTime) -> bool {
        self.from <= now && now < self.until
    }

    /// A token that is not given out any more while there are others, but is still good.
    fn spare(&self, now: UnixTime) -> Option<Outcome> {
        match &self.outcome {
            Ok(Ticket::Token { until, .. })
                if self.from <= now && now.seconds_until(*until) >= SPARE_SECONDS =>
            {
                Some(self.outcome.clone())
            }
            _ => None,
        }
    }
}

/// What is known of one repository.
#[derive(Debug, Default)]
struct Slot {
    kept: Option<Kept>,
    /// Somebody is on the way.
    coming: Option<watch::Receiver<Option<Outcome>>>,
    failures: u32,
}

impl Slot {
    /// The token that is left, or else that the registry is down.
    fn or_spare(&self, now: UnixTime, down: &Outcome) -> Outcome {
        self.kept.as_ref().and_then(|kept| kept.spare(now)).unwrap_or_else(|| down.clone())
    }
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<RepositoryName, Slot>,
    /// What failed for all of them.
    down: Option<Kept>,
    failures: u32,
    /// The registry gave a token once, so the account is good.
    is_proven: bool,
}

/// One registry, with the account that the store has there.
#[derive(Debug)]
pub(super) struct Desk {
    repo: String,
    registry: Registry,
    robot: RegistryRobot,
    clock: Clock,
    fetcher: Fetcher,
    at_once: Semaphore,
    state: Mutex<State>,
}

impl Desk {
    pub(super) fn new(
        app: &App,
        repo: &str,
        registry: Registry,
        robot: RegistryRobot,
    ) -> Result<Self, RegistryError> {
        let fetcher = Fetcher::new(app.store.clone(), &app.config, repo, &registry, &robot)?;
        let (repo, clock, at_once) = (repo.to_owned(), app.clock.clone(), Semaphore::new(AT_ONCE));
        Ok(Self { repo, registry, robot, clock, fetcher, at_once, state: Mutex::default() })
    }

    /// Whether it is that registry with that account.
    pub(super) fn is_for(&self, registry: &Registry, robot: &RegistryRobot) -> bool {
        let (own, other) = (&self.robot, robot);
        self.registry == *registry && own.user == other.user && own.password == other.password
    }

    /// What opens that repository. If nothing is kept, and nobody is on the way already, somebody goes, whether or not the answer is
    /// waited for. `other` finds a manifest that the token must not open.
    pub(super) fn ticket(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: Digest,
        other: impl FnOnce() -> Option<Manifest>,
    ) -> Waiting {
        let now = self.now();
        let host = self.host();
        let mut state = self.state();
        let all = &mut *state;
        if all.slots.len() >= MOST_KEPT {
            all.slots.retain(|_, slot| {
                slot.coming.is_some() || slot.kept.as_ref().is_some_and(|kept| kept.counts(now))
            });
        }
        let slot = all.slots.entry(name.clone()).or_default();
        if let Some(kept) = slot.kept.as_ref().filter(|kept| kept.counts(now)) {
            return Waiting::Here(kept.outcome.clone());
        }
        if let Some(down) = all.down.as_ref().filter(|down| down.counts(now)) {
            return Waiting::Here(slot.or_spare(now, &down.outcome));
        }
        // One whose sender is gone without an answer was cut off.
        let coming = slot.coming.clone().filter(|coming| coming.has_changed().is_ok());
        let coming = coming.unwrap_or_else(|| {
            let (sender, coming) = watch::channel(None);
            slot.coming = Some(coming.clone());
            let (desk, name, other) = (Arc::clone(self), name.clone(), other());
            tokio::spawn(async move {
                let outcome = desk.go(&name, &digest, other.as_ref()).await;
                let _nobody_waits = sender.send(Some(outcome));
            });
            coming
        });
        Waiting::For { coming, host }
    }

    /// Goes there, unless the registry was found to be down in the meantime, and keeps what comes of it.
    async fn go(&self, name: &RepositoryName, digest: &Digest, other: Option<&Manifest>) -> Outcome {
        let _permit = self.at_once.acquire().await;
        let before = self.now();
        {
            let mut state = self.state();
            let all = &mut *state;
            if let Some(down) = all.down.as_ref().filter(|down| down.counts(before)) {
                let slot = all.slots.entry(name.clone()).or_default();
                slot.coming = None;
                return slot.or_spare(before, &down.outcome);
            }
        }
        let fetched = self.fetcher.fetch(name, digest, other).await;
        let mut state = self.state();
        let all = &mut *state;
        let slot = all.slots.entry(name.clone()).or_default();
        slot.coming = None;
        match fetched {
            Ok(fetched) => {
                all.is_proven |= matches!(fetched, Fetched::Token { .. });
                (all.down, all.failures, slot.failures) = (None, 0, 0);
                let kept = kept(fetched, before);
                slot.kept = Some(kept.clone());
                kept.outcome
            }
            Err(why) => {
                // A wrong password is tried once, not for each repository: token servers lock accounts for less.
                let is_login = matches!(why, NoToken::Registry(RegistryError::Refused { status: 401, .. }));
                let of_all = why.is_about_the_registry() || (is_login && !all.is_proven);
                let failures = if of_all { &mut all.failures } else { &mut slot.failures };
                self.tell(name, &why, *failures == 0);
                let now = self.now();
                let until = now.plus_seconds(pause(*failures, &why));
                *failures = failures.saturating_add(1);
                let failed = Kept { outcome: Err(why), from: now, until };
                let outcome = failed.outcome.clone();
                if of_all {
                    all.down = Some(failed);
                    return slot.or_spare(now, &outcome);
                }
                slot.kept = Some(failed);
                outcome
            }
        }
    }

    /// Tells whoever runs the store, once until it goes well again.
    fn tell(&self, name: &RepositoryName, why: &NoToken, is_first: bool) {
        let (repo, robot, repository) = (&self.repo, &self.robot.user, name);
        if !is_first {
            tracing::debug!(repo, robot, %repository, error = %why, "the registry still gives no token");
        } else if why.will_pass() {
            tracing::warn!(repo, robot, %repository, error = %why, "the registry gives no token; it is tried again when somebody asks for one");
        } else {
            tracing::error!(repo, robot, %repository, error = %why, "the registry gives no token, so nobody gets what is in it; see flatpass repo check, and flatpass repo set --robot for another account");
        }
    }

    fn host(&self) -> String {
        host_of(&self.registry)
    }

    fn now(&self) -> UnixTime {
        self.clock.now().unix()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Host and port of a registry, as people know it.
pub(crate) fn host_of(registry: &Registry) -> String {
    let url = registry.url.trim_end_matches('/');
    url.split_once("://").map_or(url, |(_, host)| host).to_owned()
}

/// A ticket that is here, or on the way.
pub(super) enum Waiting {
    Here(Outcome),
    For { coming: watch::Receiver<Option<Outcome>>, host: String },
}

impl Waiting {
    /// Waits for it, until then.
    pub(super) async fn until(self, deadline: Instant) -> Outcome {
        let (mut coming, host) = match self {
            Self::Here(outcome) => return outcome,
            Self::For { coming, host } => (coming, host),
        };
        let came = tokio::time::timeout_at(deadline, coming.wait_for(Option::is_some)).await;
        match came {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(RegistryError::Timeout { host }.into())),
            Ok(Err(_)) | Err(_) => Err(RegistryError::Timeout { host }.into()),
        }
    }
}

fn kept(fetched: Fetched, from: UnixTime) -> Kept {
    match fetched {
        Fetched::NotNeeded => {
            Kept { outcome: Ok(Ticket::NotNeeded), from, until: from.plus_seconds(OPEN_SECONDS) }
        }
        Fetched::Token { secret, life } => {
            let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            let outcome = Ok(Ticket::Token { secret, until: from.plus_seconds(life) });
            Kept { outcome, from, until: from.plus_seconds(given_out_for(life)) }
        }
    }
}

/// For how many seconds a token with that life is given out.
fn given_out_for(life: i64) -> i64 {
    let must_be_left = (life / 2).max(ENOUGH_SECONDS.min(life - life / 10));
    life - must_be_left
}

/// How many seconds nobody goes there after a failure, when there were so many before.
fn pause(failures: u32, why: &NoToken) -> i64 {
    let own = FIRST_PAUSE
        .saturating_mul(1_i64.checked_shl(failures.min(16)).unwrap_or(i64::MAX))
        .min(LONGEST_PAUSE);
    let said = match why {
        NoToken::Registry(RegistryError::Throttled { retry_after, .. }) => {
            retry_after.map(|wait: Duration| wait.as_secs())
        }
        _ => None,
    };
    own.max(said.and_then(|said| i64::try_from(said).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_out_while_half_of_its_life_or_a_minute_is_left() {
        let lives = [3600, 300, 120, 100, 60, 10, 1, 0];
        assert_eq!(lives.map(given_out_for), [1800, 150, 60, 40, 6, 1, 0, 0]);
    }

    #[test]
    fn pauses_grow_and_a_registry_that_wants_a_longer_one_gets_it() {
        let down = NoToken::from(RegistryError::Timeout { host: "r".to_owned() });
        assert_eq!([0, 1, 2, 4, 5, 40].map(|failures| pause(failures, &down)), [2, 4, 8, 32, 60, 60]);
        let wait = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            NoToken::from(RegistryError::Throttled { host: "r".to_owned(), retry_after })
        };
        assert_eq!((pause(0, &wait(900)), pause(3, &wait(1))), (900, 16));
    }
}
