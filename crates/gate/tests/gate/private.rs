//! Policy `private`: an outsider learns nothing, a ref token is enough for its pull, an access token for all it grants. Threats 2 and 17.

use std::fs;

use flatpass_gate::{Policy, Rules};
use flatpass_ostree::{ObjectKind, RepoPath};
use flatpass_token::{AccessTable, Grant, Verb};

use crate::objects::contents;
use crate::shop::{Desk, FREE, MOUNT, OTHER, PAID, Shop, basic, object, superblock};
use crate::wire::{Server, without_date};

#[test]
fn an_outsider_gets_the_same_answer_for_everything_there_and_not_there() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    let server = Server::start(&desk);
    let commit = shop.commit(PAID);
    let mut paths = shop.files("");
    let there = paths.len();
    assert!(there > 30);
    paths.extend(
        [
            "",
            "nonsense",
            "../config",
            "config/",
            "%63onfig",
            "a//b",
            "objects/00/11.commit",
            "refs/heads/app/org.no.App/x86_64/stable",
        ]
        .map(str::to_owned),
    );
    paths.push(object(flatpass_ostree::Checksum::of(b"none"), ObjectKind::Commit));
    paths.push(superblock(None, flatpass_ostree::Checksum::of(b"none")));
    paths.push("x".repeat(3000));
    let stale = desk.download(&["org.test.Paid"]);
    desk.clock.advance_millis(7_200_000);
    for authorization in [None, Some("Bearer nonsense"), Some(stale.as_str()), Some("Basic OjE=")] {
        let fields: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        let mut expected = None;
        for path in &paths {
            for more in [None, Some(("Range", "bytes=0-1")), Some(("If-None-Match", "*"))] {
                let fields: Vec<_> = fields.iter().copied().chain(more).collect();
                let reply = without_date(server.get(path, &fields));
                assert_eq!(reply.status, 401, "{path}");
                assert_eq!(&reply, expected.get_or_insert_with(|| reply.clone()), "{path} {more:?}");
            }
        }
        let reply = expected.unwrap();
        assert_eq!(reply.field("cache-control"), Some("private, no-store"));
        let challenges = reply.all("www-authenticate");
        assert!(
            challenges[0].starts_with("Bearer realm=") && challenges[1].starts_with("Basic realm="),
            "{challenges:?}"
        );
        assert_eq!(challenges[0].contains("invalid_token"), authorization.is_some());
        // Other methods go through hyper, and say no more.
        let posted = without_date(server.connect().ask("DELETE", &format!("{MOUNT}/{commit}"), &fields));
        assert_eq!((posted.status, posted.text()), (401, reply.text()));
    }
}

#[test]
fn a_ref_token_alone_is_enough_for_its_pull_and_for_nothing_else() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    let server = Server::start(&desk);
    let token = desk.download(&["org.test.Paid"]);
    let status = |path: &str| server.get_as(&token, path).status;
    let paid = shop.parsed(PAID);
    let mut pull = vec![
        "config".to_owned(),
        shop.commit(PAID),
        object(paid.root_tree, ObjectKind::DirTree),
        object(paid.root_meta, ObjectKind::DirMeta),
        RepoPath::DeltaIndex { to: shop.rev(PAID) }.relative_path(),
    ];
    pull.extend(shop.deltas_to(shop.rev(PAID)));
    let contents = contents(&shop);
    let files = contents.iter().filter(|(_, commits)| commits.contains(&shop.rev(PAID)));
    pull.extend(files.map(|(path, _)| path.clone()));
    for path in &pull {
        let reply = server.get_as(&token, path);
        assert_eq!((reply.status, &reply.body), (200, &shop.read(path)), "{path}");
        assert_eq!(reply.field("cache-control"), Some("private, no-store"), "{path}");
        assert_eq!(reply.field("vary"), Some("Authorization"), "{path}");
    }
    // What is absent in its own pull counts as absent: 404, not 401, which would end the pull.
    assert_eq!(status(&object(shop.rev(PAID), ObjectKind::CommitMeta)), 404);
    // Index files need `list`.
    let mut indexes =
        ["summary", "summary.sig", "summary.idx", "summary.idx.sig"].map(str::to_owned).to_vec();
    indexes.extend(shop.files("summaries"));
    indexes.extend(shop.files("refs"));
    indexes.push("refs/heads/app/org.no.App/x86_64/stable".to_owned());
    indexes.push("refs/heads/app/no-ref".to_owned());
    for path in &indexes {
        let reply = server.get_as(&token, path);
        // Flatpak takes 403 for an empty list, and would say that all is up to date.
        let (status, says) =
            match path.starts_with("refs/heads/app/") || path.starts_with("refs/heads/runtime/") {
                true => (403, "seeing what is in this repository"),
                false => (401, "may see nothing in this repository"),
            };
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.text().contains(says), "{}", reply.text());
    }
    // Other commits, free ones and the app list included; absent and forbidden are alike.
    let none = flatpass_ostree::Checksum::of(b"none");
    for path in [
        shop.commit(OTHER),
        shop.commit(FREE),
        shop.commit("appstream2/x86_64"),
        object(shop.parsed(OTHER).root_tree, ObjectKind::DirTree),
        object(shop.parsed(FREE).root_tree, ObjectKind::DirTree),
        object(none, ObjectKind::DirTree),
        object(none, ObjectKind::FileZ),
        superblock(None, shop.rev(OTHER)),
        superblock(None, shop.rev(FREE)).replace("superblock", "0"),
        RepoPath::DeltaIndex { to: shop.rev(FREE) }.relative_path(),
        object(none, ObjectKind::Commit),
        object(none, ObjectKind::CommitMeta),
        superblock(None, none),
        RepoPath::DeltaIndex { to: none }.relative_path(),
    ] {
        let reply = without_date(server.get_as(&token, &path));
        assert_eq!(reply, without_date(server.get_as(&token, &shop.commit(OTHER))), "{path}");
        assert_eq!(reply.status, 403, "{path}");
    }
}

