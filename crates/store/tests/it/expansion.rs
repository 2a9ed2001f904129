//! What an account may do, through groups and plans, against a model that is simple enough to be right.

use std::collections::BTreeSet;

use flatpass_store::{
    Account, AppPattern, Group, Holder, NewEntitlement, NewPlanItem, Role, Source, SourceKind, Store, What,
};
use flatpass_token::{CommitMade, KeySet, RefName, Secret, UnixTime, Verb, Verifier, VerifierConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::scene::{NOW, Scene, account, repo};

const APPS: [&str; 4] = ["*", "org.test.*", "org.test.Paid", "org.acme.Tool"];
const IDS: [&str; 3] = ["org.test.Paid", "org.test.Free", "org.acme.Tool"];
const BRANCHES: [&str; 2] = ["stable", "beta"];
const REPOS: [&str; 2] = ["apps", "inside"];

/// A right as the model has it: while all of these spans last.
struct Given {
    holder: Holder,
    what: What,
    verbs: Vec<Verb>,
    from: i64,
    ends: Option<i64>,
    revoked: Option<i64>,
}

struct ItemRow {
    plan: String,
    repo: String,
    app: AppPattern,
    branch: Option<String>,
    verbs: Vec<Verb>,
    from: i64,
    removed: Option<i64>,
}

struct MemberRow {
    group: usize,
    account: usize,
    from: i64,
    removed: Option<i64>,
}

#[derive(Default)]
struct Model {
    given: Vec<Given>,
    items: Vec<ItemRow>,
    members: Vec<MemberRow>,
    groups_removed: Vec<Option<i64>>,
    plans_removed: Vec<Option<i64>>,
}

fn lasts(from: i64, removed: Option<i64>, at: i64) -> bool {
    from <= at && removed.is_none_or(|end| at < end)
}

type Right = (String, String, String, Verb);

impl Model {
    /// Every (repo, id, branch, verb) that the account may do at that second.
    fn rights(&self, accounts: &[Account], groups: &[Group], who: usize, at: i64) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        for given in &self.given {
            let holds = match &given.holder {
                Holder::Account(id) => *id == accounts[who].id,
                Holder::Group(id) => self.members.iter().any(|member| {
                    groups[member.group].id == *id
                        && member.account == who
                        && lasts(member.from, member.removed, at)
                        && lasts(0, self.groups_removed[member.group], at)
                }),
            };
            if !holds || !lasts(given.from, given.ends, at) || !lasts(0, given.revoked, at) {
                continue;
            }
            let mut add = |repo: &str, app: &AppPattern, branch: Option<&str>, verbs: &[Verb]| {
                for id in IDS.iter().filter(|id| app.covers(id)) {
                    for one in BRANCHES.iter().filter(|one| branch.is_none_or(|branch| branch == **one)) {
                        for verb in verbs.iter().filter(|verb| given.verbs.contains(verb)) {
                            rights.insert((repo.to_owned(), (*id).to_owned(), (*one).to_owned(), *verb));
                        }
                    }
                }
            };
            match &given.what {
                What::Apps { repo, app, branch } => add(repo, app, branch.as_deref(), &Verb::ALL),
                What::Plan { plan } => {
                    let number: usize = plan[1..].parse().unwrap();
                    for item in self.items.iter().filter(|item| item.plan == *plan) {
                        if lasts(item.from, item.removed, at) && lasts(0, self.plans_removed[number], at) {
                            add(&item.repo, &item.app, item.branch.as_deref(), &item.verbs);
                        }
                    }
                }
            }
        }
        rights
    }
}

fn pick<T: Clone>(rng: &mut StdRng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())].clone()
}

fn some_verbs(rng: &mut StdRng) -> Vec<Verb> {
    Verb::ALL.into_iter().filter(|_| rng.random_bool(0.6)).collect()
}

fn branch(rng: &mut StdRng) -> Option<String> {
    rng.random_bool(0.4).then(|| pick(rng, &BRANCHES).to_owned())
}

