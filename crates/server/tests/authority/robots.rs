//! Robots at the token endpoint (RFC 6749, 4.4 and 2.3.1).

use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Page, form};
use crate::oauth::{ref_tokens, token};
use crate::ref_tokens::ask;
use crate::shop::{FREE, Shop, rng};

async fn by_basic(shop: &Shop, user: &str, password: &str, more: &[(&str, &str)]) -> Page {
    let browser = shop.browser();
    let request = browser.request(Method::POST, "/oauth/token").basic_auth(user, Some(password));
    let fields: Vec<_> = [("grant_type", "client_credentials")].iter().chain(more).copied().collect();
    browser.send(form(request, &fields)).await
}

#[tokio::test]
async fn a_robot_gets_an_access_token_by_either_way_and_loses_it_with_its_secret() {
    let shop = Shop::open().await;
    let robot = shop.store.create_robot("kiosks", shop.now(), &mut rng()).await.unwrap();
    let (secret, made) = shop
        .store
        .create_robot_secret(&robot.id, "lobby", "ref-tokens", None, shop.now(), &mut rng())
        .await
        .unwrap();
    let (id, secret) = (robot.id.as_str(), secret.expose());
    let fields = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
    let answer = token(&shop, &fields).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    let answer = answer.json();
    assert_eq!((&answer["refresh_token"], &answer["scope"]), (&Value::Null, &json!("ref-tokens")));
    assert_eq!(by_basic(&shop, id, secret, &[("client_id", id)]).await.status, 200);
    let access = answer["access_token"].as_str();
    let tokens = ref_tokens(&shop, access, &ask(&shop, "apps", &[FREE])).await;
    assert_eq!(tokens.json()["open"], json!([FREE]));

    for (page, status, error) in [
        (by_basic(&shop, id, "fpk_wrong", &[]).await, 401, "invalid_client"),
        (by_basic(&shop, "acc_other", secret, &[]).await, 401, "invalid_client"),
        (by_basic(&shop, id, secret, &[("client_secret", secret)]).await, 400, "invalid_request"),
        (by_basic(&shop, id, secret, &[("client_id", "acc_other")]).await, 400, "invalid_request"),
        (token(&shop, &fields[..2]).await, 400, "invalid_request"),
        (token(&shop, &fields[..1]).await, 400, "invalid_request"),
    ] {
        assert_eq!((page.status, &page.json()["error"]), (status, &json!(error)), "{}", page.body);
        assert_eq!(page.header("www-authenticate").starts_with("Basic"), status == 401);
    }
    // No other grant is for robots.
    let refresh = [("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", "x")];
    assert_eq!(token(&shop, &refresh).await.status, 400);

    assert!(shop.store.revoke_device(&robot.id, &made.id, shop.now()).await.unwrap());
    assert_eq!(token(&shop, &fields).await.status, 401);
    assert_eq!(ref_tokens(&shop, access, &ask(&shop, "apps", &[FREE])).await.status, 401);
}
