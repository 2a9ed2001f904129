//! Who shows the address, and when.

use std::sync::Mutex;
use std::time::Duration;

use super::*;

#[derive(Default)]
struct Client {
    heard: Mutex<Vec<&'static str>>,
}

impl Client {
    fn heard(&self) -> Vec<&'static str> {
        self.heard.lock().expect("no panic").clone()
    }
}

impl Interaction for Client {
    async fn webflow(&self, _url: &Url) {
        self.heard.lock().expect("no panic").push("webflow");
    }

    async fn webflow_done(&self) {
        self.heard.lock().expect("no panic").push("done");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn flow() -> (Arc<Flow>, Seat) {
    Flow::begin(Url::parse("https://shop.example/").expect("valid"), Offered::new())
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_client_shows_nothing_until_the_first_leaves() {
    let (flow, first_seat) = flow();
    let second_seat = flow.join().expect("under way");
    let (first, second) = (Arc::new(Client::default()), Arc::new(Client::default()));
    let one = tokio::spawn({
        let first = Arc::clone(&first);
        async move { first_seat.take_part(&*first, HOUR).await }
    });
    let two = tokio::spawn({
        let second = Arc::clone(&second);
        async move { second_seat.take_part(&*second, HOUR).await }
    });
    settle().await;
    assert_eq!(first.heard(), ["webflow"]);
    assert!(second.heard().is_empty());
    one.abort();
    settle().await;
    assert_eq!(second.heard(), ["webflow"], "its turn now");
    assert_eq!(first.heard(), ["webflow"], "a client that left hears nothing more");
    flow.end(Ok(()));
    assert_eq!(two.await.expect("no panic"), Ok(()));
    assert_eq!(second.heard(), ["webflow", "done"]);
    assert!(flow.join().is_none(), "a flow that is over takes nobody in");
}

#[tokio::test(start_paused = true)]
async fn clients_that_showed_nothing_end_without_a_done() {
    let (flow, first_seat) = flow();
    let second_seat = flow.join().expect("under way");
    let (first, second) = (Client::default(), Client::default());
    let ending = async {
        settle().await;
        flow.end(Err(Ended::Cancelled));
    };
    let (one, two, ()) =
        tokio::join!(first_seat.take_part(&first, HOUR), second_seat.take_part(&second, HOUR), ending);
    assert_eq!((one, two), (Err(Ended::Cancelled), Err(Ended::Cancelled)));
    assert_eq!(first.heard(), ["webflow", "done"]);
    assert!(second.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_prompt_does_not_hide_the_address_from_others_for_ever() {
    let (flow, _first_seat) = flow();
    let second_seat = flow.join().expect("under way");
    let second = Arc::new(Client::default());
    let two = tokio::spawn({
        let second = Arc::clone(&second);
        async move { second_seat.take_part(&*second, Duration::from_secs(180)).await }
    });
    tokio::time::sleep(Duration::from_secs(179)).await;
    assert!(second.heard().is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(second.heard(), ["webflow"]);
    flow.end(Ok(()));
    assert_eq!(two.await.expect("no panic"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_everybody_left_is_abandoned_and_closed() {
    let (flow, seat) = flow();
    let abandoned = tokio::spawn({
        let flow = Arc::clone(&flow);
        async move { flow.abandoned().await }
    });
    settle().await;
    assert!(!abandoned.is_finished());
    drop(seat);
    abandoned.await.expect("no panic");
    assert!(flow.join().is_none());
}
