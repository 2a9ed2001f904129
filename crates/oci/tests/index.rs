//! The index as Flatpak reads it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flatpass_oci::index::{Index, IndexQuery, QueryError};
use flatpass_oci::{
    Catalogue, Digest, Image, ImageConfig, ImageList, Manifest, MediaType, RepositoryName, TOKEN_TYPE_LABEL,
    Tag,
};
use serde_json::{Value, json};

/// What stock Flatpak 1.14 asks for.
const STOCK: &str = "label%3Aorg.flatpak.ref%3Aexists=1&architecture=amd64&os=linux&tag=latest";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot really";

fn image(repository: &str, tags: &[&str], name: &str, more: &Value, annotations: &Value) -> Image {
    let mut labels = json!({"org.flatpak.ref": name, "org.flatpak.metadata": format!("[Application]\nname={repository}\n")});
    labels.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let arch = if name.contains("aarch64") { "arm64" } else { "amd64" };
    let config = json!({"architecture": arch, "os": "linux", "config": {"Labels": labels}});
    image_of(repository, tags, &config, annotations)
}

fn image_of(repository: &str, tags: &[&str], config: &Value, annotations: &Value) -> Image {
    let config = ImageConfig::read(config.to_string().as_bytes()).unwrap();
    let descriptor = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": Digest::of(b"{}")});
    let manifest = json!({"schemaVersion": 2, "config": descriptor, "annotations": annotations});
    let manifest = Manifest::read(manifest.to_string().as_bytes()).unwrap();
    let digest = Digest::of(format!("{repository}{tags:?}{config:?}").as_bytes());
    let tags = tags.iter().map(|tag| Tag::parse(tag).unwrap()).collect();
    let kind = MediaType::parse(MediaType::MANIFEST).unwrap();
    Image::new(RepositoryName::parse(repository).unwrap(), tags, digest, kind, &manifest, config).unwrap()
}

fn app(repository: &str, tags: &[&str], branch: &str, made: u64) -> Image {
    let name = format!("app/org.test.{}/x86_64/{branch}", repository.replace('/', "."));
    image(repository, tags, &name, &json!({"org.flatpak.timestamp": made.to_string()}), &json!({}))
}

fn index(images: Vec<Image>) -> Index {
    Index::new(Arc::new(Catalogue::new(images)), "https://reg.example/", |image| {
        image.token_type().unwrap_or(1)
    })
}

fn ask(index: &Index, query: &str) -> Value {
    serde_json::from_slice(&index.answer(&IndexQuery::parse(query).unwrap(), |_, _| true)).unwrap()
}

