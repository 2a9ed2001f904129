//! The walk of a device: authorize, token, revoke, introspect, metadata, keys.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flatpass_token::{KeySet, RefName, Verb, Verifier, VerifierConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::{Browser, Page, encoded, form};
use crate::shop::{DASHED, FREE, LOCALE, PAID, Shop, rng};

const VERIFIER: &str = "a-verifier-of-43-to-128-unreserved-characters";
const CALLBACK: &str = "http://127.0.0.1:4711/callback";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()))
}

/// The query of an authorization request, with these fields in place of the usual ones (empty: left out).
pub(crate) fn query(changed: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let usual = [
        ("response_type", "code"),
        ("client_id", "flatpass-authenticator"),
        ("redirect_uri", CALLBACK),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("state", "xyz & more"),
        ("device_name", "Ada's <laptop>"),
    ];
    let value = |name: &str| changed.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let kept = usual.iter().map(|(name, usual)| (*name, value(name).unwrap_or(usual)));
    let added = changed.iter().copied().filter(|(name, _)| usual.iter().all(|(other, _)| other != name));
    encoded(&kept.chain(added).filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>())
}

pub(crate) fn details(repo_url: &str, refs: &[&str]) -> String {
    json!([{ "type": "flatpak_refs", "repo_url": repo_url, "refs": refs }]).to_string()
}

/// Says yes on the page that asks for consent.
async fn allow(browser: &Browser, changed: &[(&str, &str)]) -> Page {
    let page = browser.get(&format!("/oauth/authorize?{}", query(changed))).await;
    assert!(page.has("allow"), "{} {}", page.status, page.body);
    browser.submit(&page, "/oauth/authorize", &[("decision", "allow")]).await
}

pub(crate) async fn token(shop: &Shop, fields: &[(&str, &str)]) -> Page {
    let browser = shop.browser();
    browser.send(form(browser.request(Method::POST, "/oauth/token"), fields)).await
}

async fn exchange(shop: &Shop, code: &str, changed: &[(&str, &str)]) -> Page {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", "flatpass-authenticator"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    fields.retain(|(name, _)| changed.iter().all(|(other, _)| other != name));
    fields.extend(changed.iter().filter(|(_, value)| !value.is_empty()));
    token(shop, &fields).await
}

async fn refresh(shop: &Shop, refresh_token: &str) -> Page {
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "flatpass-authenticator"),
        ("refresh_token", refresh_token),
    ];
    token(shop, &fields).await
}

