//! An OCI image layout made by the real `flatpak`, and the registry over it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gates, Layout, LayoutGate, LayoutGateConfig, Mount, Registry,
    RegistryConfig, Rules,
};
use flatpass_oci::Digest;
use flatpass_token::{KeySet, SigningKey, Verifier, VerifierConfig};
use serde_json::{Value, json};

use crate::shop::{Desk, FREE, ISSUER, LOCALE, NOW, OTHER, PAID, REPO_URL, Shop};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout in a temporary folder.
pub(crate) struct Images {
    shop: Shop,
    /// The folder.
    pub(crate) path: PathBuf,
}

impl Images {
    /// A free app, a paid app with its `.Locale`, another paid app.
    pub(crate) fn build() -> Self {
        let shop = Shop::build();
        let images = Self { path: shop.path("layout"), shop };
        for name in [FREE, PAID, LOCALE, OTHER] {
            images.bundle(name, "layout");
        }
        images
    }

    /// The newest version of a ref goes into the layout in that folder.
    pub(crate) fn bundle(&self, name: &str, folder: &str) {
        let parts: Vec<_> = name.split('/').collect();
        let runtime = if parts[0] == "runtime" { &["--runtime"][..] } else { &[] };
        let fixed = ["build-bundle", "--oci", "repo", folder, parts[1], parts[3]];
        self.shop.run("flatpak", &[&fixed[..1], runtime, &fixed[1..]].concat());
    }

    /// Exports and bundles one more version of an app that must be bought.
    pub(crate) fn publish(&self, name: &str, version: u8) {
        self.shop.export(name.split('/').nth(1).unwrap(), 2, false, version);
        self.bundle(name, "layout");
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.shop.path(name)
    }

    pub(crate) fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path.join("index.json")).unwrap()).unwrap()
    }

    pub(crate) fn write_index(&self, index: &Value) {
        let new = self.path.join("index.json.new");
        fs::write(&new, index.to_string()).unwrap();
        fs::rename(new, self.path.join("index.json")).unwrap();
    }

    /// The entry of a ref in `index.json`.
    pub(crate) fn entry(&self, name: &str) -> Value {
        let index = self.index();
        let mut entries = index["manifests"].as_array().unwrap().iter();
        entries.find(|entry| entry["annotations"][REF_NAME] == name).unwrap().clone()
    }

    /// The digest of a ref's manifest.
    pub(crate) fn digest(&self, name: &str) -> String {
        self.entry(name)["digest"].as_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        self.path.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    pub(crate) fn read(&self, digest: &str) -> Vec<u8> {
        fs::read(self.file(digest)).unwrap()
    }

    pub(crate) fn manifest(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(&self.digest(name))).unwrap()
    }

    pub(crate) fn config(&self, name: &str) -> Value {
        let digest = self.manifest(name)["config"]["digest"].as_str().unwrap().to_owned();
        serde_json::from_slice(&self.read(&digest)).unwrap()
    }

    /// The digest of a ref's one layer.
    pub(crate) fn layer(&self, name: &str) -> String {
        self.manifest(name)["layers"][0]["digest"].as_str().unwrap().to_owned()
    }

    /// Writes a blob; gives its descriptor.
    pub(crate) fn put(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(content).to_string();
        fs::write(self.file(&digest), content).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": content.len() })
    }

    pub(crate) fn put_json(&self, media_type: &str, content: &Value) -> Value {
        self.put(media_type, content.to_string().as_bytes())
    }

    /// Adds an entry to `index.json`; gives its digest.
    pub(crate) fn add(&self, descriptor: &Value) -> String {
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(descriptor.clone());
        self.write_index(&index);
        descriptor["digest"].as_str().unwrap().to_owned()
    }

    /// The image of `name` with another ref and architecture, not yet in `index.json`: its descriptor.
    pub(crate) fn variant(&self, name: &str, as_ref: &str, architecture: &str) -> Value {
        let (mut config, mut manifest) = (self.config(name), self.manifest(name));
        config["architecture"] = architecture.into();
        config["config"]["Labels"]["org.flatpak.ref"] = as_ref.into();
        manifest["config"] = self.put_json("application/vnd.oci.image.config.v1+json", &config);
        self.put_json(MANIFEST, &manifest)
    }

    /// A signature, or what else has a subject: its descriptor.
    pub(crate) fn artifact(&self, subject: &Value, kind: &str) -> Value {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self.put("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.put("text/plain", kind.as_bytes())],
            "subject": subject,
            "annotations": { "of": kind },
        });
        self.put_json(MANIFEST, &manifest)
    }
}

/// The registry with one layout, `apps`, and the authority that makes tokens for it.
pub(crate) struct Counter {
    pub(crate) gate: Arc<LayoutGate>,
    /// With the registry at `/v2`; its own gate has nothing to do with the layout.
    pub(crate) desk: Desk,
    pub(crate) rules: Rules,
}

impl Counter {
    pub(crate) fn open(images: &Images, rules: Rules) -> Self {
        Self::open_at(images, &images.path, rules)
    }

    pub(crate) fn open_at(images: &Images, path: &Path, rules: Rules) -> Self {
        let key = SigningKey::generate().unwrap();
        let verifier = |audience: &str| {
            let config = VerifierConfig::new(ISSUER, audience);
            Arc::new(Verifier::new(config, KeySet::new().with(&key)))
        };
        let cache = Arc::new(FileCache::new(CacheLimits::default()));
        let config = LayoutGateConfig {
            name: "apps".to_owned(),
            root: path.to_owned(),
            rules: rules.clone(),
            layout: Arc::new(Layout::read(path, "apps").unwrap()),
        };
        let gate = LayoutGate::open(config, verifier(REPO_URL), Arc::clone(&cache)).unwrap();
        let gate = Arc::new(gate);
        let config = RegistryConfig {
            token_url: "https://shop.example/oauth/registry-token".to_owned(),
            service: "shop.example".to_owned(),
            sign_in_url: "https://shop.example/sign-in".to_owned(),
            is_name: |name| name == "apps" || name.starts_with("no-"),
            login: verifier("https://shop.example/v2/"),
            unmounted: verifier("https://shop.example/repo/"),
        };
        let registry = Registry::new(config, [Arc::clone(&gate)]);
        let desk = Desk::open(images.shop.repo(), Rules::default());
        let gates = Gates::new(cache);
        gates.replace(vec![("/v2".to_owned(), Mount::Other(Arc::new(registry)))]);
        let verifier = Arc::clone(gate.verifier());
        let desk = Desk { gates: Arc::new(gates), verifier, clock: Clock::manual(NOW), key, ..desk };
        Self { gate, desk, rules }
    }

    /// Takes up what changed on the disk.
    pub(crate) fn take_up(&self, images: &Images) {
        self.gate.set(self.rules.clone(), &Arc::new(Layout::read(&images.path, "apps").unwrap()));
    }
}
