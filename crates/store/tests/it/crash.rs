//! Threat 13 and the sentence on `kill -9` in the issue: a child process buys and refreshes, is killed at a random moment, and
//! what it had announced must be there, once. (SIGKILL leaves the page cache alone: power loss is covered by `synchronous =
//! FULL`, which this test cannot prove.)

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use flatpass_store::{OrderState, PaymentOutcome};
use rand::RngExt;

use crate::scene::{CLIENT, NOW, Scene, account, cheap, device, open_with, repo, rng};

const FOLDER: &str = "FLATPASS_CRASH_FOLDER";
const ROUND: &str = "FLATPASS_CRASH_ROUND";
const APPS: usize = 120;

fn app(number: usize) -> String {
    format!("org.test.App{number}")
}

/// What the killed child runs; it does nothing when it is run as a test of its own.
#[tokio::test]
async fn child() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let store = open_with(&PathBuf::from(folder), cheap()).await;
    let mut rng = rng(round.parse().unwrap());
    let ada = store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let mut pair = device(&store, &ada, NOW, &mut rng).await;
    println!("refresh {}", pair.refresh.expose());
    for number in (0..APPS).cycle() {
        let Ok(order) = store.begin_order(&ada, "apps", &app(number), "sandbox", NOW, &mut rng).await else {
            let done = store
                .orders(&ada)
                .await
                .unwrap()
                .iter()
                .filter(|order| order.state == OrderState::Paid)
                .count();
            if done == APPS {
                println!("finished");
                std::thread::sleep(Duration::from_secs(60));
            }
            continue;
        };
        let payment = store.create_sandbox_payment(&order, NOW, &mut rng).await.unwrap();
        println!("charging {}", payment.reference);
        let decided = store
            .decide_sandbox_payment(&payment.reference, PaymentOutcome::Paid, NOW)
            .await
            .unwrap()
            .unwrap();
        println!("charged {}", order.id);
        let (outcome, event) = decided.event().unwrap();
        store.settle_order(&order.id, outcome, &event, NOW, &mut rng).await.unwrap();
        println!("settled {} {event}", order.id);
        pair = store.refresh(pair.refresh.expose(), CLIENT, "", NOW, &mut rng).await.unwrap();
        println!("refresh {}", pair.refresh.expose());
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn a_store_killed_at_any_moment_has_what_it_confirmed_and_nothing_twice() {
    let scene = Scene::new().await;
    let apps: Vec<String> = (0..APPS).map(app).collect();
    repo(&scene.store, "apps", &apps.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ada = account(&scene.store, "ada@example.org").await.id;
    scene.store.close().await;

    let mut random = rng(42);
    let mut settled: Vec<(String, String)> = Vec::new();
    let mut last_refresh = String::new();
    let mut killed_midway = 0;
    for round in 0..16u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture"])
            .env(FOLDER, scene.folder.path())
            .env(ROUND, (1000 + round).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut finished = false;
        let mut heard = |line: &str| match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["settled", order, event] => settled.push(((*order).to_owned(), (*event).to_owned())),
            ["refresh", token] => last_refresh = (*token).to_owned(),
            ["finished"] => finished = true,
            _ => {}
        };
        // It is killed at a random moment after a random number of words, however fast the disk is.
        let words = random.random_range(1..40);
        for line in lines.by_ref().filter(|line| line.contains(' ') || line == "finished").take(words) {
            heard(&line);
            if line == "finished" {
                break;
            }
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| heard(&line));
        killed_midway += u32::from(!finished);

        let store = open_with(scene.folder.path(), cheap()).await;
        // The last confirmed refresh token works, or its rotation was committed and the answer lost: then it may repeat.
        store.refresh(&last_refresh, CLIENT, "", NOW, &mut random).await.unwrap();
        // Lost messages: what the provider decided and the store did not hear is asked for after the restart.
        for order in store.pending_orders().await.unwrap() {
            let payment = store.create_sandbox_payment(&order, NOW, &mut random).await.unwrap();
            if let Some((outcome, event)) = payment.event() {
                store.settle_order(&order.id, outcome, &event, NOW, &mut random).await.unwrap();
                settled.push((order.id.0, event));
            }
        }
        let has = store.entitlements(&ada, Some("apps"), NOW).await.unwrap();
        for (order, event) in &settled {
            let id = order.as_str().into();
            let replayed =
                store.settle_order(&id, PaymentOutcome::Paid, event, NOW, &mut random).await.unwrap();
            assert_eq!(replayed.state, OrderState::Paid, "confirmed and lost in round {round}");
            assert_eq!(has.iter().filter(|given| given.source.id == *order).count(), 1, "round {round}");
        }
        let orders = store.orders(&ada).await.unwrap();
        let paid: Vec<_> = orders.iter().filter(|order| order.state == OrderState::Paid).collect();
        assert_eq!(has.len(), paid.len(), "nothing doubled, nothing half done, round {round}");
        // A kill between the commit and the word about it leaves one purchase more than was announced, and never two.
        let announced = settled.len();
        for order in paid {
            if !settled.iter().any(|(known, _)| *known == order.id.0) {
                let payment = store.create_sandbox_payment(order, NOW, &mut random).await.unwrap();
                settled.push((order.id.0.clone(), payment.event().unwrap().1));
            }
        }
        assert!(settled.len() - announced <= 1, "round {round}");
        assert!(orders.iter().all(|order| order.state != OrderState::RefundDue), "nothing charged twice");
        store.close().await;
        assert_eq!(
            scene.count("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'").await,
            0
        );
    }
    assert!(killed_midway >= 3, "only {killed_midway} kills fell into the work");
    assert!(settled.len() >= 5, "only {} purchases", settled.len());
}
