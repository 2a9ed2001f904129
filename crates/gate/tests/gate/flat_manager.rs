//! Our gate in front of a repository that flat-manager publishes to: one test for each leak that was measured on flat-manager's own serving. The
//! tokens are flat-manager's, and good ones open what they name.

use std::fs;
use std::sync::Arc;

use flatpass_gate::{Policy, Rules};
use flatpass_ostree::{ObjectKind, RepoPath};
use flatpass_token::{FlatManagerKeys, SharedSecret};

use crate::leaks::guarded;
use crate::objects::contents;
use crate::shop::{Desk, FREE, LOCALE, MOUNT, OTHER, PAID, Shop, object};
use crate::wire::{Server, without_date};

const EXPIRES: i64 = 1_800_003_600;

fn secret() -> Arc<SharedSecret> {
    Arc::new(SharedSecret::from_bytes(vec![7; 64].into()).unwrap())
}

fn open(shop: &Shop, policy: Policy) -> Desk {
    let desk = Desk::open(shop.repo(), Rules::new(policy));
    desk.verifier.set_flat_manager(Some(FlatManagerKeys::new("stable", [secret()])));
    desk
}

/// The whole `Authorization` field.
fn bearer(claims: &str) -> String {
    // In the order in which they stand, whatever that is.
    let claims: serde_json::Value = serde_json::from_str(claims).unwrap();
    format!("Bearer {}", secret().sign(&claims).unwrap())
}

/// As an operator makes one who names everything.
fn good(apps: &str) -> String {
    bearer(&format!(
        r#"{{"sub":"ann","exp":{EXPIRES},"scope":["download"],"repos":["stable"],"prefixes":["org.none"],"apps":{apps}}}"#
    ))
}

