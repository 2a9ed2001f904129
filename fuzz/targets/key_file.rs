//! A repository's config: whatever group and key are found were written in it.
#![no_main]

use flatpass_ostree::repo::KeyFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match KeyFile::parse(text) {
    Ok(file) => {
        for key in file.keys("core") {
            let value = file.get("core", key).expect("a listed key has a value");
            assert!(text.contains(key) && text.contains(value), "{key}={value}");
        }
    }
    Err(line) => assert!((1..=text.lines().count()).contains(&line), "no line {line}"),
});
