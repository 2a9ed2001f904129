//! What members of a private repo can find out about the rest of it: nothing. Threat 17.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use flatpass_gate::{CacheLimits, Listing, Policy, Rules};
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use flatpass_token::{Claims, Grant, Verb};

use crate::objects::Scene;
use crate::outsiders::median;
use crate::shop::{Desk, MOUNT, OTHER, PAID, Shop, object, superblock};
use crate::wire::{Server, without_date};

#[test]
fn what_is_not_theirs_and_what_is_not_there_take_as_long() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), Listing::Shared);
    let server = Server::start(&desk);
    let token = desk.download(&["org.test.Paid"]);
    let none = Checksum::of(b"none");
    // A file that lies there and belongs to nothing.
    let garbage = object(Checksum::of(b"garbage"), ObjectKind::FileZ);
    let path = shop.repo().join(&garbage);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "garbage").unwrap();
    let targets = [
        object(none, ObjectKind::FileZ),
        garbage,
        object(shop.parsed(OTHER).root_tree, ObjectKind::DirTree),
        object(none, ObjectKind::Commit),
        shop.commit(OTHER),
        object(none, ObjectKind::CommitMeta),
        superblock(None, none),
        superblock(None, shop.rev(OTHER)),
        RepoPath::DeltaIndex { to: none }.relative_path(),
    ];
    let fields = [("Authorization", token.as_str())];
    assert_eq!(server.get(&shop.commit(PAID), &fields).status, 200);
    let ask = |target: &String| {
        let mut client = server.connect();
        let mut times = Vec::new();
        let first = client.ask("GET", &format!("{MOUNT}/{target}"), &fields);
        assert_eq!(first.status, 403, "{target}");
        for _ in 0..20 {
            let start = Instant::now();
            client.ask("GET", &format!("{MOUNT}/{target}"), &fields);
            times.push(start.elapsed());
        }
        (without_date(first), median(times))
    };
    // Once more when something else took the processor away.
    let even = (0..5).any(|_| {
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = targets.iter().map(|target| scope.spawn(|| ask(target))).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|(answer, _)| *answer == answers[0].0));
        let medians = answers.iter().map(|(_, median)| *median);
        let (least, most) = (medians.clone().min().unwrap(), medians.max().unwrap());
        most < least * 5 / 4 + Duration::from_micros(15)
    });
    assert!(even);
}

#[test]
fn a_file_of_somebody_elses_app_is_ones_own_as_soon_as_it_is_in_ones_own_app_too() {
    let scene = Scene::new();
    scene.commit("org.test.Other", Some(2), 1, &["theirs", "shared"]);
    let index = Desk::follow(&scene.repo(), &scene.file());
    let rules = Rules::new(Policy::Private);
    let desk = Desk::open_indexed(scene.repo(), rules, CacheLimits::default(), Some(index));
    let server = Server::start(&desk);
    let token = desk.download(&["org.test.Paid"]);
    let shared = object(scene.maker.file("shared"), ObjectKind::FileZ);
    let theirs = object(scene.maker.file("theirs"), ObjectKind::FileZ);
    assert_eq!(server.get_as(&token, &shared).status, 403);
    let (commit, files) = scene.commit("org.test.Paid", Some(2), 1, &["shared", "new"]);
    let commit = object(commit, ObjectKind::Commit);
    for path in [&commit, &shared, &files[1]] {
        assert_eq!(server.get_as(&token, path).status, 200, "{path}");
    }
    assert_eq!(server.get_as(&token, &theirs).status, 403);
}

#[test]
fn who_asks_over_and_over_keeps_nobody_else_from_waiting_for_a_new_commit() {
    let scene = Scene::new();
    let (_, files) = scene.commit("org.test.Paid", Some(2), 1, &["one"]);
    // Nothing looks at the repo for now, so that all have to wait.
    let index = Desk::index(&scene.repo(), &scene.file(), 20);
    let rules = Rules::new(Policy::Private);
    let desk = Desk::open_indexed(scene.repo(), rules, CacheLimits::default(), Some(index.clone()));
    let server = Server::start(&desk);
    let grants = [Grant::for_everything(&[Verb::Download])];
    let ann = desk.bearer(&grants);
    let bob = Claims { sub: "acc_bob".to_owned(), jti: "tok_2".to_owned(), ..desk.claims(&grants) };
    let bob = format!("Bearer {}", desk.key.sign(&bob).unwrap());
    let (answers, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        let ask = |who: &'static str, token: &String| {
            let (answers, fields) = (answers.clone(), [("Authorization", token.clone())]);
            let (server, path) = (&server, &files[0]);
            scope.spawn(move || {
                let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
                answers.send((who, server.get(path, &fields).status)).unwrap();
            });
        };
        for _ in 0..150 {
            ask("ann", &ann);
        }
        let next = || answered.recv_timeout(Duration::from_secs(15)).unwrap();
        for _ in 0..150 - 32 {
            assert_eq!(next(), ("ann", 503), "sent away at once, to come again");
        }
        for _ in 0..8 {
            ask("bob", &bob);
        }
        // Were he sent away he would be now.
        assert!(answered.recv_timeout(Duration::from_millis(200)).is_err());
        index.follow().unwrap();
        let mut rest: Vec<_> = (0..40).map(|_| next()).collect();
        rest.sort_unstable();
        assert_eq!(rest, [[("ann", 200); 32].as_slice(), &[("bob", 200); 8]].concat());
    });
}
