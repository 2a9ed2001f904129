//! Request paths at the bridge: whatever passes stays below the repo, in the one spelling that it came in.
#![no_main]

#[path = "../../crates/authenticator/src/bridge/path.rs"]
mod path;

use flatpass_ostree::RepoPath;
use libfuzzer_sys::fuzz_target;
use path::BelowRepo;

fuzz_target!(|text: &str| {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    match BelowRepo::parse(path, query) {
        Some(below) => {
            assert_eq!((below.as_str(), below.query()), (path, query));
            assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "leads out of the repo");
            assert!(!path.contains(['%', '\\', '#', ' ', '\r', '\n', '\0']));
            assert!(!query.unwrap_or_default().contains(['/', '\\', '?', '#', ' ', '\r', '\n', '\0']));
            let _asked = (below.is_asked_for_again(), below.may_be_absent());
        }
        None if query.is_some() => {}
        None => assert_eq!(RepoPath::parse(path), None, "a file of a repo that cannot be fetched through the bridge"),
    }
});
