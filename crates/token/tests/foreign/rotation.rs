//! Keys that change while requests come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use flatpass_token::{ForeignKeySet, LookupError, VerifyError};
use serde_json::json;

use crate::issuer::{Gate, Key, NOW, jwks};

#[test]
fn a_key_that_is_new_is_asked_for_once_and_one_that_is_gone_ends_its_tokens() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let gate = Gate::new(&[&old]);
    let (by_old, by_new) = (old.token(json!({}), json!({})), new.token(json!({}), json!({})));
    assert_eq!(gate.opens(&by_old), Ok(true));
    assert_eq!(gate.opens(&by_new), Err(VerifyError::UnknownKey), "asked a moment ago");
    assert_eq!(gate.source.asked.load(SeqCst), 0);
    *gate.source.has_news.lock().unwrap() = true;
    *gate.source.answer.lock().unwrap() = Err(LookupError::Unreachable);
    assert_eq!(gate.opens(&by_new), Err(VerifyError::Unreachable));
    assert_eq!(gate.opens(&by_old), Ok(true), "what was there before stays");
    *gate.source.answer.lock().unwrap() = Ok(jwks(&[old.jwk(), new.jwk()]));
    assert_eq!(gate.verifier.verify(&by_new, NOW).unwrap_err(), VerifyError::Unasked);
    assert_eq!(gate.opens(&by_new), Ok(true));
    // Nobody is asked about the keys of another issuer.
    let asked = gate.source.asked.load(SeqCst);
    let elsewhere = Key::es256("x").token(json!({}), json!({ "iss": "https://evil.example" }));
    assert_eq!(gate.opens(&elsewhere), Err(VerifyError::Issuer));
    assert_eq!(gate.source.asked.load(SeqCst), asked);
    gate.keys.set(Arc::new(ForeignKeySet::parse(&jwks(&[new.jwk()])).unwrap()));
    *gate.source.has_news.lock().unwrap() = false;
    assert_eq!(gate.opens(&by_old), Err(VerifyError::UnknownKey), "also what was verified before");
    // Another key with the same id is another key.
    let forged = Key::es256("new");
    gate.keys.set(Arc::new(ForeignKeySet::parse(&jwks(&[forged.jwk()])).unwrap()));
    assert_eq!(gate.opens(&by_new), Err(VerifyError::UnknownKey));
}

#[test]
fn keys_rotate_under_load_without_a_refusal() {
    let keys: Vec<Key> = ["k0", "k1", "k2", "k3", "k4", "k5"].map(Key::es256).into();
    let gate = Gate::new(&[&keys[0], &keys[1]]);
    *gate.source.has_news.lock().unwrap() = true;
    let (signing, end) = (AtomicUsize::new(0), AtomicBool::new(false));
    let verified = [AtomicUsize::new(0), AtomicUsize::new(0)];
    std::thread::scope(|scope| {
        for (client, count) in verified.iter().enumerate() {
            let (gate, keys, signing, end) = (&gate, &keys, &signing, &end);
            scope.spawn(move || {
                while !end.load(SeqCst) {
                    let key = &keys[signing.load(SeqCst)];
                    let jti = format!("{client}-{}", count.load(SeqCst));
                    let token = key.token(json!({}), json!({ "jti": jti }));
                    assert_eq!(gate.opens(&token), Ok(true));
                    count.fetch_add(1, SeqCst);
                }
            });
        }
        for next in 1..keys.len() {
            // Published first, as every issuer does it; signed with after that; the one before goes when its last token has ended.
            let published = jwks(&keys[next - 1..=next].iter().map(Key::jwk).collect::<Vec<_>>());
            *gate.source.answer.lock().unwrap() = Ok(published.clone());
            gate.keys.set(Arc::new(ForeignKeySet::parse(&published).unwrap()));
            signing.store(next, SeqCst);
            for count in &verified {
                let before = count.load(SeqCst);
                while count.load(SeqCst) < before + 20 {
                    std::thread::yield_now();
                }
            }
        }
        end.store(true, SeqCst);
    });
}
