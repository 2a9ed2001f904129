//! The readers of what comes from outside, fed with anything.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use flatpass_token::{KeySet, RefName, SecretHash, UnixTime, UnverifiedToken};
use proptest::prelude::*;

use crate::shop::{NOW, key, token, verifier};

/// JSON that resembles a header or claims, and JSON that does not.
fn json_like() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "typ",
        "alg",
        "kid",
        "crit",
        "jwk",
        "iss",
        "aud",
        "sub",
        "exp",
        "iat",
        "nbf",
        "jti",
        "client_id",
        "authorization_details",
        "keys",
        "kty",
        "crv",
        "x",
        "y",
        "use",
        "key_ops",
        "d",
        "type",
        "actions",
        "ids",
    ]);
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        "\"[a-zA-Z0-9+/_.-]{0,12}\"",
        Just("\"at+jwt\"".to_owned()),
        Just("\"ES256\"".to_owned()),
        "[\\[\\]{}:,\"0-9a-z\\\\]{0,12}",
    ];
    let value = value.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")))
    });
    prop::collection::vec((name, value), 0..8).prop_map(|members| {
        let members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_a_reader_panic_or_is_accepted(text in any::<String>(), bytes: Vec<u8>) {
        let gate = verifier(KeySet::new());
        let lossy = String::from_utf8_lossy(&bytes);
        for text in [text.as_str(), &lossy, &format!("{text}.{lossy}.{text}")] {
            prop_assert!(gate.verify(text, NOW).is_err());
            prop_assert!(gate.verify_access_secret(text, NOW).is_err());
            let _ = KeySet::from_jwks_json(text);
            let _ = text.parse::<SecretHash>();
            if let Ok(name) = RefName::parse(text) {
                prop_assert_eq!(name.to_string(), text);
            }
            let _ = UnverifiedToken::parse(text).map(|token| token.claims());
        }
    }

    #[test]
    fn no_json_in_a_token_or_key_set_makes_a_reader_panic(
        header in json_like(), claims in json_like(), signature: Vec<u8>, keys in json_like()
    ) {
        let parts = [header.as_bytes(), claims.as_bytes(), signature.as_slice()];
        let token = parts.map(|part| BASE64URL.encode(part)).join(".");
        let _ = UnverifiedToken::parse(&token).map(|token| token.claims());
        prop_assert!(verifier(KeySet::new()).verify(&token, NOW).is_err());
        let set = format!("{{\"keys\":[{keys}]}}");
        if let Ok(set) = KeySet::from_jwks_json(&set) {
            prop_assert_eq!(KeySet::from_jwks_json(&set.to_jwks_json()), Ok(set));
        }
    }

    #[test]
    fn no_moment_makes_the_check_of_times_panic(now: i64) {
        thread_local! {
            static SHOP: (flatpass_token::Verifier, String) = {
                let key = key();
                (verifier(KeySet::new().with(&key)), token(&key, "tok_1"))
            };
        }
        SHOP.with(|(gate, token)| {
            let good = (NOW.0 - 65..NOW.0 + 3605).contains(&now);
            assert_eq!(gate.verify(token, UnixTime(now)).is_ok(), good);
        });
    }
}
