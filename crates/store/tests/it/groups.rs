//! Who gets into a group, who may change it, and how one goes.

use flatpass_store::{
    AccountId, AppPattern, Group, Holder, InvitationError, MemberError, NewEntitlement, NewInvitation, Role,
    Source, SourceKind, Store, StoreError, What,
};
use flatpass_token::{Secret, Verb};

use crate::scene::{NOW, Scene, account, repo, rng};

async fn group(store: &Store, name: &str) -> Group {
    store.add_group(name, None, NOW, &mut rng(name.len() as u64)).await.unwrap()
}

fn to_role(role: Role, max_uses: u32) -> NewInvitation {
    NewInvitation { role, email: None, max_uses, expires_at: NOW.plus_seconds(1000) }
}

async fn invite(store: &Store, group: &Group, new: NewInvitation, seed: u64) -> Secret {
    store.invite(&group.id, new, None, NOW, &mut rng(seed)).await.unwrap().0
}

async fn roles(store: &Store, group: &Group) -> Vec<(String, Role)> {
    let members = store.members(&group.id).await.unwrap();
    members.into_iter().map(|member| (member.email, member.role)).collect()
}

async fn is_member(store: &Store, group: &Group, account: &AccountId) -> bool {
    store.memberships(account).await.unwrap().iter().any(|one| one.group.id == group.id)
}

/// Threat 12, for invitations.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_invitation_for_two_that_ten_use_at_once_lets_two_in_and_then_looks_like_none() {
    let scene = Scene::new().await;
    let acme = group(&scene.store, "acme").await;
    let secret = invite(&scene.store, &acme, to_role(Role::Member, 2), 1).await;
    let mut tasks = Vec::new();
    for number in 0..10 {
        let who = account(&scene.store, &format!("a{number}@example.org")).await;
        let (store, secret) = (scene.opened_again().await, secret.expose().to_owned());
        tasks.push(tokio::spawn(async move {
            store.join_by_invitation(&secret, &who.id, NOW, &mut rng(number)).await
        }));
    }
    let mut let_in = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => let_in += 1,
            Err(refused) => assert!(matches!(refused, InvitationError::Ended), "{refused:?}"),
        }
    }
    assert_eq!((let_in, roles(&scene.store, &acme).await.len()), (2, 2));
}

#[tokio::test]
async fn an_invitation_that_is_used_expired_taken_back_or_invented_is_told_alike() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let (ada, eve) = (account(store, "ada@example.org").await, account(store, "eve@example.org").await);
    let acme = group(store, "acme").await;
    let told = async |secret: &str, at: i64| {
        let now = NOW.plus_seconds(at);
        let shown = store.invitation(secret, &eve.id, now).await.map(|_| ()).unwrap_err();
        let joined =
            store.join_by_invitation(secret, &eve.id, now, &mut rng(9)).await.map(|_| ()).unwrap_err();
        assert_eq!(shown.to_string(), joined.to_string());
        joined.to_string()
    };
    let used = invite(store, &acme, to_role(Role::Member, 1), 1).await;
    store.join_by_invitation(used.expose(), &ada.id, NOW, &mut rng(2)).await.unwrap();
    let (back, made) =
        store.invite(&acme.id, to_role(Role::Member, 1), None, NOW, &mut rng(3)).await.unwrap();
    assert!(store.revoke_invitation(&acme.id, &made.id, None, NOW).await.unwrap());
    assert!(!store.revoke_invitation(&acme.id, &made.id, None, NOW).await.unwrap());
    let late = invite(store, &acme, to_role(Role::Member, 1), 4).await;
    let other = group(store, "other-group").await;
    let gone = invite(store, &other, to_role(Role::Member, 1), 5).await;
    store.remove_group(&other.id, NOW).await.unwrap();
    let expected = told("fpi_invented", 0).await;
    for (secret, at) in [(&used, 0), (&back, 0), (&late, 1000), (&gone, 0)] {
        assert_eq!(told(secret.expose(), at).await, expected);
    }
    assert_eq!(told("", 0).await, expected);
    // A member that opens a link again does not use it up.
    let again = store.join_by_invitation(late.expose(), &ada.id, NOW, &mut rng(6)).await;
    assert!(matches!(again, Err(InvitationError::AlreadyMember)), "{again:?}");
    assert_eq!(store.invitations(&acme.id, NOW).await.unwrap()[0].uses, 0);
}

