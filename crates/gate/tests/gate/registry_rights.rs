//! Who gets what from the registry: policies, tokens, and what strangers learn. Threats 1, 2, 3, 4 and 17.

use flatpass_gate::{Policy, Rules};
use flatpass_token::{AccessTable, Grant, UnixTime, Verb};
use serde_json::{Value, json};

use crate::images::{Counter, INDEX, Images, MANIFEST};
use crate::shop::{FREE, LOCALE, OTHER, PAID, basic};
use crate::wire::{Reply, Server, without_date};

fn ask(server: &Server, path: &str, authorization: Option<&str>) -> Reply {
    let fields: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
    server.connect().ask("GET", &format!("/v2/{path}"), &fields)
}

/// All that is of one image, by path.
fn all_of(images: &Images, name: &str) -> Vec<String> {
    let repository = format!("apps/{}", name.split('/').nth(1).unwrap().to_lowercase());
    let manifest = images.manifest(name);
    vec![
        format!("{repository}/manifests/stable"),
        format!("{repository}/manifests/{}", images.digest(name)),
        format!("{repository}/blobs/{}", manifest["config"]["digest"].as_str().unwrap()),
        format!("{repository}/blobs/{}", images.layer(name)),
    ]
}

fn code(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_that_must_be_bought_needs_a_token_for_its_ref_and_its_build() {
    let images = Images::build();
    let subject = json!({ "mediaType": MANIFEST, "digest": images.digest(PAID), "size": 1 });
    let signature = images.artifact(&subject, "text/signature");
    images.add(&signature);
    // An index of what is none of Flatpak's belongs to its subject, with all that it lists.
    let listed = images.artifact(&Value::Null, "text/note");
    let bundle = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [listed], "subject": subject });
    let bundle = images.put_json(INDEX, &bundle);
    images.add(&bundle);
    let old = all_of(&images, PAID);
    for policy in [Policy::Refs, Policy::Objects] {
        let counter = Counter::open(&images, Rules::new(policy));
        let (server, desk) = (Server::start(&counter.desk), &counter.desk);
        for path in all_of(&images, FREE) {
            let reply = ask(&server, &path, None);
            assert_eq!(reply.status, 200);
            assert!(!reply.field("cache-control").unwrap().contains("private"), "{path}");
            assert_eq!(ask(&server, &path, Some("Bearer nonsense")).status, 200, "a bad token does not hurt");
        }
        let mut paths = old.clone();
        for manifest in [&signature, &bundle, &listed] {
            paths.push(format!("apps/org.test.paid/manifests/{}", manifest["digest"].as_str().unwrap()));
        }
        let build = |commits: &[String]| {
            let grant = Grant::for_ids(&[Verb::Download], ["org.test.Paid"]);
            desk.bearer(&[Grant { commits: Some(commits.to_vec()), ..grant }])
        };
        let hex = images.digest(PAID).strip_prefix("sha256:").unwrap().to_owned();
        let made_until = |until: i64| {
            let grant = Grant::for_ids(&[Verb::Download], ["org.test.Paid"]);
            desk.bearer(&[Grant { made_until: Some(UnixTime(until)), ..grant }])
        };
        // The newest version was made on the second day.
        let made = crate::shop::Desk::made(2).0;
        for path in &paths {
            let refused = ask(&server, path, None);
            assert_eq!((refused.status, code(&refused).as_str()), (401, "UNAUTHORIZED"), "{path}");
            assert_eq!(
                refused.all("www-authenticate"),
                ["Bearer realm=\"https://shop.example/oauth/registry-token\",service=\"shop.example\",\
                  scope=\"repository:apps/org.test.paid:pull\""]
            );
            assert_eq!(refused.field("cache-control"), Some("private, no-store"));
            for good in [
                desk.download(&["org.test.Paid"]),
                desk.bearer(&[Grant::for_everything(&[Verb::Download])]),
                desk.basic(&[Grant::for_ids(&[Verb::Download], ["org.test.Paid"])]),
                build(std::slice::from_ref(&hex)),
                made_until(made),
            ] {
                let reply = ask(&server, path, Some(&good));
                assert_eq!(reply.status, 200, "{path}");
                assert_eq!(reply.field("cache-control"), Some("private, no-store"));
                assert_eq!(reply.field("vary"), Some("Authorization"));
            }
            for bad in [
                desk.download(&["org.test.Other", "org.test.Paid.Locale", "org.test"]),
                desk.bearer(&[]),
                desk.bearer(&[Grant::default()]),
                desk.bearer(&[Grant::for_ids(&[Verb::List, Verb::Upgrade], ["org.test.Paid"])]),
                build(&[]),
                build(&["0".repeat(64)]),
                made_until(made - 1),
            ] {
                let reply = ask(&server, path, Some(&bad));
                assert_eq!((reply.status, code(&reply).as_str()), (401, "DENIED"), "{path}");
                assert!(reply.field("www-authenticate").unwrap().ends_with("error=\"insufficient_scope\""));
            }
            for unknown in ["Bearer nonsense", "Bearer", "Basic OjE=", "Basic !"] {
                let reply = ask(&server, path, Some(unknown));
                assert_eq!((reply.status, code(&reply).as_str()), (401, "UNAUTHORIZED"), "{path} {unknown}");
            }
        }
        // The list of what there is is no secret.
        assert_eq!(ask(&server, "apps/org.test.paid/tags/list", None).status, 200);
        // An offer guards an app whatever its image says, with its extensions.
        let offered = Rules::new(policy).with_guarded_ids(["org.test.Free".to_owned()]);
        counter.gate.set(offered, &counter.gate.layout());
        assert!(all_of(&images, FREE).iter().all(|path| ask(&server, path, None).status == 401));
        let free = desk.download(&["org.test.Free"]);
        assert!(all_of(&images, FREE).iter().all(|path| ask(&server, path, Some(&free)).status == 200));
    }
}

