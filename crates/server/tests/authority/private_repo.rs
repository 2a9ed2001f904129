//! A private repo: outsiders learn nothing of what is in it.

use std::process::Command;

use flatpass_token::Verb;
use serde_json::{Value, json};

use crate::oauth::{details, device, query, ref_tokens};
use crate::ref_tokens::{ask, entitle};
use crate::shop::{FREE, MEMBERS, PAID, PRO, Shop, rng, soon};

const GONE: &str = "app/org.test.Gone/x86_64/stable";

/// Threat 17.
#[tokio::test]
async fn to_an_outsider_what_is_there_and_what_is_not_are_the_same() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("eve@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "eve@example.org", "apps", "*", &[Verb::Download, Verb::Upgrade, Verb::List]).await;
    for access in [None, Some(access.as_str())] {
        let answer = ref_tokens(&shop, access, &ask(&shop, "inside", &[FREE, PAID, GONE])).await.json();
        assert_eq!((&answer["open"], &answer["tokens"]), (&json!([]), &json!([])));
        let denied = answer["denied"].as_array().unwrap();
        let without_its_name = |one: &Value| {
            let id = one["ref"].as_str().unwrap().split('/').nth(1).unwrap().to_owned();
            assert_eq!(one["app"], json!(id));
            one.to_string().replace(one["ref"].as_str().unwrap(), "REF").replace(&id, "ID")
        };
        let first = without_its_name(&denied[0]);
        assert!(denied.iter().all(|one| without_its_name(one) == first), "{denied:?}");
    }
    // A repo that does not exist is one that they may not see, and that is said by the very same answers.
    for method in [reqwest::Method::GET, reqwest::Method::HEAD, reqwest::Method::PUT] {
        for authorization in ["", "Bearer x", "Basic eDp5"] {
            let ask = async |repo: &str| {
                let url = format!("{}/summary", shop.repo_url(repo));
                let request = reqwest::Client::new().request(method.clone(), url);
                let answer = request.header("Authorization", authorization).send().await.unwrap();
                let mut fields = answer.headers().clone();
                fields.remove("date");
                let (status, fields) = (answer.status(), format!("{fields:?}"));
                format!("{status} {fields} {}", answer.text().await.unwrap()).replace(repo, "REPO")
            };
            let there = ask("inside").await;
            assert!(there.starts_with("401"), "{there}");
            assert_eq!(there, ask("no-such").await, "{method} {authorization}");
        }
    }
    for access in [None, Some(access.as_str())] {
        let ask = async |repo: &str| {
            let answer = ref_tokens(&shop, access, &ask(&shop, repo, &[FREE, PAID, GONE])).await;
            (answer.status, answer.body.replace(repo, "REPO"))
        };
        assert_eq!(ask("inside").await, ask("no-such").await);
        let authorize = async |repo: &str| {
            let wanted = details(&shop.repo_url(repo), &[PAID]);
            let page = format!("/oauth/authorize?{}", query(&[("authorization_details", &wanted)]));
            browser.get(&page).await.status
        };
        assert_eq!(authorize("inside").await, authorize("no-such").await);
    }
    let there = browser.get("/apps/inside/org.test.Paid").await;
    let not_there = browser.get("/apps/inside/org.test.Gone").await;
    assert_eq!((there.status, &there.body), (404, &not_there.body));
    assert!(!browser.get("/").await.body.contains("7.00"));
    // Nor does the page that sells say it.
    let wanted = details(&shop.repo_url("inside"), &[PAID]);
    let page =
        browser.get(&format!("/oauth/authorize?{}", query(&[("authorization_details", &wanted)]))).await;
    assert!(page.has("allow") && !page.body.contains("7.00"), "{}", page.body);
    let csrf = page.hidden_fields("/oauth/authorize").remove(0).1;
    assert_eq!(browser.post("/apps/inside/org.test.Paid", &[("csrf", &csrf)]).await.status, 404);
}

