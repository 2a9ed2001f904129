//! The endpoint that gives tokens for refs.

use flatpass_store::{AppPattern, Holder, NewEntitlement, Source, SourceKind, What};
use flatpass_token::{MAX_TOKEN_BYTES, Verb};
use serde_json::{Value, json};

use crate::oauth::{device, ref_tokens};
use crate::shop::{
    DASHED, DASHED_LOCALE, FREE, LOCALE, MEMBERS, PAID, PRO, PRO_LOCALE, Shop, UNSOLD, commit, rng, soon,
    update_summary,
};

/// What flatpak says of a commit that it was refused and knows nothing about.
const ASK_ANYWAY: i32 = i32::MAX;

pub(crate) fn ask(shop: &Shop, repo: &str, refs: &[&str]) -> Value {
    let refs: Vec<_> = refs.iter().map(|name| json!({ "ref": name })).collect();
    json!({ "repo_url": shop.repo_url(repo), "refs": refs })
}

pub(crate) async fn entitle(shop: &Shop, email: &str, repo: &str, app: &str, verbs: &[Verb]) {
    let account = shop.store.account_by_email(email).await.unwrap().unwrap();
    let new = NewEntitlement {
        holder: Holder::Account(account.id),
        what: What::Apps { repo: repo.to_owned(), app: app.parse::<AppPattern>().unwrap(), branch: None },
        verbs: verbs.to_vec(),
        starts_at: shop.now(),
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
}

/// The same for each member of a group.
pub(crate) async fn entitle_group(
    shop: &Shop,
    group: &flatpass_store::Group,
    repo: &str,
    app: &str,
    verbs: &[Verb],
) {
    let new = NewEntitlement {
        holder: Holder::Group(group.id.clone()),
        what: What::Apps { repo: repo.to_owned(), app: app.parse::<AppPattern>().unwrap(), branch: None },
        verbs: verbs.to_vec(),
        starts_at: shop.now(),
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
    };
    shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
}

fn reasons(answer: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value| value.as_str().unwrap().to_owned().leak() as &str;
    answer["denied"].as_array().unwrap().iter().map(|one| (text(&one["ref"]), text(&one["reason"]))).collect()
}

#[tokio::test]
async fn without_an_account_free_refs_are_open_and_the_others_say_what_to_do() {
    let shop = Shop::open().await;
    let body =
        ask(&shop, "apps", &[FREE, PAID, LOCALE, MEMBERS, "app/org.test.Gone/x86_64/stable", "no ref"]);
    let answer = ref_tokens(&shop, None, &body).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    let answer = answer.json();
    assert_eq!(
        (&answer["repo"], &answer["open"], &answer["tokens"]),
        (&json!("apps"), &json!([FREE]), &json!([]))
    );
    let expected = [
        (PAID, "sign_in_required"),
        (LOCALE, "sign_in_required"),
        (MEMBERS, "sign_in_required"),
        ("app/org.test.Gone/x86_64/stable", "not_found"),
        ("no ref", "not_found"),
    ];
    assert_eq!(reasons(&answer), expected);
    assert_eq!(answer["denied"][1]["app"], "org.test.Paid", "an extension counts as its app");
    let message = answer["denied"][0]["message"].as_str().unwrap();
    assert!(message.contains("org.test.Paid") && message.contains(&shop.url), "{message}");
}

#[tokio::test]
async fn a_signed_in_account_gets_what_it_may_have_and_a_reason_for_the_rest() {
    let shop = Shop::open().await;
    let browser = shop.signed_up("ada@example.org").await;
    let (access, _) = device(&shop, &browser).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.My-App", &[Verb::Download, Verb::Upgrade]).await;
    let wanted = [FREE, PAID, LOCALE, MEMBERS, DASHED, DASHED_LOCALE, PRO, PRO_LOCALE, UNSOLD];
    let answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &wanted)).await.json();
    assert_eq!(answer["open"], json!([FREE]));
    let tokens = answer["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 1, "one token for all");
    let mine = [PAID, LOCALE, MEMBERS, DASHED, DASHED_LOCALE];
    assert_eq!((&tokens[0]["refs"], &tokens[0]["expires_in"]), (&json!(mine), &json!(3600)));
    // The app whose id only begins alike is another app.
    let expected = [(PRO, "purchase_required"), (PRO_LOCALE, "purchase_required"), (UNSOLD, "not_found")];
    assert_eq!(reasons(&answer), expected);
    let pro = &answer["denied"][0];
    assert_eq!(pro["url"], json!(format!("{}/apps/apps/org.test.Paid.Pro", shop.url)));
    let message = pro["message"].as_str().unwrap();
    assert!(message.contains("25.00 EUR") && message.contains("/apps/apps/org.test.Paid.Pro"), "{message}");

    let token = tokens[0]["token"].as_str();
    for name in mine {
        assert_eq!(shop.fetch("apps", name, None).await, 401, "{name}");
        assert_eq!(shop.fetch("apps", name, token).await, 200, "{name}");
    }
    for name in [PRO, PRO_LOCALE, UNSOLD, "app/org.test.Paid/x86_64/beta", "app/org.test.Paid/aarch64/stable"]
    {
        assert_eq!(
            shop.fetch("apps", name, token).await,
            403,
            "nothing is covered that was not asked for: {name}"
        );
    }
    assert_eq!(shop.fetch("inside", PAID, token).await, 401, "a token is for one repo");
    shop.pass_seconds(3606);
    assert_eq!(shop.fetch("apps", PAID, token).await, 401);
}

