//! Indexes of summaries: what is read takes no more room than what was given, and what is made of one can be read.
#![no_main]

use flatpass_ostree::{IndexSource, SummaryIndex};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = SummaryIndex::parse(bytes) {
        let room: usize =
            index.subsummaries.iter().map(|(name, entry)| name.len() + 32 * (1 + entry.history.len())).sum();
        assert!(room <= bytes.len(), "{room} bytes out of {}", bytes.len());
    }
    if let Ok(source) = IndexSource::read(bytes) {
        let made = source.with_subsummaries(|checksum| Some(*checksum));
        let again = IndexSource::read(&made).expect("what was made can be read");
        assert!(again.subsummaries().eq(source.subsummaries()));
    }
});
