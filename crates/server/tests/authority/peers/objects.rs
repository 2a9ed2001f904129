//! Peers of repos that guard every object.

use flatpass_ostree::{DirTree, ObjectKind, RepoPath};
use flatpass_store::{NewRepo, RepoPolicy, RepoSource};
use flatpass_token::Verb;

use super::place::{Place, client, object};
use crate::shop::{FREE, PAID, PRO, Shop};

const CARRY: [Verb; 4] = [Verb::Download, Verb::Upgrade, Verb::Export, Verb::List];

/// What a pull of the ref's commit asks for.
fn wanted(shop: &Shop, repo: &str, name: &str) -> [RepoPath; 4] {
    let head = shop.head(repo, name);
    let commit =
        flatpass_ostree::repo::Repo::open(shop.repo_path(repo)).unwrap().commit(&head).unwrap().unwrap();
    let tree = object(&commit.root_tree, ObjectKind::DirTree);
    let read =
        DirTree::parse(&std::fs::read(shop.repo_path(repo).join(tree.relative_path())).unwrap()).unwrap();
    let file = object(&read.files[0].checksum, ObjectKind::FileZ);
    [object(&head, ObjectKind::Commit), tree, object(&commit.root_meta, ObjectKind::DirMeta), file]
}

async fn statuses(place: &Place, paths: &[RepoPath], token: Option<&str>) -> Vec<u16> {
    let mut found = Vec::new();
    for path in paths {
        found.push(place.get(path, token).await.status);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_a_private_repo_gives_each_their_own_and_strangers_nothing() {
    let mut shop = Shop::open().await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "inside", "*", &CARRY).await;
    let ada = client(&shop, "ada").await;
    ada.may(&shop, "inside", "org.test.Paid", &[Verb::Download, Verb::Upgrade, Verb::List]).await;
    let place = Place::open(&shop, "inside", Some(&robot)).await;
    let (paid, pro) = (wanted(&shop, "inside", PAID), wanted(&shop, "inside", PRO));
    for path in paid.iter().chain([&RepoPath::Config, &RepoPath::Summary, &RepoPath::SummaryIdx]) {
        assert_eq!(place.get(path, None).await.status, 401, "{path}");
    }
    let token = ada.token(&shop, "inside", PAID, Some("peers")).await;
    assert_eq!(place.get(&RepoPath::Config, Some(&token)).await.status, 200);
    assert_eq!(place.get(&RepoPath::Summary, Some(&token)).await.status, 401, "the list is another matter");
    assert_eq!(statuses(&place, &paid, Some(&token)).await, [200; 4]);
    let of_pro = statuses(&place, &[pro[0].clone(), pro[1].clone(), pro[3].clone()], Some(&token)).await;
    assert_eq!(of_pro, [403; 3]);
    assert!(!place.path(&pro[0]).exists(), "nobody who may not have it makes the peer fetch it");
    // Somebody who may has it fetched, and it is still not for others.
    let carrier = robot.token(&shop, "inside", PRO, Some("peers")).await;
    assert_eq!(statuses(&place, &pro, Some(&carrier)).await, [200; 4]);
    let of_pro = statuses(&place, &[pro[0].clone(), pro[1].clone(), pro[3].clone()], Some(&token)).await;
    assert_eq!(of_pro, [403; 3]);
    shop.stop().await;
    let place = place.restart().await;
    assert_eq!(statuses(&place, &paid, Some(&token)).await, [200; 4]);
    assert_eq!(statuses(&place, &paid, None).await, [401; 4]);
    shop.start().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_objects_a_file_goes_to_who_may_have_a_commit_that_contains_it() {
    let shop = Shop::open().await;
    shop.store.remove_repo("apps", shop.now()).await.unwrap();
    let new = NewRepo {
        name: "apps".to_owned(),
        source: RepoSource::Ostree(shop.repo_path("apps")),
        policy: RepoPolicy::Objects,
        urls: Vec::new(),
        open_token_types: vec![0, 1],
    };
    shop.store.add_repo(new, shop.now()).await.unwrap();
    shop.set_price("apps", "org.test.Paid", "5.00").await;
    let robot = client(&shop, "office").await;
    robot.may(&shop, "apps", "*", &CARRY).await;
    crate::shop::soon("the policy is in force", async || {
        shop.fetch("apps", FREE, None).await == 200
            && reqwest::get(format!(
                "{}/{}",
                shop.repo_url("apps"),
                wanted(&shop, "apps", PAID)[3].relative_path()
            ))
            .await
            .unwrap()
            .status()
                == 401
    })
    .await;
    let place = Place::open(&shop, "apps", Some(&robot)).await;
    let (free, paid) = (wanted(&shop, "apps", FREE), wanted(&shop, "apps", PAID));
    let token = robot.token(&shop, "apps", PAID, Some("peers")).await;
    assert_eq!(statuses(&place, &free, None).await, [200; 4]);
    assert_eq!(statuses(&place, &paid, Some(&token)).await, [200; 4]);
    // Owner and mode of the directory are those of the free app too.
    assert_eq!(statuses(&place, &paid, None).await, [401, 401, 200, 401]);
    shop.close().await;
}
