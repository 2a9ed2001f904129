use flatpass_token::{Claims, KeySet, Revocations, UnixTime, Verifier, VerifierConfig, VerifyError};

use crate::shop::{AUDIENCE, ISSUER, NOW, claims, key, token, verifier};

/// The same token object comes back only when nothing was verified anew.
fn is_cached(verifier: &Verifier, token: &str) -> bool {
    let first = verifier.verify(token, NOW).expect("a good token");
    std::ptr::eq(first.id(), verifier.verify(token, NOW).expect("a good token").id())
}

#[test]
fn a_cached_token_still_expires() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let token = token(&key, "tok_1");
    assert!(is_cached(&gate, &token));
    let at = NOW.plus_seconds(3600);
    assert!(gate.verify(&token, at.plus_seconds(4)).is_ok());
    assert_eq!(gate.verify(&token, at.plus_seconds(5)), Err(VerifyError::Expired { at }));
}

#[test]
fn a_cached_token_is_refused_before_its_time_when_the_clock_is_set_back() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let later = key.sign(&Claims { nbf: Some(NOW), ..claims("tok_1", vec![]) }).expect("a token");
    assert!(is_cached(&gate, &later));
    let (early, early_enough) = (NOW.plus_seconds(-6), NOW.plus_seconds(-5));
    assert_eq!(gate.verify(&later, early), Err(VerifyError::NotYetValid { from: NOW }));
    assert!(gate.verify(&later, early_enough).is_ok());

    let plain = token(&key, "tok_2");
    assert!(is_cached(&gate, &plain));
    let far = NOW.plus_seconds(-66);
    assert_eq!(gate.verify(&plain, far), Err(VerifyError::IssuedInFuture { at: NOW }));
    assert!(gate.verify(&plain, far.plus_seconds(1)).is_ok());
}

#[test]
fn a_revoked_token_is_refused_even_when_cached_and_others_are_not() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let (first, second) = (token(&key, "tok_1"), token(&key, "tok_2"));
    assert!(is_cached(&gate, &first) && is_cached(&gate, &second));
    gate.set_revocations(Revocations::new().with_id("tok_1"));
    assert_eq!(gate.verify(&first, NOW), Err(VerifyError::Revoked));
    assert!(gate.verify(&second, NOW).is_ok());
    let unseen = verifier(KeySet::new().with(&key));
    unseen.set_revocations(Revocations::new().with_id("tok_1"));
    assert_eq!(unseen.verify(&first, NOW), Err(VerifyError::Revoked));
}

#[test]
fn revoking_an_account_refuses_its_older_tokens_and_nobody_elses() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let made = |sub: &str, iat: UnixTime| {
        key.sign(&Claims { sub: sub.into(), iat, ..claims("tok_1", vec![]) }).expect("a token")
    };
    let (older, same, newer) =
        (made("acc_ada", NOW), made("acc_ada", NOW.plus_seconds(1)), made("acc_ada", NOW.plus_seconds(2)));
    let other = made("acc_bob", NOW);
    let now = NOW.plus_seconds(10);
    for token in [&older, &same, &newer, &other] {
        assert!(gate.verify(token, now).is_ok());
    }
    // An earlier revocation of the same account, whichever is named last, must not undo the later one.
    let until = NOW.plus_seconds(1);
    gate.set_revocations(Revocations::new().with_subject("acc_ada", until).with_subject("acc_ada", NOW));
    assert_eq!(gate.verify(&older, now), Err(VerifyError::Revoked));
    assert_eq!(gate.verify(&same, now), Err(VerifyError::Revoked));
    assert!(gate.verify(&newer, now).is_ok());
    assert!(gate.verify(&other, now).is_ok());
}

