//! Policy `refs`: what needs a token, and that no other way leads to it. Threats 1, 2 and 3; the leaks measured on flat-manager.

use std::fs;
use std::os::unix::fs::symlink;

use flatpass_gate::{Policy, Rules};
use flatpass_ostree::{DeltaSuperblock, ObjectKind, RepoPath};
use flatpass_token::{Grant, KeySet, Revocations, SigningKey, Verb};

use crate::shop::{Desk, FREE, LOCALE, MOUNT, OTHER, PAID, Shop, basic, object, superblock};
use crate::wire::{Reply, Server};

fn refs() -> Rules {
    Rules::new(Policy::Refs)
}

/// Everything that must not be had without a token for the paid app.
pub(crate) fn guarded(shop: &Shop) -> Vec<String> {
    let mut paths = vec![shop.commit(PAID), shop.commit(LOCALE)];
    paths.extend(shop.deltas_to(shop.rev(PAID)));
    let index = RepoPath::DeltaIndex { to: shop.rev(PAID) }.relative_path();
    assert!(shop.repo().join(&index).exists());
    paths.push(index);
    paths.push(shop.parsed(PAID).parent.map(|parent| object(parent, ObjectKind::Commit)).unwrap());
    paths
}

fn assert_refused(reply: &Reply, status: u16, what: &str) {
    assert_eq!(reply.status, status, "{what}: {}", reply.text());
    assert_eq!(reply.field("cache-control"), Some("private, no-store"), "{what}");
    assert_eq!(reply.field("vary"), Some("Authorization"), "{what}");
    assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{what}");
    assert!(
        reply.text().contains("https://shop.example/sign-in"),
        "{what} says the next step: {}",
        reply.text()
    );
    assert!(!reply.text().contains("secret of"), "{what}");
}

#[test]
fn a_paid_commit_its_deltas_parts_and_index_need_a_token_for_that_app() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let good = desk.download(&["org.test.Paid", "org.test.Paid.Locale"]);
    let other = desk.download(&["org.test.Other"]);
    for path in guarded(&shop) {
        let none = server.get(&path, &[]);
        assert_refused(&none, 401, &path);
        assert_eq!(none.field("www-authenticate"), Some("Bearer realm=\"https://shop.example/repo/apps\""));
        let wrong = server.get_as(&other, &path);
        assert_refused(&wrong, 403, &path);
        assert!(wrong.field("www-authenticate").unwrap().contains("error=\"insufficient_scope\""));
        let right = server.get_as(&good, &path);
        assert_eq!(right.status, 200, "{path}");
        assert_eq!(right.body, shop.read(&path), "{path}");
        assert_eq!(right.field("cache-control"), Some("private, no-store"));
        assert_eq!(right.field("vary"), Some("Authorization"));
        // Once more, now that it is cached.
        assert_eq!(server.get(&path, &[]).status, 401);
        assert_eq!(server.get_as(&other, &path).status, 403);
        // The other methods and forms of asking are asked the same.
        for fields in [&[("Range", "bytes=0-3")][..], &[("If-None-Match", "*")], &[("If-Match", "\"x\"")]] {
            assert_eq!(server.get(&path, fields).status, 401);
        }
        assert_eq!(server.connect().ask("HEAD", &format!("{MOUNT}/{path}"), &[]).status, 401);
    }
}

#[test]
fn what_is_free_needs_no_token_and_minds_no_bad_one() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let tree = shop.parsed(PAID).root_tree;
    let mut paths = vec![
        shop.commit(FREE),
        shop.commit("appstream2/x86_64"),
        object(tree, ObjectKind::DirTree),
        object(shop.parsed(PAID).root_meta, ObjectKind::DirMeta),
    ];
    paths.extend(shop.files("objects").into_iter().filter(|path| path.ends_with(".filez")).take(3));
    let objects = paths.len();
    paths.extend(["config", "summary", "summary.idx"].map(str::to_owned));
    paths.extend(shop.files("summaries"));
    paths.extend(shop.files("refs"));
    paths.extend(shop.deltas_to(shop.rev("appstream2/x86_64")));
    let expired = desk.download(&["org.test.Free"]);
    desk.clock.advance_millis(7200 * 1000);
    for (number, path) in paths.iter().enumerate() {
        let caching = if number < objects { "public, max-age=31536000, immutable" } else { "no-cache" };
        for authorization in ["", "Bearer broken", "Basic !!", "Nonsense", &expired] {
            let fields = [("Authorization", authorization)];
            let reply = server.get(path, if authorization.is_empty() { &[] } else { &fields });
            assert_eq!(reply.status, 200, "{path} {authorization}");
            assert_eq!(reply.body, shop.read(path), "{path}");
            assert_eq!(reply.field("cache-control"), Some(caching), "{path}");
            assert_eq!(reply.field("vary"), None, "{path}");
        }
    }
}

