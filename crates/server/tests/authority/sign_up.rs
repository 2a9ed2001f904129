//! Signing up where the store sends mail, and where nobody may.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::browser::{Browser, Page};
use crate::oauth::{details, query};
use crate::post::Post;
use crate::shop::{PAID, PASSWORD, Shop, rng};

async fn sign_up(browser: &Browser, email: &str, password: &str) -> Page {
    let page = browser.get("/sign-up").await;
    browser.submit(&page, "/sign-up", &[("email", email), ("password", password)]).await
}

fn link(shop: &Shop, mail: &serde_json::Value) -> Option<String> {
    let text = mail["text"].as_str().unwrap();
    text.lines().find_map(|line| line.strip_prefix(&shop.url)).map(str::to_owned)
}

/// All that an answer says but for the address, the date and what is random in each.
fn said(answer: &Page, email: &str) -> (u16, Vec<(String, String)>, String) {
    let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| *name != "date" && *name != "content-length")
        .map(header)
        .collect();
    headers.sort();
    (answer.status, headers, answer.body.replace(email, "EMAIL"))
}

/// Threats 9 and 17. Only who has the mailbox learns it.
#[tokio::test]
async fn signing_up_does_not_tell_which_addresses_have_an_account() {
    let mut post = Post::open();
    let shop = Shop::open_with(&post.config(), |_| ()).await;
    shop.account("ada@example.org").await;
    let disabled = shop.account("off@example.org").await;
    shop.store.disable_account(&disabled.id, shop.now()).await.unwrap();
    let browser = shop.browser();
    let mut answers = Vec::new();
    // The right password of an account says nothing either.
    for (email, password) in [
        ("new@example.org", PASSWORD),
        ("ada@example.org", "another password"),
        ("ada@example.org", PASSWORD),
        ("off@example.org", PASSWORD),
    ] {
        let answer = sign_up(&browser, email, password).await;
        assert!(answer.status == 200 && answer.has("mail-sent"), "{}", answer.body);
        assert!(!answer.body.contains(password), "a password is never shown again");
        answers.push(said(&answer, email));
        let mail = post.next().await;
        assert_eq!(mail["to"][0], email);
        let way = link(&shop, &mail).unwrap();
        assert_eq!(way.starts_with("/sign-up/"), email == "new@example.org", "{way}");
        assert_eq!(way == "/sign-in", email != "new@example.org", "{way}");
    }
    // The first answer came with the browser's form cookie set before it, as all others.
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(browser.cookie("flatpass_session"), None);
    assert!(
        shop.store.account_by_email("new@example.org").await.unwrap().is_none(),
        "until the link is opened"
    );
    // What is wrong by itself is said at once, without a mail.
    for (email, password, mark) in
        [("no address", PASSWORD, "email-error"), ("ada@example.org", "short", "password-error")]
    {
        let answer = sign_up(&browser, email, password).await;
        assert!(answer.status == 422 && answer.has(mark), "{}", answer.body);
    }
    assert!(post.is_empty().await);
}

