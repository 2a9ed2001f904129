//! What a token is for in detail: some refs of a private repo, some commits of a ref, what the account still holds. Threats 1, 2, 17.

use std::fs;

use flatpass_gate::{Policy, Rules};
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use flatpass_token::{Grant, Revocations, Verb};

use crate::leaks::guarded;
use crate::shop::{Desk, FREE, LOCALE, NOW, OTHER, PAID, Shop, object, superblock};
use crate::wire::Server;

const DOWNLOAD: &[Verb] = &[Verb::Download];

/// All that leads to a commit: itself, what is written about it, its deltas with their parts and their index.
fn ways_to(shop: &Shop, commit: Checksum) -> Vec<String> {
    let meta = object(commit, ObjectKind::CommitMeta);
    fs::write(shop.repo().join(&meta), b"signatures").unwrap();
    let mut paths = vec![object(commit, ObjectKind::Commit), meta];
    paths.extend(shop.deltas_to(commit));
    let index = RepoPath::DeltaIndex { to: commit }.relative_path();
    assert!(shop.repo().join(&index).exists());
    paths.push(index);
    paths
}

fn version_before(shop: &Shop, name: &str) -> Checksum {
    shop.parsed(name).parent.unwrap()
}

#[test]
fn a_token_for_some_commits_opens_no_newer_one_on_any_way() {
    let shop = Shop::build();
    let (old, new) = (version_before(&shop, PAID), shop.rev(PAID));
    let ways = ways_to(&shop, new);
    assert!(ways.contains(&superblock(Some(old), new)) && ways.contains(&superblock(None, new)));
    for policy in [Policy::Refs, Policy::Private] {
        let desk = Desk::open(shop.repo(), Rules::new(policy));
        let server = Server::start(&desk);
        let paid = Grant::for_ids(DOWNLOAD, ["org.test.Paid"]);
        let of_old = Grant { commits: Some(vec![old.to_hex()]), ..paid.clone() };
        let until_old = Grant { made_until: Some(Desk::made(1)), ..paid.clone() };
        let until_between = Grant { made_until: Some(Desk::made(2).plus_seconds(-1)), ..paid.clone() };
        for limited in [of_old, until_old, until_between] {
            let token = desk.bearer(std::slice::from_ref(&limited));
            assert_eq!(server.get_as(&token, &object(old, ObjectKind::Commit)).status, 200, "{limited:?}");
            for path in &ways {
                let reply = server.get_as(&token, path);
                assert_eq!(reply.status, 403, "{policy} {limited:?} {path}");
            }
            // Nor does it open the same version of another app.
            assert_eq!(server.get_as(&token, &shop.commit(OTHER)).status, 403);
        }
        for whole in [
            Grant { commits: Some(vec![new.to_hex()]), ..paid.clone() },
            Grant { made_until: Some(Desk::made(2)), ..paid.clone() },
            paid,
        ] {
            let token = desk.bearer(std::slice::from_ref(&whole));
            for path in &ways {
                assert_eq!(server.get_as(&token, path).status, 200, "{policy} {whole:?} {path}");
            }
        }
    }
}

#[test]
fn in_a_private_repo_to_list_one_app_opens_no_other_however_free() {
    let shop = Shop::build();
    // Every commit is free for those who may see it.
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private).with_open_token_types(vec![0, 2]));
    let server = Server::start(&desk);
    let list = |ids: &[&str]| Grant::for_ids(&[Verb::List], ids.iter().copied());
    let everything = |name: &str| {
        let mut paths = vec![shop.commit(name), format!("refs/heads/{name}")];
        paths.extend(shop.deltas_to(shop.rev(name)));
        paths
    };
    let tokens = [
        desk.bearer(&[list(&["org.test.Free"])]),
        desk.basic(&[list(&["org.test.Free"])]),
        // To download another app is no help either.
        desk.bearer(&[list(&["org.test.Free"]), Grant::for_ids(DOWNLOAD, ["org.test.Paid.Locale"])]),
    ];
    for token in &tokens {
        for path in everything(FREE) {
            assert_eq!(server.get_as(token, &path).status, 200, "{path}");
        }
        for path in [PAID, OTHER].map(everything).concat() {
            assert_eq!(server.get_as(token, &path).status, 403, "{path}");
        }
        for path in ["summary".to_owned(), shop.commit("appstream2/x86_64"), "config".to_owned()] {
            assert_eq!(server.get_as(token, &path).status, 200, "{path}");
        }
    }
    // What is not free, or sold, is not opened by seeing it.
    desk.gate.set_rules(Rules::new(Policy::Private).with_open_token_types(vec![0]));
    let token = desk.bearer(&[list(&["org.test.Paid"])]);
    assert_eq!(server.get_as(&token, &shop.commit(PAID)).status, 403);
    let sold = Rules::new(Policy::Private).with_guarded_ids(["org.test.Free".to_owned()]);
    desk.gate.set_rules(sold);
    assert_eq!(server.get_as(&tokens[0], &shop.commit(FREE)).status, 403);
    // A token that sees nothing has nothing that is free.
    let blind = desk.bearer(&[Grant::for_ids(DOWNLOAD, ["org.test.Paid"])]);
    for path in [shop.commit(FREE), shop.commit("appstream2/x86_64"), format!("refs/heads/{PAID}")] {
        assert_eq!(server.get_as(&blind, &path).status, 403, "{path}");
    }
}

