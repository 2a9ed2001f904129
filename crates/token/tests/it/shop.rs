//! A shop whose tokens the tests check.

use flatpass_token::{Claims, Grant, KeySet, RefName, SigningKey, UnixTime, Verb, Verifier, VerifierConfig};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const ISSUER: &str = "https://shop.example/";
pub(crate) const AUDIENCE: &str = "https://shop.example/repo/apps";

pub(crate) fn key() -> SigningKey {
    SigningKey::generate().expect("a key")
}

pub(crate) fn verifier(keys: KeySet) -> Verifier {
    Verifier::new(VerifierConfig::new(ISSUER, AUDIENCE), keys)
}

/// A token's claims for these grants: made now, for an hour.
pub(crate) fn claims(jti: &str, grants: Vec<Grant>) -> Claims {
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: "acc_ada".into(),
        client_id: "flatpass-authenticator".into(),
        sid: None,
        iat: NOW,
        exp: NOW.plus_seconds(3600),
        nbf: None,
        jti: jti.into(),
        authorization_details: grants,
    }
}

/// A token that opens the paid app.
pub(crate) fn token(key: &SigningKey, jti: &str) -> String {
    key.sign(&claims(jti, vec![Grant::for_ids(&[Verb::Download], ["org.test.Paid"])])).expect("a token")
}

pub(crate) fn target(name: &str) -> RefName {
    RefName::parse(name).expect("a ref")
}