/// Threat 17: a mail server that does not answer holds up nobody, whoever has an account.
#[tokio::test]
async fn signing_up_does_not_wait_for_the_mail() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines =
        format!("[mail]\nsmtp = \"smtp://{}\"\nfrom = \"shop@example.org\"\n", silent.local_addr().unwrap());
    let shop = Shop::open_with(&lines, |_| ()).await;
    shop.account("ada@example.org").await;
    let before = Instant::now();
    for email in ["ada@example.org", "new@example.org"] {
        assert!(sign_up(&shop.browser(), email, PASSWORD).await.has("mail-sent"));
    }
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[tokio::test]
async fn the_link_goes_on_with_the_walk_and_joins_the_group_of_the_domain() {
    let mut post = Post::open();
    let shop = Shop::open_with(&post.config(), |_| ()).await;
    let acme = shop.store.add_group("acme", None, shop.now(), &mut rng()).await.unwrap();
    shop.store.add_domain(&acme.id, "acme.example", shop.now(), &mut rng()).await.unwrap();
    let browser = shop.browser();
    let wanted = details(&shop.repo_url("apps"), &[PAID]);
    let start = format!("/oauth/authorize?{}", query(&[("authorization_details", &wanted)]));
    let sign_in = browser.follow(browser.get(&start).await).await;
    let to = sign_in.body.split("id=\"to-sign-up\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let page = browser.get(&to.replace("&#38;", "&")).await;
    let account = [("email", " Ada@acme.example"), ("password", PASSWORD)];
    assert!(browser.submit(&page, "/sign-up", &account).await.has("mail-sent"));
    let opened = link(&shop, &post.next().await).unwrap();

    let form = browser.get(&opened).await;
    assert!(form.has("finish-sign-up") && form.body.contains("ada@acme.example"), "{}", form.body);
    // Browsers check the redirects after the form against its page.
    assert!(
        form.header("content-security-policy").contains("form-action 'self' http://127.0.0.1:"),
        "{form:?}"
    );
    assert!(
        shop.store.account_by_email("ada@acme.example").await.unwrap().is_none(),
        "opening is not asking"
    );
    assert_eq!(browser.post(&opened, &[("csrf", "x"), ("password", PASSWORD)]).await.status, 403);
    let buy = browser.follow(browser.submit(&form, &opened, &[("password", PASSWORD)]).await).await;
    assert!(buy.has("buy") && buy.body.contains("5.00 EUR"), "{}", buy.body);
    let members = shop.store.members(&acme.id).await.unwrap();
    assert_eq!(members.iter().map(|one| one.email.as_str()).collect::<Vec<_>>(), ["ada@acme.example"]);
    assert_eq!(shop.browser().get(&opened).await.status, 404, "once");
    assert!(shop.signed_in("ada@acme.example").await.get("/account").await.has("sign-out"));
}

#[tokio::test]
async fn a_link_helps_nobody_without_the_password_or_after_a_day() {
    let mut post = Post::open();
    let shop = Shop::open_with(&post.config(), |_| ()).await;
    // Eve signs up with Ada's address, and then Ada does.
    sign_up(&shop.browser(), "ada@example.org", "the password of Eve").await;
    let eves = link(&shop, &post.next().await).unwrap();
    sign_up(&shop.browser(), "ada@example.org", PASSWORD).await;
    let adas = link(&shop, &post.next().await).unwrap();
    let ada = shop.browser();
    let opened = ada.get(&eves).await;
    let wrong = ada.submit(&opened, &eves, &[("password", PASSWORD)]).await;
    assert!(wrong.status == 422 && wrong.has("error"), "{}", wrong.body);
    assert!(shop.store.account_by_email("ada@example.org").await.unwrap().is_none());
    // In another browser than it began in: the account is made, and the walk goes on where it began.
    let opened = ada.get(&adas).await;
    let done = ada.submit(&opened, &adas, &[("password", PASSWORD)]).await;
    assert_eq!((done.status, done.location()), (303, Some("/account")));
    // Nothing is left of Eve's.
    assert_eq!(ada.get(&eves).await.status, 404);

    sign_up(&shop.browser(), "bob@example.org", PASSWORD).await;
    let bobs = link(&shop, &post.next().await).unwrap();
    let bob = shop.browser();
    let opened = bob.get(&bobs).await;
    shop.pass_seconds(24 * 60 * 60);
    assert_eq!(bob.submit(&opened, &bobs, &[("password", PASSWORD)]).await.status, 404);
    assert!(shop.store.account_by_email("bob@example.org").await.unwrap().is_none());
    assert_eq!(shop.store.prune(shop.now()).await.unwrap().sign_ups, 1);
}

#[tokio::test]
async fn no_mailbox_is_flooded_by_signing_up() {
    let mut post = Post::open();
    let shop = Shop::open_with(&post.config(), |_| ()).await;
    shop.account("ada@example.org").await;
    for email in ["ada@example.org", "new@example.org"] {
        let browser = shop.browser();
        let mut statuses = Vec::new();
        for written in [email.to_owned(), email.to_uppercase(), format!(" {email}"), email.to_owned()] {
            statuses.push(sign_up(&browser, &written, PASSWORD).await.status);
        }
        assert_eq!(statuses, [200, 200, 200, 429], "{email}");
        for _ in 0..3 {
            post.next().await;
        }
    }
    assert!(post.is_empty().await);
}

#[tokio::test]
async fn where_sign_up_is_closed_there_is_no_way_to_it() {
    let shop = Shop::open_with("[accounts]\nsign_up = \"closed\"\n", |_| ()).await;
    shop.account("ada@example.org").await;
    let browser = shop.browser();
    for path in ["/sign-up", "/sign-up/fpu_x"] {
        let told = browser.get(path).await;
        assert!(told.status == 403 && told.body.contains("Ask whoever runs the store"), "{}", told.body);
    }
    let page = browser.get("/sign-in").await;
    assert!(!page.body.contains("/sign-up") && !browser.get("/").await.body.contains("/sign-up"));
    let csrf = page.hidden_fields("/sign-in").remove(0).1;
    for email in ["ada@example.org", "new@example.org"] {
        let fields = [("csrf", csrf.as_str()), ("email", email), ("password", PASSWORD)];
        assert_eq!(browser.post("/sign-up", &fields).await.status, 403);
    }
    assert!(shop.store.account_by_email("new@example.org").await.unwrap().is_none());
    assert!(shop.signed_in("ada@example.org").await.get("/account").await.has("sign-out"));
}