#[test]
fn what_an_account_lost_is_refused_at_once_on_every_way_and_the_rest_of_its_token_holds() {
    let shop = Shop::build();
    for policy in [Policy::Refs, Policy::Objects, Policy::Private] {
        let desk = Desk::open(shop.repo(), Rules::new(policy));
        let server = Server::start(&desk);
        let ids = ["org.test.Paid", "org.test.Paid.Locale", "org.test.Other"];
        let token = desk.bearer(&[Grant::for_ids(&[Verb::Download, Verb::List], ids)]);
        let mut ways = guarded(&shop);
        ways.extend(ways_to(&shop, shop.rev(PAID)));
        if policy.checks_objects() {
            ways.push(object(shop.parsed(PAID).root_tree, ObjectKind::DirTree));
        }
        if policy == Policy::Private {
            ways.extend([PAID, LOCALE].map(|name| format!("refs/heads/{name}")));
        }
        let statuses = || ways.iter().map(|path| server.get_as(&token, path).status).collect::<Vec<_>>();
        assert!(statuses().iter().all(|status| *status == 200), "{:?}", statuses());

        let lost = Grant::for_ids(&[Verb::Download, Verb::List], ["org.test.Paid"]);
        let list = Revocations::new().with_lost("acc_ann", NOW, lost);
        desk.verifier.set_revocations(list.clone());
        assert!(statuses().iter().all(|status| *status == 403), "{policy} {ways:?} {:?}", statuses());
        assert_eq!(server.get_as(&token, &shop.commit(OTHER)).status, 200);

        // Not if the account has it by another right; and of the older version only, if that is what is left.
        let kept = Grant::for_everything(&[Verb::Download, Verb::List]);
        desk.verifier.set_revocations(list.clone().with_kept("acc_ann", kept.clone()));
        assert!(statuses().iter().all(|status| *status == 200), "{:?}", statuses());
        let older = Grant { made_until: Some(Desk::made(1)), ..kept };
        desk.verifier.set_revocations(list.with_kept("acc_ann", older));
        assert_eq!(server.get_as(&token, &shop.commit(PAID)).status, 403);
        let old = object(version_before(&shop, PAID), ObjectKind::Commit);
        assert_eq!(server.get_as(&token, &old).status, 200);
    }
}

#[test]
fn who_lost_the_last_thing_to_see_in_a_private_repo_sees_no_index() {
    let shop = Shop::build();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Private));
    let server = Server::start(&desk);
    let list = Grant::for_everything(&[Verb::List]);
    let token = desk.bearer(std::slice::from_ref(&list));
    let paths =
        ["summary".to_owned(), "summary.idx".to_owned(), shop.commit("appstream2/x86_64"), shop.commit(FREE)];
    let statuses = || paths.each_ref().map(|path| server.get_as(&token, path).status);
    assert_eq!(statuses(), [200; 4]);
    let lost = Revocations::new().with_lost("acc_ann", NOW, list);
    desk.verifier.set_revocations(lost.clone());
    assert_eq!(statuses(), [401, 401, 403, 403]);
    let kept = Grant::for_ids(&[Verb::List], ["org.test.Paid"]);
    desk.verifier.set_revocations(lost.with_kept("acc_ann", kept));
    assert_eq!(statuses(), [200, 200, 200, 403]);
}
