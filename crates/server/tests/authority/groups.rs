//! Groups on the pages: invitations, roles, and membership by a proved address. Mail goes to a real mail server.

use flatpass_store::{Group, NewInvitation, Role};
use flatpass_token::Verb;

use crate::browser::{Browser, Page};
use crate::post::Post;
use crate::ref_tokens::entitle_group;
use crate::shop::{FREE, Shop, rng};

async fn group(shop: &Shop, name: &str) -> Group {
    shop.store.add_group(name, Some("Acme <GmbH>"), shop.now(), &mut rng()).await.unwrap()
}

async fn member(shop: &Shop, group: &Group, email: &str, role: Role) -> Browser {
    let browser = shop.signed_up(email).await;
    let account = shop.store.account_by_email(email).await.unwrap().unwrap();
    shop.store.add_member(&group.id, &account.id, role, shop.now(), &mut rng()).await.unwrap();
    browser
}

async fn invitation(shop: &Shop, group: &Group, email: Option<&str>) -> String {
    let new = NewInvitation {
        role: Role::Member,
        email: email.map(str::to_owned),
        max_uses: 1,
        expires_at: shop.now().plus_seconds(60),
    };
    let (secret, _) = shop.store.invite(&group.id, new, None, shop.now(), &mut rng()).await.unwrap();
    format!("/join/{}", secret.expose())
}

/// What a page says, without what differs from browser to browser.
fn said(page: &Page) -> (u16, String) {
    let main = page.body.split("<main>").nth(1).unwrap().split("</main>").next().unwrap();
    (page.status, main.to_owned())
}

#[tokio::test]
async fn an_invitation_leads_through_the_sign_in_into_the_group_and_to_what_it_has() {
    let shop = Shop::open().await;
    let acme = group(&shop, "acme").await;
    entitle_group(&shop, &acme, "inside", "*", &[Verb::List, Verb::Download]).await;
    let link = invitation(&shop, &acme, None).await;
    let ada = shop.browser();
    let first = ada.get(&link).await;
    assert_eq!(first.status, 303);
    assert!(first.location().unwrap().starts_with("/sign-in?next=%2Fjoin%2F"), "{:?}", first.location());
    let ada = shop.signed_up("ada@example.org").await;
    let page = ada.get(&link).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("Acme &#60;GmbH&#62;") && page.body.contains("You become member"),
        "{}",
        page.body
    );
    assert_eq!(shop.store.members(&acme.id).await.unwrap().len(), 0, "looking is not joining");
    assert_eq!(ada.post(&link, &[("csrf", "x")]).await.status, 403);
    let joined = ada.submit(&page, &link, &[]).await;
    assert_eq!((joined.status, joined.location()), (303, Some("/account")));
    let account = ada.get("/account").await;
    assert!(account.body.contains("Acme &#60;GmbH&#62;") && account.body.contains("Everything in inside"));
    assert!(account.body.contains("list, download, since 2026-"), "{}", account.body);
    let owner = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let (secret, _) =
        shop.store.create_access_token(&owner.id, "inside", "x", None, shop.now(), &mut rng()).await.unwrap();
    let fetch = async || {
        let summary = format!("{}/summary", shop.repo_url("inside"));
        let request = reqwest::Client::new().get(summary).basic_auth("device", Some(secret.expose()));
        request.send().await.unwrap().status().as_u16()
    };
    crate::shop::soon("the access token counts", async || fetch().await == 200).await;

    // The page that says that she left is true for the gates too.
    let left = ada.submit(&account, &format!("/groups/{}/leave", acme.id), &[]).await;
    assert_eq!(left.status, 303);
    assert_ne!(fetch().await, 200);
    assert_eq!(shop.fetch("inside", FREE, None).await, 401);
}

