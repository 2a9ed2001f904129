//! What people see and what their browsers are told.

use reqwest::Method;

use crate::oauth::{device, query};
use crate::shop::{PASSWORD, Shop};

/// Threat 8: no page may be framed, read by other sites or kept.
#[tokio::test]
async fn every_page_has_the_headers_that_protect_it() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let authorize = format!("/oauth/authorize?{}", query(&[]));
    let pages = [
        "/",
        "/sign-in",
        "/sign-up",
        "/account",
        "/apps/apps/org.test.Paid",
        "/orders/ord_none",
        "/sandbox/pay/none",
        "/nothing",
        "/oauth/authorize",
        "/api/login",
        "/sign-out",
        "/static/none.css",
        &authorize,
    ];
    for person in [&browser, &shop.browser()] {
        for path in pages {
            let page = person.get(path).await;
            let policy = page.header("content-security-policy");
            if page.status == 200 {
                assert!(
                    policy.starts_with("default-src 'none'; style-src 'self'; form-action 'self'"),
                    "{path}: {policy}"
                );
                assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
                assert!(
                    page.body.contains("<html lang=\"en\">") && page.body.contains("name=\"viewport\""),
                    "{path}"
                );
                assert!(
                    !page.body.contains("<script")
                        && !page.body.contains("style=")
                        && !page.body.contains("<style")
                );
            } else if page.status != 303 {
                assert!(
                    (400..500).contains(&page.status) && policy.contains("frame-ancestors 'none'"),
                    "{path}: {page:?}"
                );
            }
            assert_eq!(page.header("cache-control"), "no-store", "{path}");
            assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
            assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        }
    }
    let home = browser.get("/").await;
    let style = home.body.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let style = browser.get(style).await;
    assert_eq!((style.status, style.header("content-type")), (200, "text/css; charset=utf-8"));
    assert!(style.header("cache-control").contains("immutable"));
    let ipv6 = query(&[("redirect_uri", "http://[::1]:4711/x")]);
    let policy = browser.get(&format!("/oauth/authorize?{ipv6}")).await;
    assert!(policy.header("content-security-policy").contains("form-action 'self' http:;"), "{policy:?}");
}

#[tokio::test]
async fn what_people_type_is_shown_as_text() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    let page = browser.get("/sign-up").await;
    let wicked = "\"><script>alert(1)</script>";
    let again = browser.submit(&page, "/sign-up", &[("email", wicked), ("password", "x")]).await;
    assert_eq!(again.status, 422);
    assert!(!again.body.contains("<script") && again.body.contains("&#60;script"), "{}", again.body);
    let next = browser.get(&format!("/sign-in?next={}", "/%22%3E%3Cscript%3E")).await;
    assert!(!next.body.contains("<script"), "{}", next.body);
}

#[tokio::test]
async fn cookies_are_for_this_host_only_and_out_of_reach_of_scripts() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    let page = browser.get("/sign-up").await;
    let form_cookie = page.header("set-cookie").to_owned();
    let fields = [("email", "ada@example.org"), ("password", PASSWORD)];
    let session_cookie = browser.submit(&page, "/sign-up", &fields).await.header("set-cookie").to_owned();
    for (name, cookie) in [("flatpass_form", form_cookie), ("flatpass_session", session_cookie)] {
        assert!(cookie.starts_with(&format!("{name}=")), "{cookie}");
        for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
    }
    // Behind a proxy that ends TLS.
    let https = Shop::open_with("", |config| config.url = "https://shop.example/".parse().unwrap()).await;
    let cookie = https.browser().get("/sign-up").await.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-flatpass_form=") && cookie.ends_with("; Secure"), "{cookie}");
}

