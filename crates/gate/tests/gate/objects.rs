//! The policies that check every object: who gets one is decided by the commits that contain it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use flatpass_gate::{CacheLimits, ObjectIndexState, Policy, Rules};
use flatpass_ostree::{Checksum, Commit, ObjectKind, RepoPath};
use flatpass_token::{Grant, Verb};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use crate::generated::{Directory, Maker};
use crate::shop::{Desk, FREE, LOCALE, MOUNT, OTHER, PAID, Shop, object};
use crate::wire::Server;

const PUBLIC: &str = "public, max-age=31536000, immutable";
const NOBODY: &str = "private, no-store";

/// The parts of each commit in `objects`, by the path of their file, as `ostree ls` lists them.
pub(crate) fn contents(shop: &Shop) -> BTreeMap<String, BTreeSet<Checksum>> {
    let mut contents: BTreeMap<String, BTreeSet<Checksum>> = BTreeMap::new();
    for path in shop.files("objects") {
        let Some(RepoPath::Object { checksum: commit, kind: ObjectKind::Commit }) = RepoPath::parse(&path)
        else {
            continue;
        };
        let listed = shop.run("ostree", &["--repo=repo", "ls", "-R", "-C", &commit.to_hex()]);
        for line in listed.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let kinds: &[_] = if line.starts_with('d') {
                &[ObjectKind::DirTree, ObjectKind::DirMeta]
            } else {
                &[ObjectKind::FileZ]
            };
            for (kind, word) in kinds.iter().zip(&words[4..]) {
                contents.entry(object(word.parse().unwrap(), *kind)).or_default().insert(commit);
            }
        }
    }
    contents
}

#[test]
fn an_object_goes_to_those_who_may_have_some_commit_that_contains_it() {
    let shop = Shop::build();
    let contents = contents(&shop);
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Objects));
    let server = Server::start(&desk);
    let mut client = server.connect();
    let (paid, other) = (desk.download(&["org.test.Paid"]), desk.download(&["org.test.Other"]));
    let wrong = desk.bearer(&[Grant::for_everything(&[Verb::List, Verb::Upgrade, Verb::Export])]);
    let mut seen = BTreeMap::new();
    for (path, commits) in &contents {
        let refs: BTreeSet<_> = commits.iter().flat_map(|commit| bound(&shop, *commit).refs).collect();
        let open = commits.iter().any(|commit| bound(&shop, *commit).token_type.unwrap_or(0) == 0);
        let expect = |name: &str| if open || refs.contains(name) { 200 } else { 403 };
        for (authorization, expected) in [
            (None, if open { 200 } else { 401 }),
            (Some(&paid), expect(PAID)),
            (Some(&other), expect(OTHER)),
            (Some(&wrong), if open { 200 } else { 403 }),
        ] {
            let fields: Vec<_> =
                authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
            let target = format!("{MOUNT}/{path}");
            let reply = client.ask("GET", &target, &fields);
            assert_eq!(reply.status, expected, "{path} {refs:?} {authorization:?}");
            let caching = if open { PUBLIC } else { NOBODY };
            assert_eq!(reply.field("cache-control"), Some(caching), "{path} {refs:?}");
            if expected == 200 {
                assert_eq!(reply.body, shop.read(path));
            }
            // However it is asked for, the decision is the same.
            assert_eq!(client.ask("HEAD", &target, &fields).status, expected);
            let range = [fields.clone(), vec![("Range", "bytes=0-1")]].concat();
            let part = if expected == 200 { 206 } else { expected };
            assert_eq!(client.ask("GET", &target, &range).status, part);
            let known = [fields.clone(), vec![("If-None-Match", "*")]].concat();
            let unchanged = if expected == 200 { 304 } else { expected };
            assert_eq!(client.ask("GET", &target, &known).status, unchanged);
            *seen.entry((path.rsplit('.').next().unwrap(), expected)).or_insert(0) += 1;
        }
    }
    // Each kind of object was refused and served.
    for kind in ["dirtree", "filez"] {
        assert!([200, 401, 403].iter().all(|status| seen.contains_key(&(kind, *status))), "{seen:?}");
    }
    // All objects on the disk are in some commit, so nothing was left out.
    let all = shop.files("objects").into_iter().filter(|path| !path.contains(".commit"));
    assert_eq!(all.collect::<BTreeSet<_>>(), contents.into_keys().collect());

    // The index, commits and deltas are as under `refs`.
    assert_eq!(server.get("summary", &[]).status, 200);
    assert_eq!(server.get("config", &[]).status, 200);
    assert_eq!(server.get(&shop.commit(FREE), &[]).status, 200);
    assert_eq!(server.get(&shop.commit(PAID), &[]).status, 401);
    assert_eq!(server.get_as(&paid, &shop.commit(PAID)).status, 200);
    for delta in shop.deltas_to(shop.rev(PAID)) {
        assert_eq!(server.get(&delta, &[]).status, 401, "{delta}");
        assert_eq!(server.get_as(&paid, &delta).status, 200, "{delta}");
    }
    // What a price guards is guarded whatever its token type.
    desk.gate.set_rules(Rules::new(Policy::Objects).with_guarded_ids(["org.test.Free".to_owned()]));
    let root = object(shop.parsed(FREE).root_tree, ObjectKind::DirTree);
    assert_eq!(server.get(&root, &[]).status, 401);
    assert_eq!(server.get_as(&desk.download(&["org.test.Free"]), &root).status, 200);
}

