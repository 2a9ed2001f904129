//! Forms that another site sends in somebody's browser.

use reqwest::Method;

use crate::browser::form;
use crate::oauth::{device, query};
use crate::shop::{PASSWORD, Shop};

/// Threat 8: no form works without the token of this very browser, nor from another origin.
#[tokio::test]
async fn forms_from_elsewhere_are_refused_and_change_nothing() {
    let shop = Shop::open().await;
    let ada = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &ada).await;
    let account = ada.get("/account").await;
    let id = account.body.split("action=\"/account/devices/").nth(1).unwrap().split('/').next().unwrap();
    let sign_out_device = format!("/account/devices/{id}/sign-out");
    let csrf = account.hidden_fields("/sign-out").remove(0).1;
    let offer = ada.get("/apps/apps/org.test.Paid").await;
    let pay = ada.follow(ada.submit(&offer, "/apps/apps/org.test.Paid", &[]).await).await;
    let pay = format!(
        "/sandbox/{}",
        pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap()
    );
    let request = query(&[]);
    let eve = shop.signed_up("eve@example.org").await;
    let eves = eve.get("/account").await.hidden_fields("/sign-out").remove(0).1;
    let group = shop.store.add_group("acme", None, shop.now(), &mut crate::shop::rng()).await.unwrap();
    let ada_id = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
    let role = flatpass_store::Role::Owner;
    shop.store.add_member(&group.id, &ada_id, role, shop.now(), &mut crate::shop::rng()).await.unwrap();
    let [leave, invite, demote, remove] =
        ["leave", "invitations", &format!("members/{ada_id}/role"), &format!("members/{ada_id}/remove")]
            .map(|action| format!("/groups/{}/{action}", group.id));
    let forms: [(&str, &[(&str, &str)]); 16] = [
        ("/account/verify", &[]),
        ("/verify/fpv_x", &[]),
        ("/join/fpi_x", &[]),
        (&leave, &[]),
        (&invite, &[("role", "member")]),
        (&demote, &[("role", "member")]),
        (&remove, &[]),
        ("/sign-in", &[("email", "eve@example.org"), ("password", PASSWORD)]),
        ("/sign-up", &[("email", "new@example.org"), ("password", PASSWORD)]),
        ("/sign-out", &[]),
        ("/account/password", &[("old", PASSWORD), ("new", "another password")]),
        (&sign_out_device, &[]),
        ("/apps/apps/org.test.Paid.Pro", &[]),
        (&pay, &[("outcome", "paid")]),
        ("/oauth/authorize", &[("request", &request), ("decision", "allow")]),
        ("/api/login", &[("redirect_uri", "http://127.0.0.1:4711/"), ("decision", "allow")]),
    ];
    for (path, fields) in forms {
        for token in ["", "x", &eves, &csrf.to_uppercase(), &csrf[1..]] {
            let all = [fields, &[("csrf", token)]].concat();
            let answer = ada.post(path, &all).await;
            assert_eq!(answer.status, 403, "{path} with {token:?}");
        }
        let all = [fields, &[("csrf", csrf.as_str())]].concat();
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", &shop.url.replace("http:", "https:")),
            ("origin", &format!("{}.evil.example", shop.url)),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = ada.request(Method::POST, path).header(name, value);
            assert_eq!(ada.send(form(request, &all)).await.status, 403, "{path} with {name}: {value}");
        }
    }
    let account = ada.get("/account").await;
    assert!(
        account.body.contains("ada@example.org") && account.has("sign-out"),
        "still signed in, as herself"
    );
    assert!(account.body.contains("sign-out-device") && !account.body.contains("Pro"));
    assert!(account.body.contains("waiting for the payment"), "{}", account.body);
    assert!(shop.store.account_by_email("new@example.org").await.unwrap().is_none());
    assert!(shop.store.check_password("ada@example.org", PASSWORD).await.unwrap().is_some());
    let body = crate::ref_tokens::ask(&shop, "apps", &[]);
    assert_eq!(crate::oauth::ref_tokens(&shop, Some(&access), &body).await.status, 200);
}

/// Signing somebody in as the attacker is a forgery too: before there is a session, the token belongs to a cookie.
#[tokio::test]
async fn a_form_before_sign_in_works_only_in_the_browser_that_got_it() {
    let shop = Shop::open().await;
    shop.account("eve@example.org").await;
    let eves_page = shop.browser().get("/sign-in").await;
    let token = eves_page.hidden_fields("/sign-in").remove(0).1;
    let fields = [("csrf", token.as_str()), ("email", "eve@example.org"), ("password", PASSWORD)];
    for visited_before in [false, true] {
        let ada = shop.browser();
        if visited_before {
            ada.get("/sign-in").await;
        }
        assert_eq!(ada.post("/sign-in", &fields).await.status, 403);
        assert_eq!(ada.cookie("flatpass_session"), None);
    }
    let shown = shop.browser().get("/sign-in").await;
    assert!(!shown.body.contains(&token), "each browser has its own");
}