fn paid() -> String {
    good(r#"["org.test.Paid","org.test.Paid.Locale"]"#)
}

/// What flat-manager lets through to everything: a token that names nothing at all.
fn names_nothing() -> String {
    bearer(&format!(r#"{{"sub":"download","exp":{EXPIRES}}}"#))
}

#[test]
fn parts_and_indexes_of_deltas_need_the_token_of_their_commit() {
    let shop = Shop::build();
    let desk = open(&shop, Policy::Refs);
    let server = Server::start(&desk);
    let (paid, other) = (paid(), good(r#"["org.test.Other"]"#));
    for path in guarded(&shop) {
        assert_eq!(server.get(&path, &[]).status, 401, "{path}");
        assert_eq!(server.get_as(&other, &path).status, 403, "{path}");
        let reply = server.get_as(&paid, &path);
        assert_eq!((reply.status, reply.field("cache-control")), (200, Some("private, no-store")), "{path}");
        assert_eq!(reply.body, shop.read(&path), "{path}");
    }
}

#[test]
fn a_token_without_prefixes_opens_nothing() {
    let shop = Shop::build();
    for policy in [Policy::Refs, Policy::Objects] {
        let desk = open(&shop, policy);
        let server = Server::start(&desk);
        let rest = r#""scope":["download"],"repos":["stable"]"#;
        for (claims, status) in [
            (names_nothing(), 401),
            (bearer(&format!(r#"{{"sub":"a","exp":{EXPIRES},{rest}}}"#)), 403),
            (
                bearer(&format!(
                    r#"{{"sub":"a","exp":{EXPIRES},{rest},"prefixes":[],"apps":["org.test.Other"]}}"#
                )),
                403,
            ),
            (bearer(&format!(r#"{{"sub":"a","exp":{EXPIRES},{rest},"prefixes":[""]}}"#)), 403),
            (bearer(&format!(r#"{{"sub":"a","exp":{EXPIRES},{rest},"prefixes":["*"]}}"#)), 403),
        ] {
            for path in guarded(&shop) {
                assert_eq!(server.get_as(&claims, &path).status, status, "{policy} {path}");
            }
        }
    }
}

#[test]
fn files_and_directories_of_a_paid_app_need_its_token_under_objects() {
    let shop = Shop::build();
    let desk = open(&shop, Policy::Objects);
    let server = Server::start(&desk);
    let contents = contents(&shop);
    let free = shop.rev(FREE);
    let mine = [shop.rev(PAID), shop.rev(LOCALE)];
    let (paid, other) = (paid(), good(r#"["org.test.Other"]"#));
    let mut kinds = std::collections::BTreeSet::new();
    for (path, commits) in &contents {
        let only_paid = commits.iter().all(|commit| mine.contains(commit)) && !commits.contains(&free);
        if !only_paid {
            continue;
        }
        kinds.insert(path.rsplit('.').next().unwrap().to_owned());
        assert_eq!(server.get(path, &[]).status, 401, "{path}");
        assert_eq!(server.get_as(&other, path).status, 403, "{path}");
        assert_eq!(server.get_as(&names_nothing(), path).status, 401, "{path}");
        let reply = server.get_as(&paid, path);
        assert_eq!((reply.status, &reply.body), (200, &shop.read(path)), "{path}");
    }
    assert!(kinds.contains("filez") && kinds.contains("dirtree"), "{kinds:?}");
}

#[test]
fn a_commit_that_cannot_be_read_is_served_to_nobody() {
    let shop = Shop::build();
    let path = shop.commit(PAID);
    fs::write(shop.repo().join(&path), b"no commit").unwrap();
    for policy in [Policy::Refs, Policy::Objects] {
        let desk = open(&shop, policy);
        let server = Server::start(&desk);
        for authorization in ["", &paid()] {
            let fields = [("Authorization", authorization)];
            let reply = server.get(&path, if authorization.is_empty() { &[] } else { &fields });
            assert!(![200, 206].contains(&reply.status), "{policy} {authorization}: {}", reply.status);
        }
    }
    // Its deltas have a copy of the commit that they lead to, and go on.
    let desk = open(&shop, Policy::Refs);
    let server = Server::start(&desk);
    let superblock =
        shop.deltas_to(shop.rev(PAID)).into_iter().find(|path| path.ends_with("superblock")).unwrap();
    assert_eq!(server.get(&superblock, &[]).status, 401);
    fs::write(shop.repo().join(&superblock), b"no superblock").unwrap();
    desk.clock.advance_millis(60_000);
    for authorization in [names_nothing(), paid()] {
        assert!(server.get_as(&authorization, &superblock).status >= 400);
    }
}

#[test]
fn a_delta_that_is_moved_aside_is_not_served_any_more() {
    let shop = Shop::build();
    let deltas = shop.deltas_to(shop.rev(PAID));
    fs::create_dir_all(shop.repo().join("tmp")).unwrap();
    fs::rename(shop.repo().join("deltas"), shop.repo().join("tmp/deltas")).unwrap();
    for policy in [Policy::Open, Policy::Refs, Policy::Objects] {
        let desk = open(&shop, policy);
        let server = Server::start(&desk);
        for path in &deltas {
            for path in [path.clone(), format!("tmp/{path}")] {
                assert_eq!(server.get(&path, &[]).status, 404, "{policy} {path}");
                assert_eq!(server.get_as(&paid(), &path).status, 404, "{policy} {path}");
            }
        }
    }
}

#[test]
fn scope_repos_branches_and_times_are_heeded() {
    let shop = Shop::build();
    let desk = open(&shop, Policy::Refs);
    let server = Server::start(&desk);
    let path = shop.commit(PAID);
    let with = |changes: &str| {
        bearer(&format!(
            r#"{{"sub":"ann","exp":{EXPIRES},"scope":["download"],"repos":["stable"],"prefixes":["org.none"],"apps":["org.test.Paid"]{changes}}}"#
        ))
    };
    assert_eq!(server.get_as(&with(""), &path).status, 200);
    // A later member takes the place of an earlier one in the maker's map.
    for (changes, status) in [
        (r#","scope":["build","upload","publish"]"#, 401),
        (r#","repos":["beta"]"#, 401),
        (r#","branches":["beta"]"#, 403),
        (r#","nbf":1800000600"#, 401),
        (r#","exp":1799999000"#, 401),
        (r#","jti":"one""#, 401),
    ] {
        let reply = server.get_as(&with(changes), &path);
        assert_eq!(reply.status, status, "{changes}: {}", reply.text());
        assert!(reply.field("www-authenticate").is_some(), "{changes}");
    }
}

#[test]
fn a_bad_token_does_not_break_what_is_free() {
    let shop = Shop::build();
    let tree = shop.parsed(FREE).root_tree;
    let free =
        [shop.commit(FREE), object(tree, ObjectKind::DirTree), "config".to_owned(), "summary".to_owned()];
    for policy in [Policy::Refs, Policy::Objects] {
        let desk = open(&shop, policy);
        let server = Server::start(&desk);
        for path in &free {
            for authorization in [names_nothing(), "Bearer broken".to_owned(), paid()] {
                assert_eq!(server.get_as(&authorization, path).status, 200, "{policy} {path}");
            }
        }
    }
}

#[test]
fn a_private_repo_lists_nothing_to_who_has_a_download_token() {
    let shop = Shop::build();
    let desk = open(&shop, Policy::Private);
    let server = Server::start(&desk);
    for path in ["summary", "summary.idx"] {
        assert_eq!(server.get_as(&paid(), path).status, 401, "{path}");
        assert_eq!(server.get(path, &[]).status, 401, "{path}");
    }
    // Who has no token of it is not told that there is something that takes flat-manager's.
    desk.verifier.set_flat_manager(Some(FlatManagerKeys::new("stable", [secret()]).secretly()));
    let forged = SharedSecret::from_bytes(vec![8; 64].into()).unwrap();
    let forged = forged.sign(&serde_json::json!({"sub": "a", "exp": EXPIRES})).unwrap();
    for authorization in [format!("Bearer {forged}"), names_nothing(), "Bearer a.b.c".to_owned()] {
        let ask = |mount: &str| {
            let fields = [("Authorization", authorization.as_str())];
            let reply = without_date(server.connect().ask("GET", &format!("{mount}/summary"), &fields));
            (reply.status, format!("{reply:?}").replace(mount, "MOUNT"))
        };
        assert_eq!(ask(MOUNT), ask("/repo/no-such"), "{authorization}");
    }
    assert_eq!(server.get_as(&paid(), &shop.commit(PAID)).status, 200);
    assert_eq!(server.get_as(&paid(), &shop.commit(OTHER)).status, 403);
    assert!(RepoPath::parse("tmp/cache").is_none());
}