#[test]
fn an_image_without_a_token_type_is_free_as_flatpak_has_it() {
    let images = Images::build();
    let mut config = images.config(PAID);
    config["config"]["Labels"].as_object_mut().unwrap().remove("org.flatpak.commit-metadata.xa.token-type");
    config["config"]["Labels"]["org.flatpak.ref"] = "app/org.test.Plain/x86_64/stable".into();
    let mut manifest = images.manifest(PAID);
    manifest["config"] = images.put_json("application/vnd.oci.image.config.v1+json", &config);
    images.add(&images.put_json(MANIFEST, &manifest));
    let counter = Counter::open(&images, Rules::new(Policy::Refs));
    let server = Server::start(&counter.desk);
    assert_eq!(ask(&server, "apps/org.test.plain/manifests/stable", None).status, 200);
    // The layer is the paid app's too; in the free one's repository it belongs to the free one.
    let layer = images.layer(PAID);
    assert_eq!(ask(&server, &format!("apps/org.test.plain/blobs/{layer}"), None).status, 200);
    assert_eq!(ask(&server, &format!("apps/org.test.paid/blobs/{layer}"), None).status, 401);
}

#[test]
fn strangers_learn_nothing_of_a_private_layout_not_even_whether_there_is_one() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Private));
    let (server, desk) = (Server::start(&counter.desk), &counter.desk);
    let mut paths: Vec<_> = [FREE, PAID, LOCALE].iter().flat_map(|name| all_of(&images, name)).collect();
    paths.extend(
        [
            "apps/org.test.paid/tags/list",
            "apps/org.test.paid/tags/list?n=x",
            "apps/org.test.none/tags/list",
            "apps/org.test.none/manifests/stable",
            "apps/org.test.paid/manifests/none",
            "apps/",
            "apps/nonsense",
            "apps/../apps/org.test.paid/manifests/stable",
            "apps/org.test.paid%2Fmanifests/stable",
            "apps/org.test.paid/blobs/uploads/",
        ]
        .map(str::to_owned),
    );
    paths.push(format!("apps/org.test.paid/referrers/{}", images.digest(PAID)));
    let stale = desk.download(&["org.test.Paid"]);
    desk.clock.advance_millis(7_200_000);
    for authorization in [None, Some("Bearer nonsense"), Some(stale.as_str()), Some("Basic OjE=")] {
        for path in &paths {
            let there = without_date(ask(&server, path, authorization));
            assert_eq!(there.status, 401, "{path}");
            // The same as of a repo that does not exist, whose name stands in the challenge instead. A token of this repo is none for it.
            if authorization != Some(stale.as_str()) {
                let missing = path.replacen("apps/", "no-s/", 1).replace("/apps/", "/no-s/");
                let nowhere = without_date(ask(&server, &missing, authorization));
                let names = |reply: &Reply| format!("{reply:?}").replace("no-s/", "apps/");
                assert_eq!(names(&there), names(&nowhere), "{path}");
            }
            // And nothing but what was asked for.
            let other = without_date(ask(&server, "apps/org.test.other/manifests/none", authorization));
            assert_eq!(there.body, other.body);
            let posted = server.connect().ask("DELETE", &format!("/v2/{path}"), &[]);
            assert_eq!(posted.status, 401, "{path}");
        }
    }
}

