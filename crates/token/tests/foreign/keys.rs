use aws_lc_rs::rsa::KeySize;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use flatpass_token::{ForeignKeyError, ForeignKeySet, ForeignKeySetError, VerifyError};
use serde_json::{Value, json};

use crate::issuer::{Gate, Key, changed, jwks, rules};

fn refused(keys: &[Value]) -> Vec<(usize, ForeignKeyError)> {
    // With one good key beside, so that there is a set.
    let good = Key::es256("good").jwk();
    let keys: Vec<_> = keys.iter().cloned().chain([good]).collect();
    let set = ForeignKeySet::parse(&jwks(&keys)).unwrap();
    set.refused().iter().map(|one| (one.index, one.why)).collect()
}

#[test]
fn each_algorithm_is_taken_with_its_own_key_and_with_no_other() {
    let keys = Key::all();
    let gate = Gate::new(&keys.iter().collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(gate.opens(&key.token(json!({}), json!({}))), Ok(true), "{}", key.algorithm());
        for other in keys.iter().filter(|other| other.kid != key.kid) {
            let header = json!({ "kid": other.kid });
            assert_eq!(gate.opens(&key.token(header, json!({}))), Err(VerifyError::Algorithm));
            let header = json!({ "kid": other.kid, "alg": other.algorithm() });
            assert_eq!(gate.opens(&key.token(header, json!({}))), Err(VerifyError::Signature));
        }
        for algorithm in ["none", "HS256", "RS384", "ES256K", "rs256", ""] {
            let header = json!({ "alg": algorithm });
            assert_eq!(gate.opens(&key.token(header, json!({}))), Err(VerifyError::Algorithm), "{algorithm}");
        }
        let mut cut = key.token(json!({}), json!({}));
        cut.truncate(cut.rfind('.').unwrap() + 1);
        assert_eq!(gate.opens(&cut), Err(VerifyError::Signature));
    }
}

#[test]
fn an_rsa_key_that_names_no_algorithm_takes_both_and_one_that_does_takes_its_own() {
    let key = Key::rsa("rs", KeySize::Rsa2048);
    let open = Gate::with(jwks(&[changed(key.jwk(), json!({ "alg": null }))]), rules());
    assert_eq!(open.opens(&key.token(json!({}), json!({}))), Ok(true));
    assert_eq!(open.opens(&key.token(json!({ "alg": "PS256" }), json!({}))), Err(VerifyError::Signature));
    let closed = Gate::with(jwks(&[changed(key.jwk(), json!({ "alg": "PS256" }))]), rules());
    assert_eq!(closed.opens(&key.token(json!({}), json!({}))), Err(VerifyError::Algorithm));
}