#[tokio::test]
async fn branches_and_architectures_are_not_mixed() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.*", &[Verb::Download, Verb::Upgrade]).await;
    let body = ask(&shop, "apps", &["app/org.test.Paid/x86_64/beta", PRO]);
    let answer = ref_tokens(&shop, Some(&access), &body).await.json();
    let token = answer["tokens"][0]["token"].as_str();
    assert_eq!(shop.fetch("apps", "app/org.test.Paid/x86_64/beta", token).await, 200);
    assert_eq!(shop.fetch("apps", PRO, token).await, 200);
    assert_eq!(shop.fetch("apps", PAID, token).await, 403, "neither of the two");
}

#[tokio::test]
async fn an_entitlement_gives_its_verbs_and_ends_when_it_is_revoked() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::List]).await;
    let denied = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
    assert_eq!(reasons(&denied), [(PAID, "purchase_required")], "to see is not to have");
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download]).await;
    let given = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
    assert_eq!(given["tokens"][0]["refs"], json!([PAID]));
    let account = shop.store.account_by_email("ada@example.org").await.unwrap().unwrap();
    for entitlement in shop.store.entitlements(&account.id, None, shop.now()).await.unwrap() {
        shop.store.revoke_entitlement(&entitlement.id, shop.now()).await.unwrap();
    }
    let after = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &[PAID])).await.json();
    assert_eq!(reasons(&after), [(PAID, "purchase_required")]);
}

#[tokio::test]
async fn a_thousand_refs_come_in_tokens_that_fit_into_a_header() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    entitle(&shop, "ada@example.org", "apps", "*", &[Verb::Download, Verb::Upgrade]).await;
    let path = shop.repo_path("apps");
    let long = "x".repeat(200);
    let head = std::fs::read(path.join("refs/heads").join(PAID)).unwrap();
    let names: Vec<_> =
        (0..1000).map(|number| format!("app/org.test.{long}{number}/x86_64/b{}", number % 40)).collect();
    for name in &names {
        let file = path.join("refs/heads").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, &head).unwrap();
    }
    update_summary(&path);
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    let mut answer = Value::Null;
    soon("the new refs are known", async || {
        answer = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &wanted)).await.json();
        answer["denied"] == json!([])
    })
    .await;
    let tokens = answer["tokens"].as_array().unwrap();
    let refs: usize = tokens.iter().map(|one| one["refs"].as_array().unwrap().len()).sum();
    assert_eq!(refs, 1000);
    assert!(tokens.iter().all(|one| one["token"].as_str().unwrap().len() <= MAX_TOKEN_BYTES));
    assert!(tokens.len() < 100, "{} tokens", tokens.len());

    let more = [wanted.as_slice(), &[PAID]].concat();
    let refused = ref_tokens(&shop, Some(&access), &ask(&shop, "apps", &more)).await;
    assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("1000"));
}

/// Threat 5: the authenticator asks whether a URL is the authority's own, and must be told no.
#[tokio::test]
async fn urls_that_are_not_of_this_store_are_unknown() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let host = shop.url.strip_prefix("http://").unwrap();
    for url in [
        "https://evil.example/repo/apps".to_owned(),
        format!("{}/repo/Other", shop.url),
        format!("{}/repo/apps/..", shop.url),
        format!("{}/repo/apps?x", shop.url),
        format!("{}/", shop.url),
        format!("https://{host}/repo/apps"),
        format!("http://user:secret@{host}/repo/apps"),
        format!("http://{host}@evil.example/repo/apps"),
        format!("http://{host}.evil.example/repo/apps"),
        String::new(),
    ] {
        let body = json!({ "repo_url": url, "refs": [{ "ref": FREE }] });
        let answer = ref_tokens(&shop, Some(&access), &body).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "application/problem+json"),
            "{url}"
        );
        assert!(problem["type"].as_str().unwrap().ends_with("/problems/unknown-repo"), "{problem}");
        assert!(!answer.body.contains("eyJ"));
    }
    for url in [format!("{}/repo/apps/", shop.url), format!("HTTP://{host}/repo/apps")] {
        let body = json!({ "repo_url": url, "refs": [{ "ref": FREE }] });
        assert_eq!(ref_tokens(&shop, Some(&access), &body).await.status, 200, "{url}");
    }
}

