use flatpass_token::{
    AccessGrant, AccessTable, Grant, KeySet, Revocations, Secret, SecretHash, Verb, Verifier, VerifyError,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::shop::{NOW, target, verifier};

fn shop_with(grants: &[(&Secret, AccessGrant)]) -> Verifier {
    let gate = verifier(KeySet::new());
    gate.set_access_tokens(grants.iter().map(|(secret, grant)| (secret.hash(), grant.clone())).collect());
    gate
}

fn grant(id: &str) -> AccessGrant {
    AccessGrant {
        id: id.into(),
        subject: "acc_ada".into(),
        grants: vec![
            Grant::for_everything(&[Verb::List]),
            Grant::for_ids(&[Verb::Download, Verb::Upgrade], ["org.test.Paid"]),
        ],
        ending: vec![],
        expires_at: None,
    }
}

#[test]
fn an_access_secret_opens_what_was_granted_and_no_more() {
    let mut rng = StdRng::seed_from_u64(1);
    let (known, unknown) = (Secret::generate("fpa_", &mut rng), Secret::generate("fpa_", &mut rng));
    let gate = shop_with(&[(&known, grant("at_1"))]);
    let verified = gate.verify_access_secret(known.expose(), NOW).expect("a known secret");
    assert_eq!((verified.id(), verified.subject(), verified.expires_at()), ("at_1", "acc_ada", None));
    assert!(verified.allows(Verb::Download, &target("app/org.test.Paid/x86_64/stable")));
    assert!(!verified.allows(Verb::Download, &target("app/org.test.Other/x86_64/stable")));
    assert!(verified.allows_any(Verb::List) && !verified.allows_any(Verb::Export));

    let long = known.expose().repeat(100);
    let hash = known.hash().to_text();
    let cut = &known.expose()[..known.expose().len() - 1];
    // Neither another secret nor the stored hash, which is what a stolen database holds, opens anything.
    for wrong in [unknown.expose(), "", cut, &long, &hash] {
        assert_eq!(gate.verify_access_secret(wrong, NOW).err(), Some(VerifyError::UnknownSecret));
    }
    // A secret is no signed token and the other way round.
    assert_eq!(gate.verify(known.expose(), NOW).err(), Some(VerifyError::Malformed));
}

#[test]
fn an_access_secret_ends_when_it_expires_is_revoked_or_leaves_the_table() {
    let secret = Secret::from("fpa_known".to_owned());
    let at = NOW.plus_seconds(10);
    let gate = shop_with(&[(&secret, AccessGrant { expires_at: Some(at), ..grant("at_1") })]);
    let check = |after: i64| gate.verify_access_secret(secret.expose(), NOW.plus_seconds(after)).err();
    assert_eq!(check(9), None);
    assert_eq!(check(10), Some(VerifyError::Expired { at }));
    // An account's cut is about signed tokens: its access tokens leave by the table.
    gate.set_revocations(Revocations::new().with_id("at_2").with_subject("acc_ada", at));
    assert_eq!(check(0), None);
    gate.set_revocations(Revocations::new().with_id("at_1"));
    assert_eq!(check(0), Some(VerifyError::Revoked));
    gate.set_revocations(Revocations::new());
    assert_eq!(check(0), None);
    gate.set_access_tokens(AccessTable::new());
    assert_eq!(check(0), Some(VerifyError::UnknownSecret));
}

#[test]
fn what_an_access_secret_opens_ends_at_its_own_time_although_nobody_builds_the_table_anew() {
    let secret = Secret::from("fpa_known".to_owned());
    let until = |app: &str, seconds: i64| {
        (Grant::for_ids(&[Verb::Download], [app.to_owned()]), NOW.plus_seconds(seconds))
    };
    let ending = vec![until("org.test.First", 10), until("org.test.Third", 30), until("org.test.Second", 20)];
    let gate = shop_with(&[(&secret, AccessGrant { ending, ..grant("at_1") })]);
    let opens = |after: i64| {
        let verified = gate.verify_access_secret(secret.expose(), NOW.plus_seconds(after)).expect("known");
        ["First", "Second", "Third", "Paid"]
            .map(|app| verified.allows(Verb::Download, &target(&format!("app/org.test.{app}/x86_64/stable"))))
    };
    assert_eq!(opens(9), [true, true, true, true]);
    assert_eq!(opens(10), [false, true, true, true]);
    assert_eq!(opens(19), [false, true, true, true]);
    assert_eq!(opens(20), [false, false, true, true]);
    assert_eq!(opens(30), [false, false, false, true]);
    // A clock that is set back opens again what had not ended then.
    assert_eq!(opens(0), [true, true, true, true]);
}

#[test]
fn an_access_token_without_grants_opens_nothing() {
    let secret = Secret::from("fpa_empty".to_owned());
    let gate = shop_with(&[(&secret, AccessGrant { grants: vec![], ..grant("at_1") })]);
    let verified = gate.verify_access_secret(secret.expose(), NOW).expect("a known secret");
    for verb in Verb::ALL {
        assert!(!verified.allows_any(verb));
        assert!(!verified.allows(verb, &target("app/org.test.Paid/x86_64/stable")));
    }
}

#[test]
fn a_table_shows_no_secret_when_it_is_printed() {
    let secret = Secret::from("fpa_very_secret".to_owned());
    let gate = shop_with(&[(&secret, grant("at_1"))]);
    let printed = format!("{gate:?} {secret:?} {:?}", secret.hash());
    assert!(!printed.contains("very_secret"));
    assert!(!printed.contains(&SecretHash::of("fpa_very_secret").to_text()));
}
