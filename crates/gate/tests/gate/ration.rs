//! What one member can make the server do by asking for indexes: not more than their ration. Threat 15.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use flatpass_gate::{CacheLimits, FileCache, Gate, GateConfig, IndexSigner, Listing, Policy, Rules};
use flatpass_token::{Claims, Grant, UnixTime, Verb};

use crate::shop::{Desk, MOUNT, REPO_URL, Shop};
use crate::wire::Server;

/// Counts what it signs, and how much of it at once.
#[derive(Debug, Default)]
struct Busy {
    state: Mutex<Signing>,
    changed: Condvar,
    /// A signature is not done before so many are begun, or some time has gone by.
    meets: usize,
}

#[derive(Debug, Default)]
struct Signing {
    signed: usize,
    now: usize,
    most: usize,
}

impl IndexSigner for Busy {
    fn sign(&self, _: &[u8], _: UnixTime) -> Result<Vec<u8>, String> {
        let mut state = self.state.lock().unwrap();
        state.signed += 1;
        state.now += 1;
        state.most = state.most.max(state.now);
        self.changed.notify_all();
        let enough = |state: &mut Signing| state.most < self.meets;
        let (mut state, _) =
            self.changed.wait_timeout_while(state, Duration::from_millis(100), enough).unwrap();
        state.now -= 1;
        Ok(b"signed".to_vec())
    }
}

impl Busy {
    fn signed(&self) -> usize {
        self.state.lock().unwrap().signed
    }
}

fn per_person(signer: &Arc<Busy>) -> Listing {
    Listing::PerPerson { signer: Some(Arc::clone(signer) as Arc<dyn IndexSigner>) }
}

fn token_of(desk: &Desk, subject: &str, ids: &[String]) -> String {
    let grants = [Grant::for_ids(&[Verb::List], ids.iter().cloned())];
    let claims = Claims { sub: subject.to_owned(), ..desk.claims(&grants) };
    format!("Bearer {}", desk.key.sign(&claims).unwrap())
}

#[test]
fn one_account_causes_only_so_many_indexes_in_a_time_and_keeps_nobody_else_from_theirs() {
    let shop = Shop::build();
    let signer = Arc::new(Busy::default());
    let desk = Desk::private(shop.repo(), per_person(&signer));
    let server = Server::start(&desk);
    let ids = ["Paid", "Other", "Free", "Paid.Locale"].map(|name| format!("org.test.{name}"));
    let ann = token_of(&desk, "acc_ann", &ids[..1]);
    let bob = token_of(&desk, "acc_bob", &ids[..1]);
    // Each time the repo is another, and with it each index.
    let mut changes = 0;
    let mut change = || {
        changes += 1;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + changes);
        File::options().write(true).open(shop.repo().join("summary")).unwrap().set_modified(at).unwrap();
    };
    for _ in 0..20 {
        change();
        assert_eq!(server.get_as(&ann, "summary").status, 200);
        assert_eq!(server.get_as(&ann, "summary.sig").status, 200);
    }
    let signed = signer.signed();
    change();
    let refused = server.get_as(&ann, "summary");
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("3")), "{}", refused.text());
    assert_eq!(signer.signed(), signed);
    // For another account the same index is made; then it is there, for both.
    assert_eq!(server.get_as(&bob, "summary").status, 200);
    assert!(signer.signed() > signed);
    assert_eq!(server.get_as(&ann, "summary").status, 200);
    assert_eq!(server.get_as(&token_of(&desk, "acc_ann", &ids[1..2]), "summary").status, 429);
    // Once more each three seconds.
    desk.clock.advance_millis(3000);
    let again = ids.windows(2).map(|ids| server.get_as(&token_of(&desk, "acc_ann", ids), "summary").status);
    assert_eq!(again.collect::<Vec<_>>(), [200, 429, 429]);
}

#[test]
fn however_many_ask_only_two_indexes_are_made_at_once() {
    let shop = Shop::build();
    let signer = Arc::new(Busy { meets: 3, ..Busy::default() });
    let desk = Desk::private(shop.repo(), per_person(&signer));
    let server = Server::start(&desk);
    let ids = ["Paid", "Other", "Free", "Paid.Locale"].map(|name| format!("org.test.{name}"));
    let sets = (1..7_usize).map(|set| {
        let ids = ids.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, id)| id.clone());
        token_of(&desk, &format!("acc_{set}"), &ids.collect::<Vec<_>>())
    });
    let tokens: Vec<_> = sets.collect();
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            tokens.iter().map(|token| scope.spawn(|| server.get_as(token, "summary").status)).collect();
        assert!(asking.into_iter().all(|one| one.join().unwrap() == 200));
    });
    assert_eq!(signer.state.lock().unwrap().most, 2);
}

#[test]
fn an_index_that_is_larger_than_the_memory_for_them_is_made_once_all_the_same() {
    let shop = Shop::build();
    let signer = Arc::new(Busy::default());
    let desk = Desk::private(shop.repo(), Listing::Shared);
    let config = GateConfig {
        name: "apps".to_owned(),
        root: shop.repo(),
        rules: Rules::new(Policy::Private),
        public_url: REPO_URL.to_owned(),
        sign_in_url: String::new(),
        problem_url: String::new(),
        objects: None,
    };
    let cache = Arc::new(FileCache::new(CacheLimits::default()));
    let gate = Gate::open(config, Arc::clone(&desk.verifier), cache).unwrap();
    desk.gates.replace(vec![(MOUNT.to_owned(), Arc::new(gate.with_listing_in(per_person(&signer), 100)))]);
    let server = Server::start(&desk);
    let ann = token_of(&desk, "acc_ann", &["org.test.Paid".to_owned()]);
    let ask_for_all = || {
        for path in
            ["summary.idx", "summary.idx.sig", "summary", "refs/heads/appstream2/x86_64", "summary.sig"]
        {
            assert_eq!(server.get_as(&ann, path).status, 200, "{path}");
        }
        signer.signed()
    };
    let signed = ask_for_all();
    assert_eq!(ask_for_all(), signed);
}
