//! Summaries, plain and compressed: what is read takes no more room than what was given, and what is left of one without some refs
//! is one without those refs.
#![no_main]

use flatpass_ostree::{Checksum, Fate, ReadError, Summary, SummarySource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(summary) = Summary::parse(bytes) {
        let names = summary.refs.iter().chain(summary.mirrored.values().flatten());
        let room: usize = names.map(|entry| entry.name.len() + 32).sum();
        assert!(room <= bytes.len(), "{room} bytes out of {}", bytes.len());
    }
    if let Ok(source) = SummarySource::read(bytes) {
        let stays = |name: &str| name.len() % 2 == 0;
        let made = source.with_refs(|name| if stays(name) { Fate::Keep } else { Fate::Leave });
        let again = SummarySource::read(&made).expect("what was made can be read");
        assert!(again.refs().eq(source.refs().filter(|(name, _)| stays(name))));
        assert!(Summary::parse(bytes).is_err() || Summary::parse(&made).is_ok());
    }
    // The name of the content cannot be guessed, so the furthest that bytes get is a mismatch.
    let name = Checksum::of(bytes);
    match Summary::parse_compressed(bytes, &name, 1 << 16) {
        Err(ReadError::BadCompression | ReadError::TooLarge { .. } | ReadError::Mismatch { .. }) => {}
        other => panic!("{other:?}"),
    }
});