/// Threat 8: whoever plants a session or form cookie before the sign-in has nothing after it.
#[tokio::test]
async fn each_sign_in_begins_a_session_of_its_own() {
    let shop = Shop::open().await;
    let eve = shop.signed_up("eve@example.org").await;
    let planted = eve.cookie("flatpass_session").unwrap();
    let ada = shop.browser();
    ada.plant("flatpass_session", &planted);
    let page = ada.get("/sign-up").await;
    let fields = [("email", "ada@example.org"), ("password", PASSWORD)];
    assert_eq!(ada.submit(&page, "/sign-up", &fields).await.status, 303);
    assert_ne!(ada.cookie("flatpass_session").unwrap(), planted);
    assert!(ada.get("/account").await.body.contains("ada@example.org"));
    assert_eq!(eve.get("/account").await.status, 303, "the planted session has ended");

    let before = ada.cookie("flatpass_session").unwrap();
    let account = ada.get("/account").await;
    assert_eq!(ada.submit(&account, "/sign-out", &[]).await.status, 303);
    let thief = shop.browser();
    thief.plant("flatpass_session", &before);
    assert_eq!(thief.get("/account").await.status, 303, "signing out ends it on the server");
}

#[tokio::test]
async fn next_leads_only_to_pages_of_this_store() {
    let shop = Shop::open().await;
    shop.account("ada@example.org").await;
    for (next, expected) in [
        ("/apps/apps/org.test.Paid", "/apps/apps/org.test.Paid"),
        ("https://evil.example/", "/account"),
        ("//evil.example/", "/account"),
        ("/\\evil.example/", "/account"),
        ("\\\\evil.example", "/account"),
        ("/\t/evil.example", "/account"),
        ("/a\r\nSet-Cookie: x=y", "/account"),
        ("javascript:alert(1)", "/account"),
        ("", "/account"),
    ] {
        let browser = shop.browser();
        let page = browser.get("/sign-in").await;
        let csrf = page.hidden_fields("/sign-in").remove(0).1;
        let fields =
            [("csrf", csrf.as_str()), ("email", "ada@example.org"), ("password", PASSWORD), ("next", next)];
        let answer = browser.post("/sign-in", &fields).await;
        assert_eq!((answer.status, answer.location()), (303, Some(expected)), "{next:?}");
        let there = browser
            .get(&format!("/sign-in?next={}", crate::browser::encoded(&[("", next)]).trim_start_matches('=')))
            .await;
        assert_eq!(there.location(), Some(expected), "{next:?}");
    }
}

/// Threat 9: an unknown account and a wrong password look the same.
#[tokio::test]
async fn signing_in_does_not_tell_which_accounts_exist() {
    let shop = Shop::open().await;
    let account = shop.account("ada@example.org").await;
    let disabled = shop.account("off@example.org").await;
    shop.store.disable_account(&disabled.id, shop.now()).await.unwrap();
    let browser = shop.browser();
    let page = browser.get("/sign-in").await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.org", "wrong password"),
        ("bob@example.org", "wrong password"),
        ("off@example.org", PASSWORD),
    ] {
        let answer = browser.submit(&page, "/sign-in", &[("email", email), ("password", password)]).await;
        assert_eq!(answer.status, 422);
        assert!(answer.body.contains("role=\"alert\"") && answer.body.contains("aria-describedby=\"error\""));
        answers.push(answer.body.replace(email, "EMAIL"));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(shop.store.account(&account.id).await.unwrap().unwrap().email, "ada@example.org");
    let right =
        browser.submit(&page, "/sign-in", &[("email", " ADA@example.org "), ("password", PASSWORD)]).await;
    assert_eq!(right.status, 303);
}