#[test]
fn an_access_token_lists_the_repo_and_opens_what_it_grants() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    let server = Server::start(&desk);
    let list = Grant::for_everything(&[Verb::List]);
    let device = desk.basic(&[list, Grant::for_ids(&[Verb::Download], ["org.test.Paid"])]);
    let contents = contents(&shop);
    let opens = |commit| {
        let commit = flatpass_ostree::Commit::parse(&shop.read(object(commit, ObjectKind::Commit))).unwrap();
        let bought = commit.refs.iter().any(|name| name == PAID);
        bought || commit.token_type.unwrap_or(0) < 2
    };
    for path in shop.files("") {
        let expected = match RepoPath::parse(&path) {
            None => 404,
            Some(RepoPath::Object { checksum, kind: ObjectKind::Commit })
            | Some(RepoPath::Delta { to: checksum, .. } | RepoPath::DeltaIndex { to: checksum }) => {
                if opens(checksum) { 200 } else { 403 }
            }
            Some(RepoPath::Object { kind: ObjectKind::CommitMeta, .. }) => 200,
            Some(RepoPath::Object { .. }) if !contents[&path].iter().any(|commit| opens(*commit)) => 403,
            Some(_) => 200,
        };
        assert_eq!(server.get_as(&device, &path).status, expected, "{path}");
    }
    let missing = object(flatpass_ostree::Checksum::of(b"none"), ObjectKind::Commit);
    assert_eq!(server.get_as(&device, &missing).status, 403, "absent and forbidden are alike");
    // The user name does not matter, the password does.
    let secret = "fpat_0123456789abcdefghijABCDEFGHIJ";
    assert_eq!(server.get_as(&basic("", secret), "summary").status, 200);
    assert_eq!(server.get_as(&basic("somebody", secret).replace("Basic", "bAsIc"), "summary").status, 200);
    for wrong in [
        basic(secret, ""),
        basic("device", &secret[1..]),
        basic("device", &format!("{secret}:")),
        basic("device:x", secret),
    ] {
        assert_eq!(server.get_as(&wrong, "summary").status, 401);
    }
    desk.verifier.set_access_tokens(AccessTable::new());
    assert_eq!(server.get_as(&device, "summary").status, 401, "a revoked one is refused at once");
}

#[test]
fn a_repo_that_becomes_private_hides_what_was_cached_before() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    let paths = ["config".to_owned(), shop.commit(FREE), shop.commit(PAID)];
    assert_eq!(paths.each_ref().map(|path| server.get(path, &[]).status), [200; 3]);
    desk.gate.set_rules(Rules::new(Policy::Private));
    assert_eq!(paths.each_ref().map(|path| server.get(path, &[]).status), [401; 3]);
    fs::remove_dir_all(shop.repo()).unwrap();
    assert_eq!(paths.each_ref().map(|path| server.get(path, &[]).status), [401; 3]);
}