#[tokio::test]
async fn bad_tokens_and_bodies_are_told_and_change_nothing() {
    let shop = Shop::open().await;
    let body = ask(&shop, "apps", &[PAID]);
    for bad in ["fpa_unknown", "x", "eyJhbGciOiJub25lIn0.e30."] {
        let answer = ref_tokens(&shop, Some(bad), &body).await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{answer:?}");
    }
    let browser = shop.browser();
    let deep = format!("{{\"repo_url\":\"x\",\"refs\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    for text in ["", "{", "[]", "{}", "{\"repo_url\":1,\"refs\":[]}", "{\"repo_url\":\"x\"}", "\u{0}", &deep]
    {
        let request = browser.request(reqwest::Method::POST, "/api/v1/ref-tokens").body(text.to_owned());
        let answer = browser.send(request).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, "application/problem+json"),
            "{text:.40}"
        );
    }
    let huge = browser.request(reqwest::Method::POST, "/api/v1/ref-tokens").body("x".repeat(600_000));
    assert_eq!(browser.send(huge).await.status, 413);
    let basic =
        browser.request(reqwest::Method::POST, "/api/v1/ref-tokens").basic_auth("a", Some("b")).json(&body);
    assert_eq!(browser.send(basic).await.status, 401);
}

/// `flatpak update --commit=…` asks for a commit that the summary does not list, after a 401 and with the token type 2147483647.
#[tokio::test]
async fn an_older_commit_is_judged_by_itself() {
    let shop = Shop::open().await;
    let (access, _) = device(&shop, &shop.signed_up("ada@example.org").await).await;
    let old = shop.head("apps", PAID);
    let path = shop.repo_path("apps");
    shop.store.remove_offer("apps", "org.test.Paid").await.unwrap();
    commit(&path, PAID, 0);
    update_summary(&path);
    let named = |commit: &str, kind: i32| json!({ "repo_url": shop.repo_url("apps"), "refs": [{ "ref": PAID, "commit": commit, "token_type": kind }] });
    let new = shop.head("apps", PAID).to_string();
    soon("the app is free now", async || {
        ref_tokens(&shop, Some(&access), &named(&new, 0)).await.json()["open"] == json!([PAID])
    })
    .await;
    let old_text = old.to_string();
    assert_eq!(shop.fetch_commit("apps", &old, None).await, 401, "what it was sold as stays guarded");
    for commit in [old_text.as_str(), ""] {
        let denied = ref_tokens(&shop, Some(&access), &named(commit, ASK_ANYWAY)).await.json();
        assert_eq!(denied["denied"][0]["ref"], json!(PAID), "an empty token would only be refused again");
        assert_eq!(denied["tokens"], json!([]), "that it is free now gives nobody what was sold");
    }
    entitle(&shop, "ada@example.org", "apps", "org.test.Paid", &[Verb::Download, Verb::Upgrade]).await;
    for commit in [old_text.as_str(), ""] {
        let given = ref_tokens(&shop, Some(&access), &named(commit, ASK_ANYWAY)).await.json();
        let token = given["tokens"][0]["token"].as_str();
        assert_eq!(shop.fetch_commit("apps", &old, token).await, 200, "{commit:?}");
    }
    // A commit of another ref proves nothing about this one.
    let other = shop.head("apps", FREE).to_string();
    let body = json!({ "repo_url": shop.repo_url("apps"), "refs": [{ "ref": PRO, "commit": other, "token_type": 0 }] });
    assert_eq!(reasons(&ref_tokens(&shop, Some(&access), &body).await.json()), [(PRO, "purchase_required")]);
}

#[tokio::test]
async fn what_commands_and_publishers_change_is_taken_up_while_serving() {
    let shop = Shop::open().await;
    let body = ask(&shop, "apps", &[FREE]);
    shop.set_price("apps", "org.test.Free", "2.00").await;
    soon("the price counts", async || {
        ref_tokens(&shop, None, &body).await.json()["open"] == json!([])
            && shop.fetch("apps", FREE, None).await == 401
    })
    .await;
    shop.store.remove_offer("apps", "org.test.Free").await.unwrap();
    soon("it is free again", async || {
        ref_tokens(&shop, None, &body).await.json()["open"] == json!([FREE])
            && shop.fetch("apps", FREE, None).await == 200
    })
    .await;
    shop.store.remove_repo("apps", shop.now()).await.unwrap();
    soon("the repo is gone", async || ref_tokens(&shop, None, &body).await.json()["open"] == json!([])).await;
    // A summary that is damaged while serving takes the other repo not down, and is told in the log only.
    std::fs::write(shop.repo_path("inside").join("summary"), b"not a summary").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(shop.browser().get("/healthz").await.status, 200);
}
