//! When to look next.

use std::time::Duration;

/// After a failure the next look is after so long, then after twice as long, and so on.
const FIRST: Duration = Duration::from_secs(2);
/// And at the most after so long.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// How patient to be with one registry.
#[derive(Debug)]
pub(super) struct Patience {
    usual: Duration,
    failures: u32,
}

impl Patience {
    /// Looks come that often while all is well.
    pub(super) const fn new(usual: Duration) -> Self {
        Self { usual, failures: 0 }
    }

    /// When to look again after a good look.
    pub(super) const fn after_success(&mut self) -> Duration {
        self.failures = 0;
        self.usual
    }

    /// When to look again after a failure, if the registry did not say so itself.
    pub(super) fn after_failure(&mut self, said: Option<Duration>) -> Duration {
        let doubled = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let own = doubled.min(LONGEST.max(self.usual));
        said.map_or(own, |said| said.max(own))
    }

    /// Whether this is the first failure after a success: the one that the operator is told of.
    pub(super) const fn is_first_failure(&self) -> bool {
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_met_with_more_and_more_patience_and_the_registrys_own_wish_is_heard() {
        let seconds = Duration::from_secs;
        let mut patience = Patience::new(seconds(300));
        assert_eq!(patience.after_success(), seconds(300));
        let waits: Vec<_> = (0..12).map(|_| patience.after_failure(None).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]);
        assert_eq!(patience.after_failure(Some(seconds(3600))), seconds(3600));
        patience.after_success();
        assert_eq!(patience.after_failure(Some(seconds(1))), seconds(2));
        assert!(patience.is_first_failure());
    }
}