#[test]
fn a_flood_of_invented_tokens_throws_no_good_one_out_of_the_cache() {
    let key = key();
    let config = VerifierConfig { cache_entries: 64, ..VerifierConfig::new(ISSUER, AUDIENCE) };
    let gate = Verifier::new(config, KeySet::new().with(&key));
    let good: Vec<_> = (0..8).map(|n| token(&key, &format!("tok_{n}"))).collect();
    let before: Vec<_> = good.iter().map(|token| gate.verify(token, NOW).expect("a good token")).collect();

    let (message, signature) = good[0].rsplit_once('.').expect("three parts");
    for n in 0..5_000_u32 {
        // Nonsense, good claims under a wrong signature (a part of them, as each costs a check), and expired ones.
        assert!(gate.verify(&format!("{n}.{n}.{n}"), NOW).is_err());
        if n % 10 == 0 {
            let forged = format!("{message}.{}{n:04}", &signature[..signature.len() - 4]);
            assert!(gate.verify(&forged, NOW).is_err());
        }
    }
    let expired = Claims { exp: NOW.plus_seconds(-60), ..claims("tok_old", vec![]) };
    for _ in 0..200 {
        assert!(gate.verify(&key.sign(&expired).expect("a token"), NOW).is_err());
    }
    assert_eq!(gate.cached_tokens(), good.len());
    for (token, known) in good.iter().zip(&before) {
        assert!(std::ptr::eq(known.id(), gate.verify(token, NOW).expect("a good token").id()));
    }
}

#[test]
fn the_cache_is_bounded_and_what_it_drops_is_verified_again() {
    let key = key();
    let config = VerifierConfig { cache_entries: 64, ..VerifierConfig::new(ISSUER, AUDIENCE) };
    let gate = Verifier::new(config.clone(), KeySet::new().with(&key));
    let tokens: Vec<_> = (0..300).map(|n| token(&key, &format!("tok_{n}"))).collect();
    for _ in 0..2 {
        for token in &tokens {
            assert!(gate.verify(token, NOW).is_ok());
            assert!(gate.cached_tokens() <= 64, "{} tokens", gate.cached_tokens());
        }
    }
    // Long tokens count for more: 64 entries hold no 64 tokens of 7 KiB.
    let gate = Verifier::new(config, KeySet::new().with(&key));
    for n in 0..100 {
        let long = Claims { client_id: "x".repeat(5000), ..claims(&format!("tok_{n}"), vec![]) };
        assert!(gate.verify(&key.sign(&long).expect("a token"), NOW).is_ok());
    }
    assert!((1..=20).contains(&gate.cached_tokens()), "{} tokens", gate.cached_tokens());
    // Without a cache everything still works.
    let config = VerifierConfig { cache_entries: 0, ..VerifierConfig::new(ISSUER, AUDIENCE) };
    let gate = Verifier::new(config, KeySet::new().with(&key));
    assert!(!is_cached(&gate, &tokens[0]));
}

#[test]
fn a_token_that_differs_from_a_cached_one_in_any_byte_is_refused() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let token = token(&key, "tok_1");
    assert!(is_cached(&gate, &token));
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ASCII");
        assert!(gate.verify(&changed, NOW).is_err(), "byte {at}");
        assert!(gate.verify(&token[..at], NOW).is_err(), "cut at {at}");
    }
    assert!(gate.verify(&format!("{token}A"), NOW).is_err());
}

#[test]
fn a_token_of_one_gate_does_not_open_another() {
    let key = key();
    let keys = KeySet::new().with(&key);
    let origin = verifier(keys.clone());
    let peer = Verifier::new(VerifierConfig::new(ISSUER, "https://peer.local"), keys);
    let (for_origin, for_peer) = (
        token(&key, "tok_1"),
        key.sign(&Claims { aud: "https://peer.local".into(), ..claims("tok_2", vec![]) }).expect("a token"),
    );
    assert!(origin.verify(&for_origin, NOW).is_ok() && peer.verify(&for_peer, NOW).is_ok());
    assert_eq!(peer.verify(&for_origin, NOW), Err(VerifyError::Audience));
    assert_eq!(origin.verify(&for_peer, NOW), Err(VerifyError::Audience));
}

#[test]
fn a_verifier_shows_no_token_when_it_is_printed() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    let token = token(&key, "tok_1");
    assert!(is_cached(&gate, &token));
    let (_, signature) = token.rsplit_once('.').expect("three parts");
    assert!(!format!("{gate:?}").contains(signature));
}