fn bound(shop: &Shop, commit: Checksum) -> Commit {
    Commit::parse(&shop.read(object(commit, ObjectKind::Commit))).unwrap()
}

#[test]
fn a_private_repo_gives_objects_for_what_may_be_downloaded_and_free_ones_for_what_may_be_listed() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    let server = Server::start(&desk);
    let tree = |name: &str| object(shop.parsed(name).root_tree, ObjectKind::DirTree);
    let paths = [FREE, PAID, LOCALE, OTHER].map(tree);
    let statuses =
        |authorization: &str| paths.each_ref().map(|path| server.get_as(authorization, path).status);
    let grant = |verbs: &[Verb], id: &str| desk.bearer(&[Grant::for_ids(verbs, [id])]);
    assert_eq!(paths.each_ref().map(|path| server.get(path, &[]).status), [401; 4]);
    assert_eq!(statuses(&grant(&[Verb::Download], "org.test.Paid")), [403, 200, 403, 403]);
    assert_eq!(statuses(&grant(&[Verb::Download], "org.test.Paid.Locale")), [403, 403, 200, 403]);
    // `list` opens what is free for members, and only where it may be listed.
    assert_eq!(statuses(&grant(&[Verb::List], "org.test.Free")), [200, 403, 403, 403]);
    assert_eq!(statuses(&grant(&[Verb::List], "org.test.Paid")), [403; 4]);
    assert_eq!(statuses(&desk.bearer(&[Grant::for_everything(&[Verb::List])])), [200, 403, 403, 403]);
    assert_eq!(statuses(&grant(&[Verb::Upgrade, Verb::Export], "org.test.Paid")), [403; 4]);
    let all = desk.bearer(&[Grant::for_everything(&[Verb::List, Verb::Download])]);
    assert_eq!(statuses(&all), [200; 4]);
    // Not one of them is for a cache.
    let reply = server.get_as(&all, &paths[0]);
    assert_eq!(reply.field("cache-control"), Some(NOBODY));
    // The list of apps goes with the list.
    let apps = object(shop.parsed("appstream2/x86_64").root_tree, ObjectKind::DirTree);
    assert_eq!(server.get_as(&grant(&[Verb::List], "org.test.Paid"), &apps).status, 200);
    assert_eq!(server.get_as(&grant(&[Verb::Download], "org.test.Paid"), &apps).status, 403);
    // Somebody who has only an older commit still gets what it is made of.
    let mut old = Grant::for_ids(&[Verb::Download], ["org.test.Paid"]);
    old.commits = Some(vec![shop.parsed(PAID).parent.unwrap().to_hex()]);
    assert_eq!(statuses(&desk.bearer(&[old])), [403, 200, 403, 403]);
}

