use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use flatpass_token::{KeySet, VerifyError};

use crate::shop::{NOW, key, token, verifier};

#[test]
fn a_dropped_key_is_refused_at_once_also_for_cached_tokens() {
    let (old, new) = (key(), key());
    let gate = verifier(KeySet::new().with(&old).with(&new));
    let (of_old, of_new) = (token(&old, "tok_1"), token(&new, "tok_2"));
    assert!(gate.verify(&of_old, NOW).is_ok() && gate.verify(&of_new, NOW).is_ok());
    gate.set_keys(KeySet::new().with(&new));
    assert_eq!(gate.verify(&of_old, NOW), Err(VerifyError::UnknownKey));
    assert_eq!(gate.verify(&token(&old, "tok_3"), NOW), Err(VerifyError::UnknownKey));
    assert!(gate.verify(&of_new, NOW).is_ok());
    gate.set_keys(KeySet::new());
    assert_eq!(gate.verify(&of_new, NOW), Err(VerifyError::UnknownKey));
}

#[test]
fn another_key_under_the_same_id_refuses_the_cached_tokens_of_the_first() {
    let (old, new) = (key(), key());
    let named = |key: &flatpass_token::SigningKey, kid: &str| {
        let json = KeySet::new().with(key).to_jwks_json().replace(key.kid(), kid);
        KeySet::from_jwks_json(&json).expect("a key set")
    };
    let gate = verifier(named(&old, old.kid()));
    let token = token(&old, "tok_1");
    assert!(gate.verify(&token, NOW).is_ok());
    gate.set_keys(named(&new, old.kid()));
    assert_eq!(gate.verify(&token, NOW), Err(VerifyError::UnknownKey), "from the cache");
    let fresh = verifier(named(&new, old.kid()));
    assert_eq!(fresh.verify(&token, NOW), Err(VerifyError::Signature), "verified anew");
}

/// A rotation as the authority does it: publish the new key, sign with it, drop the old one when its last token
/// is gone. Meanwhile gates verify without a pause, each token both anew and from the cache.
#[test]
fn a_rotation_under_continuous_verification_refuses_nothing_valid() {
    const ROTATIONS: u32 = 20;
    let mut current = key();
    let gate = verifier(KeySet::new().with(&current));
    let done = AtomicBool::new(false);
    let checked = AtomicU32::new(0);
    // The tokens in use: those of the key that signs, and those of the one before while it is published.
    let in_use = std::sync::RwLock::new(vec![token(&current, "tok_0")]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Held while verifying, so that a token that is withdrawn is one that nobody is checking.
                    let tokens = in_use.read().expect("the tokens");
                    for token in tokens.iter() {
                        assert_eq!(gate.verify(token, NOW).err(), None);
                    }
                    drop(tokens);
                    checked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for rotation in 1..=ROTATIONS {
            let next = key();
            gate.set_keys(KeySet::new().with(&current).with(&next));
            let fresh = (0..5).map(|n| token(&next, &format!("tok_{rotation}_{n}")));
            in_use.write().expect("the tokens").extend(fresh);
            let goal = checked.load(Ordering::Relaxed) + 3;
            while checked.load(Ordering::Relaxed) < goal {
                thread::yield_now();
            }
            let withdrawn = {
                let mut tokens = in_use.write().expect("the tokens");
                let (keep, withdrawn): (Vec<_>, Vec<_>) =
                    tokens.drain(..).partition(|token| token.starts_with(header_of(&next).as_str()));
                *tokens = keep;
                withdrawn
            };
            assert!(!withdrawn.is_empty());
            gate.set_keys(KeySet::new().with(&next));
            for token in &withdrawn {
                assert_eq!(gate.verify(token, NOW).err(), Some(VerifyError::UnknownKey));
            }
            current = next;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(checked.load(Ordering::Relaxed) >= 3 * ROTATIONS);
}

/// The first part of every token of a key.
fn header_of(key: &flatpass_token::SigningKey) -> String {
    let token = token(key, "any");
    token.split('.').next().expect("a header").to_owned()
}