#[test]
fn a_token_that_grants_nothing_for_this_opens_nothing() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let ids = || vec!["org.test.Paid".to_owned()];
    let any = || vec!["*".to_owned()];
    let full = Grant {
        actions: vec![Verb::Download],
        ids: ids(),
        branches: any(),
        arches: any(),
        ..Grant::default()
    };
    let path = shop.commit(PAID);
    assert_eq!(server.get_as(&desk.bearer(std::slice::from_ref(&full)), &path).status, 200);
    for grants in [
        vec![],
        vec![Grant { ids: vec![], ..full.clone() }],
        vec![Grant { actions: vec![], ..full.clone() }],
        vec![Grant { branches: vec![], ..full.clone() }],
        vec![Grant { branches: vec!["beta".to_owned()], ..full.clone() }],
        vec![Grant { arches: vec!["aarch64".to_owned()], ..full.clone() }],
        vec![Grant { actions: vec![Verb::List, Verb::Export, Verb::Upgrade], ..full.clone() }],
        vec![Grant { ids: vec!["org.test.Pai".to_owned(), "org.test".to_owned()], ..full.clone() }],
        vec![Grant { ids: vec![], prefixes: vec!["org.test.Pai".to_owned(), String::new()], ..full.clone() }],
        // Two halves make no whole.
        vec![
            Grant { ids: vec!["org.test.Other".to_owned()], ..full.clone() },
            Grant { actions: vec![Verb::List], ..full },
        ],
    ] {
        let authorization = desk.bearer(&grants);
        let reply = server.get(&path, &[("Authorization", &authorization), ("Flatpak-Upgrade-From", "00")]);
        assert_refused(&reply, 403, &format!("{grants:?}"));
    }
}

#[test]
fn a_bad_token_is_told_why() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let path = shop.commit(PAID);
    let grants = [Grant::for_ids(&[Verb::Download], ["org.test.Paid"])];
    let sign = |claims| format!("Bearer {}", desk.key.sign(&claims).unwrap());
    let good = desk.claims(&grants);
    let now = desk.clock.now().unix();
    let stranger = SigningKey::generate().unwrap();
    let audience = |aud: &str| flatpass_token::Claims { aud: aud.to_owned(), ..good.clone() };
    for (authorization, why) in [
        (sign(flatpass_token::Claims { exp: now.plus_seconds(-10), ..good.clone() }), "expired"),
        (sign(flatpass_token::Claims { nbf: Some(now.plus_seconds(60)), ..good.clone() }), "only valid from"),
        (
            sign(flatpass_token::Claims { iss: "https://evil.example/".to_owned(), ..good.clone() }),
            "another store",
        ),
        (sign(audience("https://shop.example/repo/other")), "another repository"),
        (sign(audience("https://shop.example/repo/apps/")), "another repository"),
        (format!("Bearer {}", stranger.sign(&good).unwrap()), "key"),
        ("Bearer x.y.z".to_owned(), "token"),
        ("Bearer".to_owned(), "Authorization"),
        ("Basic Zm9v".to_owned(), "Authorization"),
        (basic("device", "fpat_wrong"), "not known"),
    ] {
        let reply = server.get_as(&authorization, &path);
        assert_refused(&reply, 401, &authorization);
        let challenge = reply.field("www-authenticate").unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(why) && reply.text().contains(why), "{why}: {challenge} {}", reply.text());
    }
    let one = sign(good.clone());
    for other in ["Bearer x.y.z", "", &one[..one.len() - 1]] {
        for both in [[one.as_str(), other], [other, one.as_str()]] {
            let reply = server.get(&path, &both.map(|value| ("Authorization", value)));
            assert_refused(&reply, 401, "two Authorization fields");
        }
    }
    assert_eq!(server.get_as(&one, &path).status, 200);
    // libostree says the same once more with each further server of a mirror list.
    let thrice = [one.as_str(); 3].map(|value| ("Authorization", value));
    assert_eq!(server.get(&path, &thrice).status, 200);
    // Another scheme than ours is no token at all.
    assert_refused(&server.get_as("Digest username=\"ann\"", &path), 401, "another scheme");
}

