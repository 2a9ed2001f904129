//! What an account loses while tokens that say otherwise are alive.

use flatpass_token::{
    AccessGrant, Claims, CommitMade, Grant, KeySet, Revocations, Secret, UnixTime, Verb, VerifiedToken,
    Verifier, VerifyError,
};

use crate::shop::{NOW, claims, key, target, verifier};

const DOWNLOAD: &[Verb] = &[Verb::Download];

/// A gate, and tokens of one account: made at `NOW`, and a second later, with the same grants.
struct Scene {
    gate: Verifier,
    before: String,
    after: String,
}

impl Scene {
    fn new(grants: &[Grant]) -> Self {
        let key = key();
        let gate = verifier(KeySet::new().with(&key));
        let made = |iat: UnixTime| {
            let claims = Claims { iat, sid: Some("grt_1".into()), ..claims("tok_1", grants.to_vec()) };
            key.sign(&claims).expect("a token")
        };
        let scene = Self { before: made(NOW), after: made(NOW.plus_seconds(1)), gate };
        // Both are remembered before anything is lost.
        assert!(
            scene.gate.verify(&scene.before, NOW).is_ok() && scene.gate.verify(&scene.after, NOW).is_ok()
        );
        scene
    }

    fn before(&self) -> VerifiedToken {
        self.gate.verify(&self.before, NOW).expect("a good token")
    }

    fn after(&self) -> VerifiedToken {
        self.gate.verify(&self.after, NOW).expect("a good token")
    }
}

fn downloads(token: &VerifiedToken, name: &str) -> bool {
    let commit = CommitMade { checksum: &[7; 32], at: NOW };
    let allowed = token.allows(Verb::Download, &target(name));
    assert_eq!(allowed, token.allows_commit(Verb::Download, &target(name), commit), "{name}");
    allowed
}

#[test]
fn a_lost_app_is_refused_with_its_extensions_and_the_rest_of_the_token_holds() {
    let ids = ["org.test.Paid", "org.test.Paid.Locale", "org.test.Paid.Pro", "org.test.Other"];
    let scene = Scene::new(&[Grant::for_ids(&[Verb::Download, Verb::Upgrade], ids)]);
    assert!(!scene.before().is_diminished());
    let lost = Grant::for_ids(DOWNLOAD, ["org.test.Paid"]);
    scene.gate.set_revocations(Revocations::new().with_lost("acc_ada", NOW, lost.clone()));
    let token = scene.before();
    assert!(token.is_diminished());
    assert!(!downloads(&token, "app/org.test.Paid/x86_64/stable"));
    assert!(!downloads(&token, "runtime/org.test.Paid.Locale/x86_64/stable"));
    assert!(downloads(&token, "app/org.test.Paid.Pro/x86_64/stable"), "an app below it is another app");
    assert!(downloads(&token, "app/org.test.Other/x86_64/stable"));
    assert!(token.allows(Verb::Upgrade, &target("app/org.test.Paid/x86_64/stable")), "only that verb");
    // Whoever asks the token for its grants is not asking what it allows.
    assert_eq!(token.grants().len(), 1);
    assert!(downloads(&scene.after(), "app/org.test.Paid/x86_64/stable"), "made later, by who knew");
    scene.gate.set_revocations(Revocations::new().with_lost("acc_bob", NOW, lost));
    assert!(downloads(&scene.before(), "app/org.test.Paid/x86_64/stable"), "somebody else's loss");
    scene.gate.set_revocations(Revocations::new());
    assert!(downloads(&scene.before(), "app/org.test.Paid/x86_64/stable"));
}

#[test]
fn what_the_account_holds_otherwise_stays() {
    let everything = || vec![Grant::for_everything(DOWNLOAD)];
    let with = |lost: Grant, kept: Grant| {
        let scene = Scene::new(&everything());
        let list = Revocations::new().with_lost("acc_ada", NOW, lost).with_kept("acc_ada", kept);
        scene.gate.set_revocations(list);
        scene.before()
    };
    let ids = |ids: &[&str]| Grant::for_ids(DOWNLOAD, ids.iter().copied());
    let below = |prefix: &str| Grant { prefixes: vec![prefix.into()], ..ids(&[]) };
    let (paid, locale) = ("app/org.test.Paid/x86_64/stable", "runtime/org.test.Paid.Locale/x86_64/stable");
    let (pro, pro_locale) =
        ("app/org.test.Paid.Pro/x86_64/stable", "runtime/org.test.Paid.Pro.Locale/x86_64/stable");

    let token = with(Grant::for_everything(DOWNLOAD), ids(&["org.test.Paid"]));
    assert!(downloads(&token, paid) && downloads(&token, locale));
    assert!(!downloads(&token, pro) && !downloads(&token, "app/org.test.Other/x86_64/stable"));

    let token = with(ids(&["org.test.Paid"]), below("org.test"));
    assert!(downloads(&token, paid) && downloads(&token, locale));

    // An extension belongs to the longest id that it continues.
    let token = with(ids(&["org.test.Paid.Pro"]), ids(&["org.test.Paid"]));
    assert!(downloads(&token, paid) && downloads(&token, locale));
    assert!(!downloads(&token, pro) && !downloads(&token, pro_locale));
    let token = with(ids(&["org.test.Paid"]), ids(&["org.test.Paid.Pro"]));
    assert!(!downloads(&token, paid) && !downloads(&token, locale));
    assert!(downloads(&token, pro) && downloads(&token, pro_locale));

    // Flatpak writes `_` for `-` in front of an extension.
    let dashed = "runtime/org.test.My_App.Locale/x86_64/stable";
    assert!(!downloads(&with(ids(&["org.test.My-App"]), ids(&[])), dashed));
    assert!(!downloads(&with(below("org.test.My-App"), ids(&[])), dashed));
    assert!(downloads(&with(Grant::for_everything(DOWNLOAD), ids(&["org.test.My-App"])), dashed));

    // What is kept must be of the same verb and branch.
    let list = Grant::for_everything(&[Verb::List]);
    assert!(!downloads(&with(ids(&["org.test.Paid"]), list), paid));
    let beta = Grant { branches: vec!["beta".into()], ..ids(&["org.test.Paid"]) };
    let token = with(ids(&["org.test.Paid"]), beta.clone());
    assert!(!downloads(&token, paid) && downloads(&token, "app/org.test.Paid/x86_64/beta"));
    let token = with(beta, ids(&[]));
    assert!(downloads(&token, paid) && !downloads(&token, "app/org.test.Paid/x86_64/beta"));
}

