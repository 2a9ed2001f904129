//! flat-manager's tokens: what opens, what must not, and that one secret follows another without a gap. The tokens are made by another
//! library, in the ways that flat-manager's own tool and the sites beside it make them.

use std::sync::Arc;

use flatpass_token::{
    FlatManagerClaims, FlatManagerKeys, Grant, KeySet, NO_PREFIX, Revocations, SharedSecret,
    SharedSecretError, Verb, Verifier, VerifyError, read_shared,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::shop::{NOW, claims, key, target, verifier};

const SECRET: &[u8] = b"0123456789abcdefghijklmnopqrstuv";
const OTHER: &[u8] = b"another secret of thirty-two byt";
const PAID: &str = "app/org.test.Paid/x86_64/stable";

fn secret(bytes: &[u8]) -> Arc<SharedSecret> {
    Arc::new(SharedSecret::from_bytes(Zeroizing::new(bytes.to_vec())).expect("a secret"))
}

fn gate() -> Verifier {
    gate_with(&[SECRET])
}

fn gate_with(secrets: &[&[u8]]) -> Verifier {
    let gate = verifier(KeySet::new().with(&key()));
    gate.set_flat_manager(Some(FlatManagerKeys::new("stable", secrets.iter().map(|bytes| secret(bytes)))));
    gate
}

fn signed_as(header: &Header, bytes: &[u8], claims: &Value) -> String {
    encode(header, claims, &EncodingKey::from_secret(bytes)).expect("a token")
}

fn signed(claims: &Value) -> String {
    signed_as(&Header::new(Algorithm::HS256), SECRET, claims)
}

/// As flat-manager's own tool writes them for who names everything.
fn good() -> Value {
    json!({
        "name": "ann", "sub": "ann", "exp": NOW.0 + 3600, "jti": null, "scope": ["download"],
        "prefixes": ["org.none"], "apps": ["org.test.Paid"], "repos": ["stable"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn opens(gate: &Verifier, claims: &Value, name: &str) -> bool {
    gate.verify(&signed(claims), NOW).is_ok_and(|token| token.allows(Verb::Download, &target(name)))
}

#[test]
fn a_token_opens_the_apps_that_it_names_and_what_lies_below_its_prefixes() {
    let gate = gate();
    assert!(opens(&gate, &good(), PAID));
    for other in [
        "app/org.test.Other/x86_64/stable",
        "app/org.test.Paid.Pro/x86_64/stable",
        "runtime/org.test.Paid.Locale/x86_64/stable",
        "app/org.test.PaidToo/x86_64/stable",
    ] {
        assert!(!opens(&gate, &good(), other), "{other}");
    }
    let below = with("prefixes", json!(["org.test"]));
    assert!(opens(&gate, &below, "app/org.test.Other/aarch64/beta"));
    assert!(!opens(&gate, &below, "app/org.tester.Other/x86_64/stable"));
    // Every repo of that flat-manager, and a branch or all.
    assert!(opens(&gate, &with("repos", json!([""])), PAID));
    assert!(opens(&gate, &with("branches", json!(["stable"])), PAID));
    assert!(opens(&gate, &with("branches", json!([""])), PAID));
    // Whatever it opens, it is nothing that a list needs.
    let token = gate.verify(&signed(&below), NOW).expect("a good token");
    assert!(!token.allows_any(Verb::List) && !token.allows_any(Verb::Export));
    assert_eq!((token.subject(), token.id()), ("ann", ""));
}

#[test]
fn what_flat_manager_overlooks_opens_nothing_here() {
    let gate = gate();
    for (claims, error) in [
        (without("scope"), VerifyError::Scope),
        (with("scope", json!([])), VerifyError::Scope),
        (with("scope", json!(["build", "upload", "downloads"])), VerifyError::Scope),
        (without("repos"), VerifyError::Audience),
        (with("repos", json!([])), VerifyError::Audience),
        (with("repos", json!(["beta", "Stable", "stable/", "*"])), VerifyError::Audience),
        (with("nbf", json!(NOW.0 + 60)), VerifyError::NotYetValid { from: NOW.plus_seconds(60) }),
        (with("iat", json!(NOW.0 + 600)), VerifyError::IssuedInFuture { at: NOW.plus_seconds(600) }),
        (with("exp", json!(NOW.0 - 60)), VerifyError::Expired { at: NOW.plus_seconds(-60) }),
        (with("exp", json!(null)), VerifyError::Claims),
        (with("exp", json!("never")), VerifyError::Claims),
        (without("exp"), VerifyError::Claims),
        (without("sub"), VerifyError::Claims),
        (with("nbf", json!(null)), VerifyError::Claims),
        (with("branches", json!(null)), VerifyError::Claims),
        (with("apps", json!("org.test.Paid")), VerifyError::Claims),
        (with("apps", json!(null)), VerifyError::Claims),
        (with("jti", json!("tok_1")), VerifyError::OnlyOnline),
    ] {
        assert_eq!(gate.verify(&signed(&claims), NOW).err(), Some(error), "{claims}");
    }
    // Good tokens that open nothing.
    let nothing = |prefixes: Value| {
        let mut claims = with("apps", json!([]));
        claims["prefixes"] = prefixes;
        claims
    };
    let mut claims = vec![
        nothing(json!([])),
        nothing(json!([""])),
        nothing(json!(["*"])),
        nothing(json!(["org.test.", "org.tes"])),
    ];
    claims.push({
        let mut bare = without("apps");
        bare.as_object_mut().expect("an object").remove("prefixes");
        bare
    });
    claims.extend([json!([]), json!(["beta"]), json!(["*"])].map(|branches| with("branches", branches)));
    claims.extend(
        [json!([]), json!([{"type": "flatpak"}])].map(|details| with("authorization_details", details)),
    );
    for claims in claims {
        let token = gate.verify(&signed(&claims), NOW).expect("it says nothing wrong");
        assert!(!token.allows(Verb::Download, &target(PAID)), "{claims}");
    }
}

#[test]
fn the_details_of_a_token_narrow_it_and_never_widen_it() {
    let gate = gate();
    let detail = |grant: Grant| json!([serde_json::to_value(grant).expect("JSON")]);
    let stable =
        Grant { branches: vec!["stable".into()], ..Grant::for_ids(&[Verb::Download], ["org.test.Paid"]) };
    let narrow = with("authorization_details", detail(stable));
    assert!(opens(&gate, &narrow, PAID));
    assert!(!opens(&gate, &narrow, "app/org.test.Paid/x86_64/beta"));
    let wide = Grant {
        prefixes: vec!["*".into()],
        ..Grant::for_ids(&[Verb::Download], ["org.test.Paid", "org.test.Other"])
    };
    let wide = with("authorization_details", detail(wide));
    assert!(opens(&gate, &wide, PAID) && !opens(&gate, &wide, "app/org.test.Other/x86_64/stable"));
}

#[test]
fn only_hs256_with_a_secret_of_the_repo_is_taken() {
    let gate = gate();
    let good = good();
    let hs256 = |name: &str| Header { typ: Some(name.into()), ..Header::new(Algorithm::HS256) };
    assert!(gate.verify(&signed_as(&hs256("jwt"), SECRET, &good), NOW).is_ok());
    assert!(gate.verify(&signed_as(&Header { typ: None, ..hs256("") }, SECRET, &good), NOW).is_ok());
    // A token of another type for which the same secret may be used.
    assert_eq!(gate.verify(&signed_as(&hs256("at+jwt"), SECRET, &good), NOW).err(), Some(VerifyError::Type));
    assert_eq!(gate.verify(&signed_as(&hs256("JWT"), OTHER, &good), NOW).err(), Some(VerifyError::Signature));
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let long = [SECRET, SECRET].concat();
        let gate = gate_with(&[&long]);
        assert!(gate.verify(&signed_as(&Header::new(algorithm), &long, &good), NOW).is_err());
    }
    // The public key as the secret, in each form that it has.
    let signing = key();
    let gate = verifier(KeySet::new().with(&signing));
    gate.set_flat_manager(Some(FlatManagerKeys::new("stable", [secret(SECRET)])));
    let jwk = signing.public_jwk();
    for form in [
        KeySet::new().with(&signing).to_jwks_json().into_bytes(),
        [jwk.x.clone(), jwk.y].concat().into_bytes(),
    ] {
        assert_eq!(
            gate.verify(&signed_as(&hs256("JWT"), &form, &good), NOW).err(),
            Some(VerifyError::Signature)
        );
        let header = Header { kid: Some(signing.kid().to_owned()), ..hs256("JWT") };
        assert_eq!(gate.verify(&signed_as(&header, &form, &good), NOW).err(), Some(VerifyError::Signature));
    }
    // A critical extension, a key of its own.
    for member in
        [r#""crit":["b64"]"#, r#""jwk":{"kty":"oct","k":"AAAA"}"#, r#""jku":"https://evil.example/""#]
    {
        let parts = format!(r#"{{"typ":"JWT","alg":"HS256",{member}}}"#);
        assert!(gate.verify(&resigned(&parts, &good.to_string()), NOW).is_err(), "{member}");
    }
    // A claim that stands there twice.
    let twice = good.to_string().replacen('{', r#"{"apps":["org.test.Other"],"#, 1);
    assert_eq!(
        gate.verify(&resigned(r#"{"typ":"JWT","alg":"HS256"}"#, &twice), NOW).err(),
        Some(VerifyError::Claims)
    );
    assert!(gate.verify(&resigned(r#"{"typ":"JWT","alg":"HS256"}"#, &good.to_string()), NOW).is_ok());
    // Our own tokens go on beside them; without secrets none of flat-manager's is taken.
    let own = signing.sign(&claims("tok_1", vec![Grant::for_ids(&[Verb::Download], ["org.test.Paid"])]));
    assert!(gate.verify(&own.expect("a token"), NOW).is_ok());
    gate.set_flat_manager(None);
    assert_eq!(gate.verify(&signed(&good), NOW).err(), Some(VerifyError::UnknownKey));
    assert_eq!(gate.verify(&signed(&with("name", json!("new"))), NOW).err(), Some(VerifyError::Type));
}

/// Signed with the secret, whatever the texts say.
fn resigned(header: &str, claims: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", BASE64URL.encode(signature))
}

#[test]
fn what_we_sign_opens_the_bought_ids_on_any_flat_manager_and_here() {
    let made = FlatManagerClaims {
        sub: "acc_ada".into(),
        sid: Some("grant_1".into()),
        iat: NOW,
        exp: NOW.plus_seconds(3600),
        repo: "stable".into(),
        apps: vec!["org.test.Paid".into(), "org.test.Paid.Locale".into()],
        details: vec![Grant::for_ids(
            &[Verb::Download, Verb::Upgrade],
            ["org.test.Paid", "org.test.Paid.Locale"],
        )],
    };
    let token = made.sign(&secret(SECRET)).expect("a token");
    let said: Value = read_shared(&token, &[secret(SECRET)]).expect("our own token");
    assert_eq!(said["scope"], json!(["download"]));
    assert_eq!(said["repos"], json!(["stable"]));
    assert_eq!(said["apps"], json!(["org.test.Paid", "org.test.Paid.Locale"]));
    assert_eq!(said.get("jti"), None);
    // flat-manager opens everything to who has no prefix, or an empty one; what ours begins with, no id can begin with.
    assert_eq!(said["prefixes"], json!([NO_PREFIX]));
    assert!(
        !NO_PREFIX.is_empty()
            && flatpass_token::RefName::parse(&format!("app/{NO_PREFIX}.x/x86_64/stable")).is_err()
    );

    let gate = gate();
    let verified = gate.verify(&token, NOW).expect("a good token");
    assert!(verified.allows(Verb::Download, &target(PAID)));
    assert!(!verified.allows(Verb::Download, &target("app/org.test.Other/x86_64/stable")));
    // A device that is signed out, an account that lost the app: told as for any token.
    gate.set_revocations(Revocations::new().with_session("grant_1"));
    assert_eq!(gate.verify(&token, NOW).err(), Some(VerifyError::Revoked));
    let lost = Grant::for_ids(&[Verb::Download], ["org.test.Paid"]);
    gate.set_revocations(Revocations::new().with_lost("acc_ada", NOW, lost));
    let verified = gate.verify(&token, NOW).expect("a good token");
    assert!(!verified.allows(Verb::Download, &target(PAID)));

    // What would be a publisher's token, or one for every repo, is not made.
    for wrong in [
        FlatManagerClaims { sub: "build".into(), ..made.clone() },
        FlatManagerClaims { sub: "build/7".into(), ..made.clone() },
        FlatManagerClaims { repo: String::new(), ..made },
    ] {
        assert!(wrong.sign(&secret(SECRET)).is_err());
    }
}

#[test]
fn a_secret_follows_another_without_a_gap_and_ends_at_once_when_it_is_taken_away() {
    let gate = gate();
    let (old, new) = (signed(&good()), signed_as(&Header::new(Algorithm::HS256), OTHER, &good()));
    assert!(gate.verify(&old, NOW).is_ok() && gate.verify(&new, NOW).is_err());
    let keys = |secrets: &[&[u8]], repo: &str| {
        Some(FlatManagerKeys::new(repo, secrets.iter().map(|bytes| secret(bytes))))
    };
    gate.set_flat_manager(keys(&[OTHER, SECRET], "stable"));
    assert!(gate.verify(&old, NOW).is_ok() && gate.verify(&new, NOW).is_ok());
    // Both are remembered by now, and that must not keep them alive.
    gate.set_flat_manager(keys(&[OTHER], "stable"));
    assert_eq!(gate.verify(&old, NOW).err(), Some(VerifyError::UnknownKey));
    assert!(gate.verify(&new, NOW).is_ok());
    gate.set_flat_manager(keys(&[OTHER], "beta"));
    assert_eq!(gate.verify(&new, NOW).err(), Some(VerifyError::UnknownKey));
    gate.set_flat_manager(None);
    assert!(gate.verify(&new, NOW).is_err());
}

#[test]
fn weak_secrets_and_keys_of_other_kinds_are_refused() {
    use SharedSecretError::{AnotherKind, Encoding, TooLong, TooShort};
    // What flat-manager's example configuration has.
    assert_eq!(SharedSecret::from_base64("c2VjcmV0").err(), Some(TooShort { bytes: 6 }));
    assert_eq!(SharedSecret::from_base64("").err(), Some(TooShort { bytes: 0 }));
    assert_eq!(SharedSecret::from_base64("not base64, alas").err(), Some(Encoding));
    assert_eq!(SharedSecret::from_base64(&"A".repeat(10_000)).err(), Some(TooLong));
    assert!(SharedSecret::from_base64(" MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=\n").is_ok());
    assert!(SharedSecret::from_base64("MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY").is_ok());
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    assert_eq!(SharedSecret::from_base64(pem).err(), Some(AnotherKind));
    for bytes in [
        pem.as_bytes().to_vec(),
        KeySet::new().with(&key()).to_jwks_json().into_bytes(),
        [&[0x30, 0x59, 0x30, 0x13][..], &[7; 87]].concat(),
        [&[0x30, 0x82, 0x01, 0x22][..], &[7; 290]].concat(),
    ] {
        assert_eq!(SharedSecret::from_bytes(Zeroizing::new(bytes)).err(), Some(AnotherKind));
    }
    assert_eq!(format!("{:?}", secret(SECRET)), "SharedSecret(…)");
}

/// The rule, written down once more: which of these claims open an id in the repo `stable`.
fn should_open(claims: &Value, id: &str, branch: &str) -> bool {
    let list = |name: &str| -> Vec<String> {
        claims
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one.as_str()?.to_owned()))
            .collect()
    };
    let below = |prefix: &String| {
        let (ours, theirs): (Vec<_>, Vec<_>) = (id.split('.').collect(), prefix.split('.').collect());
        !prefix.is_empty() && ours.starts_with(&theirs)
    };
    list("scope").contains(&"download".to_owned())
        && list("repos").iter().any(|repo| repo.is_empty() || repo == "stable")
        && claims
            .get("branches")
            .is_none_or(|_| list("branches").iter().any(|one| one.is_empty() || one == branch))
        && (list("apps").contains(&id.to_owned()) || list("prefixes").iter().any(below))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_claims_open_more_than_the_rule_says(
        scope in lists(&["download", "build", ""]),
        repos in lists(&["stable", "beta", "", "*"]),
        apps in lists(&["org.test.Paid", "org.test.Other", "*", ""]),
        prefixes in lists(&["org", "org.test", "org.test.P", "*", "", ".", "org.test.Paid"]),
        branches in lists(&["stable", "beta", "", "*"]),
    ) {
        let mut claims = json!({"sub": "ann", "exp": NOW.0 + 60});
        for (name, list) in [("scope", scope), ("repos", repos), ("apps", apps), ("prefixes", prefixes), ("branches", branches)] {
            if let Some(list) = list {
                claims[name] = json!(list);
            }
        }
        let gate = gate();
        for id in ["org.test.Paid", "org.test.Paid.Pro", "org.test.Other", "org.other.App"] {
            for branch in ["stable", "beta"] {
                let name = format!("app/{id}/x86_64/{branch}");
                prop_assert_eq!(opens(&gate, &claims, &name), should_open(&claims, id, branch), "{} {}", claims, name);
            }
        }
    }

    #[test]
    fn no_text_is_a_token_that_the_secret_did_not_sign(text in ".{0,200}", header in "[ -~]{0,40}") {
        let gate = gate();
        prop_assert!(gate.verify(&text, NOW).is_err());
        // Whatever a signed payload says, reading it does not fail badly.
        let _ = gate.verify(&resigned(&header, &text), NOW);
        let _ = gate.verify(&resigned(r#"{"alg":"HS256"}"#, &text), NOW);
    }
}

fn lists(words: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    proptest::option::of(proptest::collection::vec(proptest::sample::select(words), 0..3))
}
