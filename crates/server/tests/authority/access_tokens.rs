//! Access tokens by the API: secrets for remotes' URLs, made, used, seen, replaced and ended.

use flatpass_store::AccessTokenUse;
use flatpass_token::Verb;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::Page;
use crate::oauth::device;
use crate::ref_tokens::entitle;
use crate::shop::{Shop, rng, soon};

const MEMBER: [Verb; 3] = [Verb::List, Verb::Download, Verb::Upgrade];

async fn api(shop: &Shop, method: Method, path: &str, access: Option<&str>, body: Option<Value>) -> Page {
    let browser = shop.browser();
    let mut request = browser.request(method, &format!("/api/v1/access-tokens{path}"));
    if let Some(access) = access {
        request = request.bearer_auth(access);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    browser.send(request).await
}

async fn make(shop: &Shop, access: &str, repo: &str) -> Page {
    let body = json!({ "repo_url": shop.repo_url(repo), "name": "Ada's laptop" });
    api(shop, Method::POST, "", Some(access), Some(body)).await
}

async fn by_secret(shop: &Shop, what: &str, secret: &str) -> Page {
    let browser = shop.browser();
    let request = browser.request(Method::POST, &format!("/api/v1/access-tokens/{what}"));
    browser.send(request.basic_auth("device", Some(secret))).await
}

/// What the gate of the private repo says to a client with this secret in its URL.
async fn opens(shop: &Shop, secret: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("{}/config", shop.repo_url("inside")));
    request.basic_auth("device", Some(secret)).send().await.unwrap().status().as_u16()
}

fn secret(page: &Page) -> String {
    assert_eq!(page.status, 201, "{}", page.body);
    page.json()["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_member_makes_sees_and_ends_secrets_of_a_private_repo() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
    let answer = make(&shop, &access, "inside").await;
    let (made, laptop) = (answer.json(), secret(&answer));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!((&made["repo"], &made["name"]), (&json!("inside"), &json!("Ada's laptop")));
    let url = format!("{}/repo/inside", shop.url.replace("://", &format!("://device:{laptop}@")));
    assert_eq!(made["url"], url);
    assert!(laptop.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte)));
    // At once: who adds the remote next is not refused.
    assert_eq!(opens(&shop, &laptop).await, 200);

    let list = api(&shop, Method::GET, "", Some(&access), None).await;
    assert!(!list.body.contains(&laptop));
    assert_eq!((&list.json()[0]["id"], &list.json()[0]["repo"]), (&made["id"], &json!("inside")));

    // Another account neither sees nor ends it.
    let other = shop.signed_up("eve@example.org").await;
    let (eve, _) = device(&shop, &other).await;
    assert_eq!(api(&shop, Method::GET, "", Some(&eve), None).await.json(), json!([]));
    let path = format!("/{}", made["id"].as_str().unwrap());
    assert_eq!(api(&shop, Method::DELETE, &path, Some(&eve), None).await.status, 404);
    assert_eq!(opens(&shop, &laptop).await, 200);

    assert_eq!(api(&shop, Method::DELETE, &path, Some(&access), None).await.status, 204);
    assert_eq!(opens(&shop, &laptop).await, 401);
    assert_eq!(api(&shop, Method::DELETE, &path, Some(&access), None).await.status, 404);
}

/// Threat 17: who is not a member does not learn which private repos there are.
#[tokio::test]
async fn who_is_no_member_is_refused_alike_for_what_is_there_and_what_is_not() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("eve@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    let (there, not_there) = (make(&shop, &access, "inside").await, make(&shop, &access, "nothing").await);
    assert_eq!((there.status, &there.body), (403, &not_there.body));
    assert!(there.json()["type"].as_str().unwrap().ends_with("/problems/not-a-member"));
    let body = json!({ "repo_url": "https://evil.example/repo/inside", "name": "x" });
    let foreign = api(&shop, Method::POST, "", Some(&access), Some(body)).await;
    assert!(foreign.status == 404 && foreign.body.contains("unknown-repo"), "{}", foreign.body);
    // What is not gated may be had by everybody, and so by a name of one's own.
    assert_eq!(make(&shop, &access, "apps").await.status, 201);

    assert_eq!(api(&shop, Method::POST, "", None, None).await.status, 401);
    assert_eq!(api(&shop, Method::GET, "", None, None).await.status, 401);
    assert_eq!(api(&shop, Method::GET, "", Some("fpa_unknown"), None).await.status, 401);
    let url = shop.repo_url("apps");
    for body in [
        json!({ "repo_url": url }),
        json!({ "repo_url": url, "name": " " }),
        json!({ "repo_url": url, "name": "x".repeat(101) }),
        json!({ "repo_url": url, "name": "x", "expires_in": 0 }),
        json!({ "repo_url": url, "name": "x", "expires_in": i64::MAX }),
    ] {
        let refused = api(&shop, Method::POST, "", Some(&access), Some(body.clone())).await;
        assert_eq!(refused.status, 400, "{body}");
    }
}

