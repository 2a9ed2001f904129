//! Signature files: no more signatures than bytes.
#![no_main]

use flatpass_ostree::Signatures;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(found) = Signatures::parse(bytes) {
        assert!(found.openpgp + found.ed25519 <= bytes.len(), "{found:?}");
    }
});