#[tokio::test]
async fn an_invitation_to_an_address_lets_in_only_the_account_that_proved_it() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let (ada, eve) = (account(store, "ada@example.org").await, account(store, "eve@example.org").await);
    let acme = group(store, "acme").await;
    let new = NewInvitation { email: Some(" Ada@Example.ORG".into()), ..to_role(Role::Member, 1) };
    let secret = invite(store, &acme, new, 1).await;
    let by_eve = store.join_by_invitation(secret.expose(), &eve.id, NOW, &mut rng(2)).await;
    assert!(matches!(by_eve, Err(InvitationError::OtherAddress)), "{by_eve:?}");
    let unproved = store.join_by_invitation(secret.expose(), &ada.id, NOW, &mut rng(3)).await;
    assert!(matches!(unproved, Err(InvitationError::NotVerified)), "{unproved:?}");
    store.vouch_for_email(&ada.id, NOW, &mut rng(4)).await.unwrap();
    store.join_by_invitation(secret.expose(), &ada.id, NOW, &mut rng(5)).await.unwrap();
    assert!(is_member(store, &acme, &ada.id).await);
}

#[tokio::test]
async fn who_was_put_out_does_not_come_back_by_a_link_from_before_and_who_made_links_must_still_be_there() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let (eve, boss) = (account(store, "eve@example.org").await, account(store, "boss@example.org").await);
    let acme = group(store, "acme").await;
    let link = invite(store, &acme, to_role(Role::Member, 100), 1).await;
    store.join_by_invitation(link.expose(), &eve.id, NOW, &mut rng(2)).await.unwrap();
    store.remove_member(&acme.id, &eve.id, None, NOW.plus_seconds(10)).await.unwrap();
    let join = async |secret: &Secret, at: i64| {
        store.join_by_invitation(secret.expose(), &eve.id, NOW.plus_seconds(at), &mut rng(3)).await
    };
    let again = join(&link, 20).await;
    assert!(matches!(again, Err(InvitationError::Ended)), "{again:?}");
    assert!(!is_member(store, &acme, &eve.id).await);

    // A manager who may invite, and whose account is then closed.
    store.add_member(&acme.id, &boss.id, Role::Manager, NOW, &mut rng(4)).await.unwrap();
    let later = NOW.plus_seconds(30);
    let (theirs, _) =
        store.invite(&acme.id, to_role(Role::Manager, 1), Some(&boss.id), later, &mut rng(5)).await.unwrap();
    store.disable_account(&boss.id, later).await.unwrap();
    let by_closed = join(&theirs, 40).await;
    assert!(matches!(by_closed, Err(InvitationError::Ended)), "{by_closed:?}");
    // Somebody who is there lets eve in again.
    let (newer, _) =
        store.invite(&acme.id, to_role(Role::Member, 1), None, later, &mut rng(6)).await.unwrap();
    join(&newer, 40).await.unwrap();
    assert!(is_member(store, &acme, &eve.id).await);
}

