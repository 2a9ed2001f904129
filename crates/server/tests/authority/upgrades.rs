//! Rights to older versions only: who keeps what, and what they are told.

use flatpass_ostree::Checksum;
use flatpass_store::{Holder, NewEntitlement};
use flatpass_token::{UnixTime, Verb};
use serde_json::{Value, json};

use crate::oauth::{device, ref_tokens};
use crate::rights::{grant, right};
use crate::shop::{START, Shop, commit_at, soon, update_summary};

const AGED: &str = "app/org.test.Aged/x86_64/stable";
/// What flatpak says of a commit that it was refused and knows nothing about.
const ASK_ANYWAY: i32 = i32::MAX;

/// A shop that sells an app with a version from before it opened and one from 1000 seconds later.
struct Scene {
    shop: Shop,
    old: Checksum,
    new: Checksum,
    access: String,
}

impl Scene {
    async fn open() -> Self {
        let shop = Shop::open().await;
        let browser = shop.signed_up("ada@example.org").await;
        let (access, _) = device(&shop, &browser).await;
        let path = shop.repo_path("apps");
        let publish = |after: i64| {
            commit_at(&path, AGED, 2, Some(START.plus_seconds(after)));
            shop.head("apps", AGED)
        };
        let (old, new) = (publish(-1000), publish(1000));
        update_summary(&path);
        shop.set_price("apps", "org.test.Aged", "9.00").await;
        let scene = Self { shop, old, new, access };
        soon("the app is known", async || {
            scene.ask("", 2).await["denied"][0]["reason"] == "purchase_required"
        })
        .await;
        scene
    }

    async fn ask(&self, commit: &str, token_type: i32) -> Value {
        let wanted = json!({ "ref": AGED, "commit": commit, "token_type": token_type });
        let body = json!({ "repo_url": self.shop.repo_url("apps"), "refs": [wanted] });
        ref_tokens(&self.shop, Some(&self.access), &body).await.json()
    }

    /// What the gate says to the old and the new version.
    async fn opens(&self, token: &str) -> [u16; 2] {
        let status = async |commit| self.shop.fetch_commit("apps", commit, Some(token)).await;
        [status(&self.old).await, status(&self.new).await]
    }

    async fn give(&self, change: impl FnOnce(NewEntitlement) -> NewEntitlement) {
        let account = self.shop.store.account_by_email("ada@example.org").await.unwrap().unwrap().id;
        grant(&self.shop, change(right(&self.shop, Holder::Account(account), "apps", "org.test.Aged"))).await;
    }
}

fn token(answer: &Value) -> &str {
    answer["tokens"][0]["token"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn too_new(answer: &Value) -> &str {
    assert_eq!(answer["denied"][0]["reason"], "upgrade_required", "{answer}");
    assert_eq!(answer["tokens"], json!([]));
    answer["denied"][0]["message"].as_str().unwrap()
}

#[tokio::test]
async fn who_has_no_right_to_updates_any_more_keeps_the_older_versions_and_is_told_why() {
    let scene = Scene::open().await;
    let until = |seconds: i64| Some(START.plus_seconds(seconds));
    scene.give(|new| NewEntitlement { upgrades_until: until(500), ..new }).await;
    // As long as it goes on nothing is special, but the token ends with it and does not open what comes later.
    let head = scene.ask(&scene.new.to_hex(), 2).await;
    assert_eq!(
        (&head["tokens"][0]["expires_in"], &head["tokens"][0]["limited"]),
        (&json!(500), &Value::Null)
    );
    assert_eq!(scene.opens(token(&head)).await, [200, 403]);

    scene.shop.pass_seconds(600);
    let url = format!("{}/apps/apps/org.test.Aged", scene.shop.url);
    for (commit, token_type) in
        [(scene.new.to_hex(), 2), (scene.new.to_hex(), ASK_ANYWAY), (String::new(), 2)]
    {
        let answer = scene.ask(&commit, token_type).await;
        let told = too_new(&answer);
        let expected = "Your right to updates of Aged (org.test.Aged) ended on 2026-09-21. The version you have keeps working.";
        assert!(told.starts_with(expected) && told.contains(&url), "{told}");
        assert_eq!(answer["denied"][0]["url"], json!(url));
    }
    // `flatpak update --commit=OLD`: named, or not.
    for (commit, token_type) in
        [(scene.old.to_hex(), 2), (scene.old.to_hex(), ASK_ANYWAY), (String::new(), ASK_ANYWAY)]
    {
        let answer = scene.ask(&commit, token_type).await;
        assert_eq!(answer["tokens"][0]["limited"], json!(true), "{answer}");
        assert_eq!(scene.opens(token(&answer)).await, [200, 403], "{commit} {token_type}");
    }
    // It can be bought again, and then all is open.
    let browser = scene.shop.browser();
    let page = browser.get("/sign-in").await;
    let who = [("email", "ada@example.org"), ("password", crate::shop::PASSWORD)];
    browser.submit(&page, "/sign-in", &who).await;
    let page = browser.get("/apps/apps/org.test.Aged").await;
    let pay = browser.follow(browser.submit(&page, "/apps/apps/org.test.Aged", &[]).await).await;
    let action = pay.body.split("action=\"/sandbox/").nth(1).unwrap().split('"').next().unwrap();
    browser.follow(browser.submit(&pay, &format!("/sandbox/{action}"), &[("outcome", "paid")]).await).await;
    let whole = scene.ask(&scene.new.to_hex(), 2).await;
    assert_eq!(whole["tokens"][0]["limited"], Value::Null);
    assert_eq!(scene.opens(token(&whole)).await, [200, 200]);
}

#[tokio::test]
async fn a_right_without_upgrade_covers_what_there_was_when_it_began() {
    let scene = Scene::open().await;
    scene.give(|new| NewEntitlement { verbs: vec![Verb::List, Verb::Download], ..new }).await;
    let answer = scene.ask(&scene.new.to_hex(), 2).await;
    let told = too_new(&answer);
    assert!(told.contains("is to its version of 2026-09-21, without updates"), "{told}");
    assert_eq!(scene.opens(token(&scene.ask(&scene.old.to_hex(), 2).await)).await, [200, 403]);
}

/// Bought before there was anything: the first version is what was bought.
#[tokio::test]
async fn a_right_without_upgrade_from_before_the_first_version_covers_that_one() {
    let scene = Scene::open().await;
    let early =
        |starts_at: UnixTime| move |new| NewEntitlement { verbs: vec![Verb::Download], starts_at, ..new };
    scene.give(early(START.plus_seconds(-5000))).await;
    assert!(too_new(&scene.ask(&scene.new.to_hex(), 2).await).contains("without updates"));
    for (commit, token_type) in [(scene.old.to_hex(), 2), (String::new(), ASK_ANYWAY)] {
        let answer = scene.ask(&commit, token_type).await;
        assert_eq!(scene.opens(token(&answer)).await, [200, 403], "{commit}");
    }
    // Where the history was pruned, what there is now is not the first.
    let hex = scene.old.to_hex();
    let path = scene.shop.repo_path("apps").join(format!("objects/{}/{}.commit", &hex[..2], &hex[2..]));
    std::fs::remove_file(path).unwrap();
    too_new(&scene.ask(&scene.new.to_hex(), 2).await);
}
