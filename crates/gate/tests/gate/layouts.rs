//! What of a layout is served at all: nothing that is not what its digest says, nothing that no image needs, nothing without bounds.

use std::fs;

use flatpass_gate::{Layout, LayoutError, Policy, Rules};
use flatpass_token::RefName;
use serde_json::{Value, json};

use crate::images::{Counter, INDEX, Images, MANIFEST};
use crate::shop::{FREE, OTHER, PAID};
use crate::wire::Server;

fn status(server: &Server, path: &str) -> u16 {
    server.connect().ask("GET", &format!("/v2/apps/{path}"), &[]).status
}

fn read(images: &Images) -> Layout {
    Layout::read(&images.path, "apps").unwrap()
}

/// The refs of the images that are served.
fn refs(layout: &Layout) -> Vec<&str> {
    layout.catalogue().images().iter().map(|image| image.name().as_str()).collect()
}

#[test]
fn a_blob_is_served_only_if_it_is_what_its_digest_says() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let large = images.layer(PAID);
    assert!(images.read(&large).len() > 100_000);
    let small = images.manifest(FREE)["config"]["digest"].as_str().unwrap().to_owned();
    for (repository, digest) in [("org.test.paid", large), ("org.test.free", small)] {
        let path = format!("{repository}/blobs/{digest}");
        let good = images.read(&digest);
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(images.file(&digest), &bad).unwrap();
        for _ in 0..2 {
            let reply = server.connect().ask("GET", &format!("/v2/apps/{path}"), &[]);
            assert_eq!(reply.status, 500);
            assert!(reply.text().contains("damaged"), "{}", reply.text());
            let part = server.connect().ask("GET", &format!("/v2/apps/{path}"), &[("Range", "bytes=0-0")]);
            assert_eq!(part.status, 500);
            assert_eq!(server.connect().ask("HEAD", &format!("/v2/apps/{path}"), &[]).status, 500);
        }
        fs::write(images.file(&digest), &good).unwrap();
        counter.desk.clock.advance_millis(2000);
        assert_eq!(status(&server, &path), 200);
        // And bad again, in a new file.
        fs::write(images.path.join("new"), &bad).unwrap();
        fs::rename(images.path.join("new"), images.file(&digest)).unwrap();
        counter.desk.clock.advance_millis(2000);
        assert_eq!(status(&server, &path), 500);
        fs::remove_file(images.file(&digest)).unwrap();
        counter.desk.clock.advance_millis(2000);
        assert_eq!(status(&server, &path), 404);
    }
}

#[test]
fn many_first_requests_for_one_blob_get_it_all_the_same() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let digest = images.layer(PAID);
    let content = images.read(&digest);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                let target = format!("/v2/apps/org.test.paid/blobs/{digest}");
                let reply = server.connect().ask("GET", &target, &[]);
                assert_eq!((reply.status, &reply.body), (200, &content));
            });
        }
    });
}

