//! Makes the vectors. What stands in a token is the same each time; keys come from seeds.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use flatpass_token::{KeySet, SigningKey};
use serde_json::{Value, json};

use crate::Vector;

pub(crate) const ISSUER: &str = "https://shop.example/";
pub(crate) const AUDIENCE: &str = "https://shop.example/repo/apps";
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const PAID: &str = "app/org.test.Paid/x86_64/stable";

/// The keys that the vectors' verifier knows: the second is there so that there is a choice.
pub(crate) fn keys() -> KeySet {
    KeySet::new().with(&key("first")).with(&key("second"))
}

/// The private key that belongs to a seed, in PKCS#8 without its public half (RFC 5958, RFC 5915).
pub(crate) fn private_key(seed: &str) -> Vec<u8> {
    let mut der = vec![
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04,
        0x20,
    ];
    let seed = format!("flatpass golden vectors: {seed}");
    der.extend_from_slice(digest::digest(&digest::SHA256, seed.as_bytes()).as_ref());
    der
}

pub(crate) fn key(seed: &str) -> SigningKey {
    SigningKey::from_pkcs8_der(&private_key(seed)).expect("a key")
}

pub(crate) fn sign_raw(seed: &str, algorithm: &'static EcdsaSigningAlgorithm, message: &str) -> Vec<u8> {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &private_key(seed)).expect("a key");
    pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature").as_ref().to_vec()
}

/// A token of these two texts, signed as it should be.
pub(crate) fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = sign_raw("first", &ECDSA_P256_SHA256_FIXED_SIGNING, &message);
    format!("{message}.{}", BASE64URL.encode(signature))
}

pub(crate) fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "ES256", "kid": key("first").kid()})
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "acc_ada", "client_id": "flatpass-authenticator",
        "iat": NOW - 60, "exp": NOW + 3540, "jti": "tok_1",
        "authorization_details": [grant(json!({}))],
    })
}

pub(crate) fn grant(changes: Value) -> Value {
    let grant = json!({
        "type": "flatpak", "actions": ["download"], "ids": ["org.test.Paid"], "branches": ["*"], "arches": ["*"],
    });
    changed(grant, changes)
}

/// With these members instead; `null` takes one away.
pub(crate) fn changed(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().expect("an object").remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

pub(crate) fn with_header(changes: Value) -> String {
    signed(&text(&changed(header(), changes)), &text(&claims()))
}

pub(crate) fn with_claims(changes: Value) -> String {
    signed(&text(&header()), &text(&changed(claims(), changes)))
}

pub(crate) fn with_grants(grants: Value) -> String {
    let mut claims = claims();
    claims["authorization_details"] = grants;
    signed(&text(&header()), &text(&claims))
}

/// With a text instead of another, for what no JSON writer would write.
pub(crate) fn with_claims_text(old: &str, new: &str) -> String {
    let good = text(&claims());
    assert!(good.contains(old), "{old} is not in {good}");
    signed(&text(&header()), &good.replacen(old, new, 1))
}

pub(crate) fn with_header_text(old: &str, new: &str) -> String {
    let good = text(&header());
    assert!(good.contains(old), "{old} is not in {good}");
    signed(&good.replacen(old, new, 1), &text(&claims()))
}

/// Signed as HS256 with bytes that everybody knows.
pub(crate) fn with_hmac(secret: &[u8]) -> String {
    let header = text(&changed(header(), json!({"alg": "HS256"})));
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(text(&claims())));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", BASE64URL.encode(tag))
}

/// A good token's first two parts with another signature.
pub(crate) fn with_signature(make: impl FnOnce(&str) -> Vec<u8>) -> String {
    let good = with_claims(json!({}));
    let (message, _) = good.rsplit_once('.').expect("three parts");
    format!("{message}.{}", BASE64URL.encode(make(message)))
}

/// As JSON with sorted members: the order within a `Value` depends on how serde_json was built.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> =
                sorted.into_iter().map(|(name, value)| format!("{}:{}", json!(name), text(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

pub(crate) struct Vectors(pub(crate) Vec<(&'static str, Vector)>);

impl Vectors {
    pub(crate) fn good(
        &mut self,
        name: &'static str,
        about: &str,
        token: String,
        allows: &[&str],
        forbids: &[&str],
    ) {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        self.add(name, about, "ok", token);
        if let Some((_, vector)) = self.0.last_mut() {
            (vector.allows, vector.forbids) = (owned(allows), owned(forbids));
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, about: &str, expect: &str, token: String) {
        let (about, expect) = (about.to_owned(), expect.to_owned());
        self.0.push((name, Vector { about, now: NOW, expect, allows: vec![], forbids: vec![], token }));
    }
}
