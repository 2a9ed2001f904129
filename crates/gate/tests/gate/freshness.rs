//! The repo changes while it is served. Nothing stale, nothing half-written.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use flatpass_gate::{CacheLimits, Policy, Rules};
use flatpass_ostree::{ObjectKind, Summary};

use crate::shop::{Desk, FREE, MOUNT, PAID, Shop, noise, object};
use crate::wire::{Server, request};

#[test]
fn a_summary_is_never_older_than_the_update_that_ended_before_the_request() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Refs));
    let server = Server::start(&desk);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Others keep the cache busy while the publisher works.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.connect();
                while !done.load(Ordering::Relaxed) {
                    let reply = client.ask("GET", &format!("{MOUNT}/summary"), &[]);
                    assert_eq!(reply.status, 200);
                    let summary = Summary::parse(&reply.body).expect("a whole summary");
                    assert!(summary.refs.len() >= 4);
                }
            });
        }
        for version in 3..8 {
            shop.export("org.test.Free", 0, false, version);
            shop.update(&[]);
            let rev = shop.rev(FREE);
            let reply = server.get("summary", &[]);
            assert_eq!(reply.body, shop.read("summary"));
            let summary = Summary::parse(&reply.body).unwrap();
            assert_eq!(summary.refs.iter().find(|entry| entry.name == FREE).unwrap().checksum, rev);
            let head = server.get(&format!("refs/heads/{FREE}"), &[]);
            assert_eq!(head.text().trim(), rev.to_hex());
            // A validator of an older state does not pass for this one.
            let fields = [("If-None-Match", reply.field("etag").unwrap())];
            assert_eq!(server.get("summary", &fields).status, 304);
            fs::write(shop.path("same"), &reply.body).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_file_that_is_written_in_place_shows_at_once_even_in_the_same_instant() {
    let shop = Shop::empty();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    let mut client = server.connect();
    for round in 0..200_u32 {
        let content = format!("{round:08}");
        fs::write(shop.repo().join("config"), &content).unwrap();
        let reply = client.ask("GET", &format!("{MOUNT}/config"), &[]);
        assert_eq!(reply.text(), content);
        // A second, shorter-lived version within the same tick of the file system's clock.
        let content = format!("{round:07}!");
        fs::write(shop.repo().join("config"), &content).unwrap();
        let fields = [("If-None-Match", reply.field("etag").unwrap())];
        let reply = client.ask("GET", &format!("{MOUNT}/config"), &fields);
        assert_eq!((reply.status, reply.text()), (200, content.as_str()));
    }
}

#[test]
fn a_last_modified_date_is_not_given_while_its_second_may_see_another_change() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    fs::write(shop.repo().join("config"), "new").unwrap();
    assert_eq!(server.get("config", &[]).field("last-modified"), None);
    // Years ago, as far as time stamps can tell; the change of the inode cannot be dated back, so that is waited for.
    let old = File::options().append(true).open(shop.repo().join("summary")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
    assert_eq!(server.get("summary", &[]).field("last-modified"), None);
}

#[test]
fn a_pruned_object_is_gone_within_a_second_and_its_replacement_is_served_whole() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    let large = shop.files("objects").into_iter().max_by_key(|path| shop.read(path).len()).unwrap();
    assert!(shop.read(&large).len() > 200_000);
    let small = object(shop.parsed(PAID).root_tree, ObjectKind::DirTree);
    for path in [&large, &small] {
        let content = shop.read(path);
        assert_eq!(server.get(path, &[]).body, content);
        fs::remove_file(shop.repo().join(path)).unwrap();
        desk.clock.advance_millis(1000);
        assert_eq!(server.get(path, &[]).status, 404, "{path}");
        fs::write(shop.repo().join(path), &content).unwrap();
        assert_eq!(server.get(path, &[]).body, content);
        // The wall clock is set back: no reason to believe the cache for longer.
        fs::remove_file(shop.repo().join(path)).unwrap();
        desk.clock.advance_millis(-3_600_000);
        assert_eq!(server.get(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn a_file_under_way_is_finished_from_the_file_it_began_with() {
    let shop = Shop::empty();
    let (old, new) = (noise(30_000_000, 1), noise(30_000_000, 2));
    let path = format!("objects/ab/{}.filez", "c".repeat(62));
    fs::create_dir_all(shop.repo().join("objects/ab")).unwrap();
    fs::write(shop.repo().join(&path), &old).unwrap();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Open));
    let server = Server::start(&desk);
    let mut client = server.connect();
    client.send(&request("GET", &format!("{MOUNT}/{path}"), &[]));
    // The answer has begun: its head is here, and more than fits into the buffers is not.
    client.wait_for_bytes();
    fs::write(shop.path("new"), &new).unwrap();
    fs::rename(shop.path("new"), shop.repo().join(&path)).unwrap();
    assert!(client.reply(false).body == old);
    desk.clock.advance_millis(1500);
    assert!(client.ask("GET", &format!("{MOUNT}/{path}"), &[]).body == new);

    // One that is cut short in place cannot be finished: the connection ends, so that nobody takes it for whole.
    client.send(&request("GET", &format!("{MOUNT}/{path}"), &[]));
    client.wait_for_bytes();
    File::options().write(true).open(shop.repo().join(&path)).unwrap().set_len(100).unwrap();
    assert!(client.rest().len() < new.len());
}

#[test]
fn a_whole_repo_may_be_put_in_the_place_of_another() {
    let shop = Shop::build();
    let next = Shop::build();
    next.export("org.test.Free", 0, false, 9);
    next.update(&[]);
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Refs));
    let server = Server::start(&desk);
    assert_eq!(server.get("summary", &[]).body, shop.read("summary"));
    fs::rename(shop.repo(), shop.path("old")).unwrap();
    fs::rename(next.repo(), shop.repo()).unwrap();
    desk.clock.advance_millis(1100);
    assert_eq!(server.get("summary", &[]).body, shop.read("summary"));
    assert_eq!(server.get(&shop.commit(FREE), &[]).status, 200);
}

