use std::collections::HashMap;

use flatpass_store::{
    AccountId, Order, OrderError, OrderId, OrderState, PaymentOutcome, SandboxState, Store,
};
use flatpass_token::Verb;
use proptest::prelude::*;
use rand::rngs::StdRng;

use crate::scene::{NOW, Scene, account, price, repo, rng};

const APPS: [&str; 2] = ["org.test.One", "org.test.Two"];
const OUTCOMES: [PaymentOutcome; 4] =
    [PaymentOutcome::Paid, PaymentOutcome::Declined, PaymentOutcome::Cancelled, PaymentOutcome::Refunded];

#[derive(Clone, Debug)]
enum Step {
    Begin { who: usize, app: usize },
    Settle { order: usize, outcome: usize },
    Replay { event: usize },
    Forge { event: usize, outcome: usize },
    Reprice { app: usize, minor: i64 },
    TakeBack { order: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2usize, 0..2usize).prop_map(|(who, app)| Step::Begin { who, app }),
        6 => (any::<usize>(), 0..4usize).prop_map(|(order, outcome)| Step::Settle { order, outcome }),
        3 => any::<usize>().prop_map(|event| Step::Replay { event }),
        1 => (any::<usize>(), 0..4usize).prop_map(|(event, outcome)| Step::Forge { event, outcome }),
        1 => (0..2usize, 1..4i64).prop_map(|(app, minor)| Step::Reprice { app, minor: minor * 100 }),
        1 => any::<usize>().prop_map(|order| Step::TakeBack { order }),
    ]
}

/// What the test remembers, without knowing how the store decides.
struct Story {
    store: Store,
    repo: String,
    people: Vec<AccountId>,
    orders: Vec<OrderId>,
    events: Vec<(OrderId, PaymentOutcome, String)>,
    taken_back: Vec<OrderId>,
    rng: StdRng,
}