/// One random step at that second, done to the store and to the model.
async fn step(
    store: &Store,
    model: &mut Model,
    rng: &mut StdRng,
    accounts: &[Account],
    groups: &[Group],
    at: i64,
) {
    let now = NOW.plus_seconds(at);
    let group = rng.random_range(0..groups.len());
    let who = rng.random_range(0..accounts.len());
    let plan = rng.random_range(0..model.plans_removed.len());
    let name = format!("p{plan}");
    let group_there = model.groups_removed[group].is_none();
    let plan_there = model.plans_removed[plan].is_none();
    match rng.random_range(0..100) {
        0..35 => {
            let holder = if rng.random_bool(0.5) && group_there {
                Holder::Group(groups[group].id.clone())
            } else {
                Holder::Account(accounts[who].id.clone())
            };
            let what = if rng.random_bool(0.5) && plan_there {
                What::Plan { plan: name }
            } else {
                let app = pick(rng, &APPS).parse().unwrap();
                What::Apps { repo: pick(rng, &REPOS).to_owned(), app, branch: branch(rng) }
            };
            let from = at + rng.random_range(-2..5);
            let ends = rng.random_bool(0.3).then(|| from + rng.random_range(1..12));
            let verbs = some_verbs(rng);
            let new = NewEntitlement {
                holder: holder.clone(),
                what: what.clone(),
                verbs: verbs.clone(),
                starts_at: NOW.plus_seconds(from),
                ends_at: ends.map(|end| NOW.plus_seconds(end)),
                upgrades_until: None,
                source: Source { kind: SourceKind::Grant, id: model.given.len().to_string() },
            };
            store.grant(new, now, rng).await.unwrap();
            model.given.push(Given { holder, what, verbs, from, ends, revoked: None });
        }
        35..55 if group_there => {
            let (to, account) = (&groups[group].id, &accounts[who].id);
            if store.add_member(to, account, Role::Member, now, rng).await.unwrap() {
                model.members.push(MemberRow { group, account: who, from: at, removed: None });
            }
        }
        55..65 => {
            let present = |row: &&mut MemberRow| (row.group, row.account, row.removed) == (group, who, None);
            if let Some(row) = model.members.iter_mut().find(present).filter(|_| group_there) {
                row.removed = Some(at);
                store.remove_member(&groups[group].id, &accounts[who].id, None, now).await.unwrap();
            }
        }
        65..80 => {
            let (repo, app, branch) = (pick(rng, &REPOS), pick(rng, &APPS).parse().unwrap(), branch(rng));
            if plan_there {
                for item in &mut model.items {
                    if (&item.plan, item.repo.as_str(), &item.app, &item.branch)
                        == (&name, repo, &app, &branch)
                        && item.removed.is_none()
                    {
                        item.removed = Some(at);
                    }
                }
                let verbs = some_verbs(rng);
                let new = NewPlanItem {
                    repo: repo.into(),
                    app: app.clone(),
                    branch: branch.clone(),
                    verbs: verbs.clone(),
                };
                store.include_in_plan(&name, new, now, rng).await.unwrap();
                model.items.push(ItemRow {
                    plan: name,
                    repo: repo.into(),
                    app,
                    branch,
                    verbs,
                    from: at,
                    removed: None,
                });
            }
        }
        80..87 => {
            let present = |row: &&mut ItemRow| row.plan == name && row.removed.is_none();
            if let Some(row) = model.items.iter_mut().find(present).filter(|_| plan_there) {
                row.removed = Some(at);
                assert!(
                    store
                        .exclude_from_plan(&name, &row.repo, &row.app, row.branch.as_deref(), now)
                        .await
                        .unwrap()
                );
            }
        }
        87..95 => {
            let held = if model.given.is_empty() { return } else { rng.random_range(0..model.given.len()) };
            let row = &mut model.given[held];
            let all = store.held_by(&row.holder, now).await.unwrap();
            if let Some(one) = all.iter().find(|one| one.source.id == held.to_string()) {
                assert!(store.revoke_entitlement(&one.id, now).await.unwrap());
                row.revoked = Some(at);
            }
        }
        95..98 if group_there => {
            store.remove_group(&groups[group].id, now).await.unwrap();
            model.groups_removed[group] = Some(at);
        }
        _ if plan_there => {
            store.remove_plan(&name, now).await.unwrap();
            model.plans_removed[plan] = Some(at);
        }
        _ => {}
    }
}

