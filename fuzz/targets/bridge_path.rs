//! Request paths at the bridge: whatever passes stays below the repo, in the one spelling that it came in.
#![no_main]

#[path = "../../crates/authenticator/src/bridge/path.rs"]
mod path;

use flatpass_ostree::RepoPath;
use libfuzzer_sys::fuzz_target;
use path::BelowRepo;

fuzz_target!(|text: &str| {
    match BelowRepo::parse(text) {
        Some(below) => {
            assert_eq!(below.as_str(), text);
            assert!(text.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "leads out of the repo");
            assert!(!text.contains(['%', '\\', '?', '#', ' ', '\r', '\n', '\0']));
            let _asked = below.is_asked_for_again();
        }
        None => assert_eq!(RepoPath::parse(text), None, "a file of a repo that cannot be fetched through the bridge"),
    }
});
