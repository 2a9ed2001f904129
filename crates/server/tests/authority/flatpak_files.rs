//! The files that Flatpak takes with one click, and the account page that gives them.

use std::collections::BTreeMap;

use flatpass_token::Verb;
use reqwest::Method;

use crate::browser::{Browser, Page};
use crate::oauth::device;
use crate::ref_tokens::entitle;
use crate::shop::{Shop, rng, soon};

const MEMBER: [Verb; 3] = [Verb::List, Verb::Download, Verb::Upgrade];

/// The lines of a key file.
fn lines(page: &Page) -> BTreeMap<String, String> {
    assert_eq!(page.status, 200, "{}", page.body);
    page.body
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Presses the button whose form goes there.
async fn press(browser: &Browser, page: &Page, action: &str) -> Page {
    let csrf = page.hidden_fields(&action.replace('&', "&#38;")).remove(0).1;
    browser.post(action, &[("csrf", &csrf)]).await
}

fn secret_in(url: &str) -> String {
    url.split("device:")
        .nth(1)
        .unwrap_or_else(|| panic!("no secret in {url}"))
        .split('@')
        .next()
        .unwrap()
        .to_owned()
}

/// `GET /repos/NAME.flatpakrepo`, as flatpak asks for it when the URL has user and password.
async fn repo_file(shop: &Shop, name: &str, secret: Option<&str>) -> Page {
    let browser = shop.browser();
    let mut request = browser.request(Method::GET, &format!("/repos/{name}.flatpakrepo"));
    if secret.is_some() {
        request = request.basic_auth("device", secret);
    }
    browser.send(request).await
}

#[tokio::test]
async fn a_members_device_gets_the_key_before_it_has_a_secret_and_others_learn_nothing() {
    let shop = Shop::open().await;
    let file = async |name: &str, access: &str| {
        let browser = shop.browser();
        let request = browser.request(Method::GET, &format!("/repos/{name}.flatpakrepo"));
        browser.send(request.bearer_auth(access)).await
    };
    let ada = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &ada).await;
    entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
    shop.store.set_repo_gpg_key("inside", Some("bVhF")).await.unwrap();
    soon("the key counts", async || file("inside", &access).await.body.contains("GPGKey=bVhF")).await;
    assert_eq!(lines(&file("inside", &access).await)["Url"], shop.repo_url("inside"), "without a secret");

    let eve = shop.signed_up("eve@example.org").await;
    let (access, _) = device(&shop, &eve).await;
    let (there, absent) = (file("inside", &access).await, file("nothing", &access).await);
    assert_eq!((there.status, &there.body), (401, &absent.body));
    assert_eq!(file("inside", "x").await.status, 401);
}

