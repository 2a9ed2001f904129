//! Time as the gate sees it: one reading a request, handed down as a parameter.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use flatpass_token::UnixTime;
use rustix::time::{ClockId, clock_gettime};

/// A point in time, in milliseconds since 1970-01-01 UTC.
///
/// Tokens count in seconds, the freshness of cached files is finer: hence milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// From milliseconds since 1970-01-01 UTC.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The start of that second.
    pub const fn from_unix(time: UnixTime) -> Self {
        Self(time.0.saturating_mul(1000))
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The whole second, as tokens count.
    pub const fn unix(self) -> UnixTime {
        UnixTime(self.0.div_euclid(1000))
    }

    /// How far apart two moments are, in milliseconds, whichever comes first: a wall clock that is set back must
    /// not make a cached file look fresh for ever.
    pub const fn distance_millis(self, other: Moment) -> u64 {
        self.0.abs_diff(other.0)
    }
}

/// Where a connection reads the time. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's wall clock (its coarse reading, a few milliseconds behind, which costs no system call).
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` until it is moved: for tests.
    pub fn manual(start: UnixTime) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(Moment::from_unix(start).millis()))))
    }

    /// Moves a manual clock by so many milliseconds (negative: back). The system's clock cannot be moved; the call
    /// then does nothing.
    pub fn advance_millis(&self, millis: i64) {
        if let Source::Manual(at) = &self.0 {
            at.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::System => kernel_now(),
            Source::Manual(at) => Moment(at.load(Ordering::SeqCst)),
        }
    }
}

/// The kernel's own time stamp clock, the one it writes into a file's mtime and ctime.
pub(crate) fn kernel_now() -> Moment {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    Moment(now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000))
}
