//! What an issuer of tokens elsewhere sends: its keys, its answers about tokens, and claims in a token that is signed as it should be.
//! No bytes make a reader panic, and none opens more than the one rule says, for the one audience, and only if the group stands there.
#![no_main]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};

use flatpass_token::{
    Accepts, ClaimRule, ForeignCheck, ForeignIssuer, ForeignKeySet, ForeignKeys, Grant, Introspection, Introspector, KeySet,
    KeySource, LookupError, RefName, SigningKey, TokenKind, UnixTime, Verb, Verifier, VerifierConfig,
};
use libfuzzer_sys::fuzz_target;

const NOW: UnixTime = UnixTime(1_790_000_000);
const REPO: &str = "https://shop.example/repo/apps";

/// Says of every token what the fuzzer wrote; and has no other keys.
#[derive(Debug, Default)]
struct Idp(Mutex<Vec<u8>>);

impl Introspector for Idp {
    fn introspect(&self, _: &str, _: UnixTime) -> Result<Arc<Introspection>, LookupError> {
        let said = self.0.lock().expect("nobody panics");
        Introspection::parse(&said).map(Arc::new).map_err(|_| LookupError::Unreachable)
    }

    fn fresh_seconds(&self) -> i64 {
        1
    }
}

impl KeySource for Idp {
    fn may_have_news(&self, _: UnixTime) -> bool {
        false
    }

    fn keys(&self, _: UnixTime) -> Result<Arc<ForeignKeySet>, LookupError> {
        Err(LookupError::Unreachable)
    }
}

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().expect("a key"));
static NUMBER: AtomicU64 = AtomicU64::new(0);
static IDP: LazyLock<Arc<Idp>> = LazyLock::new(Arc::default);

fn verifier(check: ForeignCheck) -> Verifier {
    let grant = Grant::for_ids(&[Verb::Download], ["com.acme.Tool"]);
    let issuer = ForeignIssuer {
        name: "acme".into(),
        issuer: "https://idp.example".into(),
        audience: Some(REPO.into()),
        rules: vec![ClaimRule::for_claim("a.groups", "engineering", grant).expect("a rule")],
        check,
        is_secret: false,
    };
    let verifier = Verifier::new(VerifierConfig::new("https://shop.example", REPO), KeySet::new());
    verifier.set_accepts(Accepts::only(TokenKind::Foreign(Arc::new(issuer))));
    verifier
}

static BY_KEYS: LazyLock<Verifier> = LazyLock::new(|| {
    let set = format!(r#"{{"keys":[{}]}}"#, serde_json::to_string(&KEY.public_jwk()).expect("a key is JSON"));
    let set = Arc::new(ForeignKeySet::parse(set.as_bytes()).expect("a set"));
    verifier(ForeignCheck::Keys(Arc::new(ForeignKeys::new(set, Arc::clone(&IDP) as _))))
});
static BY_ASKING: LazyLock<Verifier> = LazyLock::new(|| verifier(ForeignCheck::Introspection(Arc::clone(&IDP) as _)));

fn opens_no_more_than_it_says(bytes: &[u8], verified: &flatpass_token::VerifiedToken) {
    let opens = |name: &str| verified.allows(Verb::Download, &RefName::parse(name).expect("a ref"));
    assert!(!opens("app/com.acme.Other/x86_64/stable"));
    let text = String::from_utf8_lossy(bytes);
    // A word may be written with escapes; without any it stands there.
    if !text.contains('\\') {
        assert!(text.contains(REPO));
        assert!(!opens("app/com.acme.Tool/x86_64/stable") || text.contains("engineering"));
    }
    assert!(verified.subject().starts_with("acme:"));
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(set) = ForeignKeySet::parse(bytes) {
        assert!(set.keys().next().is_some());
        // What is left out was left out for a reason of its own, and reading it again says the same.
        assert_eq!(ForeignKeySet::parse(bytes).as_ref(), Ok(&set));
    }
    if let Ok(claims) = serde_json::from_slice::<Box<serde_json::value::RawValue>>(bytes)
        && let Ok(token) = KEY.sign_jwt(&claims, 8000)
        && let Ok(verified) = BY_KEYS.verify(&token, NOW)
    {
        opens_no_more_than_it_says(bytes, &verified);
    }
    *IDP.0.lock().expect("nobody panics") = bytes.to_vec();
    // Another token each time: of one that is known nobody asks.
    let token = format!("token{}", NUMBER.fetch_add(1, Relaxed));
    if let Ok(verified) = BY_ASKING.verify_waiting(&token, NOW) {
        opens_no_more_than_it_says(bytes, &verified);
    }
});
