//! Rights that are taken away or end while tokens are alive: the gate knows at once, after a restart too.

use flatpass_store::{AppPattern, Holder, NewEntitlement, NewPlanItem, Role, Source, SourceKind, What};
use flatpass_token::{UnixTime, Verb};
use serde_json::{Value, json};

use crate::oauth::{device, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{FREE, LOCALE, MEMBERS, PAID, PRO, Shop, rng, soon};

const USUAL: [Verb; 3] = NewEntitlement::USUAL;

/// A right to apps of a repo from now on, for ever.
pub(crate) fn right(shop: &Shop, holder: Holder, repo: &str, app: &str) -> NewEntitlement {
    NewEntitlement {
        holder,
        what: What::Apps { repo: repo.to_owned(), app: app.parse::<AppPattern>().unwrap(), branch: None },
        verbs: USUAL.to_vec(),
        starts_at: shop.now(),
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    }
}

pub(crate) async fn grant(shop: &Shop, new: NewEntitlement) {
    shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
}

/// The one token for these refs.
async fn token_for(shop: &Shop, access: &str, repo: &str, refs: &[&str]) -> String {
    let answer = ref_tokens(shop, Some(access), &ask(shop, repo, refs)).await.json();
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), &answer["denied"]), (1, &json!([])), "{answer}");
    tokens[0]["token"].as_str().unwrap().to_owned()
}

async fn statuses(shop: &Shop, repo: &str, refs: &[&str], token: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for name in refs {
        all.push(shop.fetch(repo, name, Some(token)).await);
    }
    all
}

#[tokio::test]
async fn a_revoked_right_is_refused_while_its_token_lives_and_nothing_else_is() {
    let mut shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let (bob, _) = device(&shop, &shop.signed_up("bob@example.org").await).await;
    for app in ["org.test.Paid", "org.test.Paid.Pro"] {
        entitle(&shop, "ada@example.org", "apps", app, &USUAL).await;
        entitle(&shop, "bob@example.org", "apps", app, &USUAL).await;
    }
    let refs = [PAID, LOCALE, PRO];
    let token = token_for(&shop, &access, "apps", &refs).await;
    let bobs = token_for(&shop, &bob, "apps", &refs).await;
    assert_eq!(statuses(&shop, "apps", &refs, &token).await, [200, 200, 200]);
    shop.pass_seconds(120);

    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let given = shop.store.entitlements(&account.id, None, shop.now()).await.unwrap();
    let paid = given.iter().find(|one| one.app.to_string() == "org.test.Paid").unwrap();
    shop.store.revoke_entitlement(&paid.id, shop.now()).await.unwrap();
    let lost = async |shop: &Shop| statuses(shop, "apps", &refs, &token).await == [403, 403, 200];
    soon("the gate knows", async || lost(&shop).await).await;
    assert_eq!(statuses(&shop, "apps", &refs, &bobs).await, [200, 200, 200]);
    // What a gate knows is in the database.
    shop.stop().await;
    shop.start().await;
    assert!(lost(&shop).await);
    assert_eq!(statuses(&shop, "apps", &refs, &bobs).await, [200, 200, 200]);
    // Who gets the right back has it back, with the same token.
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &USUAL).await;
    soon("it is held again", async || statuses(&shop, "apps", &refs, &token).await == [200, 200, 200]).await;
}

/// How long a token lives was said when it was made; what the configuration says today is about others.
#[tokio::test]
async fn a_revoked_right_stays_refused_when_the_life_of_tokens_is_made_shorter() {
    let mut shop = Shop::open_with("[tokens]\nref_token_seconds = 86400\n", |_| ()).await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &USUAL).await;
    let token = token_for(&shop, &access, "apps", &[PAID]).await;
    shop.pass_seconds(60);
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let given = shop.store.entitlements(&account.id, None, shop.now()).await.unwrap();
    shop.store.revoke_entitlement(&given[0].id, shop.now()).await.unwrap();
    soon("the gate knows", async || shop.fetch("apps", PAID, Some(&token)).await == 403).await;
    shop.stop().await;
    shop.config.tokens.ref_token_seconds = 1;
    shop.pass_seconds(3600);
    shop.start().await;
    assert_eq!(shop.fetch("apps", PAID, Some(&token)).await, 403);
}

