//! A registry's notification: no body makes the reader panic, and each name that it gives is one.
#![no_main]

use flatpass_oci::{RepositoryName, changed_repositories};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for name in changed_repositories(body).unwrap_or_default() {
        assert_eq!(RepositoryName::parse(name.as_str()).as_ref(), Ok(&name));
    }
});
