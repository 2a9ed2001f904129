//! Summaries, plain and compressed: what is read takes no more room than what was given.
#![no_main]

use flatpass_ostree::{Checksum, ReadError, Summary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(summary) = Summary::parse(bytes) {
        let names = summary.refs.iter().chain(summary.mirrored.values().flatten());
        let room: usize = names.map(|entry| entry.name.len() + 32).sum();
        assert!(room <= bytes.len(), "{room} bytes out of {}", bytes.len());
    }
    // The name of the content cannot be guessed, so the furthest that bytes get is a mismatch.
    let name = Checksum::of(bytes);
    match Summary::parse_compressed(bytes, &name, 1 << 16) {
        Err(ReadError::BadCompression | ReadError::TooLarge { .. } | ReadError::Mismatch { .. }) => {}
        other => panic!("{other:?}"),
    }
});