/// By repository: the tags of what is listed.
fn listed(index: &Index, query: &str) -> BTreeMap<String, Vec<String>> {
    let answer = ask(index, query);
    let repositories = answer["Results"].as_array().unwrap().clone();
    let tags = |image: &Value| {
        let tags = image["Tags"].as_array().unwrap();
        tags.iter().map(|tag| tag.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(",")
    };
    repositories
        .iter()
        .map(|repository| {
            let images = repository["Images"].as_array().unwrap().iter().map(tags);
            let lists = repository["Lists"].as_array().unwrap().iter().map(tags);
            (repository["Name"].as_str().unwrap().to_owned(), images.chain(lists).collect())
        })
        .collect()
}

#[test]
fn stock_flatpak_gets_what_it_can_read() {
    let index = index(vec![app("shop/free", &["stable"], "stable", 1)]);
    let answer = ask(&index, STOCK);
    assert_eq!(answer["Registry"], "https://reg.example/");
    let image = &answer["Results"][0]["Images"][0];
    assert_eq!(image["Labels"]["org.flatpak.ref"], "app/org.test.shop.free/x86_64/stable");
    assert!(image["Labels"]["org.flatpak.metadata"].as_str().unwrap().starts_with("[Application]"));
    assert_eq!(image["Labels"][TOKEN_TYPE_LABEL], "AQAAAABp");
    assert_eq!(image["OS"], "linux");
    assert_eq!(image["Architecture"], "amd64");
    assert_eq!(image["MediaType"], MediaType::MANIFEST);
    assert!(image["Digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(answer["Results"][0]["Lists"], json!([]));
}

#[test]
fn latest_is_the_tag_or_where_there_is_none_what_counts_for_each_ref() {
    let index = index(vec![
        app("a", &["latest", "1.1"], "stable", 2),
        app("a", &["1.0"], "stable", 1),
        app("a", &["beta"], "beta", 3),
        app("b", &["1.0"], "stable", 1),
        app("b", &["1.1"], "stable", 2),
        app("b", &["beta"], "beta", 3),
        app("c", &["stable"], "stable", 1),
        app("c", &["nightly"], "stable", 9),
    ]);
    let of = |query| listed(&index, query);
    let all = |images: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
        let owned = |tags: &[&str]| {
            let mut tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            tags.sort();
            tags
        };
        images.iter().map(|(name, tags)| ((*name).to_owned(), owned(tags))).collect()
    };
    let sorted = |mut found: BTreeMap<String, Vec<String>>| {
        found.values_mut().for_each(|tags| tags.sort());
        found
    };
    assert_eq!(
        sorted(of("tag=latest")),
        all(&[("a", &["1.1,latest"]), ("b", &["1.1", "beta"]), ("c", &["stable"])])
    );
    assert_eq!(sorted(of("tag=beta")), all(&[("a", &["beta"]), ("b", &["beta"])]));
    assert_eq!(sorted(of("tag=1.0&repository=b")), all(&[("b", &["1.0"])]));
    assert_eq!(of("").values().map(Vec::len).sum::<usize>(), 8);
}

#[test]
fn conditions_select_by_machine_labels_and_annotations() {
    let with = |repository, labels: Value, annotations: Value| {
        image(repository, &["latest"], "app/org.test.X/x86_64/stable", &labels, &annotations)
    };
    let index = index(vec![
        with("a", json!({"com.example.team": "red"}), json!({"note": "x"})),
        with("b", json!({"com.example.team": "blue"}), json!({})),
        image("c", &["latest"], "app/org.test.X/aarch64/stable", &json!({}), &json!({})),
    ]);
    for (query, repositories) in [
        ("architecture=arm64", &["c"][..]),
        ("architecture=amd64", &["a", "b"]),
        ("architecture=amd64&architecture=arm64", &["a", "b", "c"]),
        ("os=windows", &[]),
        ("label:com.example.team=red", &["a"]),
        ("label:com.example.team:exists=1", &["a", "b"]),
        ("label%3Acom.example.team%3Aexists=1&label:com.example.team=blue", &["b"]),
        ("annotation:note:exists=1", &["a"]),
        ("annotation:note=y", &[]),
        ("label:org.flatpak.commit-metadata.xa.token-type=AQAAAABp", &["a", "b", "c"]),
        ("repository=a&repository=c&unknown=1", &["a", "c"]),
        ("&&", &["a", "b", "c"]),
    ] {
        assert_eq!(listed(&index, query).into_keys().collect::<Vec<_>>(), repositories, "{query}");
    }
    // Of the two for one ref a client that names a tag gets one.
    assert_eq!(listed(&index, STOCK).len(), 1);
}

#[test]
fn images_for_several_machines_stand_in_their_list() {
    let list = ImageList {
        digest: Digest::of(b"list"),
        media_type: MediaType::parse(MediaType::INDEX).unwrap(),
        tags: vec![Tag::parse("latest").unwrap()],
    };
    let mut amd = image("a", &["latest"], "app/org.test.X/x86_64/stable", &json!({}), &json!({}));
    let mut arm = image("a", &["latest", "arm"], "app/org.test.X/aarch64/stable", &json!({}), &json!({}));
    amd.lists.push(list.clone());
    arm.lists.push(list);
    let index = index(vec![amd, arm]);
    let all = ask(&index, "");
    let found = &all["Results"][0];
    assert_eq!(found["Lists"][0]["Images"].as_array().unwrap().len(), 2);
    assert_eq!(found["Lists"][0]["Tags"], json!(["latest"]));
    assert_eq!(found["Lists"][0]["MediaType"], MediaType::INDEX);
    assert_eq!(found["Lists"][0]["Images"][0].get("Tags"), None);
    assert_eq!(found["Images"].as_array().unwrap().len(), 1);
    assert_eq!(found["Images"][0]["Tags"], json!(["arm"]));
    // Where a tag is asked for each stands in one place, the one that it leads to: a client that found two would take either.
    let latest = ask(&index, "tag=latest");
    assert_eq!(latest["Results"][0]["Images"], json!([]));
    assert_eq!(latest["Results"][0]["Lists"][0]["Images"].as_array().unwrap().len(), 2);
    let arm = ask(&index, "tag=arm");
    assert_eq!(arm["Results"][0]["Images"].as_array().unwrap().len(), 1);
    assert_eq!(arm["Results"][0]["Lists"], json!([]));
    let both = ask(&index, "tag=arm&tag=latest");
    assert_eq!(both["Results"][0]["Images"].as_array().unwrap().len(), 1);
    assert_eq!(both["Results"][0]["Lists"][0]["Images"].as_array().unwrap().len(), 1);
    let one = ask(&index, STOCK);
    assert_eq!(one["Results"][0]["Images"], json!([]));
    assert_eq!(one["Results"][0]["Lists"][0]["Images"].as_array().unwrap().len(), 1);
}

#[test]
fn icons_are_taken_out_and_others_shown_only_with_an_image_that_may_be_listed() {
    let data = format!("data:image/png;base64,{}", STANDARD.encode(PNG));
    let icons = json!({
        "org.freedesktop.appstream.icon-64": data,
        "org.freedesktop.appstream.icon-128": "https://elsewhere.example/icon.png",
    });
    let broken = json!({
        "org.freedesktop.appstream.icon-64": "data:image/png;base64,AAAA",
        "org.freedesktop.appstream.icon-128": "data:image/svg+xml,<svg/>",
        "other": "data:image/png;base64,AAAA",
    });
    let index = index(vec![
        image("a", &["latest"], "app/org.test.A/x86_64/stable", &icons, &json!({})),
        image("b", &["latest"], "app/org.test.B/x86_64/stable", &broken, &json!({})),
    ]);
    let answer = ask(&index, STOCK);
    let labels = &answer["Results"][0]["Images"][0]["Labels"];
    let digest = Digest::of(PNG);
    assert_eq!(labels["org.freedesktop.appstream.icon-64"], format!("../icons/{}.png", digest.hex()));
    assert_eq!(labels["org.freedesktop.appstream.icon-128"], "https://elsewhere.example/icon.png");
    let labels = &answer["Results"][1]["Images"][0]["Labels"];
    assert_eq!(labels.get("org.freedesktop.appstream.icon-64"), None);
    assert_eq!(labels.get("org.freedesktop.appstream.icon-128"), None);
    assert_eq!(labels["other"], "data:image/png;base64,AAAA");
    assert_eq!(&**index.icon(&digest, |_, _| true).unwrap(), PNG);
    assert_eq!(index.icon(&digest, |_, image| image.repository.as_str() == "b"), None);
    assert_eq!(index.icon(&Digest::of(b"no icon"), |_, _| true), None);
}

#[test]
fn what_is_said_by_annotations_only_is_found_among_the_labels() {
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Labels": null}});
    let annotations = json!({
        "org.flatpak.ref": "app/org.test.A/x86_64/stable",
        "org.flatpak.metadata": "[Application]",
        "org.opencontainers.image.title": "A",
        "org.freedesktop.appstream.icon-64": format!("data:image/png;base64,{}", STANDARD.encode(PNG)),
    });
    let mut image = image_of("a", &["latest"], &config, &annotations);
    image.delta = Some(Digest::of(b"delta"));
    let index = index(vec![image]);
    let answer = ask(&index, STOCK);
    let image = &answer["Results"][0]["Images"][0];
    assert_eq!(image["Labels"]["org.flatpak.metadata"], "[Application]");
    assert_eq!(image["Annotations"], json!({"org.opencontainers.image.title": "A"}));
    assert!(image["Labels"]["org.freedesktop.appstream.icon-64"].as_str().unwrap().starts_with("../icons/"));
    let delta = format!("v2/a/manifests/{}", Digest::of(b"delta"));
    assert_eq!(image["Labels"]["io.github.containers.DeltaUrl"], delta);
}

#[test]
fn an_answer_has_only_what_may_be_listed() {
    let index = index(vec![app("a", &["latest"], "stable", 1), app("b", &["latest"], "stable", 1)]);
    let query = IndexQuery::parse(STOCK).unwrap();
    let answer = index.answer(&query, |_, image| image.repository.as_str() == "b");
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["Results"].as_array().unwrap().len(), 1);
    assert!(!answer.to_string().contains("org.test.a"));
    let none = index.answer(&query, |_, _| false);
    assert_eq!(none, br#"{"Registry":"https://reg.example/","Results":[]}"#);
}

#[test]
fn queries_that_cannot_be_read_are_refused() {
    let many = "tag=a&".repeat(33);
    let long = "x".repeat(4097);
    for (query, error) in [
        ("tag=%", QueryError::Encoding),
        ("tag=%4", QueryError::Encoding),
        ("tag=%zz", QueryError::Encoding),
        ("tag=%ff", QueryError::Encoding),
        ("%c3%28=1", QueryError::Encoding),
        ("label:=1", QueryError::NoName),
        ("label::exists=1", QueryError::NoName),
        ("annotation::exists=1", QueryError::NoName),
        ("label:a:exists=0", QueryError::Exists),
        ("label:a:exists", QueryError::Exists),
        (&many, QueryError::TooMany),
        (&long, QueryError::TooLong),
    ] {
        assert_eq!(IndexQuery::parse(query), Err(error), "{query}");
    }
}

#[test]
fn a_notification_names_where_manifests_came_or_went() {
    let event = |action: &str, target: Value| json!({"action": action, "target": target});
    let manifest = |repository: &str| json!({"mediaType": MediaType::MANIFEST, "repository": repository});
    let body = json!({"events": [
        event("push", manifest("a")),
        event("push", json!({"mediaType": MediaType::DOCKER_INDEX, "repository": "b"})),
        event("delete", json!({"repository": "c", "digest": "sha256:x"})),
        event("push", json!({"mediaType": "application/octet-stream", "repository": "layer"})),
        event("pull", manifest("pulled")),
        event("push", manifest("NO NAME")),
        event("push", json!({"mediaType": MediaType::MANIFEST})),
        json!({"action": "push"}),
    ]});
    let changed = flatpass_oci::changed_repositories(body.to_string().as_bytes()).unwrap();
    assert_eq!(changed.iter().map(RepositoryName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    for bad in ["", "[]", "{}", "{\"events\":{}}", "{\"events\":[1]}", "{\"events\":[{}]}", "\u{0}"] {
        assert!(flatpass_oci::changed_repositories(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = format!("{{\"events\":{}", "[".repeat(100_000));
    assert!(flatpass_oci::changed_repositories(deep.as_bytes()).is_err());
    let large = vec![b' '; flatpass_oci::MAX_NOTIFICATION_BYTES + 1];
    assert!(flatpass_oci::changed_repositories(&large).is_err());
}
