//! The query of an index: no text makes the reader panic, and a condition on the architecture lets no other one through.
#![no_main]

use std::sync::{Arc, LazyLock};

use flatpass_oci::index::{Index, IndexQuery};
use flatpass_oci::{Catalogue, Digest, Image, ImageConfig, Manifest, MediaType, RepositoryName};
use libfuzzer_sys::fuzz_target;

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Labels":{"org.flatpak.ref":"app/org.test.App/x86_64/stable"}}}"#;
    let descriptor = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/x","size":2,"digest":"{}"}}}}"#,
        Digest::of(b"{}")
    );
    let manifest = Manifest::read(descriptor.as_bytes()).expect("a manifest");
    let config = ImageConfig::read(config).expect("a configuration");
    let name = RepositoryName::parse("shop/app").expect("a name");
    let kind = MediaType::parse(MediaType::MANIFEST).expect("a media type");
    let image = Image::new(name, Vec::new(), Digest::of(b"x"), kind, &manifest, config).expect("an image");
    Index::new(Arc::new(Catalogue::new(vec![image])), "/", |_| 0)
});

fuzz_target!(|text: &str| {
    let Ok(query) = IndexQuery::parse(text) else { return };
    let answer = INDEX.answer(&query, |_, _| true);
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    let listed = !answer["Results"].as_array().expect("a list").is_empty();
    let others = IndexQuery::parse(&format!("architecture=arm64&{}", text.replace("architecture", "x")));
    if let Ok(others) = others {
        let answer = INDEX.answer(&others, |_, _| true);
        assert!(answer.ends_with(br#""Results":[]}"#), "{text}");
    }
    if text.is_empty() {
        assert!(listed);
    }
});
