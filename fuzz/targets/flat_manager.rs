//! A token of flat-manager's: no text is one without the secret, and no claims that are signed with it make the reader panic or open what
//! they do not name.
#![no_main]

use flatpass_token::{FlatManagerKeys, KeySet, RefName, SharedSecret, UnixTime, Verb, Verifier, VerifierConfig};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static SECRET: LazyLock<Arc<SharedSecret>> =
    LazyLock::new(|| Arc::new(SharedSecret::from_bytes(vec![7; 64].into()).expect("a secret")));
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let config = VerifierConfig::new("https://shop.example", "https://shop.example/repo/apps");
    let verifier = Verifier::new(config, KeySet::new());
    verifier.set_flat_manager(Some(FlatManagerKeys::new("stable", [Arc::clone(&SECRET)])));
    verifier
});

fuzz_target!(|text: &str| {
    let now = UnixTime(1_800_000_000);
    assert!(VERIFIER.verify(text, now).is_err());
    let _ = SharedSecret::from_base64(text);
    let Ok(claims) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let Ok(token) = SECRET.sign(&claims) else { return };
    let Ok(token) = VERIFIER.verify(&token, now) else { return };
    // An id that no short text names, below a prefix that none has.
    let name = RefName::parse("app/qzx.wvu.Nobody/x86_64/stable").expect("a ref");
    assert!(!token.allows(Verb::Download, &name) || text.contains("qzx"));
    assert!(!token.allows_any(Verb::List) || text.contains("list"));
});
