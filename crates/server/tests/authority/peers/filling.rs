//! How a peer fills itself: from the store, from a stick; what it does not take, and what it gives back.

use std::fs;
use std::process::Command;

use flatpass_ostree::repo::Repo;
use flatpass_ostree::{Checksum, Commit, DeltaFile, DirTree, ObjectKind, RepoPath};
use flatpass_peer::Stick;
use flatpass_token::Verb;

use super::place::{Client, Place, client, get, object};
use crate::shop::{FREE, PAID, PRO, Shop, commit, update_summary};

const CARRY: [Verb; 3] = [Verb::Download, Verb::Upgrade, Verb::Export];

/// The one directory and the one file of a commit.
fn parts(shop: &Shop, head: &Checksum) -> (Checksum, Checksum, Checksum) {
    let repo = Repo::open(shop.repo_path("apps")).unwrap();
    let commit = repo.commit(head).unwrap().unwrap();
    let tree = object(&commit.root_tree, ObjectKind::DirTree).relative_path();
    let tree = DirTree::parse(&fs::read(shop.repo_path("apps").join(tree)).unwrap()).unwrap();
    (commit.root_tree, commit.root_meta, tree.files[0].checksum)
}

/// Asks for all that a pull of this commit needs.
async fn pull(place: &Place, shop: &Shop, head: &Checksum, token: Option<&str>) -> Vec<u16> {
    let (tree, meta, file) = parts(shop, head);
    let mut statuses = Vec::new();
    for path in [
        object(head, ObjectKind::Commit),
        object(&tree, ObjectKind::DirTree),
        object(&meta, ObjectKind::DirMeta),
        object(&file, ObjectKind::FileZ),
    ] {
        let said = place.get(&path, token).await;
        if said.status == 200 {
            assert_eq!(said.body, fs::read(shop.repo_path("apps").join(path.relative_path())).unwrap());
        }
        statuses.push(said.status);
    }
    statuses
}

