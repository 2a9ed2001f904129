//! Directories: what is read takes no more room than what was given, and no name leads out of its directory.
#![no_main]

use flatpass_ostree::DirTree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tree) = DirTree::parse(bytes) {
        let files = tree.files.iter().map(|file| (&file.name, 32));
        let names = files.chain(tree.directories.iter().map(|directory| (&directory.name, 64)));
        let mut room = 0;
        for (name, checksums) in names {
            assert!(!name.contains('/') && !matches!(name.as_str(), "" | "." | ".."));
            room += name.len() + checksums;
        }
        assert!(room <= bytes.len(), "{room} bytes out of {}", bytes.len());
    }
});
