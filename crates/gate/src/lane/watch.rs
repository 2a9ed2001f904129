//! The one coarse timer of a connection, and the server's wish to end it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::limits::Limits;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// That the other side takes bytes.
    Write,
}

/// Why a connection ends while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It waited for too long.
    Timeout(Phase),
    /// The server ends.
    Shutdown,
}

/// Watches one connection. Requests cost it nothing: its timer fires a few times in the shortest limit and compares what the
/// connection was doing then and now. So limits are kept to within half of the shortest one.
pub(crate) struct Watch {
    limits: Limits,
    tick: Duration,
    timer: Pin<Box<Sleep>>,
    /// Wakes the connection when the server wants to end; `None` once it does.
    wish: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Says the same to a connection that never waits.
    shutdown: watch::Receiver<bool>,
    /// The phase and the progress at an earlier tick, and when that was.
    seen: Option<(Phase, u64, Instant)>,
    ticked: bool,
}

impl Watch {
    /// Begins to watch. `shutdown` becoming true, or being dropped, asks the connection to end.
    pub(crate) fn new(limits: &Limits, shutdown: watch::Receiver<bool>) -> Self {
        let shortest = limits.head_read.min(limits.idle).min(limits.write_stall);
        let tick = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        let mut waiting = shutdown.clone();
        let wish = async move {
            let _ended_or_dropped = waiting.wait_for(|end| *end).await;
        };
        Self {
            limits: *limits,
            tick,
            timer: Box::pin(sleep(tick)),
            wish: Some(Box::pin(wish)),
            shutdown,
            seen: None,
            ticked: false,
        }
    }

    /// Whether the server wants to end.
    pub(crate) fn is_ending(&mut self) -> bool {
        if self.wish.is_some()
            && self.shutdown.has_changed().map_or(true, |news| news && *self.shutdown.borrow_and_update())
        {
            self.wish = None;
        }
        self.wish.is_none()
    }

    /// Whether a tick has passed since this was last asked.
    pub(crate) fn take_tick(&mut self) -> bool {
        std::mem::take(&mut self.ticked)
    }

    /// To be polled whenever the connection waits. `progress` is any number that changes when there is progress.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, phase: Phase, progress: u64) -> Poll<Stop> {
        if let Some(wish) = &mut self.wish
            && wish.as_mut().poll(cx).is_ready()
        {
            self.wish = None;
        }
        // An answer under way is finished; a request that is not yet there in full is not waited for.
        if self.wish.is_none() && phase != Phase::Write {
            return Poll::Ready(Stop::Shutdown);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            self.ticked = true;
            let now = Instant::now();
            match self.seen {
                Some((seen_phase, seen_progress, since))
                    if (seen_phase, seen_progress) == (phase, progress) =>
                {
                    if now.duration_since(since) >= self.limit(phase) {
                        return Poll::Ready(Stop::Timeout(phase));
                    }
                }
                _ => self.seen = Some((phase, progress, now)),
            }
            self.timer.as_mut().reset(now + self.tick);
        }
        Poll::Pending
    }

    const fn limit(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Idle => self.limits.idle,
            Phase::Head => self.limits.head_read,
            Phase::Write => self.limits.write_stall,
        }
    }
}