#[test]
fn only_what_an_image_needs_is_served() {
    let images = Images::build();
    let stray = images.put("text/plain", b"nobody's");
    let former = (images.digest(PAID), images.layer(PAID));
    images.publish(PAID, 3);
    let link = images.file("sha256:1111111111111111111111111111111111111111111111111111111111111111");
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    assert_eq!(status(&server, &format!("org.test.paid/blobs/{}", images.layer(PAID))), 200);
    for digest in [stray["digest"].as_str().unwrap(), &former.0, &former.1] {
        assert_eq!(status(&server, &format!("org.test.paid/blobs/{digest}")), 404);
        assert_eq!(status(&server, &format!("org.test.paid/manifests/{digest}")), 404);
    }
    let name = link.file_name().unwrap().to_str().unwrap();
    assert_eq!(status(&server, &format!("org.test.paid/blobs/sha256:{name}")), 404);
    // A blob that becomes a link is gone.
    let layer = images.layer(FREE);
    fs::rename(images.file(&layer), images.path.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(images.path.join("elsewhere"), images.file(&layer)).unwrap();
    assert_eq!(status(&server, &format!("org.test.free/blobs/{layer}")), 404);
}

#[test]
fn documents_that_lie_or_know_no_measure_are_left_out_and_told() {
    let images = Images::build();
    let good = images.entry(PAID);
    let left_out = |descriptor: &Value, why: &str| {
        let before = images.index();
        let digest = images.add(descriptor);
        let layout = read(&images);
        let note = layout.notes().iter().find(|note| note.what == digest);
        let note = note.unwrap_or_else(|| panic!("{why}: {:?}", layout.notes()));
        assert!(note.why.contains(why), "{why}: {}", note.why);
        assert!(refs(&layout).contains(&FREE), "the others are served");
        images.write_index(&before);
    };
    let manifest = images.manifest(PAID);
    let with = |key: &str, value: Value| {
        let mut changed = manifest.clone();
        changed[key] = value;
        images.put_json(MANIFEST, &changed)
    };
    let mut lying = images.put(MANIFEST, b"{\"schemaVersion\":2,\"config\":1}");
    left_out(&lying, "image-spec");
    lying["size"] = 3.into();
    left_out(&lying, "another one than its name says");
    lying["size"] = 99_999_999.into();
    left_out(&lying, "more than");
    left_out(&images.put(MANIFEST, &vec![b' '; 5 << 20]), "more than");
    left_out(&images.put(MANIFEST, "[".repeat(100_000).as_bytes()), "image-spec");
    left_out(&images.put(MANIFEST, b"\0\xff"), "image-spec");
    left_out(&images.put("text/html", b"<p>"), "text/html");
    left_out(&images.put_json(INDEX, &manifest), "media type");
    left_out(&with("schemaVersion", 1.into()), "schemaVersion");
    left_out(&with("layers", json!(vec![good; 10_001])), "parts");
    left_out(&with("config", json!({ "mediaType": "a/b", "digest": "sha512:00", "size": 0 })), "sha256");
    let missing = images.put("text/plain", b"soon gone");
    fs::remove_file(images.file(missing["digest"].as_str().unwrap())).unwrap();
    left_out(&with("layers", json!([missing])), "not there");
    let mut short = images.put("text/plain", b"short");
    short["size"] = 6.into();
    left_out(&with("layers", json!([short])), "5 bytes, not 6");
    // No ref, and nobody's artifact.
    let bare = images.put("application/vnd.oci.image.config.v1+json", b"{}");
    left_out(&with("config", bare), "no image of Flatpak's");
    // Written over after it was named.
    let changed = images.put_json(MANIFEST, &json!({ "schemaVersion": 2 }));
    fs::write(images.file(changed["digest"].as_str().unwrap()), "{\"schemaVersion\":3}").unwrap();
    left_out(&changed, "another one than its name says");
}

#[test]
fn indexes_are_followed_to_a_depth_and_not_beyond() {
    let images = Images::build();
    let image = images.variant(PAID, "app/org.test.Deep/x86_64/stable", "amd64");
    let nest = |inner: &Value| {
        images.put_json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] }))
    };
    let depths: Vec<_> = std::iter::successors(Some(image), |inner| Some(nest(inner))).take(6).collect();
    let index = images.index();
    for (depth, descriptor) in depths.iter().enumerate() {
        let outer = images.add(descriptor);
        let layout = read(&images);
        assert_eq!(refs(&layout).contains(&"app/org.test.Deep/x86_64/stable"), depth < 4, "{depth}");
        if (1..4).contains(&depth) {
            let counter = Counter::open(&images, Rules::new(Policy::Open));
            let server = Server::start(&counter.desk);
            assert_eq!(status(&server, &format!("org.test.deep/manifests/{outer}")), 200);
            let tagged = server.connect().ask("GET", "/v2/apps/org.test.deep/manifests/stable", &[]);
            assert_eq!(tagged.field("docker-content-digest"), Some(outer.as_str()));
        }
        images.write_index(&index);
    }
    // An index over several apps is none of one repository.
    let mixed = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [images.entry(PAID), images.entry(OTHER)] });
    let mixed = images.add(&images.put_json(INDEX, &mixed));
    assert!(
        read(&images)
            .notes()
            .iter()
            .any(|note| note.what == mixed && note.why.contains("several repositories"))
    );
}

#[test]
fn who_cannot_be_read_at_all_is_an_error_with_the_next_step() {
    let images = Images::build();
    let error = |name: &str| Layout::read(&images.folder(name), "apps").unwrap_err();
    fs::create_dir(images.folder("empty")).unwrap();
    assert!(matches!(error("empty"), LayoutError::NoLayout(_)));
    assert!(error("empty").to_string().contains("build-bundle --oci"));
    assert!(matches!(error("nowhere"), LayoutError::Unreadable { .. }));
    assert!(matches!(Layout::read(&images.path, "apps-").unwrap_err(), LayoutError::Name(..)));
    for (file, content) in [
        ("index.json", "{"),
        ("index.json", "{\"schemaVersion\":1}"),
        ("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}"),
        ("oci-layout", "{}"),
    ] {
        let good = fs::read(images.path.join(file)).unwrap();
        fs::write(images.path.join(file), content).unwrap();
        assert!(matches!(error("layout"), LayoutError::Unreadable { .. }), "{file} {content}");
        fs::write(images.path.join(file), good).unwrap();
    }
    fs::remove_file(images.path.join("index.json")).unwrap();
    assert!(error("layout").to_string().contains("index.json"));
}

