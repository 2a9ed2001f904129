//! Purchases: settled by signed messages, by looking up, once (threats 11 to 13).

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flatpass_store::{Order, OrderState, PaymentOutcome};
use reqwest::Method;
use serde_json::json;

use crate::browser::{Browser, Page};
use crate::shop::{Shop, soon};

const OFFER: &str = "/apps/apps/org.test.Paid";

/// The provider's message, signed as it signs them, at that second.
fn report(shop: &Shop, at: i64, body: &str) -> String {
    let secret = std::fs::read(&shop.config.secret_key).unwrap();
    let root = hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii());
    let derived = hmac::sign(&root, b"flatpass sandbox events");
    let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    let tag = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    format!("t={at},v1={}", URL_SAFE_NO_PAD.encode(tag))
}

async fn deliver(shop: &Shop, signature: &str, body: &str) -> u16 {
    let browser = shop.browser();
    let request = browser.request(Method::POST, "/payment/events").header("flatpass-signature", signature);
    browser.send(request.body(body.to_owned())).await.status
}

async fn pay_page(browser: &Browser) -> (Page, String) {
    let offer = browser.get(OFFER).await;
    let page = browser.follow(browser.submit(&offer, OFFER, &[]).await).await;
    assert!(page.has("pay"), "{} {}", page.status, page.body);
    let action = format!(
        "/sandbox/{}",
        page.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap()
    );
    (page, action)
}

async fn orders(shop: &Shop, email: &str) -> Vec<Order> {
    let account = shop.store.account_by_email(email).await.unwrap().unwrap();
    shop.store.orders(&account.id).await.unwrap()
}

async fn owns(browser: &Browser) -> bool {
    browser.get(OFFER).await.body.contains("You have this app")
}

#[tokio::test]
async fn forged_old_and_senseless_messages_give_nothing() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    pay_page(&browser).await;
    let order = orders(&shop, "ada@example.org").await.remove(0);
    let now = shop.now().0;
    let body = json!({ "id": "evt_1", "order": order.id, "outcome": "paid" }).to_string();
    let good = report(&shop, now, &body);
    for signature in [
        "",
        "t=1,v1=x",
        &good.replace("v1=", "v1=A"),
        &report(&shop, now - 301, &body),
        &report(&shop, now, "{}"),
    ] {
        assert_eq!(deliver(&shop, signature, &body).await, 400, "{signature}");
    }
    let other = body.replace("paid", "refunded");
    assert_eq!(deliver(&shop, &good, &other).await, 400);
    for senseless in ["{}", "[1]", r#"{"id":"e","order":"ord_unknown","outcome":"paid"}"#] {
        assert_eq!(deliver(&shop, &report(&shop, now, senseless), senseless).await, 400, "{senseless}");
    }
    assert!(!owns(&browser).await);
    assert_eq!(deliver(&shop, &good, &body).await, 204);
    assert!(owns(&browser).await);
}

#[tokio::test]
async fn messages_that_come_twice_or_in_the_wrong_order_change_nothing_more() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    pay_page(&browser).await;
    let order = orders(&shop, "ada@example.org").await.remove(0);
    let message =
        |id: &str, outcome: &str| json!({ "id": id, "order": order.id, "outcome": outcome }).to_string();
    let send = async |id: &str, outcome: &str| {
        let body = message(id, outcome);
        deliver(&shop, &report(&shop, shop.now().0, &body), &body).await
    };
    assert_eq!(send("evt_1", "paid").await, 204);
    for _ in 0..3 {
        assert_eq!(send("evt_1", "paid").await, 204);
    }
    assert_eq!(send("evt_1", "refunded").await, 400, "one event does not say two things");
    assert_eq!(
        send("evt_0", "declined").await,
        204,
        "late news is accepted, so that it is not sent for ever"
    );
    assert_eq!(send("evt_0b", "cancelled").await, 204);
    assert!(owns(&browser).await);
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    assert_eq!(shop.store.entitlements(&account.id, None, shop.now()).await.unwrap().len(), 1);
    assert_eq!(send("evt_2", "refunded").await, 204);
    assert!(!owns(&browser).await, "the money is back, so the app is too");
    assert_eq!(send("evt_1", "paid").await, 204);
    assert!(!owns(&browser).await, "a replayed payment does not bring it back");
}