#[tokio::test]
async fn a_manager_makes_and_touches_no_owner_and_the_last_owner_stays() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let acme = group(store, "acme").await;
    let mut ids = Vec::new();
    for (name, role) in [("owner", Role::Owner), ("manager", Role::Manager), ("member", Role::Member)] {
        let who = account(store, &format!("{name}@example.org")).await;
        assert!(store.add_member(&acme.id, &who.id, role, NOW, &mut rng(name.len() as u64)).await.unwrap());
        ids.push(who.id);
    }
    let [owner, manager, member] = ids.as_slice() else { unreachable!() };
    let outsider = account(store, "eve@example.org").await.id;
    let set =
        async |by: &AccountId, whom: &AccountId, role| store.set_role(&acme.id, whom, role, Some(by)).await;
    let remove =
        async |by: &AccountId, whom: &AccountId| store.remove_member(&acme.id, whom, Some(by), NOW).await;
    for by in [manager, member, &outsider] {
        assert!(matches!(set(by, by, Role::Owner).await, Err(MemberError::NotAllowed)));
        assert!(matches!(set(by, member, Role::Owner).await, Err(MemberError::NotAllowed)));
        assert!(matches!(set(by, owner, Role::Member).await, Err(MemberError::NotAllowed)));
        assert!(matches!(remove(by, owner).await, Err(MemberError::NotAllowed)));
        let invited = store.invite(&acme.id, to_role(Role::Owner, 1), Some(by), NOW, &mut rng(7)).await;
        assert!(matches!(invited, Err(MemberError::NotAllowed)), "{invited:?}");
    }
    for by in [member, &outsider] {
        assert!(matches!(set(by, member, Role::Manager).await, Err(MemberError::NotAllowed)));
        assert!(matches!(remove(by, manager).await, Err(MemberError::NotAllowed)));
        let invited = store.invite(&acme.id, to_role(Role::Member, 1), Some(by), NOW, &mut rng(7)).await;
        assert!(matches!(invited, Err(MemberError::NotAllowed)), "{invited:?}");
    }
    assert!(matches!(remove(owner, owner).await, Err(MemberError::LastOwner)));
    assert!(matches!(set(owner, owner, Role::Member).await, Err(MemberError::LastOwner)));
    assert!(matches!(set(owner, &outsider, Role::Member).await, Err(MemberError::NotAMember)));
    set(manager, member, Role::Manager).await.unwrap();
    set(owner, manager, Role::Owner).await.unwrap();
    remove(owner, owner).await.unwrap();
    assert_eq!(
        roles(store, &acme).await,
        [("manager@example.org".to_owned(), Role::Owner), ("member@example.org".to_owned(), Role::Manager)]
    );
    // A manager that goes takes along the invitations it made.
    let (secret, _) =
        store.invite(&acme.id, to_role(Role::Member, 9), Some(member), NOW, &mut rng(8)).await.unwrap();
    store.invitation(secret.expose(), &outsider, NOW).await.unwrap();
    remove(member, member).await.unwrap();
    let late = store.join_by_invitation(secret.expose(), &outsider, NOW, &mut rng(9)).await;
    assert!(matches!(late, Err(InvitationError::Ended)), "{late:?}");
}

