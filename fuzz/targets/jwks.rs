//! Somebody's published keys: no text makes the reader panic, and what it takes it writes so that it is read again alike.
#![no_main]

use flatpass_token::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(keys) = KeySet::from_jwks_json(text) {
        let again = KeySet::from_jwks_json(&keys.to_jwks_json()).expect("what was written is read");
        assert_eq!(again.to_jwks_json(), keys.to_jwks_json());
    }
});