impl Story {
    async fn run(&mut self, step: Step) {
        match step {
            Step::Begin { who, app } => {
                let (who, app) = (self.people[who].clone(), APPS[app]);
                let owned = self.store.entitled(&who, &self.repo, app, Verb::Download, NOW).await.unwrap();
                match self.store.begin_order(&who, &self.repo, app, "sandbox", NOW, &mut self.rng).await {
                    Ok(order) => {
                        assert!(!owned && order.state == OrderState::Pending);
                        if !self.orders.contains(&order.id) {
                            self.orders.push(order.id);
                        }
                    }
                    Err(OrderError::AlreadyOwned) => assert!(owned),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Settle { order, outcome } => {
                let Some(id) = pick(&self.orders, order) else { return };
                let (outcome, event) =
                    (OUTCOMES[outcome], format!("evt_{}_{}", self.repo, self.events.len()));
                let before = self.order(&id).await;
                let after = self.store.settle_order(&id, outcome, &event, NOW, &mut self.rng).await.unwrap();
                assert_eq!(after, self.order(&id).await, "what is answered is what is stored");
                check_move(&before, &after, outcome);
                self.events.push((id, outcome, event));
            }
            Step::Replay { event } => {
                let Some((id, outcome, event)) = pick(&self.events, event) else { return };
                let before = self.all().await;
                self.store
                    .settle_order(&id, outcome, &event, NOW.plus_seconds(9), &mut self.rng)
                    .await
                    .unwrap();
                assert_eq!(self.all().await, before, "a replay changes nothing");
            }
            Step::Forge { event, outcome } => {
                let Some((id, real, event)) = pick(&self.events, event) else { return };
                let before = self.all().await;
                let done = self.store.settle_order(&id, OUTCOMES[outcome], &event, NOW, &mut self.rng).await;
                assert_eq!(matches!(done, Err(OrderError::EventConflict)), OUTCOMES[outcome] != real);
                assert_eq!(self.all().await, before);
            }
            Step::Reprice { app, minor } => price(&self.store, &self.repo, APPS[app], minor).await,
            Step::TakeBack { order } => {
                let Some(id) = pick(&self.orders, order) else { return };
                let order = self.order(&id).await;
                let has = self.store.entitlements(&order.account_id, Some(&self.repo), NOW).await.unwrap();
                if let Some(given) = has.iter().find(|given| given.source.id == id.0) {
                    assert!(self.store.revoke_entitlement(&given.id, NOW).await.unwrap());
                    assert_eq!(self.order(&id).await.state, OrderState::RefundDue);
                    self.taken_back.push(id);
                }
            }
        }
        self.check().await;
    }

    async fn order(&self, id: &OrderId) -> Order {
        self.store.order(id).await.unwrap().unwrap()
    }

    async fn all(&self) -> Vec<Order> {
        let mut all = Vec::new();
        for who in &self.people {
            all.extend(self.store.orders(who).await.unwrap());
        }
        all
    }

    /// What must hold after each step.
    async fn check(&self) {
        let orders = self.all().await;
        assert_eq!(orders.len(), self.orders.len());
        let mut tally: HashMap<(&AccountId, &str), (usize, usize)> = HashMap::new();
        for order in &orders {
            let (pending, paid) = tally.entry((&order.account_id, &order.app_id)).or_default();
            *pending += usize::from(order.state == OrderState::Pending);
            *paid += usize::from(order.state == OrderState::Paid);
            let has = self.store.entitlements(&order.account_id, Some(&self.repo), NOW).await.unwrap();
            let given = has.iter().filter(|given| given.source.id == order.id.0).count();
            assert_eq!(
                given,
                usize::from(order.state == OrderState::Paid),
                "an entitlement exactly while paid: {order:?}"
            );

            let said = |outcome| self.events.iter().any(|(id, what, _)| *id == order.id && *what == outcome);
            let (money, back) = (said(PaymentOutcome::Paid), said(PaymentOutcome::Refunded));
            let holds_money = matches!(order.state, OrderState::Paid | OrderState::RefundDue);
            assert_eq!(order.state == OrderState::Refunded, back, "{order:?}");
            assert_eq!(holds_money, money && !back, "money that came is never forgotten: {order:?}");
        }
        for ((who, app), (pending, paid)) in tally {
            assert!(pending <= 1 && paid <= 1, "{who} {app}: {pending} pending, {paid} paid");
            let owned = self.store.entitled(who, &self.repo, app, Verb::Upgrade, NOW).await.unwrap();
            assert_eq!(owned, paid == 1);
        }
    }
}

fn pick<T: Clone>(from: &[T], index: usize) -> Option<T> {
    index.checked_rem(from.len()).and_then(|index| from.get(index).cloned())
}

fn check_move(before: &Order, after: &Order, outcome: PaymentOutcome) {
    use OrderState::{Paid, RefundDue, Refunded};
    let allowed = match (before.state, outcome) {
        (_, PaymentOutcome::Refunded) => after.state == Refunded,
        (Paid | RefundDue | Refunded, _) => after.state == before.state,
        (_, PaymentOutcome::Paid) => matches!(after.state, Paid | RefundDue),
        (OrderState::Pending, PaymentOutcome::Declined) => after.state == OrderState::Declined,
        (OrderState::Pending, PaymentOutcome::Cancelled) => after.state == OrderState::Cancelled,
        _ => after.state == before.state,
    };
    assert!(allowed, "{:?} with {outcome:?} became {:?}", before.state, after.state);
    assert_eq!((&before.price, &before.account_id), (&after.price, &after.account_id));
}

/// Threat 11: replayed, duplicated, reordered, late and contradictory messages of a provider, in any mixture.
#[test]
fn whatever_a_provider_says_an_app_is_paid_at_most_once_and_owned_exactly_while_paid() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scene = runtime.block_on(Scene::new());
    let mut number = 0;
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 64, ..ProptestConfig::default() });
    let number = std::cell::RefCell::new(&mut number);
    runner
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            let case = {
                let mut number = number.borrow_mut();
                **number += 1;
                **number
            };
            runtime.block_on(async {
                let store = scene.store.clone();
                let name = format!("repo-{case}");
                repo(&store, &name, &APPS).await;
                let mut people = Vec::new();
                for who in ["ada", "bob"] {
                    people.push(account(&store, &format!("{who}-{case}@example.org")).await.id);
                }
                let rng = rng(1000 + case);
                let mut story = Story {
                    store,
                    repo: name,
                    people,
                    orders: vec![],
                    events: vec![],
                    taken_back: vec![],
                    rng,
                };
                for step in steps {
                    story.run(step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn an_order_begins_once_at_the_price_of_its_time() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &["org.test.Paid"]).await;
    let ada = account(store, "ada@example.org").await;
    let mut begin = async |app: &str| store.begin_order(&ada.id, "apps", app, "sandbox", NOW, &mut rng).await;
    let first = begin("org.test.Paid").await.unwrap();
    assert_eq!(begin("org.test.Paid").await.unwrap(), first, "the same click twice is one order");
    price(store, "apps", "org.test.Paid", 900).await;
    let dearer = begin("org.test.Paid").await.unwrap();
    assert_eq!((dearer.price.minor, first.price.minor), (900, 500));
    assert_eq!(store.order(&first.id).await.unwrap().unwrap().state, OrderState::Cancelled);
    assert!(matches!(begin("org.test.Unknown").await, Err(OrderError::NotForSale)));
    assert_eq!(store.pending_orders().await.unwrap(), vec![dearer.clone()]);

    store.set_provider_reference(&dearer.id, "pay_1").await.unwrap();
    store.set_provider_reference(&dearer.id, "pay_1").await.unwrap();
    let changed = store.set_provider_reference(&dearer.id, "pay_2").await;
    assert!(matches!(changed, Err(OrderError::ReferenceConflict)), "{changed:?}");
    let shared = store.set_provider_reference(&first.id, "pay_1").await;
    assert!(matches!(shared, Err(OrderError::ReferenceConflict)), "{shared:?}");

    store.disable_account(&ada.id, NOW).await.unwrap();
    assert!(matches!(begin("org.test.Paid").await, Err(OrderError::NoAccount)));
    let unknown = store
        .settle_order(&"ord_none".into(), PaymentOutcome::Paid, "evt", NOW, &mut crate::scene::rng(2))
        .await;
    assert!(matches!(unknown, Err(OrderError::Unknown)), "{unknown:?}");
}

#[tokio::test]
async fn an_event_belongs_to_one_order() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &APPS).await;
    let ada = account(store, "ada@example.org").await;
    let one = store.begin_order(&ada.id, "apps", APPS[0], "sandbox", NOW, &mut rng).await.unwrap();
    let two = store.begin_order(&ada.id, "apps", APPS[1], "sandbox", NOW, &mut rng).await.unwrap();
    store.settle_order(&one.id, PaymentOutcome::Paid, "evt_1", NOW, &mut rng).await.unwrap();
    let borrowed = store.settle_order(&two.id, PaymentOutcome::Paid, "evt_1", NOW, &mut rng).await;
    assert!(matches!(borrowed, Err(OrderError::EventConflict)), "{borrowed:?}");
    assert_eq!(store.order(&two.id).await.unwrap().unwrap().state, OrderState::Pending);
}

