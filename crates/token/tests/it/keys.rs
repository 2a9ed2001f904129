use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use flatpass_token::{
    Claims, KeyError, KeySet, KeySetError, SignError, SigningKey, UnverifiedToken, VerifyError,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::shop::{AUDIENCE, ISSUER, NOW, claims, key, token, verifier};

#[test]
fn a_key_survives_its_storage_and_keeps_its_id() {
    let key = key();
    let stored = key.to_pkcs8_der().expect("PKCS#8");
    let again = SigningKey::from_pkcs8_der(&stored).expect("the key");
    assert_eq!(key.kid(), again.kid());
    assert!(verifier(KeySet::new().with(&key)).verify(&token(&again, "tok_1"), NOW).is_ok());
    assert!(!format!("{key:?}").contains("stored") && format!("{key:?}").contains(key.kid()));
}

#[test]
fn what_is_no_p256_private_key_is_refused() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
    let p384 = pair.to_pkcs8v1().expect("PKCS#8");
    let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let good = key().to_pkcs8_der().expect("PKCS#8");
    let zero = [&good[..36], &[0; 32]].concat();
    for wrong in
        [b"".as_slice(), b"-----BEGIN PRIVATE KEY-----", p384.as_ref(), ed25519.as_ref(), &good[1..], &zero]
    {
        assert_eq!(SigningKey::from_pkcs8_der(wrong).err(), Some(KeyError::PrivateKey));
    }
}

/// The ids in the golden vectors' key set were computed from its coordinates by another program as well.
#[test]
fn the_id_of_a_key_is_its_fingerprint_as_container_registries_compute_it() {
    let keys = KeySet::from_jwks_json(include_str!("../vectors/keys.json")).expect("a key set");
    let mut given = Vec::new();
    for key in keys.iter() {
        let jwk = key.to_jwk();
        let anonymous = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.y, "kid": "x"}]});
        assert!(KeySet::from_jwks_json(&anonymous.to_string()).is_ok());
        given.push(jwk.kid);
    }
    assert_eq!(
        given,
        [
            "ONLE:KIA3:GLU4:S5II:WX3B:STDK:JZ7T:BIY7:UGKW:TUQL:BHF7:QE6W",
            "WYSF:7B5W:27PL:SMUT:6RDA:FYS6:YXDF:I6DE:TX7M:QFBS:LYT6:2VE5",
        ]
    );
}

#[test]
fn another_implementation_accepts_our_tokens_with_our_published_keys() {
    let key = key();
    let keys = KeySet::new().with(&self::key()).with(&key).to_jwks_json();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&keys).expect("a JWK set");
    let token = token(&key, "tok_1");
    let header = jsonwebtoken::decode_header(&token).expect("a header");
    assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::ES256, Some("at+jwt")));
    let jwk = keys.find(&header.kid.expect("a kid")).expect("the key");
    let mut validation = Validation::new(Algorithm::ES256);
    // The other implementation would look at the machine's clock.
    validation.validate_exp = false;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    let decoded =
        jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(jwk).expect("a key"), &validation);
    let details = &decoded.expect("a good token").claims["authorization_details"];
    assert_eq!(
        *details,
        json!([{"type": "flatpak", "actions": ["download"], "ids": ["org.test.Paid"], "branches": ["*"], "arches": ["*"]}])
    );
}

#[test]
fn a_token_of_another_implementation_is_accepted() {
    let key = key();
    let header =
        Header { typ: Some("at+jwt".into()), kid: Some(key.kid().into()), ..Header::new(Algorithm::ES256) };
    let private = EncodingKey::from_ec_der(&key.to_pkcs8_der().expect("PKCS#8"));
    let token = jsonwebtoken::encode(&header, &claims("tok_1", vec![]), &private).expect("a token");
    let verified = verifier(KeySet::new().with(&key)).verify(&token, NOW).expect("a good token");
    assert_eq!((verified.id(), verified.subject()), ("tok_1", "acc_ada"));
    assert_eq!(verified.expires_at(), Some(NOW.plus_seconds(3600)));
}

#[test]
fn claims_come_back_as_they_were_signed() {
    let given = Claims { nbf: Some(NOW), ..claims("tok_1", vec![]) };
    let token = key().sign(&given).expect("a token");
    assert_eq!(UnverifiedToken::parse(&token).expect("a token").claims(), Ok(given));
}