#[tokio::test]
async fn a_rotated_secret_goes_on_for_an_hour_and_rotates_nothing_once_its_successor_was_used() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
    let first_answer = make(&shop, &access, "inside").await;
    let first = secret(&first_answer);
    shop.pass_seconds(10);
    let lost = secret(&by_secret(&shop, "rotate", &first).await);
    assert_eq!((opens(&shop, &first).await, opens(&shop, &lost).await), (200, 200));
    // That answer never arrived (and the use of it above was before anybody wrote it down).
    let second_answer = by_secret(&shop, "rotate", &first).await;
    let second = secret(&second_answer);
    assert_eq!(second_answer.json()["id"], first_answer.json()["id"], "it stays the same access token");
    assert_eq!((opens(&shop, &first).await, opens(&shop, &lost).await), (200, 401));
    assert_eq!(opens(&shop, &second).await, 200);

    // Who stole the first secret cannot take it over once the second is in use.
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let id = first_answer.json()["id"].as_str().unwrap().to_owned();
    let used = AccessTokenUse { id, at: shop.now().plus_seconds(1), address: "192.0.2.1".to_owned() };
    shop.store.note_access_token_uses(&[used]).await.unwrap();
    assert_eq!(by_secret(&shop, "rotate", &first).await.status, 401);
    let listed = shop.store.list_access_tokens(Some(&account.id), shop.now()).await.unwrap();
    assert_eq!((listed.len(), listed[0].last_address.as_str()), (1, "192.0.2.1"));

    shop.pass_seconds(3599);
    assert_eq!(opens(&shop, &first).await, 200);
    shop.pass_seconds(1);
    assert_eq!((opens(&shop, &first).await, opens(&shop, &second).await), (401, 200));

    // Ended by an old secret, the present one goes on; ended by the present one, all do.
    let third = secret(&by_secret(&shop, "rotate", &second).await);
    assert_eq!(by_secret(&shop, "revoke", &second).await.status, 204);
    assert_eq!((opens(&shop, &second).await, opens(&shop, &third).await), (401, 200));
    let fourth = secret(&by_secret(&shop, "rotate", &third).await);
    assert_eq!(by_secret(&shop, "revoke", &fourth).await.status, 204);
    assert_eq!((opens(&shop, &third).await, opens(&shop, &fourth).await), (401, 401));
}

/// The operator rotates because a secret leaked: who has the old one must not get the new one's successor for it.
#[tokio::test]
async fn what_the_operator_rotated_the_old_secret_does_not_rotate_again() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
    let made = make(&shop, &access, "inside").await;
    let leaked = secret(&made);
    shop.pass_seconds(10);
    let id = made.json()["id"].as_str().unwrap().into();
    let (new, _) =
        shop.store.rotate_access_token_with_id(&id, shop.now(), &mut rng()).await.unwrap().unwrap();
    assert_eq!(by_secret(&shop, "rotate", &leaked).await.status, 401);
    soon("the gate knows the new one", async || opens(&shop, new.expose()).await == 200).await;
}

/// The gate notes it without the database; some seconds later it is written down.
#[tokio::test]
async fn the_last_use_of_a_secret_is_listed_with_the_address_that_can_be_believed() {
    for (trusted, expected) in [("", "127.0.0.1"), ("\"127.0.0.1\"", "203.0.113.9")] {
        let shop = Shop::open_with(&format!("[limits]\ntrusted_proxies = [{trusted}]\n"), |_| ()).await;
        let browser = shop.signed_up("ada@example.org").await;
        let (access, _) = device(&shop, &browser).await;
        entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
        let laptop = secret(&make(&shop, &access, "inside").await);
        let listed = async || api(&shop, Method::GET, "", Some(&access), None).await.json()[0].clone();
        assert_eq!(listed().await["last_used_at"], Value::Null);
        shop.pass_seconds(77);
        let used = reqwest::Client::new()
            .get(format!("{}/config", shop.repo_url("inside")))
            .header("x-forwarded-for", "192.0.2.66, 203.0.113.9")
            .basic_auth("device", Some(&laptop));
        assert_eq!(used.send().await.unwrap().status(), 200);
        soon("it is written down", async || listed().await["last_address"] == expected).await;
        assert_eq!(listed().await["last_used_at"], json!(shop.now()));
    }
}

/// Signing a device out takes along what it made; the secret's own bearer can end it, and nobody else.
#[tokio::test]
async fn a_secret_ends_with_the_device_that_made_it_and_by_itself() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, refresh) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "inside", "*", &MEMBER).await;
    let (one, two) =
        (secret(&make(&shop, &access, "inside").await), secret(&make(&shop, &access, "inside").await));
    for wrong in ["fpt_unknown", "", &access, &refresh] {
        assert_eq!(by_secret(&shop, "revoke", wrong).await.status, 401);
        assert_eq!(by_secret(&shop, "rotate", wrong).await.status, 401);
    }
    assert_eq!(by_secret(&shop, "revoke", &one).await.status, 204);
    assert_eq!((opens(&shop, &one).await, opens(&shop, &two).await), (401, 200));
    assert_eq!(by_secret(&shop, "revoke", &one).await.status, 401);

    let page = browser.get("/account").await;
    let action = page.body.split("action=\"/account/devices/").nth(1).unwrap().split('"').next().unwrap();
    let done = browser.submit(&page, &format!("/account/devices/{action}"), &[]).await;
    assert_eq!(done.status, 303);
    soon("the secret has ended with its device", async || opens(&shop, &two).await == 401).await;
}
