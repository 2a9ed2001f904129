//! Paths below `/v2/`: whatever parses is canonical, and names a blob of the layout by its digest alone.
#![no_main]

use flatpass_gate::ImagePath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(path) = ImagePath::parse(text) {
        assert_eq!(path.to_string(), text, "a second spelling");
        assert!(
            path.repository.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')),
            "a part that leads elsewhere"
        );
        assert!(!text.contains(['%', '\\', '\0', ' ']), "a character that must be encoded");
    }
});