#[test]
fn keys_revocations_and_time_count_for_tokens_that_were_good_before() {
    let shop = Shop::build();
    let mut desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let path = shop.commit(PAID);
    let old = desk.download(&["org.test.Paid"]);
    assert_eq!(server.get_as(&old, &path).status, 200);

    let next = SigningKey::generate().unwrap();
    desk.verifier.set_keys(KeySet::new().with(&desk.key).with(&next));
    let first = std::mem::replace(&mut desk.key, next);
    let new = desk.download(&["org.test.Paid"]);
    assert_eq!((server.get_as(&old, &path).status, server.get_as(&new, &path).status), (200, 200));
    desk.verifier.set_keys(KeySet::new().with(&desk.key));
    assert_eq!((server.get_as(&old, &path).status, server.get_as(&new, &path).status), (401, 200));
    desk.verifier.set_keys(KeySet::new().with(&desk.key).with(&first));

    desk.verifier.set_revocations(Revocations::new().with_id("tok_1"));
    assert_refused(&server.get_as(&new, &path), 401, "revoked");
    desk.verifier.set_revocations(Revocations::new());
    assert_eq!(server.get_as(&new, &path).status, 200);
    desk.clock.advance_millis(3_606_000);
    assert_refused(&server.get_as(&new, &path), 401, "expired");
}

#[test]
fn priced_apps_need_a_token_whatever_their_commits_say_and_so_do_their_extensions() {
    let shop = Shop::empty();
    shop.export("org.test.Gratis", 0, false, 1);
    shop.export("org.test.Gratis.Locale", 0, true, 1);
    shop.export("org.test.GratisToo", 0, false, 1);
    shop.export("org.test.my-app", 0, false, 1);
    shop.export("org.test.my_app.Locale", 0, true, 1);
    shop.update(&["--generate-static-deltas"]);
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let names = [
        "app/org.test.Gratis",
        "runtime/org.test.Gratis.Locale",
        "app/org.test.GratisToo",
        "app/org.test.my-app",
        "runtime/org.test.my_app.Locale",
    ];
    let statuses = |authorization: &str| {
        names.map(|name| server.get_as(authorization, &shop.commit(&format!("{name}/x86_64/stable"))).status)
    };
    assert_eq!(statuses("none"), [200; 5]);
    // The rules count at once, also for what is cached.
    desk.gate.set_rules(refs().with_guarded_ids(["org.test.Gratis", "org.test.my-app"].map(str::to_owned)));
    assert_eq!(statuses("none x"), [401, 401, 200, 401, 401]);
    assert_eq!(statuses(&desk.download(&["org.test.Gratis"])), [200, 403, 200, 403, 403]);
    assert_eq!(server.get(&superblock(None, shop.rev("app/org.test.Gratis/x86_64/stable")), &[]).status, 401);
    desk.gate.set_rules(refs());
    assert_eq!(statuses("none"), [200; 5]);
}

#[test]
fn the_default_token_type_of_the_summary_counts_where_a_commit_says_none() {
    let shop = Shop::empty();
    shop.export("org.test.Plain", -1, false, 1);
    shop.export("org.test.Zero", 0, false, 1);
    shop.update(&[]);
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let plain = shop.commit("app/org.test.Plain/x86_64/stable");
    let zero = shop.commit("app/org.test.Zero/x86_64/stable");
    assert!(shop.parsed("app/org.test.Plain/x86_64/stable").token_type.is_none());
    let statuses = || [&plain, &zero].map(|path| server.get(path, &[]).status);
    assert_eq!(statuses(), [200, 200]);
    let summary = |default: i32| {
        let value = format!("--add-metadata=xa.default-token-type=int32 {default}");
        shop.run("ostree", &["--repo=repo", "summary", "--update", &value]);
    };
    summary(2);
    assert_eq!(
        flatpass_ostree::Summary::parse(&shop.read("summary")).unwrap().metadata.default_token_type,
        Some(2)
    );
    assert_eq!(statuses(), [401, 200], "the next request after the summary changed knows");
    assert_eq!(server.get(&shop.commit("appstream2/x86_64"), &[]).status, 200, "the app list has no token");
    assert_eq!(server.get_as(&desk.download(&["org.test.Plain"]), &plain).status, 200);
    summary(0);
    assert_eq!(statuses(), [200, 200]);
    // Nobody knows: not open.
    fs::write(shop.repo().join("summary"), b"what is this").unwrap();
    assert_eq!(statuses(), [401, 200]);
}

