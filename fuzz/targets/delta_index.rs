//! Indexes of static deltas: what is read takes no more room than what was given.
#![no_main]

use flatpass_ostree::DeltaIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = DeltaIndex::parse(bytes) {
        let room: usize = index.deltas.keys().map(|name| name.to_string().len() + 32).sum();
        assert!(room <= bytes.len(), "{room} bytes out of {}", bytes.len());
    }
});