/// The access token and the refresh token of a new device of the account that is signed in there.
pub(crate) async fn device(shop: &Shop, browser: &Browser) -> (String, String) {
    let code = allow(browser, &[]).await.answer()["code"].clone();
    let answer = exchange(shop, &code, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    pair(&answer)
}

fn pair(answer: &Page) -> (String, String) {
    let answer = answer.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

pub(crate) async fn ref_tokens(shop: &Shop, access: Option<&str>, body: &Value) -> Page {
    let browser = shop.browser();
    let mut request = browser.request(Method::POST, "/api/v1/ref-tokens").json(body);
    if let Some(access) = access {
        request = request.bearer_auth(access);
    }
    browser.send(request).await
}

#[tokio::test]
async fn one_walk_signs_up_sells_asks_for_consent_and_ends_at_the_gate() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    let wanted = details(&shop.repo_url("apps"), &[PAID, LOCALE, FREE]);
    let start = format!("/oauth/authorize?{}", query(&[("authorization_details", &wanted)]));

    let sign_in = browser.follow(browser.get(&start).await).await;
    assert!(sign_in.has("sign-in") && sign_in.has("to-sign-up"), "{}", sign_in.body);
    let link = sign_in.body.split("id=\"to-sign-up\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let sign_up = browser.get(&link.replace("&#38;", "&")).await;
    let account = [("email", "ada@example.org"), ("password", "correct horse battery")];
    let buy = browser.follow(browser.submit(&sign_up, "/sign-up", &account).await).await;
    assert!(buy.has("buy") && buy.body.contains("5.00 EUR"), "{}", buy.body);

    let pay = browser.follow(browser.submit(&buy, "/apps/apps/org.test.Paid", &[]).await).await;
    assert!(pay.has("pay") && pay.has("decline") && pay.has("cancel-payment"), "{}", pay.body);
    let action = pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap();
    let paid = browser.submit(&pay, &format!("/sandbox/{action}"), &[("outcome", "paid")]).await;
    let consent = browser.follow(paid).await;
    assert!(consent.has("allow") && consent.has("deny"), "{}", consent.body);
    assert!(consent.body.contains("laptop&#62;") && !consent.body.contains("<laptop>"), "{}", consent.body);

    let back = browser.submit(&consent, "/oauth/authorize", &[("decision", "allow")]).await;
    assert_eq!(back.status, 303);
    assert!(back.location().unwrap().starts_with("http://127.0.0.1:4711/callback?"), "{back:?}");
    let answer = back.answer();
    assert_eq!(answer["state"], "xyz & more");
    assert_eq!(answer["iss"], shop.url, "RFC 9207");

    let (access, _) = pair(&exchange(&shop, &answer["code"], &[]).await);
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [{ "ref": PAID, "token_type": 2 }, { "ref": LOCALE }] });
    let given = ref_tokens(&shop, Some(&access), &body).await.json();
    let token = given["tokens"][0]["token"].as_str().unwrap();
    assert_eq!(given["tokens"][0]["refs"], json!([PAID, LOCALE]));
    for name in [PAID, LOCALE] {
        assert_eq!(shop.fetch("apps", name, None).await, 401);
        assert_eq!(shop.fetch("apps", name, Some(token)).await, 200);
    }
    assert_eq!(shop.fetch("apps", DASHED, Some(token)).await, 403);

    let page = browser.get("/account").await;
    assert!(page.body.contains("Ada") && page.body.contains("paid") && page.body.contains("sign-out-device"));
}

/// Threat 8: nothing is ever sent to an address that is not the person's own machine.
#[tokio::test]
async fn a_request_with_a_bad_client_or_redirect_ends_on_a_page() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    for uri in [
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1:1@evil.example:80/",
        "http://localhost.evil.example:1/",
        "http://localhost:4711/",
        "http://user@127.0.0.1:4711/",
        "http://127.0.0.1:4711/#fragment",
        "https://127.0.0.1:4711/",
        "https://evil.example/",
        "http://127.0.0.1.evil.example:4711/",
        "//evil.example",
        "javascript:alert(1)",
        "http://127.0.0.1:4711/\r\nx: y",
        "",
    ] {
        for path in ["/oauth/authorize", "/api/login", "/login", "/api/purchase/apps/org.test.Paid"] {
            let page = browser.get(&format!("{path}?{}", query(&[("redirect_uri", uri)]))).await;
            assert_eq!((page.status, page.location()), (400, None), "{path} {uri}");
        }
    }
    for client in ["", "flatpak", "flatpass-authenticator "] {
        let page = browser.get(&format!("/oauth/authorize?{}", query(&[("client_id", client)]))).await;
        assert_eq!((page.status, page.location()), (400, None), "{client:?}");
    }
    let twice = format!("{}&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2F", query(&[]));
    for bad in [twice.as_str(), "", "%", "client_id=%ff"] {
        let page = browser.get(&format!("/oauth/authorize?{bad}")).await;
        assert_eq!((page.status, page.location()), (400, None), "{bad}");
    }
    // The form that says yes checks all of it again.
    let page = browser.get(&format!("/oauth/authorize?{}", query(&[]))).await;
    let csrf = page.hidden_fields("/oauth/authorize").remove(0).1;
    let evil = query(&[("redirect_uri", "https://evil.example/")]);
    let said =
        browser.post("/oauth/authorize", &[("csrf", &csrf), ("request", &evil), ("decision", "allow")]).await;
    assert_eq!((said.status, said.location()), (400, None));
}

