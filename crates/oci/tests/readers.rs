//! What the readers of names, scopes, challenges and documents take, and what they do not.
#![expect(clippy::unwrap_used, reason = "a failed test says where")]

use flatpass_oci::{
    Action, Catalogue, Challenge, ChallengeError, Digest, DigestError, Document, Image, ImageConfig,
    MAX_DOCUMENT_BYTES, MAX_SCOPES, Manifest, ManifestError, MediaType, NoFlatpak, Reference, RepositoryName,
    Scope, ScopeError, Tag, Target,
};
use proptest::prelude::*;

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn names_of_repositories_follow_the_specification() {
    for good in ["a", "shop/org.example.app", "a__b/c-d/e_f", "a---b", "0/1", &"a".repeat(255)] {
        assert_eq!(RepositoryName::parse(good).unwrap().as_str(), good);
    }
    for bad in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a.",
        ".a",
        "a..b",
        "a___b",
        "a._b",
        "a b",
        "a/../b",
        "a%2fb",
        "ä",
        "a:b",
        "a\0",
        &"a".repeat(256),
    ] {
        assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_reference_is_a_tag_or_a_sha256_digest() {
    assert!(matches!(Reference::parse("stable").unwrap(), Reference::Tag(tag) if tag.as_str() == "stable"));
    assert!(
        matches!(Reference::parse(DIGEST).unwrap(), Reference::Digest(digest) if digest == Digest::of(b"test"))
    );
    for bad in ["", ".a", "-a", "a b", "a/b", &"a".repeat(129)] {
        assert!(Tag::parse(bad).is_err(), "{bad:?}");
        assert!(Reference::parse(bad).is_err(), "{bad:?}");
    }
    let upper = DIGEST.to_uppercase().replace("SHA256", "sha256");
    for bad in [
        "sha256:",
        "sha256:00",
        ":",
        &upper,
        &format!("{DIGEST}0"),
        &format!("{DIGEST}\n"),
        "sha256:../../../etc/passwd",
    ] {
        assert_eq!(Digest::parse(bad), Err(DigestError::Form), "{bad:?}");
    }
    assert_eq!(Digest::parse("sha512:abcdef"), Err(DigestError::Algorithm));
}

#[test]
fn scopes_ask_for_what_is_known_and_nothing_else() {
    let scope = Scope::parse("repository:shop/app:push,pull,pull,fly").unwrap();
    assert_eq!(scope.repository().unwrap().as_str(), "shop/app");
    assert_eq!(scope.actions.iter().collect::<Vec<_>>(), [Action::Pull, Action::Push]);
    assert_eq!(scope.to_string(), "repository:shop/app:pull,push");
    assert!(Scope::parse("repository:shop/app:").unwrap().actions.is_empty());
    assert_eq!(Scope::parse("repository:shop/app:*").unwrap().actions.to_string(), "pull,push,delete");
    assert_eq!(Scope::parse("registry:catalog:*").unwrap().target, Target::Catalog);
    assert_eq!(Scope::parse("repository(plugin):shop/app:pull").unwrap().target, Target::Other);
    for bad in ["", "repository", "repository:", "repository:a", ":a:pull", "repository::pull"] {
        assert_eq!(Scope::parse(bad), Err(ScopeError::Form), "{bad:?}");
    }
    for bad in ["repository:A:pull", "repository:a/../b:pull", "repository:host:5000/a:pull"] {
        assert!(matches!(Scope::parse(bad), Err(ScopeError::Name(_))), "{bad:?}");
    }
    let list = vec!["repository:a:pull"; MAX_SCOPES].join("  ");
    assert_eq!(Scope::parse_list(&list).unwrap().len(), MAX_SCOPES);
    assert_eq!(Scope::parse_list(&format!("{list} repository:a:pull")), Err(ScopeError::TooMany));
    assert_eq!(Scope::parse_list(&"x".repeat(100_000)), Err(ScopeError::TooMany));
}

#[test]
fn challenges_are_read_as_rfc_9110_has_them() {
    let field = r#"Basic realm="a \"quoted\" one", Bearer realm="https://auth.example/token",service=registry.example , scope="repository:a:pull,push", Negotiate dG9rZW4=, Digest"#;
    let all = Challenge::parse_all(field).unwrap();
    let schemes: Vec<_> = all.iter().map(Challenge::scheme).collect();
    assert_eq!(schemes, ["Basic", "Bearer", "Negotiate", "Digest"]);
    let [basic, bearer, ..] = &*all else { panic!("{all:?}") };
    assert_eq!(basic.get("REALM"), Some(r#"a "quoted" one"#));
    assert!(bearer.is("bearer"));
    assert_eq!(bearer.get("realm"), Some("https://auth.example/token"));
    assert_eq!(bearer.get("service"), Some("registry.example"));
    assert_eq!(bearer.get("scope"), Some("repository:a:pull,push"));
    assert_eq!(bearer.get("error"), None);
    assert_eq!(Challenge::parse_all("").unwrap(), []);
}

#[test]
fn a_challenge_that_could_be_read_in_two_ways_is_not_read() {
    let twice = r#"Bearer realm="https://good.example/",service="s",realm="https://evil.example/""#;
    assert_eq!(Challenge::parse_all(twice), Err(ChallengeError::Twice));
    for bad in [
        r#"Bearer realm="https://good.example/"#,
        r#"Bearer realm="a" service="b""#,
        "Bearer realm=\"a\r\nX: y\"",
        r#"realm="a""#,
        "Bearer =a",
        "Bearer\u{a0}realm=a",
        r#"Bearer realm="a"b"#,
    ] {
        assert_eq!(Challenge::parse_all(bad), Err(ChallengeError::Form), "{bad:?}");
    }
    assert_eq!(Challenge::parse_all(&"a,".repeat(10_000)), Err(ChallengeError::TooLong));
    assert_eq!(Challenge::parse_all(&"a,".repeat(100)), Err(ChallengeError::TooLong));
}

fn manifest(annotations: &str) -> String {
    let descriptor = |kind: &str| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{DIGEST}","size":4}}"#)
    };
    format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}],"annotations":{annotations}}}"#,
        descriptor("config.v1+json"),
        descriptor("layer.v1.tar+gzip")
    )
}

