//! Tokens that say nothing themselves: the gate asks about them beside the request path, and serves nothing it cannot ask about.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use flatpass_gate::{Field, Headers, Method, Policy, Request, Rules, WouldWait};
use flatpass_token::{
    Accepts, ClaimRule, ForeignCheck, ForeignIssuer, ForeignKeySet, ForeignKeys, Grant, KeySource, Lookup,
    LookupError, Reference, SigningKey, TokenKind, UnixTime, Verb,
};
use serde_json::json;

use crate::shop::{Desk, FREE, MOUNT, NOW, OTHER, PAID, REPO_URL, Shop};
use crate::wire::Server;

const TOKEN: &str = "fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH";

#[derive(Debug, Default)]
struct Store {
    asked: AtomicUsize,
    is_away: AtomicBool,
    known: Mutex<Vec<Reference>>,
}

impl Lookup for Store {
    fn reference(&self, secret: &str, _: UnixTime) -> Result<Option<Reference>, LookupError> {
        self.asked.fetch_add(1, SeqCst);
        if self.is_away.load(SeqCst) {
            return Err(LookupError::Unreachable);
        }
        Ok(self.known.lock().unwrap().iter().find(|_| secret == TOKEN).cloned())
    }
}

fn with_references(desk: &Desk) -> Arc<Store> {
    let store = Arc::new(Store::default());
    store.known.lock().unwrap().push(Reference {
        id: "rft_1".into(),
        subject: "acc_ann".into(),
        session: "dev_1".into(),
        grants: vec![
            Grant::for_ids(&[Verb::Download], ["org.test.Paid"]),
            Grant::for_ids(&[Verb::List], ["org.test.Paid"]),
        ],
        issued_at: NOW,
        expires_at: NOW.plus_seconds(3600),
    });
    desk.verifier.set_lookup(Some(Arc::clone(&store) as _));
    desk.verifier.set_accepts(Accepts::only(TokenKind::Reference));
    store
}

#[test]
fn the_fast_lane_asks_nobody_and_goes_on_without_asking_once_the_token_is_known() {
    let shop = Shop::build();
    for policy in [Policy::Refs, Policy::Objects, Policy::Private] {
        let desk = Desk::open(shop.repo(), Rules::new(policy));
        let store = with_references(&desk);
        let bearer = format!("Bearer {TOKEN}");
        let path = shop.commit(PAID);
        let headers = Headers { authorization: Field::Once(bearer.as_bytes()), ..Headers::default() };
        let request = Request { method: Method::Get, path: &path, query: None, headers, peer: None };
        let now = desk.clock.now();
        assert_eq!(desk.gate.answer_cached(&request, now).err(), Some(WouldWait));
        assert_eq!(store.asked.load(SeqCst), 0);
        assert_eq!(desk.gate.answer(&request, now).status(), 200);
        assert_eq!(desk.gate.answer_cached(&request, now).unwrap().status(), 200);
        assert_eq!(store.asked.load(SeqCst), 1);
    }
}

#[test]
fn what_cannot_be_asked_about_is_a_503_and_nothing_that_needs_a_token_is_served() {
    let shop = Shop::build();
    for policy in [Policy::Refs, Policy::Objects, Policy::Private] {
        let desk = Desk::open(shop.repo(), Rules::new(policy));
        let store = with_references(&desk);
        store.is_away.store(true, SeqCst);
        let server = Server::start(&desk);
        let mut client = server.connect();
        let bearer = format!("Bearer {TOKEN}");
        let fields = [("Authorization", bearer.as_str())];
        let file = shop.files("objects").into_iter().find(|path| path.ends_with(".filez")).unwrap();
        let mut asked_for = vec![shop.commit(PAID), shop.commit(OTHER)];
        if policy == Policy::Private {
            asked_for.extend([
                shop.commit(FREE),
                "summary".into(),
                "config".into(),
                file.clone(),
                "nothing".into(),
            ]);
        }
        for path in &asked_for {
            let reply = client.ask("GET", &format!("{MOUNT}/{path}"), &fields);
            assert_eq!(reply.status, 503, "{policy:?} {path}");
            assert_eq!(reply.field("retry-after"), Some("5"));
            assert_eq!(reply.field("cache-control"), Some("private, no-store"));
            assert_eq!(reply.field("content-type"), Some("application/problem+json"));
            let text = reply.text();
            assert!(
                text.contains("/problems/token-unchecked") && text.contains("Try again in a moment"),
                "{text}"
            );
            // Without a token, and with another kind, they are told what they always are.
            assert_eq!(client.ask("GET", &format!("{MOUNT}/{path}"), &[]).status, 401);
        }
        if policy != Policy::Private {
            let free = client.ask("GET", &format!("{MOUNT}/{}", shop.commit(FREE)), &fields);
            assert_eq!(free.status, 200, "what is open needs nobody");
        }
        store.is_away.store(false, SeqCst);
        assert_eq!(client.ask("GET", &format!("{MOUNT}/{}", shop.commit(PAID)), &fields).status, 200);
        let refused = client.ask("GET", &format!("{MOUNT}/{}", shop.commit(OTHER)), &fields);
        assert_eq!(refused.status, 403);
    }
}