#[tokio::test]
async fn every_other_mistake_is_told_to_the_client_with_state_and_issuer() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let elsewhere = details("https://evil.example/repo/apps", &[PAID]);
    let many = details(&shop.repo_url("apps"), &vec![PAID; 1001]);
    for (changed, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("response_type", ""), "unsupported_response_type"),
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", VERIFIER), "invalid_request"),
        (("authorization_details", "x"), "invalid_authorization_details"),
        (("authorization_details", "[{\"type\":\"payment\"}]"), "invalid_authorization_details"),
        (("authorization_details", &elsewhere), "invalid_authorization_details"),
    ] {
        for person in [&browser, &shop.browser()] {
            let answer = person.get(&format!("/oauth/authorize?{}", query(&[changed]))).await.answer();
            assert_eq!(answer["error"], error, "{changed:?}");
            assert_eq!((&answer["state"], &answer["iss"]), (&"xyz & more".to_owned(), &shop.url));
            assert!(!answer.contains_key("code"));
        }
    }
    // Too long for a URL, but a form can hold it.
    let page = browser.get(&format!("/oauth/authorize?{}", query(&[]))).await;
    let csrf = page.hidden_fields("/oauth/authorize").remove(0).1;
    let request = query(&[("authorization_details", &many)]);
    let said = browser
        .post("/oauth/authorize", &[("csrf", &csrf), ("request", &request), ("decision", "allow")])
        .await;
    assert!(said.status == 413 || said.answer()["error"] == "invalid_authorization_details", "{said:?}");
}

#[tokio::test]
async fn who_says_no_anywhere_is_taken_back_with_access_denied() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let wanted = details(&shop.repo_url("apps"), &[PAID]);
    let start = format!("/oauth/authorize?{}", query(&[("authorization_details", &wanted)]));

    let buy = browser.get(&start).await;
    let not_now = browser.submit(&buy, "/oauth/authorize", &[("decision", "deny")]).await;
    assert_eq!(not_now.answer()["error"], "access_denied");

    let pay = browser.follow(browser.submit(&buy, "/apps/apps/org.test.Paid", &[]).await).await;
    // Browsers check each redirect after a form against the policy of the page with the form.
    let policy = pay.header("content-security-policy");
    assert!(policy.contains("form-action 'self' http://127.0.0.1:4711;"), "{policy}");
    let action = format!(
        "/sandbox/{}",
        pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap()
    );
    let cancelled = browser.follow(browser.submit(&pay, &action, &[("outcome", "cancelled")]).await).await;
    let answer = cancelled.answer();
    assert_eq!((answer["error"].as_str(), answer["state"].as_str()), ("access_denied", "xyz & more"));

    let pay = browser.follow(browser.submit(&buy, "/apps/apps/org.test.Paid", &[]).await).await;
    let action = format!(
        "/sandbox/{}",
        pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap()
    );
    let declined = browser.follow(browser.submit(&pay, &action, &[("outcome", "declined")]).await).await;
    assert!(declined.has("declined") && declined.has("buy"), "{}", declined.body);

    let consent = browser.get(&format!("/oauth/authorize?{}", query(&[]))).await;
    let denied = browser.submit(&consent, "/oauth/authorize", &[("decision", "deny")]).await.answer();
    assert_eq!((denied["error"].as_str(), denied["iss"].as_str()), ("access_denied", shop.url.as_str()));
}