/// Threat 12: pressing twice, in two windows, at once.
#[tokio::test]
async fn an_impatient_buyer_pays_once() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let offer = browser.get(OFFER).await;
    let (a, b, c) = tokio::join!(
        browser.submit(&offer, OFFER, &[]),
        browser.submit(&offer, OFFER, &[]),
        browser.submit(&offer, OFFER, &[])
    );
    assert_eq!((a.location(), b.location()), (b.location(), c.location()), "one payment, whoever asks");
    let (page, action) = pay_page(&browser).await;
    let pay = || browser.submit(&page, &action, &[("outcome", "paid")]);
    let (a, b, c) = tokio::join!(pay(), pay(), pay());
    assert!([&a, &b, &c].iter().all(|answer| answer.status == 303), "{a:?} {b:?} {c:?}");
    let after = browser.submit(&page, &action, &[("outcome", "declined")]).await;
    assert_eq!(after.status, 303, "the first decision stands");
    let orders = orders(&shop, "ada@example.org").await;
    assert_eq!(orders.iter().map(|order| order.state).collect::<Vec<_>>(), [OrderState::Paid]);
    assert!(owns(&browser).await);
    let again = browser.post(OFFER, &[("csrf", &offer.hidden_fields(OFFER).remove(0).1)]).await;
    assert_eq!(again.location(), Some("/account"), "what one has is not sold again");
}

/// As after a crash between the provider's decision and our settling: nobody tells us, so we ask.
#[tokio::test]
async fn a_payment_that_nobody_reported_is_found_by_the_page_and_after_a_start() {
    let mut shop = Shop::open().await;
    for (email, restart) in [("ada@example.org", false), ("bob@example.org", true)] {
        let browser = shop.signed_up(email).await;
        pay_page(&browser).await;
        let order = orders(&shop, email).await.remove(0);
        let reference = order.provider_reference.clone().unwrap();
        shop.store.decide_sandbox_payment(&reference, PaymentOutcome::Paid, shop.now()).await.unwrap();
        assert_eq!(shop.store.order(&order.id).await.unwrap().unwrap().state, OrderState::Pending);
        if restart {
            shop.stop().await;
            shop.start().await;
            soon("the pending order is looked up", async || {
                shop.store.order(&order.id).await.unwrap().unwrap().state == OrderState::Paid
            })
            .await;
        } else {
            let page = browser.get(&format!("/orders/{}", order.id)).await;
            assert!(page.body.contains("id=\"order-state\">paid<"), "{}", page.body);
        }
        assert!(owns(&browser).await);
    }
}

#[tokio::test]
async fn other_peoples_orders_and_payments_are_not_there() {
    let shop = Shop::open().await;
    let ada = shop.signed_up("ada@example.org").await;
    let (page, action) = pay_page(&ada).await;
    let order = orders(&shop, "ada@example.org").await.remove(0);
    let eve = shop.signed_up("eve@example.org").await;
    assert_eq!(eve.get(&format!("/orders/{}", order.id)).await.status, 404);
    assert_eq!(eve.get(&action).await.status, 404);
    let csrf = eve.get("/account").await.hidden_fields("/sign-out").remove(0).1;
    assert_eq!(eve.post(&action, &[("csrf", &csrf), ("outcome", "cancelled")]).await.status, 404);
    for outcome in ["", "refunded", "Paid"] {
        assert_eq!(ada.submit(&page, &action, &[("outcome", outcome)]).await.status, 400, "{outcome}");
    }
    assert_eq!(orders(&shop, "ada@example.org").await.remove(0).state, OrderState::Pending);
}
