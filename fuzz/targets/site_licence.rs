//! Site licences: what no key of the store signed is none, whatever it says.
#![no_main]

use flatpass_token::{KeySet, SiteLicence};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let keys = KeySet::from_jwks_json(
        r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    );
    let keys = keys.expect("the key of RFC 7517, appendix A.1");
    let verified =
        SiteLicence::verify(text, &keys, "https://shop.example/", "https://shop.example/repo/apps");
    assert!(verified.is_err(), "a forged licence");
});