#[test]
fn keys_that_are_weak_private_doubled_or_for_something_else_are_left_out() {
    use ForeignKeyError::{Duplicate, Invalid, Malformed, NoKeyId, Private, Unsupported, Use, Weak};
    let rsa = Key::rsa("rs", KeySize::Rsa2048).jwk();
    let es = Key::es256("es").jwk();
    // 1024 bits: half of the number, with its top bit set and odd.
    let n = BASE64URL.decode(rsa["n"].as_str().unwrap()).unwrap();
    let half = BASE64URL.encode(&n[n.len() / 2..]);
    let even = BASE64URL.encode(n.iter().take(n.len() - 1).chain([&2]).copied().collect::<Vec<_>>());
    let ed = |first: u8, last: u8| {
        let mut x = [0; 32];
        (x[0], x[31]) = (first, last);
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": BASE64URL.encode(x) })
    };
    for (key, why) in [
        (changed(rsa.clone(), json!({ "n": half })), Weak),
        (changed(rsa.clone(), json!({ "n": even })), Weak),
        (changed(rsa.clone(), json!({ "n": BASE64URL.encode(vec![0xff; 1025]) })), Weak),
        (changed(rsa.clone(), json!({ "e": "AQ" })), Weak),
        (changed(rsa.clone(), json!({ "e": "Ag" })), Weak),
        (changed(rsa.clone(), json!({ "e": null })), Invalid),
        (ed(0, 0), Weak),
        (ed(1, 0x80), Weak),
        (changed(rsa.clone(), json!({ "d": "AQAB" })), Private),
        (changed(rsa, json!({ "p": "AQAB" })), Private),
        (json!({ "kty": "oct", "kid": "h", "alg": "HS256", "k": "c2VjcmV0" }), Private),
        (changed(es.clone(), json!({ "d": "AQAB" })), Private),
        (changed(es.clone(), json!({ "use": "enc" })), Use),
        (changed(es.clone(), json!({ "key_ops": ["encrypt"] })), Use),
        (changed(es.clone(), json!({ "alg": "ECDH-ES" })), Unsupported),
        (changed(es.clone(), json!({ "alg": "ES384" })), Unsupported),
        (changed(es.clone(), json!({ "crv": "secp256k1" })), Unsupported),
        (changed(es.clone(), json!({ "crv": "P-384" })), Invalid),
        (changed(es.clone(), json!({ "x": es["y"], "y": es["x"] })), Invalid),
        (changed(es.clone(), json!({ "kid": "" })), NoKeyId),
        (changed(es.clone(), json!({ "kid": null })), NoKeyId),
        (json!("a text"), Malformed),
    ] {
        assert_eq!(refused(std::slice::from_ref(&key)), [(0, why)], "{key}");
    }
    let twice = [es.clone(), changed(Key::es256("es").jwk(), json!({}))];
    assert_eq!(refused(&twice), [(0, Duplicate), (1, Duplicate)]);
    // Also if nobody could use the other one.
    assert_eq!(refused(&[es.clone(), changed(es, json!({ "use": "enc" }))]), [(0, Duplicate), (1, Use)]);
}

#[test]
fn a_doubled_member_of_a_key_makes_it_none() {
    let key = Key::es256("es").jwk().to_string();
    let doubled = format!(r#"{{"kid":"other",{}"#, &key[1..]);
    let set = format!(r#"{{"keys":[{doubled},{}]}}"#, Key::es256("good").jwk());
    let set = ForeignKeySet::parse(set.as_bytes()).unwrap();
    assert_eq!(set.refused()[0].why, ForeignKeyError::Malformed);
}

#[test]
fn a_set_that_is_none_too_large_or_without_a_usable_key_is_refused_as_a_whole() {
    let many: Vec<_> = (0..65).map(|_| Key::es256("es").jwk()).collect();
    assert_eq!(ForeignKeySet::parse(&jwks(&many)), Err(ForeignKeySetError::TooLarge));
    let padded = [jwks(&[Key::es256("es").jwk()]), vec![b' '; 128 * 1024]].concat();
    assert_eq!(ForeignKeySet::parse(&padded), Err(ForeignKeySetError::TooLarge));
    for none in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert_eq!(ForeignKeySet::parse(none.as_bytes()), Err(ForeignKeySetError::Malformed), "{none}");
    }
    assert!(matches!(
        ForeignKeySet::parse(br#"{"keys":[]}"#),
        Err(ForeignKeySetError::Nothing { keys: 0, .. })
    ));
}

#[test]
fn without_a_kid_only_a_key_that_is_alone_is_meant() {
    let (one, other) = (Key::es256("one"), Key::es256("other"));
    let bare = one.token(json!({ "kid": null }), json!({}));
    let alone = Gate::with(jwks(&[changed(one.jwk(), json!({ "kid": null }))]), rules());
    assert_eq!(alone.opens(&bare), Ok(true));
    assert_eq!(alone.opens(&one.token(json!({}), json!({}))), Err(VerifyError::UnknownKey));
    let both = Gate::new(&[&one, &other]);
    assert_eq!(both.opens(&bare), Err(VerifyError::UnknownKey));
}
