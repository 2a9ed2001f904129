//! One web flow for all clients that wait for the same authority.
//!
//! The first client shows the address; the others wait without a word, because a person wants one page and one
//! answer. When the client in front leaves (its prompt was answered "no", it crashed), the next one shows the address.
//! When the front client's prompt seems forgotten, the others show it too. All end together.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use super::refusal::{Ended, Refusal};
use crate::authority::address::RepoUrl;

/// A client that can show an address to its person.
pub trait Interaction: Sync {
    /// Shows the address of a web flow.
    fn webflow(&self, url: &Url) -> impl Future<Output = ()> + Send;
    /// The web flow that was shown is over.
    fn webflow_done(&self) -> impl Future<Output = ()> + Send;
}

/// Something that a web flow offers: an app (or a ref without one) of a repo.
pub type Offered = BTreeSet<(RepoUrl, String)>;

/// A web flow under way.
#[derive(Debug)]
pub struct Flow {
    url: Url,
    offered: Offered,
    state: watch::Sender<State>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The clients that wait, in the order in which they came.
    queue: Vec<u64>,
    outcome: Option<Result<(), Ended>>,
}

/// A client's place in a flow. Dropping it leaves the flow.
#[derive(Debug)]
pub struct Seat {
    flow: Arc<Flow>,
    id: u64,
}

impl Flow {
    /// A flow whose address is `url`, with a seat for the client that began it.
    #[must_use]
    pub fn begin(url: Url, offered: Offered) -> (Arc<Self>, Seat) {
        let flow = Arc::new(Self {
            url,
            offered,
            state: watch::Sender::new(State { queue: vec![0], outcome: None }),
            next: AtomicU64::new(1),
        });
        let seat = Seat { flow: Arc::clone(&flow), id: 0 };
        (flow, seat)
    }

    /// A seat in a flow that is still under way.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Option<Seat> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let open = self.state.send_if_modified(|state| {
            let open = state.outcome.is_none();
            if open {
                state.queue.push(id);
            }
            open
        });
        open.then(|| Seat { flow: Arc::clone(self), id })
    }

    /// Waits until the last client has left, and then closes the flow to newcomers.
    pub async fn abandoned(&self) {
        let mut watching = self.state.subscribe();
        loop {
            let closed = self.state.send_if_modified(|state| {
                let empty = state.queue.is_empty() && state.outcome.is_none();
                if empty {
                    state.outcome = Some(Err(Ended::Cancelled));
                }
                empty
            });
            if closed || watching.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the flow for everybody. The first end counts.
    pub fn end(&self, outcome: Result<(), Ended>) {
        self.state.send_if_modified(|state| {
            let first = state.outcome.is_none();
            if first {
                state.outcome = Some(outcome);
            }
            first
        });
    }

    /// What the flow's pages offer.
    #[must_use]
    pub fn offered(&self) -> &Offered {
        &self.offered
    }
}

impl Seat {
    /// The flow.
    #[must_use]
    pub fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// Waits for the flow's end, showing its address when it is this client's turn.
    ///
    /// # Errors
    /// How the flow ended, if not with a sign-in.
    pub async fn take_part(self, client: &impl Interaction, offer_after: Duration) -> Result<(), Ended> {
        let mut watching = self.flow.state.subscribe();
        let patience = tokio::time::sleep(offer_after);
        tokio::pin!(patience);
        let mut shown = false;
        let mut impatient = false;
        let outcome = loop {
            let (my_turn, outcome) = {
                let state = watching.borrow_and_update();
                (state.queue.first() == Some(&self.id), state.outcome.clone())
            };
            if let Some(outcome) = outcome {
                break outcome;
            }
            if !shown && (my_turn || impatient) {
                client.webflow(&self.flow.url).await;
                shown = true;
            }
            tokio::select! {
                changed = watching.changed() => {
                    if changed.is_err() {
                        break Err(Ended::Refused(Refusal::Stopping));
                    }
                }
                () = &mut patience, if !impatient => impatient = true,
            }
        };
        if shown {
            client.webflow_done().await;
        }
        outcome
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.flow.state.send_modify(|state| state.queue.retain(|id| *id != self.id));
    }
}

#[cfg(test)]
mod tests;