#[test]
fn in_a_private_layout_absent_and_forbidden_are_the_same() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Private));
    let (server, desk) = (Server::start(&counter.desk), &counter.desk);
    let token = desk.download(&["org.test.Paid", "org.test.Paid.Locale"]);
    for path in all_of(&images, PAID).iter().chain(&all_of(&images, LOCALE)) {
        let reply = ask(&server, path, Some(&token));
        assert_eq!((reply.status, reply.field("cache-control")), (200, Some("private, no-store")), "{path}");
    }
    let ask = |path: &str, authorization: &str| without_date(ask(&server, path, Some(authorization)));
    let none = flatpass_oci::Digest::of(b"none").to_string();
    let listing = |subject: &str| ask(&format!("apps/org.test.other/referrers/{subject}"), &token);
    for (there, missing) in [
        (
            ask("apps/org.test.free/manifests/stable", &token),
            ask("apps/org.test.free/manifests/none", &token),
        ),
        (ask("apps/org.test.free/tags/list", &token), ask("apps/org.test.free/tags/list?n=1", &token)),
        (listing(&images.digest(OTHER)), listing(&none)),
    ] {
        assert_eq!(there, missing);
    }
    let gone = ask("apps/org.test.gone/tags/list", &token);
    assert_eq!((gone.status, code(&gone).as_str()), (401, "DENIED"));
    // "Free for members" is for who may list it.
    let member = desk.bearer(&[Grant::for_ids(&[Verb::List], ["org.test.Free", "org.test.Paid"])]);
    assert_eq!(ask("apps/org.test.free/manifests/stable", &member).status, 200);
    assert_eq!(ask("apps/org.test.paid/manifests/stable", &member).status, 401);
    assert_eq!(ask("apps/org.test.paid/tags/list", &member).status, 200);
    assert_eq!(ask("apps/org.test.other/tags/list", &member).status, 401);
}

#[test]
fn the_front_door_says_whether_somebody_is_signed_in() {
    let images = Images::build();
    let counter = Counter::open(&images, Rules::new(Policy::Private));
    let (server, desk) = (Server::start(&counter.desk), &counter.desk);
    let stranger = ask(&server, "", None);
    assert_eq!((stranger.status, code(&stranger).as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(
        stranger.field("www-authenticate"),
        Some("Bearer realm=\"https://shop.example/oauth/registry-token\",service=\"shop.example\"")
    );
    assert_eq!(stranger.field("docker-distribution-api-version"), Some("registry/2.0"));
    let mut login = desk.claims(&[]);
    login.aud = "https://shop.example/v2/".to_owned();
    let login = format!("Bearer {}", desk.key.sign(&login).unwrap());
    for good in [
        desk.download(&["org.test.Paid"]),
        login.clone(),
        desk.basic(&[Grant::for_everything(&[Verb::Download])]),
    ] {
        let reply = ask(&server, "", Some(&good));
        assert_eq!((reply.status, reply.text()), (200, "{}"));
    }
    // A token for the door opens nothing behind it.
    assert_eq!(ask(&server, "apps/org.test.free/manifests/stable", Some(&login)).status, 401);
    let mut foreign = desk.claims(&[Grant::for_everything(&Verb::ALL)]);
    foreign.aud = "https://shop.example/repo/other".to_owned();
    let foreign = format!("Bearer {}", desk.key.sign(&foreign).unwrap());
    desk.verifier.set_access_tokens(AccessTable::new());
    for bad in
        [foreign.as_str(), "Bearer nonsense", "Basic OjE=", &basic("device", crate::shop::SECRET), "Digest x"]
    {
        assert_eq!(ask(&server, "", Some(bad)).status, 401, "{bad}");
    }
}