#[tokio::test]
async fn a_domain_lets_in_proved_addresses_of_exactly_it_and_nobody_that_was_removed() {
    let scene = Scene::new().await;
    let store = &scene.store;
    let acme = group(store, "acme").await;
    let mut ids = Vec::new();
    for email in [
        "ada@acme.example",
        "bob@acme.example",
        "eve@sub.acme.example",
        "eve@evilacme.example",
        "x@acme.example.org",
    ] {
        ids.push(account(store, email).await.id);
    }
    let (ada, bob) = (&ids[0], &ids[1]);
    for id in ids.iter().filter(|id| *id != bob) {
        assert!(store.vouch_for_email(id, NOW, &mut rng(1)).await.unwrap().is_empty());
    }
    assert_eq!(store.add_domain(&acme.id, "@ACME.Example ", NOW, &mut rng(2)).await.unwrap(), 1);
    assert_eq!(store.domains(&acme.id).await.unwrap(), ["acme.example"]);
    assert_eq!(roles(store, &acme).await, [("ada@acme.example".to_owned(), Role::Member)]);
    // Bob has the address, and did not prove it.
    let mail = store.create_verification(bob, NOW, &mut rng(3)).await.unwrap();
    let day = NOW.plus_seconds(24 * 60 * 60);
    assert_eq!(store.verify_email(mail.expose(), bob, day, &mut rng(4)).await.unwrap(), None, "too late");
    assert_eq!(store.verify_email(mail.expose(), ada, NOW, &mut rng(4)).await.unwrap(), None, "not hers");
    let newer = store.create_verification(bob, NOW, &mut rng(5)).await.unwrap();
    assert_eq!(
        store.verify_email(mail.expose(), bob, NOW, &mut rng(4)).await.unwrap(),
        None,
        "an older link"
    );
    assert!(
        !is_member(store, &acme, bob).await
            && store.account(bob).await.unwrap().unwrap().email_verified_at.is_none()
    );
    let joined = store.verify_email(newer.expose(), bob, NOW, &mut rng(4)).await.unwrap().unwrap();
    assert_eq!(joined, std::slice::from_ref(&acme));
    assert_eq!(store.verify_email(newer.expose(), bob, NOW, &mut rng(4)).await.unwrap(), None, "once");
    assert!(is_member(store, &acme, bob).await);

    store.remove_member(&acme.id, bob, None, NOW).await.unwrap();
    assert_eq!(store.add_domain(&acme.id, "acme.example", NOW, &mut rng(6)).await.unwrap(), 0);
    assert!(store.vouch_for_email(bob, NOW, &mut rng(7)).await.unwrap().is_empty());
    assert!(!is_member(store, &acme, bob).await, "what a hand did a rule does not undo");
    assert!(store.remove_domain(&acme.id, "Acme.Example").await.unwrap());
    assert!(!store.remove_domain(&acme.id, "acme.example").await.unwrap());
    assert!(is_member(store, &acme, ada).await);
    for bad in ["", "@", "acme..example", "%", "acme_example", "-a.example", "a b.example"] {
        let refused = store.add_domain(&acme.id, bad, NOW, &mut rng(8)).await;
        assert!(matches!(refused, Err(StoreError::Domain(_))), "{bad:?}: {refused:?}");
    }
}

/// What a gate needs to refuse tokens from before: also after a restart, and also when the right is held in another way.
#[tokio::test]
async fn who_leaves_a_group_is_among_those_who_lost_its_rights_and_who_held_nothing_through_it_is_not() {
    let scene = Scene::new().await;
    let store = &scene.store;
    repo(store, "apps", &[]).await;
    let acme = group(store, "acme").await;
    let (ada, bob) = (account(store, "ada@example.org").await.id, account(store, "bob@example.org").await.id);
    for (who, seed) in [(&ada, 11), (&bob, 12)] {
        store.add_member(&acme.id, who, Role::Member, NOW, &mut rng(seed)).await.unwrap();
    }
    store.add_plan("empty", None, NOW, &mut rng(1)).await.unwrap();
    let give = async |what: What, verbs: &[Verb], ends: Option<i64>, seed| {
        let new = NewEntitlement {
            holder: Holder::Group(acme.id.clone()),
            what,
            verbs: verbs.to_vec(),
            starts_at: NOW,
            ends_at: ends.map(|end| NOW.plus_seconds(end)),
            upgrades_until: None,
            source: Source { kind: SourceKind::Grant, id: "test".into() },
        };
        store.grant(new, NOW, &mut rng(seed)).await.unwrap()
    };
    let app = |id: &str| What::Apps { repo: "apps".into(), app: AppPattern::App(id.into()), branch: None };
    give(app("org.test.Nothing"), &[], None, 2).await;
    give(What::Plan { plan: "empty".into() }, &Verb::ALL, None, 3).await;
    give(app("org.test.Short"), &[Verb::Download], Some(5), 4).await;
    assert_eq!(
        store.entitlements(&ada, None, NOW).await.unwrap().len(),
        1,
        "no verbs and no items give nothing"
    );
    let kept = give(app("org.test.Tool"), &[Verb::Download], None, 5).await;

    let at = NOW.plus_seconds(10);
    store.remove_member(&acme.id, &ada, None, at).await.unwrap();
    let again = scene.opened_again().await;
    let lost = again.lost_since(NOW, at).await.unwrap();
    let told: Vec<_> = lost.iter().map(|one| (&one.account_id, &one.entitlement.id, one.at)).collect();
    assert_eq!(told, [(&ada, &kept.id, at)]);
    assert!(again.lost_since(at.plus_seconds(1), at.plus_seconds(1)).await.unwrap().is_empty());
    // What ended by its time is told to who is still a member, and not to who left.
    let ended = again.ended_entitlements(&bob, Some("apps"), at).await.unwrap();
    assert_eq!(ended.iter().map(|one| one.app.to_string()).collect::<Vec<_>>(), ["org.test.Short"]);
    assert!(again.ended_entitlements(&ada, Some("apps"), at).await.unwrap().is_empty());
    // Who comes back has it again, and an old removal takes nothing twice.
    store.add_member(&acme.id, &ada, Role::Member, at.plus_seconds(1), &mut rng(6)).await.unwrap();
    assert_eq!(store.entitlements(&ada, Some("apps"), at.plus_seconds(1)).await.unwrap()[0].id, kept.id);
}

