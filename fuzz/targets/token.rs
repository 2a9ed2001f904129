//! A bearer token from outside: no text makes a reader panic, and nothing but a signed token is ever verified.
#![no_main]

use flatpass_token::{KeySet, RefName, SigningKey, UnixTime, UnverifiedToken, Verifier, VerifierConfig};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let key = SigningKey::generate().expect("a key");
    Verifier::new(VerifierConfig::new("https://shop.example", "https://shop.example/repo/apps"), KeySet::new().with(&key))
});

fuzz_target!(|text: &str| {
    if let Ok(token) = UnverifiedToken::parse(text) {
        let _ = token.claims();
    }
    // The key was made a moment ago and has signed nothing.
    assert!(VERIFIER.verify(text, UnixTime(1_790_000_000)).is_err());
    assert!(VERIFIER.verify_access_secret(text, UnixTime(1_790_000_000)).is_err());
    if let Ok(name) = RefName::parse(text) {
        assert_eq!(name.as_str(), text);
    }
});