#[test]
fn a_token_that_no_gate_would_take_is_not_made() {
    let key = key();
    let with_client = |length| Claims { client_id: "x".repeat(length), ..claims("tok_1", vec![]) };
    let gate = verifier(KeySet::new().with(&key));
    let mut longest = 0;
    for length in 5500..6200 {
        match key.sign(&with_client(length)) {
            Ok(token) => {
                assert!(gate.verify(&token, NOW).is_ok());
                longest = token.len();
            }
            Err(error) => assert!(
                matches!(error, SignError::TooLong { bytes, .. } if bytes > flatpass_token::MAX_TOKEN_BYTES)
            ),
        }
    }
    assert!((flatpass_token::MAX_TOKEN_BYTES - 2..=flatpass_token::MAX_TOKEN_BYTES).contains(&longest));
    let too_long = "x".repeat(flatpass_token::MAX_TOKEN_BYTES + 1);
    assert_eq!(gate.verify(&too_long, NOW).err(), Some(VerifyError::TooLong));
    assert_eq!(UnverifiedToken::parse(&too_long).err(), Some(VerifyError::TooLong));
}

#[test]
fn a_key_set_survives_its_publication() {
    let keys = KeySet::new().with(&key()).with(&key());
    assert_eq!(KeySet::from_jwks_json(&keys.to_jwks_json()), Ok(keys.clone()));
    assert!(!keys.to_jwks_json().contains("\"d\""));
    assert_eq!(KeySet::from_jwks_json(r#"{"keys":[]}"#), Ok(KeySet::new()));
}

#[test]
fn adding_a_key_twice_keeps_it_once() {
    let key = key();
    assert_eq!(KeySet::new().with(&key).with(&self::key()).with(&key).len(), 2);
}

#[test]
fn a_key_set_with_any_unusable_key_is_refused_as_a_whole() {
    let good: Value = serde_json::from_str(&KeySet::new().with(&key()).to_jwks_json()).expect("JSON");
    let good = good["keys"][0].clone();
    let outcome = |change: Value| {
        let mut second = json!({"kid": "second"});
        for (name, value) in good.as_object().into_iter().chain(change.as_object()).flatten() {
            if name != "kid" || value != &good["kid"] || change.get("kid").is_some() {
                second[name] = value.clone();
            }
        }
        KeySet::from_jwks_json(&json!({"keys": [good, second]}).to_string()).err()
    };
    let index = 1;
    assert_eq!(outcome(json!({})), None);
    assert_eq!(outcome(json!({"x5c": ["AAAA"], "unknown": {}})), None);
    assert_eq!(outcome(json!({"kid": good["kid"]})), Some(KeySetError::DuplicateKeyId { index }));
    for kid in [json!(""), json!("k".repeat(256)), Value::Null] {
        assert_eq!(outcome(json!({ "kid": kid })), Some(KeySetError::NoKeyId { index }));
    }
    for private in
        [json!({"d": "AAAA"}), json!({"d": 7}), json!({"kty": "oct", "k": "AAAA"}), json!({"kty": "oct"})]
    {
        assert_eq!(outcome(private), Some(KeySetError::Private { index }));
    }
    for other in [
        json!({"kty": "RSA", "n": "AQAB", "e": "Aw"}),
        json!({"kty": "OKP", "crv": "Ed25519"}),
        json!({"crv": "P-384"}),
        json!({"crv": "secp256k1"}),
        json!({"crv": null}),
        json!({"alg": "ES384"}),
        json!({"alg": "none"}),
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
    ] {
        assert_eq!(outcome(other), Some(KeySetError::Unsupported { index }));
    }
    let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for point in [
        json!({"x": zero, "y": zero}),
        json!({"x": good["y"], "y": good["x"]}),
        json!({"x": "AAAA"}),
        json!({"y": null}),
        json!({"x": format!("{}=", good["x"].as_str().expect("text"))}),
    ] {
        assert_eq!(outcome(point), Some(KeySetError::InvalidPoint { index }));
    }
}

#[test]
fn what_is_no_key_set_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[]} x"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert_eq!(KeySet::from_jwks_json(text), Err(KeySetError::Malformed), "{text}");
    }
    let doubled = KeySet::new().with(&key()).to_jwks_json().replace("\"crv\"", "\"crv\":\"P-256\",\"crv\"");
    assert_eq!(KeySet::from_jwks_json(&doubled), Err(KeySetError::Malformed));
    let many = (0..33).fold(KeySet::new(), |keys, _| keys.with(&key()));
    assert_eq!(KeySet::from_jwks_json(&many.to_jwks_json()), Err(KeySetError::TooLarge));
    let padded = format!("{}{}", " ".repeat(64 * 1024), KeySet::new().to_jwks_json());
    assert_eq!(KeySet::from_jwks_json(&padded), Err(KeySetError::TooLarge));
}
