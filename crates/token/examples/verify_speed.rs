//! How long making and checking a token takes: `cargo run --release -p flatpass-token --example verify_speed`.
//!
//! Each line is the median of eleven rounds, with the fastest beside it.

use std::hint::black_box;
use std::time::Instant;

use flatpass_token::{
    AccessGrant, AccessTable, Claims, Grant, KeySet, RefName, Revocations, Secret, SigningKey, UnixTime,
    Verb, Verifier, VerifierConfig,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::SeedableRng;
use rand::rngs::StdRng;

const NOW: UnixTime = UnixTime(1_800_000_000);
const ISSUER: &str = "https://shop.example/";
const AUDIENCE: &str = "https://shop.example/repo/apps";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = SigningKey::generate()?;
    let keys = KeySet::new().with(&key).with(&SigningKey::generate()?);
    let config = VerifierConfig::new(ISSUER, AUDIENCE);
    let verifier = Verifier::new(config.clone(), keys.clone());
    let revoked = (0..100).fold(Revocations::new(), |list, n| list.with_id(format!("tok_revoked_{n}")));
    let lost = Grant::for_ids(&[Verb::Download], ["org.test.Other"]);
    let revoked = revoked.with_subject("acc_mallory", NOW).with_session("grt_mallory");
    verifier.set_revocations(revoked.clone().with_lost("acc_mallory", NOW, lost.clone()));
    let uncached = Verifier::new(VerifierConfig { cache_entries: 0, ..config }, keys);

    let small = key.sign(&claims(2))?;
    let large = key.sign(&claims(150))?;
    let target = RefName::parse("app/org.test.App1/x86_64/stable")?;
    println!("token of 2 ids: {} bytes; of 150 ids: {} bytes", small.len(), large.len());

    let cached = |token: &str| {
        let verified = verifier.verify(token, NOW).expect("the token is good");
        assert!(verified.allows(Verb::Download, &target));
    };
    measure("verify and allow, cached, 2 ids", 100_000, || cached(&small));
    measure("verify and allow, cached, 150 ids", 100_000, || cached(&large));
    verifier.set_revocations(revoked.with_lost("acc_abcdefghijklmnopqrstuvwxyz", NOW, lost));
    measure("the same of who lost something, 2 ids", 100_000, || cached(&small));
    measure("verify, not cached, 2 ids", 2_000, || drop(black_box(uncached.verify(&small, NOW))));
    measure("verify, not cached, 150 ids", 2_000, || drop(black_box(uncached.verify(&large, NOW))));
    let stranger = SigningKey::generate()?.sign(&claims(2))?;
    measure("refuse an unknown key", 20_000, || drop(black_box(verifier.verify(&stranger, NOW))));
    let (signed, _) = small.rsplit_once('.').ok_or("no signature")?;
    let (_, signature) = stranger.rsplit_once('.').ok_or("no signature")?;
    let forged = format!("{signed}.{signature}");
    measure("refuse a forged signature", 2_000, || drop(black_box(verifier.verify(&forged, NOW))));

    let mut rng = StdRng::seed_from_u64(1);
    let secret = Secret::generate("fpa_", &mut rng);
    let mut table = AccessTable::new();
    for n in 0..10_000 {
        let secret = if n == 0 { secret.hash() } else { Secret::generate("fpa_", &mut rng).hash() };
        table.insert(secret, access_grant(n));
    }
    verifier.set_access_tokens(table);
    measure("verify an access secret, one of 10000", 100_000, || {
        drop(black_box(verifier.verify_access_secret(secret.expose(), NOW)));
    });
    measure("sign, 2 ids", 2_000, || drop(black_box(key.sign(&claims(2)))));

    // The same work with jsonwebtoken, which reads the key anew each time.
    let private = EncodingKey::from_ec_der(&key.to_pkcs8_der()?);
    let jwk = key.public_jwk();
    let public = DecodingKey::from_ec_components(&jwk.x, &jwk.y)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.set_audience(&[AUDIENCE]);
    measure("verify with jsonwebtoken, 2 ids", 2_000, || {
        drop(black_box(jsonwebtoken::decode::<serde_json::Value>(&small, &public, &validation)));
    });
    measure("sign with jsonwebtoken, 2 ids", 2_000, || {
        drop(black_box(jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims(2), &private)));
    });
    Ok(())
}

fn claims(ids: usize) -> Claims {
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: "acc_abcdefghijklmnopqrstuvwxyz".into(),
        client_id: "flatpass-authenticator".into(),
        sid: Some("grt_abcdefghijklmnopqrstuvwxyz".into()),
        iat: NOW,
        exp: NOW.plus_seconds(3600),
        nbf: None,
        jti: "tok_abcdefghijklmnopqrstuvwxyz".into(),
        authorization_details: vec![grant(ids)],
    }
}

fn grant(ids: usize) -> Grant {
    Grant::for_ids(&[Verb::Download, Verb::Upgrade], (0..ids).rev().map(|n| format!("org.test.App{n}")))
}

fn access_grant(n: usize) -> AccessGrant {
    AccessGrant {
        id: format!("at_{n}"),
        subject: "acc_1".into(),
        grants: vec![grant(5)],
        ending: vec![],
        expires_at: None,
    }
}

fn measure(what: &str, times: u32, mut work: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..11)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..times {
                work();
            }
            start.elapsed().as_nanos() / u128::from(times)
        })
        .collect();
    rounds.sort_unstable();
    println!("{what:<40} {:>8} ns  (fastest {} ns)", rounds[rounds.len() / 2], rounds[0]);
}
