//! A registry's challenge: no field makes the reader panic, and each parameter that it gives stands there once.
#![no_main]

use flatpass_oci::{Challenge, Scope};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for challenge in Challenge::parse_all(text).unwrap_or_default() {
        assert!(!challenge.scheme().is_empty());
        if let Some(realm) = challenge.get("realm") {
            assert!(!realm.chars().any(|letter| letter.is_control() && letter != '\t'));
        }
    }
    for scope in Scope::parse_list(text).unwrap_or_default() {
        if scope.repository().is_some() {
            assert_eq!(Scope::parse(&scope.to_string()).as_ref(), Ok(&scope));
        }
    }
});