/// What the store says that the account may do then, as the model says it.
async fn rights(store: &Store, who: &Account, now: UnixTime) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let mut apart = 0;
    for repo in REPOS {
        apart += store.entitlements(&who.id, Some(repo), now).await.unwrap().len();
    }
    let all = store.entitlements(&who.id, None, now).await.unwrap();
    assert_eq!(all.len(), apart, "all is what the repos have");
    for one in all {
        assert!(!one.verbs.is_empty());
        for id in IDS {
            for branch in BRANCHES {
                for verb in Verb::ALL.into_iter().filter(|verb| one.allows(id, branch, *verb)) {
                    rights.insert((one.repo.clone(), id.to_owned(), branch.to_owned(), verb));
                }
            }
        }
    }
    rights
}

/// What a gate lets the account's access tokens do with commits from before all of this.
async fn rights_of_tokens(store: &Store, secrets: &[(&str, Secret)], now: UnixTime) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for (repo, secret) in secrets {
        let config = VerifierConfig::new("https://shop.example/", "https://shop.example/repo/x");
        let verifier = Verifier::new(config, KeySet::new());
        verifier.set_access_tokens(store.access_grants(repo, now).await.unwrap().into_iter().collect());
        let token = verifier.verify_access_secret(secret.expose(), now).unwrap();
        let commit = CommitMade { checksum: &[7; 32], at: UnixTime(0) };
        for (id, branch) in IDS.into_iter().flat_map(|id| BRANCHES.map(|branch| (id, branch))) {
            let name = RefName::parse(&format!("app/{id}/x86_64/{branch}")).unwrap();
            for verb in Verb::ALL.into_iter().filter(|verb| token.allows_commit(*verb, &name, commit)) {
                rights.insert(((*repo).to_owned(), id.to_owned(), branch.to_owned(), verb));
            }
        }
    }
    rights
}

#[tokio::test]
async fn what_groups_and_plans_give_is_what_a_simple_model_says_and_whatever_goes_is_in_what_was_lost() {
    for seed in 0..12 {
        let scene = Scene::new().await;
        let store = &scene.store;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model =
            Model { plans_removed: vec![None; 2], groups_removed: vec![None; 2], ..Model::default() };
        let (mut accounts, mut groups) = (Vec::new(), Vec::new());
        for name in REPOS {
            repo(store, name, &[]).await;
        }
        for number in 0..2 {
            accounts.push(account(store, &format!("a{number}@example.org")).await);
            groups.push(store.add_group(&format!("g{number}"), None, NOW, &mut rng).await.unwrap());
            store.add_plan(&format!("p{number}"), None, NOW, &mut rng).await.unwrap();
        }
        let mut secrets = Vec::new();
        for account in &accounts {
            let mut own = Vec::new();
            for name in REPOS {
                let made = store.create_access_token(&account.id, name, "x", None, NOW, &mut rng).await;
                own.push((name, made.unwrap().0));
            }
            secrets.push(own);
        }
        let mut before = vec![BTreeSet::new(); accounts.len()];
        for at in 1..45 {
            step(store, &mut model, &mut rng, &accounts, &groups, at).await;
            let now = NOW.plus_seconds(at);
            let lost = store.lost_since(now, now).await.unwrap();
            for (who, account) in accounts.iter().enumerate() {
                let expected = model.rights(&accounts, &groups, who, at);
                assert_eq!(
                    rights(store, account, now).await,
                    expected,
                    "seed {seed}, second {at}, account {who}"
                );
                assert_eq!(
                    rights_of_tokens(store, &secrets[who], now).await,
                    expected,
                    "seed {seed}, second {at}"
                );
                // What went, went by its time or is told.
                let by_time = |right: &Right| {
                    let mut kept = model.given.iter().filter(|given| given.ends == Some(at));
                    kept.any(|given| given.verbs.contains(&right.3))
                };
                for right in before[who].difference(&expected).filter(|right| !by_time(right)) {
                    let told = lost.iter().any(|one| {
                        let same = one.account_id == account.id && one.entitlement.repo == right.0;
                        same && one.at == now && one.entitlement.allows(&right.1, &right.2, right.3)
                    });
                    assert!(told, "seed {seed}, second {at}: {right:?} went and is not in {lost:?}");
                }
                before[who] = expected;
            }
        }
        // Another process, or this one after a restart, sees the same.
        let again = scene.opened_again().await;
        let end = NOW.plus_seconds(100);
        assert_eq!(again.lost_since(NOW, end).await.unwrap(), store.lost_since(NOW, end).await.unwrap());
    }
}