#[test]
fn the_cache_stays_within_its_bounds_and_lets_go_of_what_is_not_used() {
    let shop = Shop::empty();
    let folder = shop.repo().join("objects/ab");
    fs::create_dir_all(&folder).unwrap();
    let path = |number: usize| format!("objects/ab/{number:062x}.filez");
    for number in 0..400 {
        let mut file = File::create(shop.repo().join(path(number))).unwrap();
        file.write_all(&noise(if number % 2 == 0 { 4_000 } else { 40_000 }, number as u64)).unwrap();
    }
    let limits = CacheLimits { bytes: 1 << 20, small_file_bytes: 8 << 10, open_files: 32 };
    let desk = Desk::open_with(shop.repo(), Rules::new(Policy::Open), limits);
    let server = Server::start(&desk);
    let mut client = server.connect();
    // Those of this repository: other tests may run in this process.
    let open_files = || {
        let links =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|path| path.starts_with(&folder)).count()
    };
    for round in 0..2 {
        for number in 0..400 {
            let reply = client.ask("GET", &format!("{MOUNT}/{}", path(number)), &[]);
            assert_eq!(reply.body, shop.read(path(number)), "{round} {number}");
        }
    }
    assert!((1..=32).contains(&open_files()), "{}", open_files());
    let cache = desk.gates.cache();
    assert!(!cache.is_empty() && cache.len() < 200, "{}", cache.len());
    // The next answer on the connection is surely after the end of the last one, which held its file.
    assert_eq!(client.ask("GET", &format!("{MOUNT}/nothing"), &[]).status, 404);
    desk.clock.advance_millis(61_000);
    cache.sweep(desk.clock.now());
    assert!(cache.is_empty());
    assert_eq!(open_files(), 0);
}
