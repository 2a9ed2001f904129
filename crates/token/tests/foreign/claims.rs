use flatpass_token::{ClaimRule, ClaimRuleError, ForeignCheck, VerifyError};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::issuer::{Gate, IDP, Key, NOW, REPO, acme, issuer};

fn one() -> (Gate, Key) {
    let key = Key::es256("es");
    (Gate::new(&[&key]), key)
}

#[test]
fn what_is_no_access_token_of_the_issuer_for_this_repo_in_force_now_is_refused() {
    let (gate, key) = one();
    for (claims, why) in [
        (json!({ "iss": "https://idp.example/realms/other" }), VerifyError::Issuer),
        (json!({ "iss": format!("{IDP}/") }), VerifyError::Issuer),
        (json!({ "iss": null }), VerifyError::Issuer),
        (json!({ "iss": [IDP] }), VerifyError::Issuer),
        (json!({ "aud": "https://shop.example/repo/other" }), VerifyError::Audience),
        (json!({ "aud": null }), VerifyError::Audience),
        (json!({ "aud": [["x"], 7] }), VerifyError::Audience),
        (json!({ "exp": null }), VerifyError::Claims),
        (json!({ "exp": "tomorrow" }), VerifyError::Claims),
        (json!({ "exp": 1e300 }), VerifyError::Claims),
        (json!({ "exp": NOW.0 - 6 }), VerifyError::Expired { at: NOW.plus_seconds(-6) }),
        (json!({ "nbf": NOW.0 + 6 }), VerifyError::NotYetValid { from: NOW.plus_seconds(6) }),
        (json!({ "iat": NOW.0 + 66 }), VerifyError::IssuedInFuture { at: NOW.plus_seconds(66) }),
        (json!({ "sub": null, "client_id": null }), VerifyError::Claims),
        (json!({ "cnf": { "jkt": "x" } }), VerifyError::Bound),
    ] {
        assert_eq!(gate.opens(&key.token(json!({}), claims.clone())), Err(why), "{claims}");
    }
    for good in [
        json!({ "aud": ["https://elsewhere.example", REPO] }),
        json!({ "exp": NOW.0 - 4, "nbf": NOW.0 + 4, "iat": NOW.0 + 64 }),
        json!({ "exp": 1_800_000_600.75 }),
        json!({ "sub": null }),
    ] {
        assert_eq!(gate.opens(&key.token(json!({}), good.clone())), Ok(true), "{good}");
    }
}