#[tokio::test]
async fn who_leaves_a_group_or_whose_plan_shrinks_loses_what_came_by_it() {
    let mut shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let ada = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let group = shop.store.add_group("team", None, shop.now(), &mut rng()).await.unwrap().id;
    shop.store.add_member(&group, &ada, Role::Member, shop.now(), &mut rng()).await.unwrap();
    grant(&shop, right(&shop, Holder::Group(group.clone()), "inside", "org.test.Free")).await;
    shop.store.add_plan("all", None, shop.now(), &mut rng()).await.unwrap();
    for app in ["org.test.Paid", "org.test.Paid.Pro"] {
        let (repo, app) = ("inside".to_owned(), app.parse::<AppPattern>().unwrap());
        let item = NewPlanItem { repo, app, branch: None, verbs: USUAL.to_vec() };
        shop.store.include_in_plan("all", item, shop.now(), &mut rng()).await.unwrap();
    }
    let plan = What::Plan { plan: "all".to_owned() };
    grant(&shop, NewEntitlement { what: plan, ..right(&shop, Holder::Account(ada.clone()), "", "*") }).await;

    let refs = [FREE, PAID, PRO];
    let token = token_for(&shop, &access, "inside", &refs).await;
    assert_eq!(statuses(&shop, "inside", &refs, &token).await, [200, 200, 200]);
    shop.pass_seconds(120);
    shop.store.remove_member(&group, &ada, None, shop.now()).await.unwrap();
    soon("the group is left", async || statuses(&shop, "inside", &refs, &token).await == [403, 200, 200])
        .await;
    let app = "org.test.Paid".parse::<AppPattern>().unwrap();
    shop.store.exclude_from_plan("all", "inside", &app, None, shop.now()).await.unwrap();
    soon("the plan is smaller", async || statuses(&shop, "inside", &refs, &token).await == [403, 403, 200])
        .await;
    shop.stop().await;
    shop.start().await;
    assert_eq!(statuses(&shop, "inside", &refs, &token).await, [403, 403, 200]);
}

#[tokio::test]
async fn a_signed_out_device_ends_with_its_tokens_before_the_page_says_so() {
    let mut shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &USUAL).await;
    let (laptop, _) = device(&shop, &browser).await;
    let of_laptop = token_for(&shop, &laptop, "apps", &[PAID]).await;
    let account = browser.get("/account").await;
    let action = account.body.split("action=\"/account/devices/").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/account/devices/{action}");
    let (phone, refresh) = device(&shop, &browser).await;
    let of_phone = token_for(&shop, &phone, "apps", &[PAID]).await;

    assert_eq!(browser.submit(&account, &path, &[]).await.status, 303);
    // No waiting: the answer came when the gate knew.
    assert_eq!(shop.fetch("apps", PAID, Some(&of_laptop)).await, 401);
    assert_eq!(shop.fetch("apps", PAID, Some(&of_phone)).await, 200);
    shop.stop().await;
    shop.start().await;
    assert_eq!(shop.fetch("apps", PAID, Some(&of_laptop)).await, 401);
    assert_eq!(shop.fetch("apps", PAID, Some(&of_phone)).await, 200);
    // A program that signs itself out (RFC 7009) is no different.
    let fields = [("token", refresh.as_str()), ("client_id", "flatpass-authenticator")];
    let request = shop.browser().request(reqwest::Method::POST, "/oauth/revoke");
    assert_eq!(shop.browser().send(crate::browser::form(request, &fields)).await.status, 200);
    assert_eq!(shop.fetch("apps", PAID, Some(&of_phone)).await, 401);
}

#[tokio::test]
async fn a_token_lives_no_longer_than_the_right_it_relies_on() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let ada = || async { shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id };
    let until = |end: UnixTime, new: NewEntitlement| NewEntitlement { ends_at: Some(end), ..new };
    let paid = right(&shop, Holder::Account(ada().await), "apps", "org.test.Paid");
    grant(&shop, until(shop.now().plus_seconds(100), paid.clone())).await;
    grant(&shop, until(shop.now().plus_seconds(50), paid)).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid.Pro", &USUAL).await;
    let answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID, LOCALE, PRO])).await.json();
    let lives = |name: &str| {
        let all = answer["tokens"].as_array().unwrap();
        let found = all.iter().find(|one| one["refs"].as_array().unwrap().contains(&json!(name))).unwrap();
        (found["expires_in"].as_i64().unwrap(), found["token"].as_str().unwrap())
    };
    assert_eq!((lives(PAID).0, lives(LOCALE).0, lives(PRO).0), (100, 100, 3600), "{answer}");
    shop.pass_seconds(99);
    assert_eq!(shop.fetch("apps", PAID, Some(lives(PAID).1)).await, 200);
    // The leeway for two clocks counts in.
    shop.pass_seconds(1 + 5);
    assert_eq!(shop.fetch("apps", PAID, Some(lives(PAID).1)).await, 401);
    assert_eq!(shop.fetch("apps", PRO, Some(lives(PRO).1)).await, 200);
    // And the sentence says when that was.
    let denied = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
    let message = denied["denied"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("Your right to Paid (org.test.Paid) ended on 2026-09-21."), "{message}");
    assert_eq!(denied["denied"][0]["reason"], "purchase_required");
}

