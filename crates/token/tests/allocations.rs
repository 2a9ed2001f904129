//! The hot path of a gate, by its count of allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use flatpass_token::{
    AccessGrant, AccessTable, Claims, Grant, KeySet, RefName, Revocations, Secret, SigningKey, UnixTime,
    Verb, Verifier, VerifierConfig,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "counting allocations needs an allocator, and that trait is unsafe")]
// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the same promises that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_cached_token_and_an_access_secret_are_checked_without_any_allocation() {
    let now = UnixTime(1_800_000_000);
    let key = SigningKey::generate().expect("a key");
    let grants = vec![Grant::for_ids(&[Verb::Download], ["org.test.Paid"])];
    let claims = Claims {
        iss: "https://shop.example/".into(),
        aud: "https://shop.example/repo/apps".into(),
        sub: "acc_ada".into(),
        client_id: "flatpass-authenticator".into(),
        sid: Some("grt_1".into()),
        iat: now,
        exp: now.plus_seconds(3600),
        nbf: Some(now),
        jti: "tok_1".into(),
        authorization_details: grants.clone(),
    };
    let gate = Verifier::new(VerifierConfig::new(&*claims.iss, &*claims.aud), KeySet::new().with(&key));
    let lost = Grant::for_ids(&[Verb::Download], ["org.test.Other"]);
    let revocations = Revocations::new()
        .with_id("tok_2")
        .with_session("grt_2")
        .with_subject("acc_mallory", now)
        .with_lost("acc_ada", now, lost);
    gate.set_revocations(revocations);
    let secret = Secret::from("fpa_known".to_owned());
    let access = AccessGrant {
        id: "at_1".into(),
        subject: "acc_ada".into(),
        grants: vec![],
        ending: grants.into_iter().map(|grant| (grant, claims.exp)).collect(),
        expires_at: Some(claims.exp),
    };
    gate.set_access_tokens(AccessTable::from_iter([(secret.hash(), access)]));

    let token = key.sign(&claims).expect("a token");
    let target = RefName::parse("app/org.test.Paid/x86_64/stable").expect("a ref");
    let first = allocations(|| assert!(gate.verify(&token, now).is_ok()));
    assert!(first > 0, "the counter counts nothing");
    assert!(gate.verify_access_secret(secret.expose(), now).is_ok());
    let later = allocations(|| {
        for _ in 0..1000 {
            let verified = gate.verify(black_box(&token), now).expect("a good token");
            assert!(verified.is_diminished() && verified.allows(Verb::Download, &target));
            let verified =
                gate.verify_access_secret(black_box(secret.expose()), now).expect("a known secret");
            assert!(verified.allows(Verb::Download, &target));
        }
    });
    assert_eq!(later, 0);
}
