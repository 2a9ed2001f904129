//! Between requests and the thread that follows the repo: who met an object that no table has waits here for the next look.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many requests may wait at once; others are sent away, to come again.
const MOST_WAITING: usize = 128;
/// So many of one visitor: who asks for what is not theirs, over and over, keeps nobody else from waiting. Flatpak asks for eight files at once.
const MOST_OF_ONE: usize = 32;

/// Which look is under way, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Looks {
    state: Mutex<State>,
    wished: Condvar,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Looks that have begun, and the last one that ended well.
    begun: u64,
    ended: u64,
    wished: bool,
    /// Who waits, once for each request.
    waiting: Vec<Option<Box<str>>>,
}

impl Looks {
    /// Waits for the end of a look that begins after this call. Gives whether there was one in time.
    pub(super) fn wait(&self, visitor: Option<&str>, patience: Duration) -> bool {
        let mut state = self.lock();
        let of_one = || state.waiting.iter().filter(|other| other.as_deref() == visitor).count();
        if state.waiting.len() >= MOST_WAITING || (visitor.is_some() && of_one() >= MOST_OF_ONE) {
            return false;
        }
        let next = state.begun + 1;
        state.waiting.push(visitor.map(Box::from));
        state.wished = true;
        self.wished.notify_one();
        let (mut state, _) = self
            .ended
            .wait_timeout_while(state, patience, |state| state.ended < next)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.waiting.iter().position(|other| other.as_deref() == visitor) {
            state.waiting.swap_remove(at);
        }
        state.ended >= next
    }

    /// Waits until somebody wishes a look, or for that time.
    pub(super) fn wait_for_wish(&self, longest: Duration) {
        let state = self.lock();
        let waited = self.wished.wait_timeout_while(state, longest, |state| !state.wished);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends [`Looks::wait_for_wish`].
    pub(super) fn wake(&self) {
        self.lock().wished = true;
        self.wished.notify_one();
    }

    /// A look begins: it sees all that is there by now.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.begun += 1;
        state.wished = false;
        state.begun
    }

    /// That look ended well.
    pub(super) fn end(&self, look: u64) {
        self.lock().ended = look;
        self.ended.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the numbers would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