#[test]
fn a_commit_or_delta_that_nobody_can_read_is_served_to_nobody() {
    let shop = Shop::build();
    let all = [Grant::for_everything(&Verb::ALL)];
    let (free, paid, other) = (shop.rev(FREE), shop.rev(PAID), shop.rev(OTHER));
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let full = desk.bearer(&all);
    let replace = |path: &str, content: &[u8]| {
        // As ostree writes: a new file in the place of the old one.
        fs::write(shop.path("new"), content).unwrap();
        fs::rename(shop.path("new"), shop.repo().join(path)).unwrap();
        desk.clock.advance_millis(2000);
    };
    let paths = [superblock(None, paid), RepoPath::DeltaIndex { to: paid }.relative_path()];
    assert_eq!(paths.each_ref().map(|path| server.get_as(&full, path).status), [200, 200]);

    // A free commit's bytes under a paid commit's name say nothing of the paid one.
    let (commit, good) = (shop.commit(PAID), shop.read(shop.commit(PAID)));
    replace(&commit, &shop.read(shop.commit(FREE)));
    for authorization in ["", &full] {
        assert_eq!(server.get_as(authorization, &commit).status, 500);
        assert_eq!(server.get_as(authorization, &paths[1]).status, 500);
    }
    replace(&commit, &good[..good.len() - 1]);
    assert_eq!(server.get_as(&full, &commit).status, 500);
    // No commit: nothing about it either. The delta has a copy of its own and still knows who may have it.
    fs::remove_file(shop.repo().join(&commit)).unwrap();
    desk.clock.advance_millis(2000);
    assert_eq!(server.get_as(&full, &commit).status, 404);
    assert_eq!(server.get_as(&full, &paths[1]).status, 404);
    assert_eq!(server.get(&paths[0], &[]).status, 401);
    assert_eq!(server.get_as(&full, &paths[0]).status, 200);
    replace(&commit, &good);

    // A free app's superblock in a paid delta's folder, and the paid one's in a free delta's folder.
    let (of_free, of_paid, of_other) =
        (superblock(None, free), superblock(None, paid), superblock(None, other));
    let block = shop.read(&of_paid);
    replace(&of_paid, &shop.read(&of_free));
    let part = of_paid.replace("/superblock", "/0");
    for authorization in ["", &full] {
        assert_eq!(server.get_as(authorization, &of_paid).status, 404);
        assert_eq!(server.get_as(authorization, &part).status, 404);
    }
    replace(&of_free, &block);
    assert_eq!(server.get_as(&full, &of_free).status, 404);
    // One that says the right `to` in front of another commit.
    let other_block = shop.read(&of_other);
    let parsed = DeltaSuperblock::parse(&other_block).unwrap();
    let at = other_block.windows(32).position(|window| window == parsed.to.as_bytes()).unwrap();
    let mut forged = other_block;
    forged[at..at + 32].copy_from_slice(free.as_bytes());
    replace(&of_free, &forged);
    assert_eq!(server.get_as(&full, &of_free).status, 404);
    replace(&of_free, b"");
    assert_eq!(server.get_as(&full, &of_free).status, 404);
}

#[test]
fn a_paid_commit_bound_to_no_ref_is_opened_by_no_token() {
    let shop = Shop::empty();
    fs::create_dir(shop.path("tree")).unwrap();
    let make = |options: &[&str]| {
        let fixed = ["--repo=repo", "commit", "--tree=dir=tree"];
        shop.run("ostree", &[&fixed, options].concat()).trim().to_owned()
    };
    let two = "--add-metadata=xa.token-type=int32 2";
    let orphan = make(&["--orphan", "-s", "orphan", two]);
    let odd = make(&["-b", "strange", "-s", "odd", two]);
    let free = make(&["--orphan", "-s", "free"]);
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let full = desk.bearer(&[Grant::for_everything(&Verb::ALL)]);
    for (checksum, expected) in [(orphan, [401, 403]), (odd, [401, 403]), (free, [200, 200])] {
        let path = format!("objects/{}/{}.commit", &checksum[..2], &checksum[2..]);
        assert_eq!(["x", &full].map(|token| server.get_as(token, &path).status), expected);
    }
}