#[tokio::test]
async fn a_member_downloads_files_that_work_and_ends_the_secrets_in_them() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    assert!(!browser.get("/account").await.body.contains("inside"), "she is no member yet");
    entitle(&shop, "ada@example.org", "inside", "org.test.Paid", &MEMBER).await;
    shop.store.set_repo_gpg_key("inside", Some("bVhF")).await.unwrap();
    let bob = shop.account("bob@example.org").await.id;
    let (bobs, _) =
        shop.store.create_access_token(&bob, "inside", "x", None, shop.now(), &mut rng()).await.unwrap();
    soon("the key counts", async || {
        repo_file(&shop, "inside", Some(bobs.expose())).await.body.contains("GPGKey=bVhF")
    })
    .await;
    let account = browser.get("/account").await;
    let file = browser.submit(&account, "/account/repos/inside/flatpakrepo", &[]).await;
    assert_eq!(file.header("content-type"), "application/vnd.flatpak.repo");
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"inside.flatpakrepo\"");
    assert_eq!(file.header("cache-control"), "no-store");
    let repo = lines(&file);
    let secret = secret_in(&repo["Url"]);
    assert_eq!(repo["Url"].replace(&format!("device:{secret}@"), ""), shop.repo_url("inside"));
    assert_eq!((repo["Title"].as_str(), repo["GPGKey"].as_str()), ("Test shop: inside", "bVhF"));
    assert_eq!(repo["AuthenticatorName"], "org.flatpass.Authenticator");
    assert_eq!(repo["AuthenticatorInstall"], "false");
    let summary = reqwest::Client::new().get(format!("{}/summary", shop.repo_url("inside")));
    let opened = summary.basic_auth("device", Some(&secret)).send().await.unwrap();
    assert_eq!(opened.status(), 200, "at once");

    // Its apps: what may be listed, and nothing beside it.
    let page = browser.get("/account/repos/inside").await;
    assert!(page.body.contains("org.test.Paid") && !page.body.contains("org.test.Free"), "{}", page.body);
    let action = "/account/repos/inside/flatpakref?app=org%2Etest%2EPaid&branch=stable";
    let app = lines(&press(&browser, &page, action).await);
    assert_eq!((app["Name"].as_str(), app["Branch"].as_str()), ("org.test.Paid", "stable"));
    assert_eq!((app["IsRuntime"].as_str(), app["GPGKey"].as_str()), ("false", "bVhF"));
    // The file that it points to has the identical URL: flatpak then makes one remote.
    let of_app = secret_in(&app["Url"]);
    assert_ne!(of_app, secret, "each download has its own");
    let runtimes =
        format!("http://device:{of_app}@{}/repos/inside.flatpakrepo", &shop.url["http://".len()..]);
    assert_eq!(app["RuntimeRepo"], runtimes);
    assert_eq!(lines(&repo_file(&shop, "inside", Some(&of_app)).await)["Url"], app["Url"]);

    // Both are listed by what they are for; neither secret is shown again.
    let account = browser.get("/account").await;
    assert!(account.body.contains("inside.flatpakrepo, downloaded 2026-09-21"), "{}", account.body);
    assert!(!account.body.contains(&secret) && !account.body.contains(&of_app));
    let action = account.body.split("action=\"/account/access-tokens/").nth(1).unwrap();
    let action = format!("/account/access-tokens/{}", action.split('"').next().unwrap());
    let other = shop.signed_up("eve@example.org").await;
    let csrf = other.get("/account").await.hidden_fields("/account/password").remove(0).1;
    assert_eq!(other.post(&action, &[("csrf", &csrf)]).await.status, 303);
    let known = async || {
        let mut known = 0;
        for one in [&secret, &of_app] {
            known += u32::from(repo_file(&shop, "inside", Some(one)).await.status == 200);
        }
        known
    };
    assert_eq!(known().await, 2, "nobody ends another's");
    assert_eq!(browser.post(&action, &[("csrf", "forged")]).await.status, 403);
    assert_eq!(browser.submit(&account, &action, &[]).await.status, 303);
    assert_eq!(known().await, 1, "at once");
}

/// Threat 17.
#[tokio::test]
async fn to_who_is_no_member_a_private_repo_is_not_there() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("eve@example.org").await;
    let csrf = browser.get("/account").await.hidden_fields("/account/password").remove(0).1;
    for path in ["", "/flatpakrepo", "/flatpakref?app=org.test.Paid"] {
        let mut answers = Vec::new();
        for repo in ["inside", "nothing"] {
            let path = format!("/account/repos/{repo}{path}");
            let page = match path.contains("flatpak") {
                true => browser.post(&path, &[("csrf", &csrf)]).await,
                false => browser.get(&path).await,
            };
            answers.push((page.status, page.body));
        }
        assert_eq!((answers[0].0, &answers[0]), (404, &answers[1]), "{path}");
    }
    let account = shop.account("ada@example.org").await;
    let (other, _) =
        shop.store.create_access_token(&account.id, "apps", "x", None, shop.now(), &mut rng()).await.unwrap();
    for secret in [None, Some("fpt_wrong"), Some(other.expose())] {
        let (there, not_there) =
            (repo_file(&shop, "inside", secret).await, repo_file(&shop, "nothing", secret).await);
        assert_eq!((there.status, &there.body), (401, &not_there.body));
    }
    assert_eq!(shop.browser().get("/repos/apps").await.status, 404);

    // What everybody may list everybody may have, without an account and without a secret.
    let public = lines(&repo_file(&shop, "apps", None).await);
    assert_eq!(public["Url"], shop.repo_url("apps"));
    let page = browser.get("/account/repos/apps").await;
    let action = "/account/repos/apps/flatpakref?app=org%2Etest%2EPaid&branch=beta";
    let app = lines(&press(&browser, &page, action).await);
    assert_eq!((app["Url"].as_str(), app["Branch"].as_str()), (shop.repo_url("apps").as_str(), "beta"));
    assert_eq!(app["Title"], "Paid");
    assert_eq!(app["RuntimeRepo"], format!("{}/repos/apps.flatpakrepo", shop.url));
}
