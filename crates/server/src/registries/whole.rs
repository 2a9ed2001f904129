//! Which repositories were wholly seen, and when. A token opens all of a repository; nobody can judge what was not seen of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flatpass_oci::RepositoryName;
use tokio::time::Instant;

/// What was seen is good for so many looks.
const LOOKS: u32 = 3;
/// But for so long at least: a look at a large registry takes its time.
const AT_LEAST: Duration = Duration::from_secs(60);

/// The repositories that were looked at: when each was last seen wholly, or `None` when the last look did not see all of it.
#[derive(Debug, Default)]
pub(super) struct Whole {
    looked_at: Mutex<HashMap<RepositoryName, Option<Instant>>>,
}

impl Whole {
    /// It was looked at, and seen wholly at that moment or not.
    pub(super) fn put(&self, name: &RepositoryName, seen: Option<Instant>) {
        let before = self.lock().insert(name.clone(), seen);
        if seen.is_none() && before != Some(None) {
            tracing::warn!(repository = %name, "not all of this repository can be seen; who has no right of their own to its apps gets no token for it");
        }
    }

    /// Forgets all others.
    pub(super) fn keep(&self, is_there: impl Fn(&RepositoryName) -> bool) {
        self.lock().retain(|name, _| is_there(name));
    }

    /// Whether the last look did not see all of it.
    pub(super) fn failed(&self, name: &RepositoryName) -> bool {
        self.lock().get(name) == Some(&None)
    }

    /// Whether all of it was seen, not too long ago, where looks come that often.
    pub(super) fn is_fresh(&self, name: &RepositoryName, usual: Duration, now: Instant) -> bool {
        let seen = self.lock().get(name).copied().flatten();
        seen.is_some_and(|seen| now.duration_since(seen) <= usual.saturating_mul(LOOKS).max(AT_LEAST))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RepositoryName, Option<Instant>>> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