#[test]
fn a_delta_that_was_moved_aside_or_deleted_is_gone_at_once() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let token = desk.download(&["org.test.Paid"]);
    let paths = shop.deltas_to(shop.rev(PAID));
    assert!(paths.iter().all(|path| server.get_as(&token, path).status == 200));
    let folder = superblock(None, shop.rev(PAID)).replace("/superblock", "");
    for aside in [format!("{folder}.deleted"), format!("{folder}-old"), "deltas/tmp".to_owned()] {
        fs::rename(shop.repo().join(&folder), shop.repo().join(&aside)).unwrap();
        for path in ["superblock", "0"] {
            assert_eq!(server.get_as(&token, &format!("{folder}/{path}")).status, 404);
            assert_eq!(server.get_as(&token, &format!("{aside}/{path}")).status, 404);
        }
        fs::rename(shop.repo().join(&aside), shop.repo().join(&folder)).unwrap();
        assert_eq!(server.get_as(&token, &format!("{folder}/0")).status, 200);
    }
    // Without its superblock nobody can say whose the part is.
    fs::remove_file(shop.repo().join(&folder).join("superblock")).unwrap();
    assert_eq!(server.get_as(&token, &format!("{folder}/0")).status, 404);
}

#[test]
fn no_other_spelling_of_a_path_leads_to_a_file() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), refs());
    let server = Server::start(&desk);
    let full = desk.bearer(&[Grant::for_everything(&Verb::ALL)]);
    let commit = shop.commit(PAID);
    let upper = {
        let (folder, name) = commit.rsplit_once('/').unwrap();
        format!("{}/{}", folder.to_uppercase(), name.to_uppercase())
    };
    fs::write(shop.path("outside"), b"secret of the machine").unwrap();
    symlink(shop.path("outside"), shop.repo().join("refs/heads/link")).unwrap();
    symlink(shop.path(""), shop.repo().join("refs/heads/links")).unwrap();
    symlink("config", shop.repo().join("refs/heads/inner")).unwrap();
    shop.run("mkfifo", &["repo/refs/heads/pipe"]);
    for path in [
        "",
        "/",
        "//config",
        "./config",
        "config/",
        "config/.",
        "a/../config",
        "%63onfig",
        "config%00",
        "config%2F",
        "refs/heads/../../config",
        "refs/heads/%2e%2e/%2e%2e/config",
        "refs/heads/..%2f..%2fconfig",
        "refs/heads/link",
        "refs/heads/links/outside",
        "refs/heads/inner",
        "refs/heads/pipe",
        "refs/heads",
        "refs/heads/app",
        "objects",
        "deltas",
        ".lock",
        "state",
        "tmp",
        "tmp/cache",
        "extensions",
        "CONFIG",
        "Summary",
        "summary.gz",
        "config;x",
        "config%3Fx",
        &format!("/{commit}"),
        &format!("{commit}/"),
        &format!("{commit}."),
        &upper,
        &commit.replace("objects/", "objects//"),
        &commit.replace("objects/", "objects/./"),
        &commit.replace("objects/", "objects%2F"),
        &commit.replace(".commit", ".COMMIT"),
        &commit.replace(".commit", "%2Ecommit"),
        &commit.replace(".commit", ".file"),
        &commit.replace(".commit", ".commitmeta2"),
        &commit.replace(".commit", ".commit%00"),
        &format!("{commit}\\"),
        &format!("..{MOUNT}/{commit}"),
    ] {
        let reply = server.get_as(&full, path);
        assert!(matches!(reply.status, 400 | 404), "{path}: {}", reply.status);
        assert!(!reply.body.windows(9).any(|window| window == b"secret of"), "{path}");
    }
    // The mount itself has one spelling too: all else is not ours, and the fallback says so.
    for target in [
        "/repo/apps",
        "/repo//apps/config",
        "//repo/apps/config",
        "/repo/./apps/config",
        "/repo/apps2/config",
        "/Repo/apps/config",
        "/%72epo/apps/config",
        "/repo/other/../apps/config",
    ] {
        let reply = server.connect().ask("GET", target, &[]);
        assert!(reply.text().starts_with("fallback GET"), "{target}");
    }
    // A query changes nothing.
    assert_eq!(server.get("config?a=/../b", &[]).status, 200);
    assert_eq!(server.get(&format!("{commit}?x"), &[]).status, 401);
}

#[test]
fn an_open_repo_asks_nobody() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    for path in guarded(&shop) {
        let reply = server.get(&path, &[]);
        assert_eq!((reply.status, &reply.body), (200, &shop.read(&path)), "{path}");
    }
}