#[test]
fn an_id_token_does_not_pass_for_an_access_token() {
    let (gate, key) = one();
    let jwt = json!({ "typ": "JWT" });
    assert_eq!(gate.opens(&key.token(jwt.clone(), json!({}))), Ok(true));
    assert_eq!(gate.opens(&key.token(json!({ "typ": null }), json!({}))), Ok(true));
    for claims in [
        json!({ "nonce": "n" }),
        json!({ "at_hash": "h" }),
        json!({ "c_hash": "h" }),
        json!({ "s_hash": "h" }),
        json!({ "events": {} }),
        json!({ "typ": "ID" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": ["Bearer"] }),
        json!({ "token_use": "id" }),
    ] {
        assert_eq!(
            gate.opens(&key.token(jwt.clone(), claims.clone())),
            Err(VerifyError::IdToken),
            "{claims}"
        );
    }
    assert_eq!(gate.opens(&key.token(jwt, json!({ "typ": "Bearer", "token_use": "access" }))), Ok(true));
    for typ in ["dpop+jwt", "logout+jwt", "secevent+jwt", "application/id+jwt", ""] {
        assert_eq!(gate.opens(&key.token(json!({ "typ": typ }), json!({}))), Err(VerifyError::Type), "{typ}");
    }
}

#[test]
fn a_header_that_brings_a_key_or_needs_an_extension_is_refused() {
    let (gate, key) = one();
    for (header, why) in [
        (json!({ "jwk": key.jwk() }), VerifyError::EmbeddedKey),
        (json!({ "jku": "https://evil.example/keys" }), VerifyError::EmbeddedKey),
        (json!({ "x5c": [] }), VerifyError::EmbeddedKey),
        (json!({ "x5u": "https://evil.example/keys" }), VerifyError::EmbeddedKey),
        (json!({ "crit": ["b64"], "b64": false }), VerifyError::Critical),
    ] {
        assert_eq!(gate.opens(&key.token(header.clone(), json!({}))), Err(why), "{header}");
    }
}

#[test]
fn claims_in_which_a_member_stands_twice_are_refused_however_deep_it_is() {
    let (gate, key) = one();
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": "es" }).to_string();
    let good = crate::issuer::access_token().to_string();
    for bad in [
        format!(r#"{{"groups":["engineering"],{}"#, &good[1..]),
        good.replace(r#""sub":"#, r#""deep":[{"a":{"b":1,"b":2}}],"sub":"#),
    ] {
        assert_eq!(gate.opens(&key.raw(&header, &bad)), Err(VerifyError::Claims), "{bad}");
    }
}

#[test]
fn a_claim_opens_what_its_rule_says_and_nothing_else_does() {
    let key = Key::es256("es");
    let opens = |path: &str, value: &str, claims: Value| {
        let rules = vec![ClaimRule::for_claim(path, value, acme()).unwrap()];
        let gate = Gate::with(crate::issuer::jwks(&[key.jwk()]), rules);
        gate.opens(&key.token(json!({}), claims)).unwrap()
    };
    let roles = json!({ "realm_access": { "roles": ["tester"] } });
    assert!(opens("realm_access.roles", "tester", roles.clone()));
    assert!(opens("groups", "bowling", json!({})));
    assert!(opens("department", "R&D", json!({ "department": "R&D" })));
    assert!(opens("scope", "apps:read", json!({ "scope": "openid apps:read" })));
    // A name with dots in it, and members below it.
    let namespaced = json!({ "https://acme.example/claims": { "groups": ["a"] } });
    assert!(opens("https://acme.example/claims.groups", "a", namespaced));
    assert!(opens("a.b", "x", json!({ "a.b": "x", "a": { "b": "y" } })));
    for (path, value, claims) in [
        ("groups", "engineering", json!({ "groups": null })),
        ("groups", "engineering", json!({ "groups": [] })),
        ("groups", "engineering", json!({ "groups": "engineering bowling" })),
        ("groups", "engineering", json!({ "groups": ["Engineering", "engineering ", 7, ["engineering"]] })),
        ("groups", "engineering", json!({ "groups": { "engineering": true } })),
        ("realm_access.roles", "admin", roles.clone()),
        ("realm_access", "tester", roles.clone()),
        ("roles", "tester", roles),
        ("admin", "true", json!({ "admin": true })),
        ("a.b", "y", json!({ "a.b": "x", "a": { "b": "y" } })),
        ("scope", "apps", json!({ "scope": "apps:read" })),
        ("groups.0", "engineering", json!({})),
    ] {
        assert!(!opens(path, value, claims.clone()), "{path} {value} {claims}");
    }
    for path in ["", ".", "a.", ".a", "a..b", &"x".repeat(513)] {
        assert_eq!(ClaimRule::for_claim(path, "v", acme()), Err(ClaimRuleError::Path), "{path}");
    }
    for value in ["", &"x".repeat(513)] {
        assert_eq!(ClaimRule::for_claim("a", value, acme()), Err(ClaimRuleError::Value));
    }
}

#[test]
fn other_rules_count_for_tokens_that_were_verified_before() {
    let (gate, key) = one();
    let token = key.token(json!({}), json!({}));
    assert_eq!(gate.opens(&token), Ok(true));
    gate.set(issuer(ForeignCheck::Keys(Arc::clone(&gate.keys)), Vec::new()));
    assert_eq!(gate.opens(&token), Ok(false), "no rule, nothing open");
    gate.set(issuer(ForeignCheck::Keys(Arc::clone(&gate.keys)), vec![ClaimRule::for_everyone(acme())]));
    assert_eq!(gate.opens(&token), Ok(true));
}

#[test]
fn a_subject_of_the_issuer_is_nobody_of_the_stores_own() {
    let (gate, key) = one();
    let token = gate.verifier.verify(&key.token(json!({}), json!({ "sub": "acc_ada" })), NOW).unwrap();
    assert_eq!(token.subject(), "acme:acc_ada");
}

#[test]
fn of_a_private_repo_a_stranger_learns_what_they_learn_where_none_is() {
    let key = Key::es256("es");
    let gate = Gate::new(&[&key]);
    let nowhere = crate::issuer::verifier();
    let mut secret = issuer(ForeignCheck::Keys(Arc::clone(&gate.keys)), crate::issuer::rules());
    secret.is_secret = true;
    gate.set(secret);
    let stranger = Key::es256("es");
    for token in [
        stranger.token(json!({}), json!({})),
        stranger.token(json!({ "typ": "JWT", "kid": "no" }), json!({})),
        stranger.token(json!({ "alg": "RS256" }), json!({})),
        "fpx_AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH".to_owned(),
        "nonsense".to_owned(),
    ] {
        assert_eq!(gate.opens(&token).unwrap_err(), nowhere.verify(&token, NOW).unwrap_err(), "{token}");
    }
}