#[test]
fn an_index_that_is_not_ready_lets_everything_but_objects_through() {
    let shop = Shop::build();
    let state = tempfile::tempdir().unwrap();
    // Nobody follows the repo, so it stays as it is.
    let index = Desk::index(&shop.repo(), &state.path().join("apps"), 0);
    let rules = Rules::new(Policy::Objects);
    let desk = Desk::open_indexed(shop.repo(), rules, CacheLimits::default(), Some(index));
    let server = Server::start(&desk);
    for name in [FREE, PAID] {
        let reply = server.get(&object(shop.parsed(name).root_tree, ObjectKind::DirTree), &[]);
        assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
        assert!(reply.text().contains("/problems/not-indexed"), "{}", reply.text());
    }
    for path in ["config", "summary", "summary.idx", &shop.commit(FREE)] {
        assert_eq!(server.get(path, &[]).status, 200, "{path}");
    }
    // A gate without an index serves none either.
    let desk = Desk::open_indexed(shop.repo(), Rules::new(Policy::Private), CacheLimits::default(), None);
    let server = Server::start(&desk);
    let all = desk.bearer(&[Grant::for_everything(&[Verb::List, Verb::Download])]);
    assert_eq!(server.get_as(&all, &object(shop.parsed(FREE).root_tree, ObjectKind::DirTree)).status, 503);
}