#[tokio::test]
async fn the_sandbox_decides_a_payment_once_and_always_reports_it_alike() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &["org.test.Paid"]).await;
    let ada = account(store, "ada@example.org").await;
    let order = store.begin_order(&ada.id, "apps", "org.test.Paid", "sandbox", NOW, &mut rng).await.unwrap();
    let payment = store.create_sandbox_payment(&order, NOW, &mut rng).await.unwrap();
    assert_eq!(store.create_sandbox_payment(&order, NOW, &mut rng).await.unwrap(), payment);
    assert_eq!((payment.state, payment.event()), (SandboxState::Open, None));
    assert_eq!(payment.amount, order.price);

    let decide = async |outcome| {
        store.decide_sandbox_payment(&payment.reference, outcome, NOW).await.unwrap().unwrap()
    };
    assert_eq!(decide(PaymentOutcome::Refunded).await.state, SandboxState::Open, "nothing was paid yet");
    let paid = decide(PaymentOutcome::Paid).await;
    assert_eq!(decide(PaymentOutcome::Declined).await, paid);
    assert_eq!(store.sandbox_payment(&payment.reference).await.unwrap(), Some(paid.clone()));
    let (outcome, event) = paid.event().unwrap();
    assert_eq!(outcome, PaymentOutcome::Paid);
    let refunded = decide(PaymentOutcome::Refunded).await;
    assert_ne!(refunded.event().unwrap().1, event);
    assert_eq!(store.decide_sandbox_payment("pay_none", PaymentOutcome::Paid, NOW).await.unwrap(), None);
}