#[tokio::test]
async fn a_code_needs_its_verifier_its_redirect_and_its_client() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let other_verifier = VERIFIER.replace('a', "b");
    for (changed, error) in [
        (("code_verifier", ""), "invalid_request"),
        (("code_verifier", "short"), "invalid_request"),
        (("code_verifier", other_verifier.as_str()), "invalid_grant"),
        (("redirect_uri", "http://127.0.0.1:4711/other"), "invalid_grant"),
        (("redirect_uri", "http://127.0.0.1:4712/callback"), "invalid_grant"),
        (("redirect_uri", ""), "invalid_request"),
        (("client_id", "flatpak-sample-authenticator"), "invalid_client"),
        (("client_id", ""), "invalid_client"),
        (("grant_type", "password"), "unsupported_grant_type"),
        (("grant_type", ""), "invalid_request"),
        (("code", ""), "invalid_request"),
        (("code", "fpc_unknown"), "invalid_grant"),
    ] {
        let code = allow(&browser, &[]).await.answer()["code"].clone();
        let answer = exchange(&shop, &code, &[changed]).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(error)), "{changed:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        if error == "invalid_grant" && changed.0 != "code" {
            assert_eq!(exchange(&shop, &code, &[]).await.status, 400, "a guess spends the code: {changed:?}");
        }
    }
    let code = allow(&browser, &[]).await.answer()["code"].clone();
    shop.pass_seconds(61);
    assert_eq!(exchange(&shop, &code, &[]).await.json()["error"], "invalid_grant", "codes live for a minute");
}

#[tokio::test]
async fn the_second_use_of_a_code_ends_what_the_first_gave() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let code = allow(&browser, &[]).await.answer()["code"].clone();
    let (access, refresh_token) = pair(&exchange(&shop, &code, &[]).await);
    assert_eq!(exchange(&shop, &code, &[]).await.json()["error"], "invalid_grant");
    assert_eq!(refresh(&shop, &refresh_token).await.json()["error"], "invalid_grant");
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [] });
    assert_eq!(ref_tokens(&shop, Some(&access), &body).await.status, 401);
}

/// Threat 10.
#[tokio::test]
async fn refresh_tokens_rotate_and_a_used_one_ends_the_device() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (_, first) = device(&shop, &browser).await;
    let (access, second) = pair(&refresh(&shop, &first).await);
    shop.pass_seconds(31);
    assert_eq!(refresh(&shop, &first).await.json()["error"], "invalid_grant");
    assert_eq!(refresh(&shop, &second).await.json()["error"], "invalid_grant", "the whole family has ended");
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [] });
    assert_eq!(ref_tokens(&shop, Some(&access), &body).await.status, 401);
}

#[tokio::test]
async fn the_token_endpoint_takes_forms_that_can_be_read_in_one_way_only() {
    let shop = Shop::open().await;
    let browser = shop.browser();
    let post = |kind: &'static str, body: &'static str| {
        let request = browser.request(Method::POST, "/oauth/token").header("content-type", kind).body(body);
        browser.send(request)
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    for (kind, body, status) in [
        ("application/json", "{}", 415),
        (FORM, "grant_type=refresh_token&grant_type=authorization_code", 400),
        (FORM, "grant_type=%ff", 400),
        (FORM, "grant_type=%", 400),
        (FORM, "", 400),
    ] {
        let answer = post(kind, body).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (status, Some("invalid_request")),
            "{body}"
        );
    }
    let request =
        browser.request(Method::POST, "/oauth/token").basic_auth("flatpass-authenticator", Some("x"));
    let answer = browser.send(form(request, &[("grant_type", "refresh_token")])).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
    assert!(answer.header("www-authenticate").starts_with("Basic"));
    let answer = browser.get("/oauth/token").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn revoking_a_token_signs_its_device_out_and_says_nothing_about_others() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (kept, _) = device(&shop, &browser).await;
    let (access, refresh_token) = device(&shop, &browser).await;
    let revoke = async |token: &str, client: &str| {
        let browser = shop.browser();
        let fields = [("token", token), ("client_id", client)];
        browser.send(form(browser.request(Method::POST, "/oauth/revoke"), &fields)).await
    };
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [] });
    assert_eq!(revoke(&refresh_token, "somebody").await.json()["error"], "invalid_client");
    assert_eq!(ref_tokens(&shop, Some(&access), &body).await.status, 200);
    assert_eq!(revoke(&refresh_token, "flatpass-authenticator").await.status, 200);
    assert_eq!(revoke("fpr_unknown", "flatpass-authenticator").await.status, 200, "RFC 7009 section 2.2");
    assert_eq!(ref_tokens(&shop, Some(&access), &body).await.status, 401);
    assert_eq!(refresh(&shop, &refresh_token).await.json()["error"], "invalid_grant");
    assert_eq!(ref_tokens(&shop, Some(&kept), &body).await.status, 200, "other devices stay");
}

