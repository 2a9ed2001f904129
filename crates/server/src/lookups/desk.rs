//! Where gates ask about tokens: one question for all who ask the same, so many at a time and no longer than that, and while nobody
//! answers a refusal at once. The operator is told once when it begins and once when it ends.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use flatpass_token::{LookupError, SecretHash};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::metrics::LookupCounters;

/// After the second failure in a row nobody is asked for so long, and then twice as long each time.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a desk may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeskLimits {
    /// So long one question may take.
    pub(crate) time: Duration,
    /// So many are asked at the same time.
    pub(crate) at_once: usize,
    /// So many threads may wait.
    pub(crate) waiting: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Whoever is asked does not answer, or not as they should: nobody is.
    Outage(String),
    /// This one question has no answer; another one may have.
    Question(String),
}

/// One desk.
#[derive(Debug)]
pub(crate) struct Desk<V> {
    /// Who is asked, for the log.
    who: String,
    handle: Handle,
    limits: DeskLimits,
    permits: Semaphore,
    asked: Mutex<HashMap<SecretHash, Arc<Slot<V>>>>,
    waiting: AtomicUsize,
    outage: Mutex<Outage>,
    counters: Arc<LookupCounters>,
}

#[derive(Debug)]
struct Slot<V> {
    answer: Mutex<Option<Result<V, LookupError>>>,
    is_there: Condvar,
}

#[derive(Debug, Default)]
struct Outage {
    failures: u32,
    closed_until: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V> Slot<V> {
    fn put(&self, answer: Result<V, LookupError>) {
        lock(&self.answer).get_or_insert(answer);
        self.is_there.notify_all();
    }
}

/// Takes the question off the desk, answered or not.
struct Taken<V: Clone + Send + Sync + std::fmt::Debug + 'static> {
    desk: Arc<Desk<V>>,
    key: SecretHash,
    slot: Arc<Slot<V>>,
}

impl<V: Clone + Send + Sync + std::fmt::Debug + 'static> Drop for Taken<V> {
    fn drop(&mut self) {
        lock(&self.desk.asked).remove(&self.key);
        self.slot.put(Err(LookupError::Unreachable));
    }
}

impl<V: Clone + Send + Sync + std::fmt::Debug + 'static> Desk<V> {
    /// A desk whose questions are answered on this runtime.
    pub(crate) fn new(
        who: String,
        handle: Handle,
        limits: DeskLimits,
        counters: Arc<LookupCounters>,
    ) -> Self {
        Self {
            who,
            handle,
            limits,
            permits: Semaphore::new(limits.at_once),
            asked: Mutex::default(),
            waiting: AtomicUsize::new(0),
            outage: Mutex::default(),
            counters,
        }
    }

    /// Waits for the answer to the question `key`, which `job` finds if nobody asked it a moment before.
    ///
    /// # Errors
    /// [`LookupError`]
    pub(crate) fn ask<F>(self: &Arc<Self>, key: SecretHash, job: impl FnOnce() -> F) -> Result<V, LookupError>
    where
        F: Future<Output = Result<V, Trouble>> + Send + 'static,
    {
        let answer = self.answer(key, job);
        self.counters.count(&answer);
        answer
    }

    fn answer<F>(self: &Arc<Self>, key: SecretHash, job: impl FnOnce() -> F) -> Result<V, LookupError>
    where
        F: Future<Output = Result<V, Trouble>> + Send + 'static,
    {
        if lock(&self.outage).closed_until.is_some_and(|until| Instant::now() < until) {
            return Err(LookupError::Unreachable);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = if before < self.limits.waiting {
            let slot = self.slot(key, job);
            // A little longer than the question itself may take, which has the last word.
            self.wait(&slot, self.limits.time + Duration::from_millis(500))
        } else {
            Err(LookupError::Busy)
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    fn slot<F>(self: &Arc<Self>, key: SecretHash, job: impl FnOnce() -> F) -> Arc<Slot<V>>
    where
        F: Future<Output = Result<V, Trouble>> + Send + 'static,
    {
        let mut asked = lock(&self.asked);
        if let Some(slot) = asked.get(&key) {
            self.counters.shared();
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot { answer: Mutex::new(None), is_there: Condvar::new() });
        asked.insert(key, Arc::clone(&slot));
        drop(asked);
        let taken = Taken { desk: Arc::clone(self), key, slot: Arc::clone(&slot) };
        let job = job();
        self.handle.spawn(async move {
            let desk = &taken.desk;
            let answer = tokio::time::timeout(desk.limits.time, async {
                // Nobody closes it.
                let _permit = desk.permits.acquire().await;
                job.await
            })
            .await;
            let late =
                || Trouble::Outage(format!("no answer within {} seconds", desk.limits.time.as_secs_f32()));
            let answer = desk.judge(answer.unwrap_or_else(|_| Err(late())));
            taken.slot.put(answer);
        });
        slot
    }

    fn wait(&self, slot: &Slot<V>, longest: Duration) -> Result<V, LookupError> {
        let waited = slot.is_there.wait_timeout_while(lock(&slot.answer), longest, |answer| answer.is_none());
        let (answer, _) = waited.unwrap_or_else(PoisonError::into_inner);
        answer.clone().unwrap_or(Err(LookupError::Unreachable))
    }

    /// Counts failures, and tells the operator when they begin and end.
    fn judge(&self, answer: Result<V, Trouble>) -> Result<V, LookupError> {
        let mut outage = lock(&self.outage);
        match answer {
            Ok(answer) => {
                if outage.failures > 0 {
                    tracing::info!(who = self.who, "tokens can be looked up again");
                }
                *outage = Outage::default();
                self.counters.set_up(true);
                Ok(answer)
            }
            Err(Trouble::Question(why)) => {
                tracing::debug!(who = self.who, why, "a token cannot be looked up");
                Err(LookupError::Unreachable)
            }
            Err(Trouble::Outage(why)) => {
                if outage.failures == 0 {
                    self.counters.begin_outage();
                    tracing::error!(
                        who = self.who,
                        why,
                        "tokens cannot be looked up; until they can, requests with tokens that are not known yet get 503"
                    );
                }
                outage.failures = outage.failures.saturating_add(1);
                if let Some(doublings) = outage.failures.checked_sub(2) {
                    let pause = PAUSE.saturating_mul(1 << doublings.min(8)).min(LONGEST_PAUSE);
                    outage.closed_until = Some(Instant::now() + pause);
                }
                Err(LookupError::Unreachable)
            }
        }
    }
}