#[test]
fn changes_are_noticed_and_taken_up_whole() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let settle = || std::thread::sleep(std::time::Duration::from_millis(50));
    settle();
    counter.take_up(&images);
    assert!(!counter.gate.layout().is_stale());
    let old = images.digest(PAID);
    images.publish(PAID, 3);
    let new = images.digest(PAID);
    assert!(counter.gate.layout().is_stale());
    assert_eq!(status(&server, &format!("org.test.paid/manifests/{old}")), 200);
    settle();
    counter.take_up(&images);
    assert!(!counter.gate.layout().is_stale());
    let tagged = server.connect().ask("GET", "/v2/apps/org.test.paid/manifests/stable", &[]);
    assert_eq!(tagged.field("docker-content-digest"), Some(new.as_str()));
    // A layer that comes after the index that names it is a change too.
    let layer = images.layer(OTHER);
    fs::rename(images.file(&layer), images.path.join("later")).unwrap();
    images.write_index(&images.index());
    settle();
    counter.take_up(&images);
    assert!(!refs(&counter.gate.layout()).contains(&OTHER) && !counter.gate.layout().is_stale());
    fs::rename(images.path.join("later"), images.file(&layer)).unwrap();
    assert!(counter.gate.layout().is_stale());
    counter.take_up(&images);
    assert!(refs(&counter.gate.layout()).contains(&OTHER));
}

#[test]
fn two_images_that_want_one_tag_are_told_apart_the_same_way_each_time() {
    let images = Images::build();
    // Ids that differ in case share a repository; the first ref by its text has the tag.
    let twin = images.add(&images.variant(PAID, "app/org.test.PAID/x86_64/stable", "amd64"));
    // Of two builds of one ref the last has it.
    let rebuilt = images.variant(OTHER, OTHER, "riscv64");
    images.add(&rebuilt);
    let layout = read(&images);
    let tagged = |name: &str| {
        let name = RefName::parse(name).unwrap();
        let found: Vec<_> = layout
            .catalogue()
            .of_ref(&name)
            .map(|image| (image.digest.to_string(), image.tags.len()))
            .collect();
        found
    };
    assert_eq!(tagged("app/org.test.PAID/x86_64/stable"), [(twin, 1)]);
    assert_eq!(tagged(PAID), [(images.digest(PAID), 0)]);
    let mut others = tagged(OTHER);
    others.retain(|(_, tags)| *tags > 0);
    assert_eq!(others, [(rebuilt["digest"].as_str().unwrap().to_owned(), 1)]);
    // What an entry calls itself is a tag too, unless a branch has it.
    let mut beta = images.variant(FREE, FREE, "loong64");
    beta["annotations"] = json!({ "org.opencontainers.image.ref.name": "1.0" });
    images.add(&beta);
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let tagged = server.connect().ask("GET", "/v2/apps/org.test.free/manifests/1.0", &[]);
    assert_eq!(tagged.field("docker-content-digest"), beta["digest"].as_str());
}

#[test]
fn a_folder_of_layouts_has_a_repository_for_each() {
    let images = Images::build();
    images.bundle(PAID, "many/Paid-Apps");
    images.bundle(OTHER, "many/Paid-Apps");
    images.bundle(FREE, "many/free");
    images.bundle(FREE, "many/not_");
    fs::create_dir_all(images.folder("many/nothing")).unwrap();
    fs::write(images.folder("many/readme"), "hello").unwrap();
    let counter = Counter::open_at(&images, &images.folder("many"), Rules::new(Policy::Open));
    let layout = counter.gate.layout();
    let names: Vec<_> = layout.catalogue().images().iter().map(|image| image.repository.as_str()).collect();
    assert_eq!(names, ["apps/free", "apps/paid-apps", "apps/paid-apps"]);
    assert_eq!(layout.notes().len(), 1, "{:?}", layout.notes());
    let server = Server::start(&counter.desk);
    for image in layout.catalogue().images() {
        let (_, repository) = image.repository.as_str().split_once('/').unwrap();
        assert_eq!(status(&server, &format!("{repository}/manifests/{}", image.digest)), 200);
    }
    assert_eq!(status(&server, "free/manifests/stable"), 200);
    // Flatpak packs an app the same way each time.
    assert_eq!(status(&server, &format!("free/blobs/{}", images.layer(FREE))), 200);
}