#[test]
fn an_image_has_its_ref_in_a_label_or_an_annotation() {
    let media_type = MediaType::parse(MediaType::MANIFEST).unwrap();
    let repository = RepositoryName::parse("shop/app").unwrap();
    let image = |annotations: &str, config: &str| {
        let manifest = Manifest::read(manifest(annotations).as_bytes()).unwrap();
        let config = ImageConfig::read(config.as_bytes()).unwrap();
        let digest = Digest::of(annotations.as_bytes());
        Image::new(repository.clone(), Vec::new(), digest, media_type.clone(), &manifest, config)
    };
    let named = r#"{"org.flatpak.ref":"app/org.test.App/x86_64/stable"}"#;
    let by_label =
        image("null", &format!(r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{named}}}}}"#))
            .unwrap();
    let typed = r#"{"org.flatpak.ref":"app/org.test.Paid/x86_64/stable","org.flatpak.commit-metadata.xa.token-type":"AgAAAABp"}"#;
    let by_annotation = image(typed, r#"{"config":null}"#).unwrap();
    assert_eq!(by_label.name().id(), "org.test.App");
    assert_eq!(by_label.platform.architecture, "amd64");
    assert_eq!(by_label.token_type(), None);
    assert_eq!(by_annotation.token_type(), Some(2));
    assert_eq!(Image::token_type_label(2), "AgAAAABp");
    assert_eq!(image("{}", "{}"), Err(NoFlatpak::NoRef));
    let appstream = r#"{"org.flatpak.ref":"appstream/x86_64"}"#;
    assert!(matches!(image(appstream, "{}"), Err(NoFlatpak::Ref(_))));

    let paid = by_annotation.name().clone();
    let mut again = by_annotation.clone();
    again.tags.push(Tag::parse("stable").unwrap());
    let catalogue = Catalogue::new(vec![by_label, by_annotation, again]);
    assert_eq!(catalogue.of_repository(&repository).len(), 2);
    assert_eq!(catalogue.of_ref(&paid).map(|image| image.tags.len()).collect::<Vec<_>>(), [1]);
    let other = RepositoryName::parse("shop/ap").unwrap();
    assert!(catalogue.of_repository(&other).is_empty());
}

#[test]
fn documents_that_are_not_what_they_came_as_are_refused() {
    let media_type = |text| MediaType::parse(text).unwrap();
    let bytes = manifest("{}");
    assert!(
        Document::read(
            bytes.as_bytes(),
            &media_type("application/vnd.oci.image.manifest.v1+json; charset=utf-8")
        )
        .is_ok()
    );
    let read = |bytes: &str, kind| Document::read(bytes.as_bytes(), &media_type(kind)).unwrap_err();
    let lying = bytes.replacen('{', r#"{"mediaType":"application/vnd.oci.image.index.v1+json","#, 1);
    assert!(matches!(read(&lying, MediaType::MANIFEST), ManifestError::MediaType(_)));
    assert!(matches!(read(&bytes, "text/plain"), ManifestError::MediaType(_)));
    assert!(matches!(read("{}", MediaType::MANIFEST), ManifestError::Json(_)));
    assert!(matches!(read(r#"{"schemaVersion":1}"#, MediaType::INDEX), ManifestError::Version(1)));
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(read(&nested, MediaType::INDEX), ManifestError::Json(_)));
    assert_eq!(read(&" ".repeat(MAX_DOCUMENT_BYTES + 1), MediaType::INDEX), ManifestError::TooLarge);
    let one = format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":0}},"#);
    let many = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, one.repeat(10_001).trim_end_matches(','));
    assert_eq!(read(&many, MediaType::INDEX), ManifestError::TooMany);
    for bad in ["", "a", "a/", "/b", "a/b/c", "a/ b", "ä/b"] {
        assert_eq!(MediaType::parse(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_read_is_written_alike(text in "[a-z0-9._/-]{0,20}", hex in "[0-9a-f]{64}") {
        if let Ok(name) = RepositoryName::parse(&text) {
            prop_assert_eq!(name.as_str(), &text);
            let scope = Scope::pull(name);
            prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
        }
        let digest = format!("sha256:{hex}");
        prop_assert_eq!(Digest::parse(&digest).unwrap().to_string(), digest);
    }

    #[test]
    fn a_written_challenge_is_read_back(
        scheme in "[A-Za-z]{1,10}",
        parameters in prop::collection::btree_map("[a-z]{1,8}", "[ -~äß]{0,20}", 1..5),
    ) {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
        let written: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let all = Challenge::parse_all(&format!("{scheme} {}", written.join(" , "))).unwrap();
        prop_assert_eq!(all.len(), 1);
        for (name, value) in &parameters {
            prop_assert_eq!(all[0].get(name), Some(value.as_str()));
        }
    }

    #[test]
    fn no_field_makes_the_reader_of_challenges_panic(field in "[ -~]{0,60}|.{0,40}") {
        let _ = Challenge::parse_all(&field);
        let _ = Scope::parse_list(&field);
        let _ = Reference::parse(&field);
    }
}
