//! Manifests, indexes and configurations from a registry: no bytes make the readers panic.
#![no_main]

use flatpass_oci::{Catalogue, Digest, Document, Image, ImageConfig, Manifest, MediaType, RepositoryName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in [MediaType::MANIFEST, MediaType::INDEX] {
        let _ = Document::read(bytes, &MediaType::parse(kind).expect("a media type"));
    }
    let (Ok(manifest), Ok(repository)) = (Manifest::read(bytes), RepositoryName::parse("a")) else { return };
    let media_type = MediaType::parse(MediaType::MANIFEST).expect("a media type");
    let config = ImageConfig::read(bytes).unwrap_or_default();
    let image = Image::new(repository, Vec::new(), Digest::of(bytes), media_type, &manifest, config);
    if let Ok(image) = image {
        let _ = image.token_type();
        assert_eq!(Catalogue::new(vec![image.clone(), image]).images().len(), 1);
    }
});
