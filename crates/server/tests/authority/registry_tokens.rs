//! The token realm of registries, where it needs a clock or a page: the rest is in the end-to-end tests, with a real registry.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flatpass_store::{Holder, NewRepo, Registry, RegistryAccess, RepoPolicy, RepoRole, RepoSource};
use flatpass_token::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::shop::{Shop, rng, soon};

const SERVICE: &str = "127.0.0.1:9";

async fn add(shop: &Shop, name: &str, policy: RepoPolicy, access: RegistryAccess) {
    let registry = Registry {
        // Nobody listens at the discard port.
        url: "http://127.0.0.1:9/".into(),
        namespace: Some(name.into()),
        repositories: None,
        access,
        service: SERVICE.into(),
        robot: None,
        webhook: None,
    };
    let new = NewRepo {
        name: name.into(),
        source: RepoSource::Registry(registry),
        policy,
        urls: vec![],
        open_token_types: vec![0],
    };
    shop.store.add_repo(new, shop.now()).await.unwrap();
}

async fn ask(shop: &Shop, scope: &str, secret: Option<&str>) -> Page {
    let browser = shop.browser();
    let path = format!("/oauth/registry-token?service={SERVICE}&offline_token=true&scope={scope}");
    let mut request = browser.request(Method::GET, &path);
    if let Some(secret) = secret {
        request = request.basic_auth("whoever", Some(secret));
    }
    browser.send(request).await
}

async fn refresh(shop: &Shop, token: &str) -> u16 {
    let fields = [("grant_type", "refresh_token"), ("service", SERVICE), ("refresh_token", token)];
    shop.browser().post("/oauth/registry-token", &fields).await.status
}

fn access(page: &Page) -> Value {
    assert_eq!(page.status, 200, "{}", page.body);
    let token = page.json()["token"].as_str().unwrap().to_owned();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["access"].clone()
}

#[tokio::test]
async fn a_token_ends_with_the_access_token_it_came_from_and_with_the_role() {
    let shop = Shop::open().await;
    add(&shop, "images", RepoPolicy::Private, RegistryAccess::Realm).await;
    let ada = shop.account("ada@example.org").await.id;
    let holder = Holder::Account(ada.clone());
    shop.store.set_repo_role("images", &holder, Some(RepoRole::Publisher), shop.now()).await.unwrap();
    let until = Some(shop.now().plus_seconds(400));
    let made = shop.store.create_push_token(&ada, "images", "ci", until, shop.now(), &mut rng()).await;
    let (secret, _) = made.unwrap();
    let push = "repository:images/app:push,pull,delete";
    soon("the registry is known", async || ask(&shop, push, Some(secret.expose())).await.status == 200).await;
    let first = ask(&shop, push, Some(secret.expose())).await;
    assert_eq!(first.json()["expires_in"], json!(300));
    assert_eq!(
        access(&first),
        json!([{"type": "repository", "name": "images/app", "actions": ["pull", "push"]}])
    );
    let refresh_token = first.json()["refresh_token"].as_str().unwrap().to_owned();
    shop.pass_seconds(250);
    assert_eq!(ask(&shop, push, Some(secret.expose())).await.json()["expires_in"], json!(150));
    assert_eq!(refresh(&shop, &refresh_token).await, 200);
    shop.pass_seconds(150);
    assert_eq!(ask(&shop, push, Some(secret.expose())).await.status, 401);
    assert_eq!(refresh(&shop, &refresh_token).await, 401);

    // An access token for another repo opens nothing here, and neither does one of somebody whose role was taken.
    let (other, _) =
        shop.store.create_push_token(&ada, "apps", "", None, shop.now(), &mut rng()).await.unwrap();
    let (secret, _) =
        shop.store.create_push_token(&ada, "images", "", None, shop.now(), &mut rng()).await.unwrap();
    assert_eq!(ask(&shop, push, Some(secret.expose())).await.status, 200);
    let by_other = ask(&shop, push, Some(other.expose())).await;
    shop.store.set_repo_role("images", &holder, None, shop.now()).await.unwrap();
    let by_nobody = ask(&shop, push, Some(secret.expose())).await;
    assert_eq!((by_other.status, &by_other.body), (401, &by_nobody.body));
    assert!(by_other.body.contains("DENIED"), "{}", by_other.body);
}

