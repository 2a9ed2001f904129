//! The index of a registry: which questions have one answer, and which must not.

use std::sync::Arc;

use flatpass_gate::{Body, Field, Headers, IndexGate, IndexGateConfig, Method, Moment, Mounted, Request};
use flatpass_oci::index::Index;
use flatpass_oci::{Catalogue, Digest, Image, ImageConfig, Manifest, MediaType, RepositoryName, Tag};
use flatpass_token::{Claims, Grant, KeySet, SigningKey, Verb, Verifier, VerifierConfig};
use serde_json::{Value, json};

use crate::shop::{ISSUER, NOW, REPO_URL};

/// So many images that the bits of who may list what take more than one word.
const IMAGES: usize = 70;

fn image(number: usize) -> Image {
    let name = format!("app/org.test.App{number:02}/x86_64/stable");
    let labels = json!({ "org.flatpak.ref": name, "org.flatpak.metadata": "[Application]\n" });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": labels } });
    let config = ImageConfig::read(config.to_string().as_bytes()).unwrap();
    let descriptor = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": Digest::of(b"{}") });
    let manifest = json!({ "schemaVersion": 2, "config": descriptor });
    let manifest = Manifest::read(manifest.to_string().as_bytes()).unwrap();
    let repository = RepositoryName::parse(&format!("shop/app{number:02}")).unwrap();
    let (digest, kind) = (Digest::of(name.as_bytes()), MediaType::parse(MediaType::MANIFEST).unwrap());
    Image::new(repository, vec![Tag::parse("latest").unwrap()], digest, kind, &manifest, config).unwrap()
}

struct Desk {
    gate: IndexGate,
    key: SigningKey,
}

impl Desk {
    fn open(private: bool) -> Self {
        let key = SigningKey::generate().unwrap();
        let config = VerifierConfig::new(ISSUER, REPO_URL);
        let verifier = Arc::new(Verifier::new(config, KeySet::new().with(&key)));
        let config = IndexGateConfig {
            name: "apps".to_owned(),
            private,
            public_url: REPO_URL.to_owned(),
            sign_in_url: "https://shop.example/sign-in".to_owned(),
            problem_url: "https://shop.example/problems/".to_owned(),
        };
        let desk = Self { gate: IndexGate::new(config, verifier), key };
        desk.set(IMAGES);
        desk
    }

    fn set(&self, images: usize) {
        let catalogue = Arc::new(Catalogue::new((0..images).map(image).collect()));
        self.gate.set(Arc::new(Index::new(catalogue, "https://reg.example/", |_| 1)));
    }

    fn lister(&self, ids: &[&str]) -> String {
        self.bearer(Grant::for_ids(&[Verb::List], ids.iter().copied()))
    }

    fn bearer(&self, grant: Grant) -> String {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: REPO_URL.to_owned(),
            sub: "acc_ann".to_owned(),
            client_id: "flatpass-authenticator".to_owned(),
            sid: None,
            iat: NOW,
            exp: NOW.plus_seconds(3600),
            nbf: None,
            jti: "tok_1".to_owned(),
            authorization_details: vec![grant],
        };
        format!("Bearer {}", self.key.sign(&claims).unwrap())
    }

    /// The ids that are listed, and whether the answer was there before.
    fn ask(&self, query: &str, authorization: Option<&str>) -> (Vec<String>, bool) {
        let headers = Headers {
            authorization: authorization.map_or(Field::Absent, |text| Field::Once(text.as_bytes())),
            ..Headers::default()
        };
        let request =
            Request { method: Method::Get, path: "index/static", query: Some(query), headers, peer: None };
        let now = Moment::from_unix(NOW);
        let cached = self.gate.answer_cached(&request, now);
        let was_there = cached.is_ok();
        let answer = cached.unwrap_or_else(|_| self.gate.answer(&request, now));
        assert_eq!(answer.status(), 200, "{query}");
        let Body::Bytes(body) = answer.body() else { panic!("an index comes from memory") };
        let index: Value = serde_json::from_slice(body).unwrap();
        let id = |result: &Value| {
            let name = result["Images"][0]["Labels"]["org.flatpak.ref"].as_str().unwrap();
            name.split('/').nth(1).unwrap().to_owned()
        };
        (index["Results"].as_array().unwrap().iter().map(id).collect(), was_there)
    }
}

#[test]
fn an_answer_is_made_once_for_each_query_however_it_is_written() {
    let desk = Desk::open(false);
    let stock = "label%3Aorg.flatpak.ref%3Aexists=1&architecture=amd64&os=linux&tag=latest";
    assert_eq!((desk.ask(stock, None).0.len(), desk.ask(stock, None).1), (IMAGES, true));
    for same in [
        "tag=latest&os=linux&architecture=amd64&label:org.flatpak.ref:exists=1",
        "tag=latest&tag=latest&os=linux&&architecture=amd64&label%3aorg.flatpak.ref%3aexists=1",
        "tag=l%61test&os=linux&architecture=amd64&label:org.flatpak.ref:exists=1&unknown=5",
    ] {
        assert!(desk.ask(same, None).1, "{same}");
    }
    // What asks for something else has an answer of its own, once.
    let one = "app/org.test.App07/x86_64/stable";
    for (other, count) in [
        ("".to_owned(), IMAGES),
        ("repository=shop%2Fapp01".to_owned(), 1),
        ("repository=shop/app01&repository=shop/app02".to_owned(), 2),
        ("tag=shop/app01".to_owned(), 0),
        ("os=latest&tag=linux&architecture=amd64&label:org.flatpak.ref:exists=1".to_owned(), 0),
        (format!("label:org.flatpak.ref={one}"), 1),
        (format!("annotation:org.flatpak.ref={one}"), 0),
        ("label:org.flatpak.ref=".to_owned(), 0),
    ] {
        let (ids, was_there) = desk.ask(&other, None);
        assert_eq!((ids.len(), was_there), (count, false), "{other}");
        assert!(desk.ask(&other, None).1, "{other}");
    }
    // And none of it outlives the index.
    desk.set(IMAGES - 1);
    let (ids, was_there) = desk.ask(stock, None);
    assert_eq!((ids.len(), was_there), (IMAGES - 1, false));
}

#[test]
fn who_may_list_the_same_shares_an_answer_and_nobody_gets_anybody_elses() {
    let desk = Desk::open(true);
    let all = desk.bearer(Grant::for_everything(&[Verb::List]));
    let (one, last) = (desk.lister(&["org.test.App01"]), desk.lister(&["org.test.App69"]));
    let both = desk.lister(&["org.test.App01", "org.test.App69"]);
    let mut seen = Vec::new();
    for (who, ids) in [
        (&all, (0..IMAGES).map(|number| format!("org.test.App{number:02}")).collect::<Vec<_>>()),
        (&one, vec!["org.test.App01".to_owned()]),
        (&last, vec!["org.test.App69".to_owned()]),
        (&both, vec!["org.test.App01".to_owned(), "org.test.App69".to_owned()]),
    ] {
        for query in ["tag=latest", "os=linux"] {
            assert_eq!(desk.ask(query, Some(who)), (ids.clone(), false));
            assert_eq!(desk.ask(query, Some(who)), (ids.clone(), true));
        }
        assert!(!seen.contains(&ids));
        seen.push(ids);
    }
    // Another token with the same rights, written in another order.
    let again = desk.lister(&["org.test.App69", "org.test.App01", "org.test.None"]);
    assert_eq!(desk.ask("tag=latest", Some(&again)), (seen[3].clone(), true));
}
