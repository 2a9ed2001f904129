//! Request paths: whatever parses is canonical and names a file below the repository's root.
#![no_main]

use flatpass_ostree::RepoPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(path) = RepoPath::parse(text) {
        let file = path.relative_path();
        assert_eq!(file, text, "a second spelling");
        assert!(
            file.split('/').all(|part| !part.is_empty() && !part.starts_with('.')),
            "leads out of the repository"
        );
    }
});
