//! Static deltas: the commit in an accepted superblock is the one that it says it leads to.
#![no_main]

use flatpass_ostree::{Checksum, DeltaSuperblock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(superblock) = DeltaSuperblock::parse(bytes) {
        // Somewhere in the bytes lies a commit with that checksum.
        let commit = superblock.commit.root_meta.as_bytes();
        let found = bytes.windows(32).any(|window| window == commit);
        assert!(found && superblock.to != Checksum::of(b""), "a commit out of nothing");
    }
});