#[tokio::test]
async fn a_member_gets_tokens_for_what_it_may_see_or_has_and_may_buy_the_rest() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "inside", "org.test.Paid.Pro", &[Verb::Download, Verb::Upgrade]).await;
    let wanted = [FREE, MEMBERS, PRO, PAID, GONE];
    let asked = async || ref_tokens(&shop, Some(&access), &ask(&shop, "inside", &wanted)).await.json();
    // What is free is so for those who may see it. Who may not is not told that it is there.
    let answer = asked().await;
    assert_eq!(answer["tokens"][0]["refs"], json!([PRO]));
    let denied = |name: &str| {
        let found =
            answer["denied"].as_array().unwrap().iter().find(|one| one["ref"] == json!(name)).unwrap();
        let id = name.split('/').nth(1).unwrap();
        (
            found["reason"].clone(),
            found["message"].as_str().unwrap().replace(id, "ID"),
            found["app"] == json!(id),
        )
    };
    assert_eq!(denied(PAID).0, json!("purchase_required"));
    assert_eq!(denied(GONE).0, json!("not_found"));
    assert_eq!((denied(FREE), denied(MEMBERS)), (denied(GONE), denied(GONE)));

    entitle(&shop, "ada@example.org", "inside", "org.test.Free", &[Verb::List]).await;
    entitle(&shop, "ada@example.org", "inside", "org.test.Members", &[Verb::List]).await;
    entitle(&shop, "ada@example.org", "inside", "org.test.Paid", &[Verb::List]).await;
    let answer = asked().await;
    let token = answer["tokens"][0]["token"].as_str();
    assert_eq!(answer["tokens"][0]["refs"], json!([FREE, MEMBERS, PRO]));
    for name in [FREE, MEMBERS, PRO] {
        assert_eq!(shop.fetch("inside", name, token).await, 200, "{name}");
    }
    assert_eq!(shop.fetch("inside", PAID, token).await, 403);
    assert_eq!(browser.get("/apps/inside/org.test.Paid").await.status, 200);
    // What becomes one to buy is closed to a token that was given while it was free.
    shop.set_price("inside", "org.test.Free", "3.00").await;
    soon("it is sold", async || shop.fetch("inside", FREE, token).await == 403).await;
}

#[tokio::test]
async fn an_access_token_opens_the_list_by_basic_until_it_is_revoked() {
    let shop = Shop::open().await;
    let account = shop.account("ada@example.org").await;
    let (secret, made) = shop
        .store
        .create_access_token(&account.id, "inside", "robot", None, shop.now(), &mut rng())
        .await
        .unwrap();
    let summary = async |user: &str, password: Option<&str>| {
        let mut request = reqwest::Client::new().get(format!("{}/summary", shop.repo_url("inside")));
        if password.is_some() {
            request = request.basic_auth(user, password);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(summary("", None).await, 401);
    assert_eq!(summary("device", Some("fpt_wrong")).await, 401);
    entitle(&shop, "ada@example.org", "inside", "org.test.Paid", &[Verb::List]).await;
    soon("the secret counts", async || summary("device", Some(secret.expose())).await == 200).await;
    shop.store.revoke_access_token(None, &made.id, shop.now()).await.unwrap();
    soon("the secret has ended", async || summary("device", Some(secret.expose())).await == 401).await;
}

/// Threat 17: what is asked of the database does not depend on what is there. With the rights out of reach, all fails alike.
#[tokio::test]
async fn the_page_of_an_app_asks_the_database_the_same_for_absent_and_forbidden() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("eve@example.org").await;
    let pages = ["/apps/inside/org.test.Paid", "/apps/inside/org.test.Gone", "/apps/none/org.test.Paid"];
    for page in pages {
        assert_eq!(browser.get(page).await.status, 404, "{page}");
    }
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('ALTER TABLE entitlements RENAME TO hidden')";
    let database = shop.config.database.trim_start_matches("sqlite:");
    assert!(Command::new("python3").args(["-c", script, database]).status().unwrap().success());
    for page in pages {
        assert_eq!(browser.get(page).await.status, 500, "{page}");
    }
}