#[tokio::test]
async fn a_secret_in_a_url_opens_what_its_account_may_have_at_that_moment() {
    let shop = Shop::open().await;
    let account = shop.account("ada@example.org").await;
    let later = NewEntitlement {
        starts_at: shop.now().plus_seconds(1000),
        ends_at: Some(shop.now().plus_seconds(2000)),
        ..right(&shop, Holder::Account(account.id.clone()), "inside", "org.test.*")
    };
    grant(&shop, later).await;
    let (secret, _) = shop
        .store
        .create_access_token(&account.id, "inside", "laptop", None, shop.now(), &mut rng())
        .await
        .unwrap();
    let status = async |path: &str| {
        let url = format!("{}/{path}", shop.repo_url("inside"));
        let request = reqwest::Client::new().get(url).basic_auth("device", Some(secret.expose()));
        request.send().await.unwrap().status().as_u16()
    };
    let hex = shop.head("inside", FREE).to_hex();
    let commit = format!("objects/{}/{}.commit", &hex[..2], &hex[2..]);
    let both = async || [status("summary").await, status(&commit).await];
    soon("the secret is known", async || status("config").await == 200).await;
    assert_eq!(both().await, [401, 403], "a secret lists nothing by itself");
    shop.pass_seconds(1000);
    soon("the right has begun", async || both().await == [200, 200]).await;
    shop.pass_seconds(1000);
    soon("the right has ended", async || both().await == [401, 403]).await;
}

/// Threats 1 and 17: two customers in one private repo.
#[tokio::test]
async fn one_group_of_a_private_repo_gets_nothing_of_another_and_does_not_learn_of_it() {
    let shop = Shop::open().await;
    let mut access = Vec::new();
    for (group, email, app) in
        [("a", "ann@example.org", "org.test.Free"), ("b", "bob@example.org", "org.test.Members")]
    {
        access.push(device(&shop, &shop.signed_up(email).await).await.0);
        let id = shop.store.add_group(group, None, shop.now(), &mut rng()).await.unwrap().id;
        let account = shop.store.account_by_email(email).await.unwrap().unwrap().id;
        shop.store.add_member(&id, &account, Role::Member, shop.now(), &mut rng()).await.unwrap();
        grant(&shop, right(&shop, Holder::Group(id), "inside", app)).await;
    }
    let (ann, bob) = (&access[0], &access[1]);
    let anns = token_for(&shop, ann, "inside", &[FREE]).await;
    let bobs = token_for(&shop, bob, "inside", &[MEMBERS]).await;
    assert_eq!(statuses(&shop, "inside", &[FREE, MEMBERS], &anns).await, [200, 403]);
    assert_eq!(statuses(&shop, "inside", &[FREE, MEMBERS], &bobs).await, [403, 200]);
    let denied = async |name: &str| {
        let answer = ref_tokens(&shop, Some(bob), &ask(&shop, "inside", &[name])).await.json();
        let text = answer.to_string();
        text.replace(name, "REF").replace(name.split('/').nth(1).unwrap(), "ID")
    };
    let gone = denied("app/org.test.Gone/x86_64/stable").await;
    assert_eq!(denied(FREE).await, gone);
    assert!(!denied("app/org.test.Members/x86_64/other").await.contains("Your right"));
}

/// What ended is told to who had it, and to nobody else.
#[tokio::test]
async fn in_a_private_repo_only_who_had_a_right_is_told_when_it_ended() {
    let shop = Shop::open().await;
    let (ada, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let (eve, _) = device(&shop, &shop.signed_up("eve@example.org").await).await;
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let new = right(&shop, Holder::Account(account), "inside", "org.test.Paid");
    grant(&shop, NewEntitlement { ends_at: Some(shop.now().plus_seconds(10)), ..new }).await;
    shop.pass_seconds(10);
    let message = async |access: &str, name: &str| {
        let answer = ref_tokens(&shop, Some(access), &ask(&shop, "inside", &[name])).await.json();
        answer["denied"][0]["message"].as_str().unwrap().to_owned()
    };
    let told = message(&ada, PAID).await;
    assert!(told.starts_with("Your right to org.test.Paid ended on 2026-09-21."), "{told}");
    assert!(!told.contains("7.00") && !told.contains("/apps/inside"), "{told}");
    let stranger = |text: String, id: &str| text.replace(id, "ID");
    let outside = stranger(message(&eve, PAID).await, "org.test.Paid");
    assert_eq!(stranger(message(&ada, PRO).await, "org.test.Paid.Pro"), outside);
    assert_eq!(stranger(message(&eve, "app/org.test.Gone/x86_64/stable").await, "org.test.Gone"), outside);
}

/// A right to one branch says so when another is wanted.
#[tokio::test]
async fn a_right_to_one_branch_is_none_to_another_and_the_sentence_names_both() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let mut new = right(&shop, Holder::Account(account), "apps", "org.test.Paid");
    if let What::Apps { branch, .. } = &mut new.what {
        *branch = Some("stable".to_owned());
    }
    grant(&shop, new).await;
    let beta = "app/org.test.Paid/x86_64/beta";
    let answer: Value =
        ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID, LOCALE, beta])).await.json();
    assert_eq!(answer["tokens"][0]["refs"], json!([PAID, LOCALE]));
    let token = answer["tokens"][0]["token"].as_str().unwrap();
    assert_eq!(statuses(&shop, "apps", &[PAID, LOCALE, beta], token).await, [200, 200, 403]);
    let message = answer["denied"][0]["message"].as_str().unwrap();
    let expected = "Your right covers the branch stable of Paid (org.test.Paid), not beta.";
    assert!(message.starts_with(expected), "{message}");
}