#[tokio::test]
async fn a_plan_or_group_made_anew_under_an_old_name_gives_nobody_the_old_rights() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &[]).await;
    let ada = account(store, "ada@example.org").await.id;
    store.add_plan("pro", Some(" Pro "), NOW, &mut rng).await.unwrap();
    let item = flatpass_store::NewPlanItem {
        repo: "apps".into(),
        app: AppPattern::All,
        branch: Some("beta".into()),
        verbs: NewEntitlement::USUAL.to_vec(),
    };
    store.include_in_plan("pro", item.clone(), NOW, &mut rng).await.unwrap();
    let new = NewEntitlement {
        holder: Holder::Account(ada.clone()),
        what: What::Plan { plan: "pro".into() },
        verbs: vec![Verb::List, Verb::Export],
        starts_at: NOW,
        ends_at: None,
        upgrades_until: Some(NOW.plus_seconds(50)),
        source: Source { kind: SourceKind::Grant, id: "test".into() },
    };
    store.grant(new, NOW, &mut rng).await.unwrap();
    let has = store.entitlements(&ada, Some("apps"), NOW).await.unwrap();
    assert_eq!(
        (has.len(), has[0].verbs.as_slice(), has[0].plan.as_deref()),
        (1, [Verb::List].as_slice(), Some("pro"))
    );
    assert!(
        has[0].allows("org.test.X", "beta", Verb::List) && !has[0].allows("org.test.X", "stable", Verb::List)
    );
    assert!(!has[0].allows_all_of("org.test.X", Verb::List));
    assert_eq!(has[0].commits_until(), Some(NOW), "without upgrade the start counts");
    let taken = store.add_plan("pro", None, NOW, &mut rng).await;
    assert!(matches!(taken, Err(StoreError::PlanExists(_))), "{taken:?}");
    store.remove_plan("pro", NOW).await.unwrap();
    store.add_plan("pro", None, NOW, &mut rng).await.unwrap();
    store.include_in_plan("pro", item, NOW, &mut rng).await.unwrap();
    assert!(store.entitlements(&ada, None, NOW).await.unwrap().is_empty());
    for bad in ["*", "a/b", "", ".x"] {
        let item = flatpass_store::NewPlanItem {
            repo: "apps".into(),
            app: AppPattern::All,
            branch: Some(bad.into()),
            verbs: vec![],
        };
        let refused = store.include_in_plan("pro", item, NOW, &mut rng).await;
        assert!(matches!(refused, Err(StoreError::Branch(_))), "{bad:?}: {refused:?}");
    }
}