#[tokio::test]
async fn signing_up_says_what_is_wrong_next_to_the_field() {
    let shop = Shop::open().await;
    shop.account("ada@example.org").await;
    let browser = shop.browser();
    let page = browser.get("/sign-up").await;
    for (email, password, mark) in [
        ("no address", PASSWORD, "id=\"email-error\""),
        ("ada@example.org", "another password", "id=\"email-error\""),
        ("bob@example.org", "short", "id=\"password-error\""),
        ("", "", "id=\"email-error\""),
    ] {
        let answer = browser.submit(&page, "/sign-up", &[("email", email), ("password", password)]).await;
        assert_eq!(answer.status, 422, "{email}");
        assert!(
            answer.body.contains(mark) && answer.body.contains("aria-invalid=\"true\""),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains(password) || password.is_empty(), "a password is never shown again");
        assert_eq!(browser.cookie("flatpass_session"), None);
    }
    let own =
        browser.submit(&page, "/sign-up", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
    assert_eq!(own.status, 303, "who has the account and its password is signed in");
}

#[tokio::test]
async fn a_changed_password_ends_the_other_browsers_and_keeps_this_one() {
    let shop = Shop::open().await;
    let here = shop.signed_up("ada@example.org").await;
    let there = shop.browser();
    let page = there.get("/sign-in").await;
    there.submit(&page, "/sign-in", &[("email", "ada@example.org"), ("password", PASSWORD)]).await;
    let change = async |old: &str, new: &str| {
        let account = here.get("/account").await;
        here.submit(&account, "/account/password", &[("old", old), ("new", new)]).await
    };
    let wrong = change("not it at all", "a new password").await;
    assert!(wrong.status == 422 && wrong.has("old-error"), "{}", wrong.body);
    let short = change(PASSWORD, "short").await;
    assert!(short.status == 422 && short.has("new-error"), "{}", short.body);
    assert_eq!(there.get("/account").await.status, 200);
    let done = change(PASSWORD, "a new password").await;
    assert!(done.status == 200 && done.body.contains("role=\"status\""), "{}", done.body);
    assert_eq!(here.get("/account").await.status, 200);
    assert_eq!(there.get("/account").await.status, 303);
    let again = shop.browser();
    let page = again.get("/sign-in").await;
    let sign_in = async |password| {
        again.submit(&page, "/sign-in", &[("email", "ada@example.org"), ("password", password)]).await
    };
    assert_eq!(sign_in(PASSWORD).await.status, 422);
    assert_eq!(sign_in("a new password").await.status, 303);
}

#[tokio::test]
async fn a_device_can_be_signed_out_by_its_owner_only() {
    let shop = Shop::open().await;
    let ada = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &ada).await;
    let account = ada.get("/account").await;
    assert!(account.body.contains("Ada&#39;s &#60;laptop&#62;"), "{}", account.body);
    let id = account.body.split("action=\"/account/devices/").nth(1).unwrap().split('/').next().unwrap();
    let eve = shop.signed_up("eve@example.org").await;
    let csrf = eve.get("/account").await.hidden_fields("/sign-out").remove(0).1;
    let path = format!("/account/devices/{id}/sign-out");
    eve.post(&path, &[("csrf", &csrf)]).await;
    let works = async || {
        let body = crate::ref_tokens::ask(&shop, "apps", &[]);
        crate::oauth::ref_tokens(&shop, Some(&access), &body).await.status
    };
    assert_eq!(works().await, 200);
    ada.submit(&account, &path, &[]).await;
    assert_eq!(works().await, 401, "at once");
    assert!(!ada.get("/account").await.body.contains("sign-out-device"));
}

#[tokio::test]
async fn unknown_methods_and_pages_are_told_apart() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    for (method, path, status) in [
        (Method::PUT, "/sign-in", 405),
        (Method::DELETE, "/account", 405),
        (Method::GET, "/sign-out", 405),
        (Method::POST, "/", 405),
        (Method::GET, "/api/v1/ref-tokens", 405),
        (Method::from_bytes(b"BREW").unwrap(), "/sign-in", 405),
        (Method::POST, "/repo/apps/config", 405),
        (Method::POST, "/nothing", 404),
        (Method::GET, "/problems", 404),
        (Method::HEAD, "/sign-in", 200),
    ] {
        let answer = browser.send(browser.request(method.clone(), path)).await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 405 {
            assert_ne!(answer.header("allow"), "", "{method} {path}");
            assert!(!answer.body.is_empty());
        }
    }
    assert_eq!(browser.get("/healthz").await.body, "ok\n");
}