#[tokio::test]
async fn no_secret_of_a_remotes_address_uses_a_role_and_one_made_to_push_does_through_rotation_and_refresh() {
    let shop = Shop::open().await;
    add(&shop, "images", RepoPolicy::Private, RegistryAccess::Realm).await;
    let ada = shop.account("ada@example.org").await.id;
    let holder = Holder::Account(ada.clone());
    shop.store.set_repo_role("images", &holder, Some(RepoRole::Operator), shop.now()).await.unwrap();
    let now = shop.now();
    let (plain, _) = shop.store.create_access_token(&ada, "images", "", None, now, &mut rng()).await.unwrap();
    let (push, _) = shop.store.create_push_token(&ada, "images", "", None, now, &mut rng()).await.unwrap();
    let all = "repository:images/app:pull,push,delete";
    soon("the registry is known", async || ask(&shop, all, Some(push.expose())).await.status == 200).await;
    let (rotated, _) =
        shop.store.rotate_access_token(plain.expose(), now, &mut rng()).await.unwrap().unwrap();
    for secret in [&plain, &rotated] {
        for scope in [all, "repository:images/app:delete", "repository:images/app:pull"] {
            let refused = ask(&shop, scope, Some(secret.expose())).await;
            assert_eq!(refused.status, 401, "{scope}");
            assert!(refused.body.contains("account/repos/images"), "{}", refused.body);
        }
        let catalog = ask(&shop, &format!("registry:catalog:*+{all}"), Some(secret.expose())).await;
        assert_eq!(access(&catalog), json!([]));
        let refresh = catalog.json()["refresh_token"].as_str().unwrap().to_owned();
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", SERVICE),
            ("refresh_token", &refresh),
            ("scope", all),
        ];
        assert_eq!(shop.browser().post("/oauth/registry-token", &fields).await.status, 401);
    }
    let (rotated, _) = shop.store.rotate_access_token(push.expose(), now, &mut rng()).await.unwrap().unwrap();
    for secret in [&push, &rotated] {
        let given = access(&ask(&shop, all, Some(secret.expose())).await);
        assert_eq!(given[0]["actions"], json!(["pull", "push", "delete"]));
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_answered_as_that_of_a_registry_one_may_not_know_of() {
    let shop = Shop::open().await;
    add(&shop, "hidden", RepoPolicy::Private, RegistryAccess::Realm).await;
    let (ada, eve) = (shop.account("ada@example.org").await.id, shop.account("eve@example.org").await.id);
    let holder = Holder::Account(ada.clone());
    let now = shop.now();
    shop.store.set_repo_role("hidden", &holder, Some(RepoRole::Publisher), now).await.unwrap();
    let (push, _) = shop.store.create_push_token(&ada, "hidden", "", None, now, &mut rng()).await.unwrap();
    let (eves, _) = shop.store.create_access_token(&eve, "apps", "", None, now, &mut rng()).await.unwrap();
    let app = "scope=repository:hidden/app:pull";
    soon("it is there", async || ask(&shop, &app[6..], Some(push.expose())).await.status == 200).await;
    let of = async |service: &str, rest: &str, secret: Option<&str>| {
        let browser = shop.browser();
        let path = format!("/oauth/registry-token?service={service}&{rest}");
        let mut request = browser.request(Method::GET, &path);
        if let Some(secret) = secret {
            request = request.basic_auth("whoever", Some(secret));
        }
        let page = browser.send(request).await;
        let told = if page.status == 200 { access(&page).to_string() } else { page.body };
        (page.status, told)
    };
    for secret in [None, Some(eves.expose()), Some("fpt_wrong")] {
        for rest in ["", app, &format!("{app}&{app}"), "scope=registry:catalog:*", "offline_token=true"] {
            let known = of(SERVICE, rest, secret).await;
            assert_eq!(known, of("127.0.0.1:10", rest, secret).await, "{rest} {secret:?}");
        }
    }
}

#[tokio::test]
async fn a_member_makes_a_password_for_container_tools_on_the_account_page() {
    let shop = Shop::open().await;
    add(&shop, "images", RepoPolicy::Refs, RegistryAccess::Realm).await;
    add(&shop, "hidden", RepoPolicy::Private, RegistryAccess::Realm).await;
    let ada: Browser = shop.signed_up("ada@example.org").await;
    soon("the repo is there", async || ada.get("/account/repos/images").await.status == 200).await;
    let page = ada.get("/account/repos/images").await;
    assert!(page.has("container-login") && !ada.get("/account/repos/apps").await.has("container-login"));
    let csrf = page.hidden_fields("/account/repos/images/container-login").remove(0).1;
    let made = ada.post("/account/repos/images/container-login", &[("csrf", &csrf)]).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert!(made.body.contains(&format!("docker login -u ada@example.org {SERVICE}")), "{}", made.body);
    let secret = made.body.split("id=\"secret\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(
        access(&ask(&shop, "registry:catalog:*+repository:images/x:pull", Some(&secret)).await),
        json!([])
    );
    assert!(ada.get("/account").await.body.contains("container tools"), "it is listed, to be ended");
    let id = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let push = "repository:images/x:push";
    assert_eq!(ask(&shop, push, Some(&secret)).await.status, 401);
    shop.store
        .set_repo_role("images", &Holder::Account(id), Some(RepoRole::Publisher), shop.now())
        .await
        .unwrap();
    assert_eq!(access(&ask(&shop, push, Some(&secret)).await)[0]["actions"], json!(["push"]));

    let post = async |browser: &Browser, repo: &str, csrf: &str| {
        browser.post(&format!("/account/repos/{repo}/container-login"), &[("csrf", csrf)]).await.status
    };
    for repo in ["hidden", "absent", "apps"] {
        assert_eq!(post(&ada, repo, &csrf).await, 404, "{repo}");
    }
    assert_eq!(post(&ada, "images", "forged").await, 403);
    assert_eq!(post(&shop.browser(), "images", &csrf).await, 403);
    let gone = Secret::from(secret);
    let tokens = shop.store.list_access_tokens(None, shop.now()).await.unwrap();
    assert_eq!(tokens.len(), 1, "refused requests made none");
    shop.store.revoke_access_token(None, &tokens[0].id, shop.now()).await.unwrap();
    assert_eq!(ask(&shop, "", Some(gone.expose())).await.status, 401);
}