#[tokio::test]
async fn introspection_tells_an_account_about_its_own_tokens_and_nothing_about_others() {
    let shop = Shop::open().await;
    let ada = shop.signed_up("ada@example.org").await;
    let (ada_access, ada_refresh) = device(&shop, &ada).await;
    let (bob_access, _) = device(&shop, &shop.signed_up("bob@example.org").await).await;
    let ask = async |caller: Option<&str>, token: &str| {
        let browser = shop.browser();
        let mut request = form(browser.request(Method::POST, "/oauth/introspect"), &[("token", token)]);
        if let Some(caller) = caller {
            request = request.bearer_auth(caller);
        }
        browser.send(request).await
    };
    let own = ask(Some(&ada_access), &ada_access).await.json();
    assert_eq!((&own["active"], &own["client_id"]), (&json!(true), &json!("flatpass-authenticator")));
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [{ "ref": "app/org.test.Members/x86_64/stable" }] });
    let given = ref_tokens(&shop, Some(&ada_access), &body).await.json();
    let signed = given["tokens"][0]["token"].as_str().unwrap();
    let described = ask(Some(&ada_access), signed).await.json();
    assert_eq!((&described["active"], &described["aud"]), (&json!(true), &json!(shop.repo_url("apps"))));
    assert_eq!(described["exp"], json!(shop.now().0 + 3600));

    let nothing = json!({ "active": false });
    for token in [ada_access.as_str(), signed, "unknown"] {
        assert_eq!(ask(Some(&bob_access), token).await.json(), nothing);
    }
    assert_eq!(
        ask(Some(&ada_access), &ada_refresh).await.json(),
        nothing,
        "a refresh token is for the token endpoint only"
    );
    for caller in [None, Some("fpa_unknown"), Some(ada_refresh.as_str())] {
        let refused = ask(caller, &ada_access).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
    }
    shop.pass_seconds(3600);
    assert_eq!(ask(Some(&ada_access), &ada_access).await.status, 401, "it has expired");
}

#[tokio::test]
async fn metadata_names_every_endpoint_and_the_keys_check_tokens_offline() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let metadata = browser.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["issuer"], json!(shop.url));
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], json!(true));
    for (name, path) in [
        ("authorization_endpoint", "/oauth/authorize"),
        ("token_endpoint", "/oauth/token"),
        ("revocation_endpoint", "/oauth/revoke"),
        ("introspection_endpoint", "/oauth/introspect"),
        ("jwks_uri", "/oauth/jwks"),
        ("flatpass_ref_tokens_endpoint", "/api/v1/ref-tokens"),
    ] {
        assert_eq!(metadata[name], json!(format!("{}{path}", shop.url)));
        assert_ne!(browser.get(path).await.status, 404, "{path}");
    }
    let (access, _) = device(&shop, &browser).await;
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [{ "ref": "app/org.test.Members/x86_64/stable" }] });
    let given = ref_tokens(&shop, Some(&access), &body).await.json();
    let keys = browser.get("/oauth/jwks").await;
    assert!(keys.header("cache-control").contains("max-age="));
    let keys = KeySet::from_jwks_json(&keys.body).unwrap();
    let verifier = Verifier::new(VerifierConfig::new(shop.url.clone(), shop.repo_url("apps")), keys);
    let verified = verifier.verify(given["tokens"][0]["token"].as_str().unwrap(), shop.now()).unwrap();
    assert!(verified.allows(Verb::Download, &RefName::parse("app/org.test.Members/x86_64/stable").unwrap()));

    // A new key is published before it signs, and tokens of the old one stay good.
    shop.store.rotate_key(shop.now(), 600, &mut rng()).await.unwrap();
    crate::shop::soon("the new key is published", async || {
        KeySet::from_jwks_json(&browser.get("/oauth/jwks").await.body).unwrap().len() == 2
    })
    .await;
}