/// A repository of the program's own making, with an index that follows it.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) maker: Maker,
    meta: Checksum,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let maker = Maker::new(&folder.path().join("repo"));
        let meta = maker.dirmeta();
        Self { folder, maker, meta }
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("state/apps.objects")
    }

    /// A commit of that app with files of these names; gives the commit and the files' paths.
    pub(crate) fn commit(
        &self,
        id: &str,
        token_type: Option<i32>,
        time: u64,
        files: &[&str],
    ) -> (Checksum, Vec<String>) {
        let files: Vec<_> = files.iter().map(|name| ((*name).to_owned(), self.maker.file(name))).collect();
        let paths = files.iter().map(|(_, file)| object(*file, ObjectKind::FileZ)).collect();
        let bin = self.maker.directory(&Directory { files, directories: vec![] }, self.meta);
        let root = Directory { files: vec![], directories: vec![("bin".to_owned(), bin)] };
        let root = self.maker.directory(&root, self.meta);
        let name = format!("app/{id}/x86_64/stable");
        let commit = self.maker.commit(&[&name], token_type, time, root, self.meta);
        self.maker.point(&name, commit);
        (commit, paths)
    }

    fn remove(&self, commit: Checksum) {
        fs::remove_file(self.maker.path(commit, ObjectKind::Commit)).unwrap();
    }

    fn desk(&self) -> Desk {
        let index = Desk::follow(&self.repo(), &self.file());
        let rules = Rules::new(Policy::Objects);
        Desk::open_indexed(self.repo(), rules, CacheLimits::default(), Some(index))
    }

    /// Waits until the index is in its file and nobody follows the repo any more.
    fn close(&self, desk: Desk) {
        let index = desk.objects.clone().unwrap();
        while !self.file().exists() || matches!(index.state(), ObjectIndexState::Building { .. }) {
            std::thread::yield_now();
        }
        drop(desk);
        // Servers of the desk must have ended before.
        let follower = std::sync::Arc::downgrade(&index);
        drop(index);
        while follower.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn commits_that_come_and_go_count_at_once_and_garbage_never() {
    let scene = Scene::new();
    let (first, free) = scene.commit("org.test.Free", None, 1, &["shared", "free"]);
    let desk = scene.desk();
    let server = Server::start(&desk);
    assert_eq!(server.get(&free[0], &[]).status, 200);
    assert_eq!(server.get(&free[1], &[]).status, 200);

    // A file that belongs to nothing, and one that is not there.
    let garbage = object(scene.maker.file("garbage"), ObjectKind::FileZ);
    assert_eq!(server.get(&garbage, &[]).status, 404);
    assert_eq!(server.get(&object(Checksum::of(b"nothing"), ObjectKind::FileZ), &[]).status, 404);

    // A commit that was published a moment ago: whoever asks waits for it to be taken up.
    let (paid, files) = scene.commit("org.test.Paid", Some(2), 2, &["shared", "paid"]);
    assert_eq!(server.get(&files[1], &[]).status, 401);
    let token = desk.download(&["org.test.Paid"]);
    assert_eq!(server.get_as(&token, &files[1]).status, 200);
    assert_eq!(server.get(&files[0], &[]).status, 200, "it is in a free app too");
    // What was garbage is not any more.
    let (_, files_now) = scene.commit("org.test.Free", None, 3, &["garbage"]);
    assert_eq!(files_now, [garbage.as_str()]);
    assert_eq!(server.get(&garbage, &[]).status, 200);

    // The free commit goes. Its file that nobody else has is garbage, the shared one is sold now.
    scene.remove(first);
    let wait = || server.get(&object(scene.maker.file("asked"), ObjectKind::FileZ), &[]).status;
    assert_eq!(wait(), 404);
    assert_eq!(server.get(&free[1], &[]).status, 404);
    assert_eq!(server.get(&free[0], &[]).status, 401);
    assert_eq!(server.get_as(&token, &free[0]).status, 200);
    scene.remove(paid);
    assert_eq!(wait(), 404);
    assert_eq!(server.get_as(&token, &free[0]).status, 404);
    assert_eq!(server.get(&garbage, &[]).status, 200, "another commit of the free app has it");
}

#[test]
fn damaged_commits_and_directories_open_nothing_and_count_once_they_are_mended() {
    let scene = Scene::new();
    let (commit, files) = scene.commit("org.test.Free", None, 1, &["one"]);
    let (_, others) = scene.commit("org.test.Free", None, 2, &["two"]);
    let path = scene.maker.path(commit, ObjectKind::Commit);
    let whole = fs::read(&path).unwrap();
    // A commit in the place of another, one cut short, one that is a link to a good one elsewhere.
    let elsewhere = scene.folder.path().join("elsewhere");
    fs::write(&elsewhere, &whole).unwrap();
    let damages: [&dyn Fn(); 3] = [
        &|| fs::write(&path, b"another").unwrap(),
        &|| fs::write(&path, &whole[..whole.len() - 1]).unwrap(),
        &|| {
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        },
    ];
    for damage in damages {
        damage();
        let desk = scene.desk();
        let server = Server::start(&desk);
        assert_eq!(server.get(&files[0], &[]).status, 404);
        assert_eq!(server.get(&others[0], &[]).status, 200);
        fs::remove_file(&path).unwrap();
        fs::write(&path, &whole).unwrap();
        assert_eq!(server.get(&files[0], &[]).status, 200);
        drop(server);
        scene.close(desk);
        fs::remove_file(scene.file()).unwrap();
    }

    // A directory that is missing, or that is another: what is below it opens nothing until it is there.
    let root = Commit::parse(&whole).unwrap().root_tree;
    let tree = scene.maker.path(root, ObjectKind::DirTree);
    let good = fs::read(&tree).unwrap();
    fs::remove_file(&tree).unwrap();
    let desk = scene.desk();
    let server = Server::start(&desk);
    assert_eq!(server.get(&files[0], &[]).status, 404);
    fs::write(&tree, b"another").unwrap();
    assert_eq!(server.get(&files[0], &[]).status, 404);
    fs::remove_file(&tree).unwrap();
    fs::write(&tree, &good).unwrap();
    assert_eq!(server.get(&files[0], &[]).status, 200);

    // A folder of objects that is a link leads nowhere.
    let folder = path.parent().unwrap();
    fs::rename(folder, scene.folder.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(scene.folder.path().join("moved"), folder).unwrap();
    drop(server);
    scene.close(desk);
    fs::remove_file(scene.file()).unwrap();
    let desk = scene.desk();
    assert_eq!(Server::start(&desk).get(&files[0], &[]).status, 404);
}

#[test]
fn a_good_file_is_used_after_a_restart_and_a_bad_one_is_made_anew() {
    let scene = Scene::new();
    let (commit, files) = scene.commit("org.test.Free", None, 1, &["one", "two", "three"]);
    let (_, paid) = scene.commit("org.test.Paid", Some(2), 1, &["sold"]);
    scene.close(scene.desk());
    let good = fs::read(scene.file()).unwrap();
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&scene.file()), mode(scene.file().parent().unwrap())), (0o600, 0o700));

    // Without this directory a new index does not have the files below it: so it shows which one answers.
    let whole = fs::read(scene.maker.path(commit, ObjectKind::Commit)).unwrap();
    let tree = scene.maker.path(Commit::parse(&whole).unwrap().root_tree, ObjectKind::DirTree);
    let hidden = scene.folder.path().join("hidden");
    fs::rename(&tree, &hidden).unwrap();
    let answers = |expected: u16, what: &str| {
        let desk = scene.desk();
        let server = Server::start(&desk);
        assert_eq!(server.get(&files[0], &[]).status, expected, "{what}");
        assert_eq!(server.get(&paid[0], &[]).status, 401, "{what}");
        let token = desk.download(&["org.test.Paid"]);
        assert_eq!(server.get_as(&token, &paid[0]).status, 200, "{what}");
        drop(server);
        scene.close(desk);
    };
    // What a crash while writing leaves does not matter.
    fs::write(scene.file().with_extension("objects.new"), &good[..100]).unwrap();
    answers(200, "the good file");
    for at in (0..good.len()).step_by(7).chain([0, 8, 12, 16, 24, 64, 95, 96, good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(scene.file(), &bad).unwrap();
        answers(404, &format!("byte {at} of {} is another", good.len()));
    }
    for length in [0, 1, 95, 96, 200, good.len() - 1] {
        fs::write(scene.file(), &good[..length]).unwrap();
        answers(404, &format!("cut to {length}"));
    }
    fs::write(scene.file(), [good.as_slice(), b"more"].concat()).unwrap();
    answers(404, "something behind it");
    // Of another repository: the same commits, but not the same folder.
    fs::rename(scene.repo(), scene.folder.path().join("first")).unwrap();
    copy(&scene.folder.path().join("first"), &scene.repo());
    fs::write(scene.file(), &good).unwrap();
    answers(404, "another repository");
    // And the one that was made anew is a good one.
    fs::rename(&hidden, &tree).unwrap();
    let desk = scene.desk();
    assert_eq!(Server::start(&desk).get(&files[0], &[]).status, 200);
    scene.close(desk);
    fs::rename(&tree, &hidden).unwrap();
    answers(200, "the file that was made anew");

    // Commits that came and went while nobody looked are seen before anything is answered.
    scene.remove(commit);
    let (_, new) = scene.commit("org.test.Free", None, 5, &["four"]);
    let desk = scene.desk();
    let server = Server::start(&desk);
    assert_eq!(server.get(&new[0], &[]).status, 200);
    assert_eq!(server.get(&files[0], &[]).status, 404);

    // Whoever empties or removes the file of a running server does no harm.
    fs::write(scene.file(), b"").unwrap();
    assert_eq!(server.get(&new[0], &[]).status, 200);
    fs::remove_dir_all(scene.file().parent().unwrap()).unwrap();
    assert_eq!(server.get(&new[0], &[]).status, 200);
    let (_, newer) = scene.commit("org.test.Free", None, 6, &["five"]);
    assert_eq!(server.get(&newer[0], &[]).status, 200);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One thing that a publisher does.
#[derive(Clone, Debug)]
enum Deed {
    /// A commit of that app, of that token type, with these files.
    Publish(u8, Option<i32>, BTreeSet<u8>),
    /// One of the commits goes.
    Prune(prop::sample::Index),
}

#[test]
fn an_index_that_followed_is_the_one_that_is_made_anew() {
    let deed = prop_oneof![
        2 => (0..3_u8, prop_oneof![Just(None), Just(Some(2))], prop::collection::btree_set(0..6_u8, 0..5))
            .prop_map(|(app, token_type, files)| Deed::Publish(app, token_type, files)),
        1 => any::<prop::sample::Index>().prop_map(Deed::Prune),
    ];
    let config = Config { cases: 6, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&prop::collection::vec(prop::collection::vec(deed, 1..4), 1..7), |rounds| {
            let scene = Scene::new();
            let following = scene.desk();
            let mut commits: Vec<Checksum> = vec![];
            for (round, deeds) in rounds.iter().enumerate() {
                for (number, deed) in deeds.iter().enumerate() {
                    match deed {
                        Deed::Publish(app, token_type, files) => {
                            let id = format!("org.test.App{app}");
                            let names: Vec<_> = files.iter().map(|file| format!("file{file}")).collect();
                            let names: Vec<_> = names.iter().map(String::as_str).collect();
                            let time = (round * 10 + number) as u64;
                            commits.push(scene.commit(&id, *token_type, time, &names).0);
                        }
                        Deed::Prune(which) if !commits.is_empty() => {
                            scene.remove(commits.swap_remove(which.index(commits.len())));
                        }
                        Deed::Prune(_) => {}
                    }
                }
                prop_assert_eq!(answers(&scene, &following), fresh(&scene), "round {}", round);
            }
            Ok(())
        })
        .unwrap();
}

/// What a new index of the repository answers.
fn fresh(scene: &Scene) -> Vec<(String, Vec<u16>)> {
    let state = tempfile::tempdir().unwrap();
    let index = Desk::follow(&scene.repo(), &state.path().join("fresh"));
    let rules = Rules::new(Policy::Objects);
    answers(scene, &Desk::open_indexed(scene.repo(), rules, CacheLimits::default(), Some(index)))
}

/// Who gets which object: so the exact set of its classes.
fn answers(scene: &Scene, desk: &Desk) -> Vec<(String, Vec<u16>)> {
    let server = Server::start(desk);
    // All that was done before this question counts in the answers after it.
    let unknown = object(scene.maker.file("what nobody has"), ObjectKind::FileZ);
    assert_eq!(server.get(&unknown, &[]).status, 404);
    let mut client = server.connect();
    let tokens: Vec<_> = (0..3).map(|app| desk.download(&[&format!("org.test.App{app}")])).collect();
    let mut found = vec![];
    for folder in fs::read_dir(scene.repo().join("objects")).unwrap() {
        let folder = folder.unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let (folder, name) = (folder.file_name(), entry.unwrap().file_name());
            let path = format!("objects/{}/{}", folder.to_str().unwrap(), name.to_str().unwrap());
            if !path.ends_with(".commit") {
                let target = format!("{MOUNT}/{path}");
                let mut statuses = vec![client.ask("GET", &target, &[]).status];
                for token in &tokens {
                    statuses.push(client.ask("GET", &target, &[("Authorization", token)]).status);
                }
                found.push((path, statuses));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn an_object_of_hundreds_of_apps_goes_to_each_of_their_owners_and_to_nobody_else() {
    let scene = Scene::new();
    for app in 0..300 {
        scene.commit(&format!("org.test{}.App{app}", app % 7), Some(2), 1, &["everybody's"]);
    }
    let desk = scene.desk();
    let server = Server::start(&desk);
    let meta = object(scene.meta, ObjectKind::DirMeta);
    let status = |grants: &[Grant]| server.get_as(&desk.bearer(grants), &meta).status;
    let download = &[Verb::Download];
    assert_eq!(server.get(&meta, &[]).status, 401);
    for app in [0, 1, 150, 299] {
        assert_eq!(status(&[Grant::for_ids(download, [format!("org.test{}.App{app}", app % 7)])]), 200);
    }
    let below = |prefix: &str| Grant { prefixes: vec![prefix.to_owned()], ..Grant::for_everything(download) };
    assert_eq!(status(&[below("org.test3")]), 200);
    assert_eq!(status(&[Grant::for_everything(download)]), 200);
    for grant in [
        below("org.test"),
        below("org.test3.App"),
        Grant { branches: vec!["beta".to_owned()], ..Grant::for_everything(download) },
        Grant { arches: vec![], ..below("org.test3") },
        Grant::for_ids(download, ["org.test0.App1", "org.test", "org.test0.App300"]),
        Grant::for_everything(&[Verb::List]),
    ] {
        assert_eq!(status(std::slice::from_ref(&grant)), 403, "{grant:?}");
    }
}

#[test]
fn the_default_token_type_of_the_repo_counts_for_objects_too() {
    let shop = Shop::empty();
    shop.export("org.test.Free", -1, false, 1);
    shop.update(&[]);
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Objects));
    let server = Server::start(&desk);
    let tree = object(shop.parsed(FREE).root_tree, ObjectKind::DirTree);
    assert_eq!(server.get(&tree, &[]).status, 200);
    shop.run(
        "ostree",
        &["--repo=repo", "summary", "--update", "--add-metadata=xa.default-token-type=int32 2"],
    );
    desk.clock.advance_millis(300);
    assert_eq!(server.get(&tree, &[]).status, 401);
    assert_eq!(server.get_as(&desk.download(&["org.test.Free"]), &tree).status, 200);
    // Nobody knows what it is: nothing is open.
    fs::write(shop.repo().join("summary"), b"damaged").unwrap();
    desk.clock.advance_millis(300);
    assert_eq!(server.get(&tree, &[]).status, 401);
}
