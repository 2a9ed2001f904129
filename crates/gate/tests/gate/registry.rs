//! The registry of layouts: the distribution-spec's rules for pulling (its conformance suite, "Pull" and "Content Discovery"), under policy `open`.

use flatpass_gate::{ImagePath, Limits, Policy, Rules};
use flatpass_token::{Grant, Verb};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::images::{Counter, INDEX, Images, MANIFEST};
use crate::shop::{FREE, PAID};
use crate::wire::{Reply, Server, Way, without_date};

const NONE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn error_code(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let error = &body["errors"][0];
    assert_eq!(reply.field("content-type"), Some("application/json"));
    assert!(!error["message"].as_str().unwrap().is_empty());
    error["code"].as_str().unwrap().to_owned()
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn get(server: &Server, path: &str, fields: &[(&str, &str)]) -> Reply {
    server.connect().ask("GET", &format!("/v2/{path}"), fields)
}

fn head(server: &Server, path: &str) -> Reply {
    server.connect().ask("HEAD", &format!("/v2/{path}"), &[])
}

#[test]
fn manifests_are_pulled_by_tag_and_by_digest() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let digest = images.digest(PAID);
    let content = images.read(&digest);
    for reference in ["stable", digest.as_str()] {
        let path = format!("apps/org.test.paid/manifests/{reference}");
        let reply = get(&server, &path, &[("Accept", MANIFEST)]);
        assert_eq!((reply.status, &reply.body), (200, &content), "{path}");
        assert_eq!(reply.field("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(reply.field("content-type"), Some(MANIFEST));
        assert_eq!(reply.field("etag"), Some(format!("\"{digest}\"").as_str()));
        let head = head(&server, &path);
        assert_eq!((head.status, head.field("content-length")), (200, reply.field("content-length")));
        assert_eq!(head.field("docker-content-digest"), Some(digest.as_str()));
        let same = get(&server, &path, &[("If-None-Match", &format!("\"{digest}\""))]);
        assert_eq!(same.status, 304);
    }
    // A tag may come to mean another manifest; a digest never does.
    let cached = |path: &str| get(&server, path, &[]).field("cache-control").unwrap().to_owned();
    assert_eq!(cached("apps/org.test.paid/manifests/stable"), "no-cache");
    assert!(cached(&format!("apps/org.test.paid/manifests/{digest}")).contains("immutable"));
    for (path, code) in [
        ("apps/org.test.paid/manifests/none".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("apps/org.test.paid/manifests/{NONE}"), "MANIFEST_UNKNOWN"),
        // What belongs to another repository is not in this one.
        (format!("apps/org.test.free/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        ("apps/org.test.none/manifests/stable".to_owned(), "NAME_UNKNOWN"),
        ("apps/org.test.Paid/manifests/stable".to_owned(), "NAME_INVALID"),
        ("apps/org.test.paid/manifests/.INVALID".to_owned(), "TAG_INVALID"),
        ("apps/org.test.paid/manifests/sha512:00".to_owned(), "DIGEST_INVALID"),
        ("apps/org.test.paid/manifests/sha256:00".to_owned(), "DIGEST_INVALID"),
        ("apps/org.test.paid/uploads/x".to_owned(), "UNSUPPORTED"),
        ("_catalog".to_owned(), "UNSUPPORTED"),
    ] {
        let reply = get(&server, &path, &[]);
        assert_eq!((reply.status, error_code(&reply).as_str()), (404, code), "{path}");
        assert_eq!(head(&server, &path).status, 404, "{path}");
    }
}

#[test]
fn blobs_are_pulled_whole_and_in_part() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let manifest = images.manifest(PAID);
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    for digest in [config, images.layer(PAID)] {
        let content = images.read(&digest);
        let path = format!("apps/org.test.paid/blobs/{digest}");
        for _ in 0..2 {
            let reply = get(&server, &path, &[]);
            assert_eq!((reply.status, &reply.body), (200, &content));
            assert_eq!(reply.field("docker-content-digest"), Some(digest.as_str()));
            assert!(reply.field("cache-control").unwrap().contains("immutable"));
            let head = head(&server, &path);
            assert_eq!(head.field("content-length").unwrap(), content.len().to_string());
            assert_eq!(head.field("docker-content-digest"), Some(digest.as_str()));
            let part = get(&server, &path, &[("Range", "bytes=5-9")]);
            assert_eq!((part.status, part.body.as_slice()), (206, &content[5..10]));
            assert_eq!(part.field("content-range").unwrap(), format!("bytes 5-9/{}", content.len()));
            let beyond = get(&server, &path, &[("Range", "bytes=99999999-")]);
            assert_eq!(beyond.status, 416);
            let etag = format!("\"{digest}\"");
            assert_eq!(get(&server, &path, &[("If-None-Match", etag.as_str())]).status, 304);
        }
    }
    for path in [
        format!("apps/org.test.paid/blobs/{NONE}"),
        format!("apps/org.test.free/blobs/{}", images.layer(PAID)),
    ] {
        let reply = get(&server, &path, &[]);
        assert_eq!((reply.status, error_code(&reply).as_str()), (404, "BLOB_UNKNOWN"), "{path}");
        assert_eq!(head(&server, &path).status, 404);
    }
}

#[test]
fn tags_are_listed_in_pages() {
    let images = Images::build();
    for branch in ["beta", "1.0", "Stable"] {
        let name = format!("app/org.test.Paid/x86_64/{branch}");
        images.add(&images.variant(PAID, &name, "amd64"));
    }
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let all = ["1.0", "Stable", "beta", "stable"];
    let list = |query: &str| get(&server, &format!("apps/org.test.paid/tags/list{query}"), &[]);
    assert_eq!(json_of(&list("")), json!({ "name": "apps/org.test.paid", "tags": all }));
    for (query, tags, next) in [
        ("?n=4", &all[..], None),
        ("?n=9", &all, None),
        ("?n=3", &all[..3], Some("</v2/apps/org.test.paid/tags/list?n=3&last=beta>; rel=\"next\"")),
        ("?n=3&last=beta", &all[3..], None),
        ("?last=Stable", &all[2..], None),
        (
            "?n=1&last=1%2E0",
            &all[1..2],
            Some("</v2/apps/org.test.paid/tags/list?n=1&last=Stable>; rel=\"next\""),
        ),
        ("?last=zzz", &[], None),
        ("?n=0", &[], None),
    ] {
        let reply = list(query);
        assert_eq!((reply.status, json_of(&reply)["tags"].clone()), (200, json!(tags)), "{query}");
        assert_eq!(reply.field("link"), next, "{query}");
    }
    for query in ["?n=-1", "?n=x", "?n=", "?n=99999999999999999999999"] {
        let reply = list(query);
        assert_eq!((reply.status, error_code(&reply).as_str()), (400, "UNSUPPORTED"), "{query}");
    }
    assert_eq!(get(&server, "apps/org.test.none/tags/list", &[]).status, 404);
}

#[test]
fn referrers_are_listed_and_pulled() {
    let images = Images::build();
    let subject = json!({ "mediaType": MANIFEST, "digest": images.digest(PAID), "size": 1 });
    let signature = images.add(&images.artifact(&subject, "text/signature"));
    let report = images.artifact(&subject, "text/report");
    images.add(&report);
    let counter_signature = images.add(&images.artifact(&report, "text/signature"));
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let of = |subject: &str, query: &str| {
        let reply = get(&server, &format!("apps/org.test.paid/referrers/{subject}{query}"), &[]);
        assert_eq!((reply.status, reply.field("content-type")), (200, Some(INDEX)));
        let digests: Vec<_> = json_of(&reply)["manifests"].as_array().unwrap().clone();
        (digests, reply.field("oci-filters-applied").map(str::to_owned))
    };
    let (all, filters) = of(&images.digest(PAID), "");
    assert_eq!((all.len(), filters), (2, None));
    assert_eq!(all[0]["digest"], signature);
    assert_eq!(
        (&all[0]["artifactType"], &all[0]["annotations"]["of"]),
        (&json!("text/signature"), &json!("text/signature"))
    );
    let (some, filters) = of(&images.digest(PAID), "?artifactType=text%2Freport");
    assert_eq!((some.len(), &some[0]["digest"]), (1, &report["digest"]));
    assert_eq!(filters.as_deref(), Some("artifactType"));
    assert_eq!(of(report["digest"].as_str().unwrap(), "").0[0]["digest"], counter_signature);
    // Never 404: an empty list.
    assert!(of(NONE, "").0.is_empty() && of(&images.digest(FREE), "").0.is_empty());
    let reply = get(&server, &format!("apps/org.test.none/referrers/{NONE}"), &[]);
    assert_eq!((reply.status, json_of(&reply)["manifests"].clone()), (200, json!([])));
    for digest in [signature, counter_signature] {
        let path = format!("apps/org.test.paid/manifests/{digest}");
        assert_eq!(get(&server, &path, &[]).body, images.read(&digest));
    }
}

#[test]
fn nothing_can_be_pushed_or_deleted() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let blob = format!("apps/org.test.paid/blobs/{}", images.layer(PAID));
    for (method, path) in [
        ("POST", "apps/org.test.paid/blobs/uploads/"),
        ("PUT", "apps/org.test.paid/manifests/stable"),
        ("DELETE", "apps/org.test.paid/manifests/stable"),
        ("PATCH", "apps/org.test.paid/blobs/uploads/1"),
        ("DELETE", blob.as_str()),
        ("POST", ""),
        ("POST", "_catalog"),
    ] {
        let reply = server.connect().ask(method, &format!("/v2/{path}"), &[("Content-Length", "0")]);
        assert_eq!((reply.status, error_code(&reply).as_str()), (405, "UNSUPPORTED"), "{method} {path}");
        assert_eq!(reply.field("allow"), Some("GET, HEAD"));
    }
}

#[test]
fn a_tag_leads_each_client_to_a_kind_of_manifest_that_it_takes() {
    let images = Images::build();
    let other = images.variant(PAID, "app/org.test.Paid/aarch64/stable", "arm64");
    images.add(&other);
    let counter = Counter::open(&images, Rules::new(Policy::Open));
    let server = Server::start(&counter.desk);
    let path = "apps/org.test.paid/manifests/stable";
    let index = get(&server, path, &[]);
    assert_eq!(index.field("content-type"), Some(INDEX));
    let entries = json_of(&index)["manifests"].clone();
    let platforms: Vec<_> =
        entries.as_array().unwrap().iter().map(|entry| entry["platform"]["architecture"].clone()).collect();
    assert_eq!(platforms, ["arm64", "amd64"]);
    assert_eq!(entries[0]["digest"], other["digest"]);
    // The index itself has a digest, by which it can be had.
    let digest = index.field("docker-content-digest").unwrap();
    let by_digest = format!("apps/org.test.paid/manifests/{digest}");
    assert_eq!(get(&server, &by_digest, &[("Accept", INDEX)]).body, index.body);
    for accept in [&[("Accept", MANIFEST)][..], &[("Accept", "text/plain"), ("Accept", MANIFEST)]] {
        let image = get(&server, path, accept);
        assert_eq!(image.field("docker-content-digest"), Some(images.digest(PAID).as_str()));
        assert_eq!(image.field("content-type"), Some(MANIFEST));
    }
    for (path, accept) in [(path, "text/plain"), (by_digest.as_str(), MANIFEST)] {
        let reply = get(&server, path, &[("Accept", accept)]);
        assert_eq!((reply.status, error_code(&reply).as_str()), (404, "MANIFEST_UNKNOWN"));
    }
}

/// Paths of the layout, spoilt in many ways.
fn paths(images: &Images) -> impl Strategy<Value = String> + use<> {
    let digests = [PAID, FREE].map(|name| (images.digest(name), images.layer(name)));
    let real: Vec<_> = digests
        .iter()
        .flat_map(|(manifest, layer)| {
            ["paid", "free"].into_iter().flat_map(move |app| {
                [
                    format!("apps/org.test.{app}/manifests/stable"),
                    format!("apps/org.test.{app}/manifests/{manifest}"),
                    format!("apps/org.test.{app}/blobs/{layer}"),
                    format!("apps/org.test.{app}/tags/list"),
                    format!("apps/org.test.{app}/referrers/{manifest}"),
                ]
            })
        })
        .chain([String::new(), "apps/".to_owned(), "no-s/x/tags/list".to_owned()])
        .collect();
    let strange = "[a-zA-Z0-9%._~!$&'()*+,;=:@/?-]{0,30}";
    prop_oneof![
        6 => select(real.clone()),
        1 => (select(real.clone()), strange).prop_map(|(path, end)| path + &end),
        1 => (select(real), any::<prop::sample::Index>(), strange).prop_map(|(path, at, middle)| {
            let (front, back) = path.split_at(at.index(path.len().max(1)).min(path.len()));
            format!("{front}{middle}{back}")
        }),
        1 => strange,
    ]
}

#[test]
fn the_fast_lane_and_hyper_give_equal_answers_and_only_one_spelling_opens_a_content() {
    let images = Images::build();
    for policy in [Policy::Refs, Policy::Private] {
        let counter = Counter::open(&images, Rules::new(policy));
        let desk = &counter.desk;
        let (fast, opaque) = (Server::start(desk), Server::start_with(desk, Limits::default(), Way::Opaque));
        let fields = select(vec![
            ("Accept", "*/*".to_owned()),
            ("Accept", MANIFEST.to_owned()),
            ("Accept", "text/html".to_owned()),
            ("Range", "bytes=1-7".to_owned()),
            ("If-None-Match", "*".to_owned()),
            ("Authorization", desk.download(&["org.test.Paid"])),
            ("Authorization", desk.bearer(&[Grant::for_everything(&[Verb::List])])),
            ("Authorization", "Bearer nonsense".to_owned()),
        ]);
        let requests =
            (select(vec!["GET", "GET", "HEAD"]), paths(&images), prop::collection::vec(fields, 0..4));
        let mut runner =
            TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&requests, |(method, path, fields)| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let target = format!("/v2/{path}");
            let quick = sorted(fast.connect().ask(method, &target, &fields));
            let mut in_hyper = fast.connect();
            in_hyper.ask("GET", "/other", &[]);
            prop_assert_eq!(&quick, &sorted(in_hyper.ask(method, &target, &fields)));
            prop_assert_eq!(&quick, &sorted(opaque.connect().ask(method, &target, &fields)));
            // The endpoint itself has no path, with or without a query.
            let (path, _) = path.split_once('?').unwrap_or((&path, ""));
            if quick.status < 400 && !path.is_empty() {
                prop_assert_eq!(ImagePath::parse(path).map(|parsed| parsed.to_string()), Ok(path.to_owned()));
            }
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{policy}: {error}");
        }
    }
}

fn sorted(reply: Reply) -> Reply {
    let mut reply = without_date(reply);
    reply.fields.sort();
    reply
}
