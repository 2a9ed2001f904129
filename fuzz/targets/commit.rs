//! Commits: what is accepted does not depend on where in memory it lies.
#![no_main]

use flatpass_ostree::Commit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = Commit::parse(bytes);
    let shifted = [b"x", bytes].concat();
    assert_eq!(read, Commit::parse(&shifted[1..]), "another commit at another address");
});