async fn carrier(shop: &Shop) -> Client {
    let robot = client(shop, "office").await;
    robot.may(shop, "apps", "*", &CARRY).await;
    robot
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_pulled_another_gets_when_the_store_is_gone_and_nothing_else() {
    let mut shop = Shop::open().await;
    let robot = carrier(&shop).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let (free, paid, pro) = (shop.head("apps", FREE), shop.head("apps", PAID), shop.head("apps", PRO));
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    let of_pro = robot.token(&shop, "apps", PRO, Some("peers")).await;
    for path in [RepoPath::Config, RepoPath::Summary, RepoPath::SummaryIdx] {
        let copied = place.get(&path, None).await;
        assert_eq!(copied.body, fs::read(shop.repo_path("apps").join(path.relative_path())).unwrap());
    }
    assert_eq!(pull(&place, &shop, &free, None).await, [200; 4]);
    assert_eq!(pull(&place, &shop, &paid, Some(&token)).await, [200; 4]);
    // Nobody who may not have it makes the peer fetch it.
    assert_eq!(place.commit(&pro, None).await.status, 401);
    assert_eq!(place.commit(&pro, Some(&token)).await.status, 403);
    assert!(!place.path(&object(&pro, ObjectKind::Commit)).exists());

    shop.stop().await;
    let place = place.restart().await;
    assert_eq!(pull(&place, &shop, &free, None).await, [200; 4]);
    assert_eq!(pull(&place, &shop, &paid, Some(&token)).await, [200; 4]);
    let said = place.commit(&paid, None).await;
    assert_eq!(said.status, 401, "still not for everybody");
    let said = place.commit(&pro, Some(&of_pro)).await;
    assert_eq!(said.status, 404, "clients that know the store too go on there");
    assert!(said.words().contains("cannot reach the store"), "{}", said.words());
    let delta = RepoPath::Delta { from: None, to: pro, file: DeltaFile::Superblock };
    assert_eq!(place.get(&delta, None).await.status, 401);
    shop.start().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_account_may_not_carry_on_does_not_come_in() {
    let shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &[Verb::Download, Verb::Upgrade]).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let paid = shop.head("apps", PAID);
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    let said = place.commit(&paid, Some(&token)).await;
    assert_eq!(said.status, 404);
    assert!(said.words().contains("does not let this peer carry the app on"), "{}", said.words());
    assert!(place.peer.mirror(PAID, |_| ()).await.unwrap_err().to_string().contains("right to export it"));
    place.peer.mirror(FREE, |_| ()).await.unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirrored_app_is_whole_before_anybody_asks() {
    let mut shop = Shop::open().await;
    let robot = carrier(&shop).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    assert_eq!(
        place.peer.matching("org.test.Paid"),
        [
            "app/org.test.Paid/aarch64/stable",
            "app/org.test.Paid/x86_64/beta",
            PAID,
            "runtime/org.test.Paid.Locale/x86_64/stable",
        ]
    );
    assert_eq!(place.peer.matching("org.test.Paid//beta"), ["app/org.test.Paid/x86_64/beta"]);
    assert_eq!(place.peer.matching("org.test.Gone"), [""; 0]);
    let mirrored = place.peer.mirror(PAID, |_| ()).await.unwrap();
    assert_eq!((mirrored.files, mirrored.new), (1, 1));
    assert_eq!(place.peer.mirror(PAID, |_| ()).await.unwrap().new, 0);
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    shop.stop().await;
    assert_eq!(pull(&place, &shop, &shop.head("apps", PAID), Some(&token)).await, [200; 4]);
    shop.start().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_disk_damaged_is_seen_before_it_is_served_and_comes_again() {
    let mut shop = Shop::open().await;
    let robot = carrier(&shop).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let free = shop.head("apps", FREE);
    assert_eq!(pull(&place, &shop, &free, None).await, [200; 4]);
    let (tree, _, file) = parts(&shop, &free);
    let damaged = [
        object(&free, ObjectKind::Commit),
        object(&tree, ObjectKind::DirTree),
        object(&file, ObjectKind::FileZ),
    ];
    let damage = |place: &Place| {
        for path in &damaged {
            let mut bytes = fs::read(place.path(path)).unwrap();
            let last = bytes.len() - 3;
            bytes[last] ^= 0xff;
            fs::write(place.path(path), bytes).unwrap();
        }
    };
    damage(&place);
    let place = place.restart().await;
    assert_eq!(pull(&place, &shop, &free, None).await, [200; 4]);
    // Without the store it is better gone than wrong.
    damage(&place);
    shop.stop().await;
    let place = place.restart().await;
    assert_eq!(pull(&place, &shop, &free, None).await, [404, 404, 200, 404]);
    assert!(damaged.iter().all(|path| !place.path(path).exists()));
    shop.start().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_objects_do_not_match_their_names_gives_a_peer_nothing() {
    let shop = Shop::open().await;
    let place = Place::open(&shop, "apps", None).await;
    let free = shop.head("apps", FREE);
    let (_, _, file) = parts(&shop, &free);
    let (path, other) = (object(&file, ObjectKind::FileZ), object(&free, ObjectKind::Commit));
    let good = fs::read(shop.repo_path("apps").join(path.relative_path())).unwrap();
    let of_other = fs::read(shop.repo_path("apps").join(other.relative_path())).unwrap();
    for wrong in [&of_other[..], b"", &good[..good.len() - 1], &[&good[..], b"\0"].concat()] {
        fs::remove_file(shop.repo_path("apps").join(path.relative_path())).unwrap();
        fs::write(shop.repo_path("apps").join(path.relative_path()), wrong).unwrap();
        shop.pass_seconds(2);
        let said = place.get(&path, None).await;
        assert_eq!(said.status, 502, "{}", said.words());
        assert!(said.words().contains("not what its name says"), "{}", said.words());
        assert!(!place.path(&path).exists());
    }
    fs::write(shop.repo_path("apps").join(path.relative_path()), good).unwrap();
    // The store looks at its own files once a second.
    shop.pass_seconds(2);
    assert_eq!(place.get(&path, None).await.status, 200);
    let left = fs::read_dir(place.folder.path().join("incoming")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(left).unwrap().count(), 0, "nothing half done stays");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_opens_nothing_that_a_token_does_not_name() {
    let mut shop = Shop::open().await;
    let robot = carrier(&shop).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    place.peer.mirror(FREE, |_| ()).await.unwrap();
    shop.stop().await;
    // After the peer last read the list, a free app and a paid one have a new commit, which come by stick.
    let stick = place.folder.path().join("stick");
    let repo = stick.join(".ostree/repo");
    fs::create_dir_all(stick.join(".ostree")).unwrap();
    assert!(Command::new("cp").arg("-a").args([&shop.repo_path("apps"), &repo]).status().unwrap().success());
    commit(&repo, FREE, 0);
    commit(&repo, PAID, 2);
    let heads: Vec<_> = Repo::open(&repo).unwrap().refs().unwrap();
    let head = |name: &str| heads.iter().find(|one| one.name == name).unwrap().checksum;
    let (free, paid) = (head(FREE), head(PAID));
    let taken = place.peer.import(&Stick::open(&stick).unwrap(), |_| ()).unwrap();
    assert_eq!((taken.left.len(), taken.taken.len()), (0, heads.len()));

    // Free or not: nobody but the stick says that these are the store's.
    assert_eq!(place.commit(&free, None).await.status, 401);
    assert_eq!(place.commit(&paid, None).await.status, 401);
    assert_eq!(place.commit(&shop.head("apps", FREE), None).await.status, 200, "the list names this one");

    // The store has published them meanwhile.
    fs::remove_dir_all(shop.repo_path("apps")).unwrap();
    assert!(Command::new("cp").arg("-a").args([&repo, &shop.repo_path("apps")]).status().unwrap().success());
    update_summary(&shop.repo_path("apps"));
    shop.start().await;
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(place.commit(&paid, Some(&token)).await.status, 200);
    assert_eq!(place.commit(&free, None).await.status, 401);
    place.peer.refresh().await.unwrap();
    assert_eq!(place.commit(&free, None).await.status, 200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_a_stick_stays_there() {
    let shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "org.test.Paid", &CARRY).await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let repo = place.folder.path().join("stick");
    assert!(Command::new("cp").arg("-a").args([&shop.repo_path("apps"), &repo]).status().unwrap().success());
    let (paid, free) = (shop.head("apps", PAID), shop.head("apps", FREE));
    let (_, _, of_free) = parts(&shop, &free);
    let (_, _, of_paid) = parts(&shop, &paid);
    let on_stick = |checksum, kind| repo.join(object(checksum, kind).relative_path());
    // Other content, and a link out of the stick.
    fs::remove_file(on_stick(&of_free, ObjectKind::FileZ)).unwrap();
    fs::write(on_stick(&of_free, ObjectKind::FileZ), "something else").unwrap();
    fs::rename(on_stick(&of_paid, ObjectKind::FileZ), repo.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(repo.join("elsewhere"), on_stick(&of_paid, ObjectKind::FileZ)).unwrap();
    let imported = place.peer.import(&Stick::open(&repo).unwrap(), |_| ()).unwrap();
    let why = |name: &str| &imported.left.iter().find(|(left, _)| left == name).unwrap().1;
    assert!(why(FREE).contains("is damaged"), "{}", why(FREE));
    assert!(why(PAID).contains("cannot be read"), "{}", why(PAID));
    assert!(why(PRO).contains("does not let this peer carry it on"), "{}", why(PRO));
    for gone in [
        object(&free, ObjectKind::Commit),
        object(&paid, ObjectKind::Commit),
        object(&of_free, ObjectKind::FileZ),
    ] {
        assert!(!place.path(&gone).exists(), "{gone}");
    }
    assert!(Stick::open(&place.folder.path().join("nothing")).is_err());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_least_used_goes_and_comes_again() {
    let shop = Shop::open().await;
    let robot = carrier(&shop).await;
    // The files of the test apps have some hundred bytes; directories and commits stay.
    let place = Place::open_with(&shop, "apps", Some(&robot), 6000).await;
    let (free, paid) = (shop.head("apps", FREE), shop.head("apps", PAID));
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    let (_, _, of_free) = parts(&shop, &free);
    assert_eq!(pull(&place, &shop, &free, None).await, [200; 4]);
    shop.pass_seconds(120);
    assert_eq!(pull(&place, &shop, &paid, Some(&token)).await, [200; 4]);
    let repo = Repo::open(shop.repo_path("apps")).unwrap();
    assert!(Commit::parse(&fs::read(place.path(&object(&free, ObjectKind::Commit))).unwrap()).is_ok());
    drop(repo);
    let before = flatpass_peer::contents(place.folder.path()).unwrap().bytes;
    assert!(before < 6000, "{before}");
    let path = object(&of_free, ObjectKind::FileZ);
    let small = Place::reopen_with(place, before - 50).await;
    crate::shop::soon("there is room again", async || {
        small.peer.evict().unwrap();
        flatpass_peer::contents(small.folder.path()).unwrap().bytes < before
    })
    .await;
    assert_eq!(small.get(&path, None).await.status, 200, "whatever went comes again");
    assert_eq!(get(&small.url, &object(&free, ObjectKind::Commit), None).await.status, 200);
    shop.close().await;
}
