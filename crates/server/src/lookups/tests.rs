//! The desk: many ask, one is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use flatpass_token::{LookupError, SecretHash};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::desk::{Desk, DeskLimits, Trouble};
use crate::metrics::Metrics;

struct Scene {
    desk: Arc<Desk<u8>>,
    metrics: Metrics,
    asked: Arc<AtomicUsize>,
    answered: Arc<Notify>,
}

impl Scene {
    fn new(limits: DeskLimits) -> Self {
        let metrics = Metrics::default();
        let desk = Desk::new("a test".to_owned(), Handle::current(), limits, metrics.lookups("test"));
        Self { desk: Arc::new(desk), metrics, asked: Arc::default(), answered: Arc::default() }
    }

    /// Somebody who waits for an answer that comes when `answered` is told.
    fn waits(&self, key: &str) -> tokio::task::JoinHandle<Result<u8, LookupError>> {
        let (desk, key) = (Arc::clone(&self.desk), SecretHash::of(key));
        let (asked, answered) = (Arc::clone(&self.asked), Arc::clone(&self.answered));
        tokio::task::spawn_blocking(move || {
            desk.ask(key, || async move {
                asked.fetch_add(1, SeqCst);
                answered.notified().await;
                Ok(7)
            })
        })
    }

    async fn gets(&self, key: &str, answer: Result<u8, Trouble>) -> Result<u8, LookupError> {
        let (desk, key) = (Arc::clone(&self.desk), SecretHash::of(key));
        tokio::task::spawn_blocking(move || desk.ask(key, || async move { answer })).await.unwrap()
    }

    /// Waits until a number is so.
    async fn sees(&self, line: &str) {
        let start = Instant::now();
        while !self.metrics.render().contains(line) {
            assert!(start.elapsed() < Duration::from_secs(10), "{line}\n{}", self.metrics.render());
            tokio::task::yield_now().await;
        }
    }
}

fn outage() -> Result<u8, Trouble> {
    Err(Trouble::Outage("it is on fire".to_owned()))
}

const LIMITS: DeskLimits = DeskLimits { time: Duration::from_secs(60), at_once: 4, waiting: 8 };

#[tokio::test]
async fn who_asks_the_same_waits_for_one_answer_and_who_is_one_too_many_does_not_wait() {
    let scene = Scene::new(LIMITS);
    let all: Vec<_> = (0..8).map(|_| scene.waits("token")).collect();
    scene.sees("flatpass_token_lookups_shared_total{source=\"test\"} 7").await;
    while scene.asked.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.asked.load(SeqCst), 1);
    assert_eq!(scene.waits("another").await.unwrap(), Err(LookupError::Busy));
    scene.answered.notify_one();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(7));
    }
    assert_eq!(scene.gets("token", Ok(8)).await, Ok(8), "the next one asks anew");
    scene.sees("flatpass_token_lookups_total{source=\"test\",outcome=\"answered\"} 9").await;
    scene.sees("flatpass_token_lookups_total{source=\"test\",outcome=\"busy\"} 1").await;
}

#[tokio::test]
async fn no_more_are_asked_at_once_than_may_be() {
    let scene = Scene::new(DeskLimits { at_once: 2, ..LIMITS });
    let all: Vec<_> = (0..6).map(|number| scene.waits(&number.to_string())).collect();
    for answered in 0..6 {
        while scene.asked.load(SeqCst) < (answered + 2).min(6) {
            tokio::task::yield_now().await;
        }
        assert!(scene.asked.load(SeqCst) <= answered + 2);
        scene.answered.notify_one();
    }
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(7));
    }
}

#[tokio::test]
async fn what_hangs_is_given_up_and_while_nobody_answers_nobody_is_asked() {
    let scene = Scene::new(DeskLimits { time: Duration::from_millis(50), ..LIMITS });
    assert_eq!(scene.waits("1").await.unwrap(), Err(LookupError::Unreachable));
    scene.sees("flatpass_token_lookup_up{source=\"test\"} 0").await;
    // One failure may be an accident.
    assert_eq!(scene.waits("2").await.unwrap(), Err(LookupError::Unreachable));
    let asked = scene.asked.load(SeqCst);
    assert_eq!(asked, 2);
    assert_eq!(scene.gets("3", Ok(1)).await, Err(LookupError::Unreachable), "not even asked");
    scene.sees("flatpass_token_lookup_outages_total{source=\"test\"} 1").await;
    let start = Instant::now();
    while scene.gets("3", Ok(1)).await != Ok(1) {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.sees("flatpass_token_lookup_up{source=\"test\"} 1").await;
    assert_eq!(scene.gets("4", outage()).await, Err(LookupError::Unreachable));
    scene.sees("flatpass_token_lookup_outages_total{source=\"test\"} 2").await;
}

#[tokio::test]
async fn a_question_that_has_no_answer_keeps_nobody_from_theirs() {
    let scene = Scene::new(LIMITS);
    for number in 0..10 {
        let trouble = Err(Trouble::Question("what is that".to_owned()));
        let refused = scene.gets(&number.to_string(), trouble).await;
        assert_eq!(refused, Err(LookupError::Unreachable));
    }
    assert_eq!(scene.gets("good", Ok(1)).await, Ok(1));
    scene.sees("flatpass_token_lookup_outages_total{source=\"test\"} 0").await;
}
