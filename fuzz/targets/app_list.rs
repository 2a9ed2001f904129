//! Lists of apps: what is left of one is one, and stays as it is.
#![no_main]

use flatpass_ostree::filtered_components;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let stays = |name: &str| name.len() % 2 == 0;
    if let Some(left) = filtered_components(bytes, stays) {
        let again = filtered_components(&left, stays).expect("what was made can be read");
        assert_eq!(again, left);
    }
});
