//! How many indexes are made at once, and for whom: making and signing one is the most that a member's request can cost.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::moment::Moment;
use crate::refusal::Refusal;

/// So many are made at once.
const MOST_AT_ONCE: usize = 2;
/// So many requests may wait until one of them is done; others are sent away, to come again.
const MOST_WAITING: usize = 64;
/// A subject may cause so many in a row, and after them one in so many milliseconds. As long as the repo does not change there is one for all
/// of an account's access tokens, and one for each other combination of apps that it asks tokens for.
const IN_A_ROW: i64 = 20;
const EVERY_MILLIS: i64 = 3000;
/// When more subjects than these are remembered, those that have all of their ration again are forgotten.
const MOST_SUBJECTS: usize = 4096;

/// What there is to share out.
#[derive(Debug, Default)]
pub(super) struct Ration {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    making: usize,
    waiting: usize,
    /// By subject: when all of its ration is there again (the generic cell rate algorithm).
    whole_at: HashMap<Box<str>, Moment>,
}

/// Leave to make one.
pub(super) struct Turn<'a>(&'a Ration);

impl Ration {
    /// Waits for the subject's turn to have an index made.
    ///
    /// # Errors
    /// [`Refusal::TooManyIndexes`] when it had too many lately, [`Refusal::Crowded`] when too many wait.
    pub(super) fn turn(&self, subject: &str, now: Moment) -> Result<Turn<'_>, Refusal> {
        let mut state = self.lock();
        if state.making >= MOST_AT_ONCE && state.waiting >= MOST_WAITING {
            return Err(Refusal::Crowded);
        }
        state.take(subject, now)?;
        state.waiting += 1;
        let waited = self.done.wait_while(state, |state| state.making >= MOST_AT_ONCE);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state.making += 1;
        Ok(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the numbers would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, subject: &str, now: Moment) -> Result<(), Refusal> {
        if self.whole_at.len() >= MOST_SUBJECTS {
            self.whole_at.retain(|_, whole_at| *whole_at > now);
        }
        let whole_at = self.whole_at.get(subject).copied().unwrap_or(now).max(now).millis();
        if whole_at.saturating_sub(now.millis()) > (IN_A_ROW - 1) * EVERY_MILLIS {
            return Err(Refusal::TooManyIndexes);
        }
        let whole_at = Moment::from_millis(whole_at.saturating_add(EVERY_MILLIS));
        self.whole_at.insert(subject.into(), whole_at);
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().making -= 1;
        self.0.done.notify_one();
    }
}