#[tokio::test]
async fn used_late_and_invented_invitations_look_alike_and_are_counted() {
    let shop = Shop::open_with("[limits]\nsign_in_per_minute = 12\n", |_| ()).await;
    let acme = group(&shop, "acme").await;
    let used = invitation(&shop, &acme, None).await;
    let ada = shop.signed_up("ada@example.org").await;
    let page = ada.get(&used).await;
    ada.submit(&page, &used, &[]).await;
    let other = invitation(&shop, &acme, Some("bob@example.org")).await;
    let late = invitation(&shop, &acme, None).await;
    let again = ada.get(&late).await;
    assert_eq!(again.status, 409);
    assert!(again.body.contains("You are a member of this group already."));

    let eve = shop.signed_up("eve@example.org").await;
    let bobs = eve.get(&other).await;
    assert!(bobs.status == 403 && bobs.body.contains("for another e-mail address"), "{}", bobs.body);
    assert!(!bobs.body.contains("bob@"), "whose it is is not told");
    shop.pass_seconds(61);
    let expected = said(&eve.get("/join/fpi_invented").await);
    assert!(expected.0 == 404 && expected.1.contains("Ask for a new one."), "{expected:?}");
    for link in [&used, &late, "/join/x", "/join/%00"] {
        assert_eq!(said(&eve.get(link).await), expected, "{link}");
    }
    let mut looks = 0;
    while eve.get("/join/fpi_invented").await.status != 429 {
        looks += 1;
        assert!(looks < 20, "guesses are not counted");
    }
}