#[test]
fn who_keeps_only_older_commits_keeps_no_newer_one() {
    let scene = Scene::new(&[Grant::for_everything(DOWNLOAD)]);
    let paid = || Grant::for_ids(DOWNLOAD, ["org.test.Paid"]);
    let list = Revocations::new()
        .with_lost("acc_ada", NOW, paid())
        .with_kept("acc_ada", Grant { made_until: Some(NOW.plus_seconds(-100)), ..paid() });
    scene.gate.set_revocations(list);
    let made = |seconds: i64| {
        let commit = CommitMade { checksum: &[7; 32], at: NOW.plus_seconds(seconds) };
        scene.before().allows_commit(Verb::Download, &target("app/org.test.Paid/x86_64/stable"), commit)
    };
    assert!(made(-100) && !made(-99));
    assert!(!scene.before().allows(Verb::Download, &target("app/org.test.Paid/x86_64/stable")));
}

#[test]
fn who_may_list_nothing_any_more_sees_no_index_and_who_lists_something_still_does() {
    let list = |ids: &[&str]| Grant::for_ids(&[Verb::List], ids.iter().copied());
    let scene = Scene::new(&[list(&["org.test.Paid"]), Grant::for_everything(DOWNLOAD)]);
    let lost = Revocations::new().with_lost("acc_ada", NOW, list(&["org.test.Paid"]));
    scene.gate.set_revocations(lost.clone());
    assert!(!scene.before().allows_any(Verb::List) && scene.before().allows_any(Verb::Download));
    assert!(scene.after().allows_any(Verb::List));
    scene.gate.set_revocations(lost.clone().with_kept("acc_ada", Grant::for_everything(DOWNLOAD)));
    assert!(!scene.before().allows_any(Verb::List), "what is kept is of another verb");
    scene.gate.set_revocations(lost.with_kept("acc_ada", list(&["org.test.Other"])));
    assert!(scene.before().allows_any(Verb::List));
    assert!(!scene.before().allows(Verb::List, &target("app/org.test.Paid/x86_64/stable")));
}

#[test]
fn a_signed_out_device_ends_with_its_tokens_and_no_other_does() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let of = |sid: Option<&str>| {
        let claims = Claims { sid: sid.map(Into::into), ..claims("tok_1", vec![]) };
        key.sign(&claims).expect("a token")
    };
    let (laptop, phone, none) = (of(Some("grt_laptop")), of(Some("grt_phone")), of(None));
    for token in [&laptop, &phone, &none] {
        assert!(gate.verify(token, NOW).is_ok());
    }
    gate.set_revocations(Revocations::new().with_session("grt_laptop"));
    assert_eq!(gate.verify(&laptop, NOW), Err(VerifyError::Revoked));
    assert!(gate.verify(&none, NOW).is_ok());
    assert_eq!(gate.verify(&phone, NOW).expect("a good token").session(), Some("grt_phone"));
}

#[test]
fn losses_are_about_signed_tokens_only() {
    let gate = verifier(KeySet::new());
    let secret = Secret::from("fpa_known".to_owned());
    let grants = vec![Grant::for_ids(DOWNLOAD, ["org.test.Paid"])];
    let access = AccessGrant {
        id: "at_1".into(),
        subject: "acc_ada".into(),
        grants,
        ending: vec![],
        expires_at: None,
    };
    gate.set_access_tokens([(secret.hash(), access)].into_iter().collect());
    gate.set_revocations(Revocations::new().with_lost("acc_ada", NOW, Grant::for_everything(DOWNLOAD)));
    let token = gate.verify_access_secret(secret.expose(), NOW).expect("a known secret");
    assert!(!token.is_diminished() && downloads(&token, "app/org.test.Paid/x86_64/stable"));
}