#[test]
fn an_unknown_reference_token_is_refused_as_where_no_repo_is() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    with_references(&desk);
    let server = Server::start(&desk);
    let mut client = server.connect();
    for token in ["fpx_", "fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGXXXX", "a.b.c", ""] {
        let bearer = format!("Bearer {token}");
        let fields = [("Authorization", bearer.as_str())];
        let there = client.ask("GET", &format!("{MOUNT}/summary"), &fields);
        let nowhere = client.ask("GET", "/repo/no-such/summary", &fields);
        assert_eq!((there.status, there.text()), (401, nowhere.text()), "{token}");
    }
}

#[derive(Debug)]
struct NoNews;

impl KeySource for NoNews {
    fn may_have_news(&self, _: UnixTime) -> bool {
        false
    }

    fn keys(&self, _: UnixTime) -> Result<Arc<ForeignKeySet>, LookupError> {
        Err(LookupError::Unreachable)
    }
}

#[test]
fn a_foreign_token_opens_what_its_claims_are_mapped_to_and_the_stores_own_opens_nothing() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Refs));
    let key = SigningKey::generate().unwrap();
    let jwks = json!({ "keys": [key.public_jwk()] }).to_string();
    let set = Arc::new(ForeignKeySet::parse(jwks.as_bytes()).unwrap());
    let grant = Grant::for_ids(&[Verb::Download], ["org.test.Paid"]);
    let issuer = ForeignIssuer {
        name: "acme".into(),
        issuer: "https://idp.example".into(),
        audience: Some(REPO_URL.into()),
        rules: vec![ClaimRule::for_claim("groups", "players", grant.clone()).unwrap()],
        check: ForeignCheck::Keys(Arc::new(ForeignKeys::new(set, Arc::new(NoNews)))),
        is_secret: false,
    };
    let server = Server::start(&desk);
    let mut client = server.connect();
    let mut get = |name: &str, authorization: &str| {
        client
            .ask("GET", &format!("{MOUNT}/{}", shop.commit(name)), &[("Authorization", authorization)])
            .status
    };
    let own = desk.download(&["org.test.Paid"]);
    assert_eq!(get(PAID, &own), 200);
    desk.verifier.set_accepts(Accepts::only(TokenKind::Foreign(Arc::new(issuer))));
    assert_eq!(get(PAID, &own), 401, "of another issuer than the repo's now");
    let foreign = |groups: &[&str]| {
        let claims = json!({
            "iss": "https://idp.example", "aud": REPO_URL, "sub": "u", "exp": NOW.0 + 60, "groups": groups,
        });
        format!("Bearer {}", key.sign_jwt(&claims, 8000).unwrap())
    };
    assert_eq!(get(PAID, &foreign(&["players"])), 200);
    assert_eq!(get(OTHER, &foreign(&["players"])), 403);
    assert_eq!(get(PAID, &foreign(&["others"])), 403);
    assert_eq!(get(PAID, &desk.basic(&[grant])), 200, "an access token is the store's own in any case");
}