#[tokio::test]
async fn owners_and_managers_invite_and_remove_on_the_groups_page_and_others_find_none() {
    let shop = Shop::open().await;
    let acme = group(&shop, "acme").await;
    let path = format!("/groups/{}", acme.id);
    let owner = member(&shop, &acme, "owner@example.org", Role::Owner).await;
    let manager = member(&shop, &acme, "manager@example.org", Role::Manager).await;
    let plain = member(&shop, &acme, "plain@example.org", Role::Member).await;
    let outsider = shop.signed_up("eve@example.org").await;
    let none = said(&outsider.get("/groups/grp_none").await);
    for who in [&plain, &outsider] {
        assert_eq!(said(&who.get(&path).await), none);
        let csrf = who.get("/account").await.hidden_fields("/sign-out").remove(0).1;
        let invited = who.post(&format!("{path}/invitations"), &[("csrf", &csrf), ("role", "member")]).await;
        assert_eq!(invited.status, 404);
    }
    let id = async |email: &str| shop.store.account_by_email(email).await.unwrap().unwrap().id.0;
    let page = manager.get(&path).await;
    assert!(page.body.contains("plain@example.org") && !page.body.contains("<option>owner"), "{}", page.body);
    let csrf = page.hidden_fields(&format!("{path}/invitations")).remove(0).1;
    let owner_id = id("owner@example.org").await;
    for (action, fields) in [
        (format!("{path}/members/{owner_id}/remove"), vec![]),
        (format!("{path}/members/{owner_id}/role"), vec![("role", "member")]),
        (format!("{path}/members/{}/role", id("manager@example.org").await), vec![("role", "owner")]),
        (format!("{path}/invitations"), vec![("role", "owner")]),
    ] {
        let refused = manager.post(&action, &[fields.as_slice(), &[("csrf", csrf.as_str())]].concat()).await;
        assert_eq!(refused.status, 403, "{action}: {}", refused.body);
        assert!(refused.body.contains("Your role in this group does not allow that."), "{}", refused.body);
        assert_eq!(manager.post(&action, &[fields.as_slice(), &[("csrf", "x")]].concat()).await.status, 403);
    }
    let leave = owner.submit(&owner.get("/account").await, &format!("{path}/leave"), &[]).await;
    assert!(leave.status == 403 && leave.body.contains("make somebody else an owner"), "{}", leave.body);

    let wrong = [("role", "member"), ("email", "nobody"), ("uses", "1"), ("days", "1")];
    let wrong = manager.submit(&page, &format!("{path}/invitations"), &wrong).await;
    assert!(wrong.status == 422 && wrong.has("email-error") && wrong.body.contains("value=\"nobody\""));
    let good = [("role", "member"), ("uses", "2"), ("days", "1")];
    let made = manager.submit(&page, &format!("{path}/invitations"), &good).await;
    let link = made.body.split("id=\"link\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let link = link.strip_prefix(&shop.url).unwrap();
    assert!(!manager.get(&path).await.body.contains(link), "shown once");
    let open = outsider.get(link).await;
    outsider.submit(&open, link, &[]).await;
    let eve = id("eve@example.org").await;
    let page = owner.get(&path).await;
    owner.submit(&page, &format!("{path}/members/{eve}/role"), &[("role", "manager")]).await;
    assert_eq!(outsider.get(&path).await.status, 200, "a manager now");
    let removed = owner.submit(&page, &format!("{path}/members/{eve}/remove"), &[]).await;
    assert_eq!(said(&outsider.get(&path).await), none);
    // Who was removed may have a link that still works; who removed is told, as long as there is one.
    let mut told = owner.follow(removed).await;
    assert!(told.has("may-come-back") && told.body.contains("href=\"#invitations\""), "{}", told.body);
    while let Some(rest) = told.body.split(&format!("action=\"{path}/invitations/")).nth(1) {
        let action = format!("{path}/invitations/{}", rest.split('"').next().unwrap());
        owner.submit(&told, &action, &[]).await;
        told = owner.get(&format!("{path}?removed=yes")).await;
    }
    assert!(told.status == 200 && !told.has("may-come-back"), "{}", told.body);
    assert!(!owner.get(&path).await.has("may-come-back"));
}

async fn is_in(shop: &Shop, group: &Group, email: &str) -> bool {
    shop.store.members(&group.id).await.unwrap().iter().any(|member| member.email == email)
}

#[tokio::test]
async fn a_link_in_a_mail_proves_the_address_once_and_only_to_the_account_that_asked() {
    let mut post = Post::open();
    let shop = Shop::open_with(&post.config(), |_| ()).await;
    let acme = group(&shop, "acme").await;
    shop.store.add_domain(&acme.id, "acme.example", shop.now(), &mut rng()).await.unwrap();
    // Eve has an account with the address of Ada, from before there was mail, and asks for the mail that Ada gets.
    shop.account("Ada@acme.EXAMPLE").await;
    let eve = shop.signed_in("ada@acme.example").await;
    let account = eve.get("/account").await;
    assert!(account.has("send-link") && !is_in(&shop, &acme, "ada@acme.example").await);
    let sent = eve.submit(&account, "/account/verify", &[]).await;
    assert!(sent.status == 200 && sent.has("link-sent"), "{}", sent.body);
    let mail = post.next().await;
    assert_eq!((&mail["from"], &mail["to"][0]), (&"shop@example.org".into(), &"ada@acme.example".into()));
    let text = mail["text"].as_str().unwrap();
    let link = text.lines().find_map(|line| line.strip_prefix(&shop.url)).unwrap();
    // Ada has the mail and another account: her click proves nothing for Eve's.
    shop.account("ada@elsewhere.example").await;
    let ada = shop.signed_in("ada@elsewhere.example").await;
    let page = ada.get(link).await;
    let clicked = ada.submit(&page, link, &[]).await;
    assert!(clicked.status == 404 && clicked.body.contains("somebody else"), "{}", clicked.body);
    assert!(
        !is_in(&shop, &acme, "ada@acme.example").await && !is_in(&shop, &acme, "ada@elsewhere.example").await
    );
    // Who asked and has the mail.
    let page = eve.get(link).await;
    assert!(page.has("confirm") && !is_in(&shop, &acme, "ada@acme.example").await, "opening is not proving");
    assert_eq!(eve.post(link, &[("csrf", "x")]).await.status, 403);
    let done = eve.submit(&page, link, &[]).await;
    assert!(done.has("address-proved") && done.body.contains("Acme &#60;GmbH&#62;"), "{}", done.body);
    assert!(is_in(&shop, &acme, "ada@acme.example").await);
    assert_eq!(eve.submit(&page, link, &[]).await.status, 404, "once");
    assert!(!eve.get("/account").await.has("send-link"));
    // A mailbox is not flooded through us.
    let account = ada.get("/account").await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(ada.submit(&account, "/account/verify", &[]).await.status);
    }
    assert!(answers.contains(&429), "{answers:?}");
}

#[tokio::test]
async fn mail_that_cannot_be_sent_safely_is_not_sent_and_said_so() {
    let mut post = Post::open();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.cert.pem()).unwrap();
    // With certificates of its own, also a server on this machine must begin TLS; this one cannot.
    let lines = format!("{}certificate_authority = \"{}\"\n", post.config(), file.display());
    let shop = Shop::open_with(&lines, |_| ()).await;
    shop.account("ada@example.org").await;
    let ada = shop.signed_in("ada@example.org").await;
    let told = ada.submit(&ada.get("/account").await, "/account/verify", &[]).await;
    assert!(told.status == 502 && told.body.contains("could not be sent"), "{}", told.body);
    assert!(post.is_empty().await, "nothing was sent");
    // Without [mail] there is no such form.
    let shop = Shop::open().await;
    let ada = shop.signed_up("ada@example.org").await;
    let account = ada.get("/account").await;
    assert!(!account.has("send-link") && account.body.contains("sends no mail"));
    let csrf = account.hidden_fields("/sign-out").remove(0).1;
    assert_eq!(ada.post("/account/verify", &[("csrf", &csrf)]).await.status, 404);
}
