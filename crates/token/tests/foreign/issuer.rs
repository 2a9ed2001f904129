//! An identity provider with keys of every kind, and a verifier of a repo that takes its tokens.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use flatpass_token::{
    Accepts, ClaimRule, ForeignCheck, ForeignIssuer, ForeignKeySet, ForeignKeys, Grant, KeySet, KeySource,
    LookupError, RefName, TokenKind, UnixTime, Verb, Verifier, VerifierConfig, VerifyError,
};
use serde_json::{Value, json};

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const STORE: &str = "https://shop.example";
pub(crate) const REPO: &str = "https://shop.example/repo/apps";
pub(crate) const IDP: &str = "https://idp.example/realms/staff";
pub(crate) const TOOL: &str = "app/com.acme.Tool/x86_64/stable";

/// One private key.
pub(crate) enum Pair {
    Rs256(RsaKeyPair),
    Ps256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    Es384(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pub(crate) pair: Pair,
}

impl Key {
    pub(crate) fn rsa(kid: &'static str, size: KeySize) -> Self {
        Self { kid, pair: Pair::Rs256(RsaKeyPair::generate(size).unwrap()) }
    }

    pub(crate) fn es256(kid: &'static str) -> Self {
        Self { kid, pair: Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub(crate) fn all() -> Vec<Self> {
        let pss = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        vec![
            Self::rsa("rs", KeySize::Rsa2048),
            Self { kid: "ps", pair: Pair::Ps256(pss) },
            Self::es256("es"),
            Self { kid: "es384", pair: Pair::Es384(p384) },
            Self { kid: "ed", pair: Pair::EdDsa(Ed25519KeyPair::generate().unwrap()) },
        ]
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rs256(_) => "RS256",
            Pair::Ps256(_) => "PS256",
            Pair::Es256(_) => "ES256",
            Pair::Es384(_) => "ES384",
            Pair::EdDsa(_) => "EdDSA",
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rs256(pair) | Pair::Ps256(pair) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero();
                let e = public.exponent().big_endian_without_leading_zero();
                json!({ "kty": "RSA", "n": BASE64URL.encode(n), "e": BASE64URL.encode(e) })
            }
            Pair::Es256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::Es384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key().as_ref()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let rng = SystemRandom::new();
        match &self.pair {
            Pair::Rs256(pair) | Pair::Ps256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if matches!(self.pair, Pair::Rs256(_)) { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                pair.sign(encoding, &rng, message, &mut signature).unwrap();
                signature
            }
            Pair::Es256(pair) | Pair::Es384(pair) => pair.sign(&rng, message).unwrap().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these changes to header and claims; `null` takes a member away.
    pub(crate) fn token(&self, header: Value, claims: Value) -> String {
        let whole = json!({ "typ": "at+jwt", "alg": self.algorithm(), "kid": self.kid });
        self.raw(&changed(whole, header).to_string(), &changed(access_token(), claims).to_string())
    }

    pub(crate) fn raw(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", BASE64URL.encode(signature))
    }
}

fn point(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({ "kty": "EC", "crv": curve, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y) })
}

/// The claims of an engineer's access token.
pub(crate) fn access_token() -> Value {
    json!({
        "iss": IDP, "aud": REPO, "sub": "u-17", "client_id": "cli", "iat": NOW.0 - 60, "exp": NOW.0 + 600,
        "jti": "x1", "groups": ["engineering", "bowling"],
    })
}

pub(crate) fn changed(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (name, value) in changes {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Keys that a test exchanges, and how often they were asked for.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) answer: Mutex<Result<Vec<u8>, LookupError>>,
    pub(crate) has_news: Mutex<bool>,
    pub(crate) asked: AtomicUsize,
}

impl KeySource for Source {
    fn may_have_news(&self, _: UnixTime) -> bool {
        *self.has_news.lock().unwrap()
    }

    fn keys(&self, _: UnixTime) -> Result<Arc<ForeignKeySet>, LookupError> {
        self.asked.fetch_add(1, SeqCst);
        let answer = self.answer.lock().unwrap().clone()?;
        ForeignKeySet::parse(&answer).map(Arc::new).map_err(|_| LookupError::Unreachable)
    }
}

/// The gate of a repo that takes the tokens of an issuer with these keys; engineers may have what the company makes.
pub(crate) struct Gate {
    pub(crate) verifier: Verifier,
    pub(crate) keys: Arc<ForeignKeys>,
    pub(crate) source: Arc<Source>,
}

pub(crate) fn acme() -> Grant {
    Grant {
        actions: vec![Verb::Download],
        prefixes: vec!["com.acme".into()],
        branches: vec!["*".into()],
        arches: vec!["*".into()],
        ..Grant::default()
    }
}

pub(crate) fn rules() -> Vec<ClaimRule> {
    vec![ClaimRule::for_claim("groups", "engineering", acme()).unwrap()]
}

pub(crate) fn verifier() -> Verifier {
    Verifier::new(VerifierConfig::new(STORE, REPO), KeySet::new())
}

pub(crate) fn issuer(check: ForeignCheck, rules: Vec<ClaimRule>) -> ForeignIssuer {
    ForeignIssuer {
        name: "acme".into(),
        issuer: IDP.into(),
        audience: Some(REPO.into()),
        rules,
        check,
        is_secret: false,
    }
}

impl Gate {
    pub(crate) fn with(jwks: Vec<u8>, rules: Vec<ClaimRule>) -> Self {
        let set = ForeignKeySet::parse(&jwks).unwrap();
        let source = Source { answer: Mutex::new(Ok(jwks)), has_news: Mutex::new(false), asked: 0.into() };
        let source = Arc::new(source);
        let keys = Arc::new(ForeignKeys::new(Arc::new(set), Arc::clone(&source) as _));
        let gate = Self { verifier: verifier(), keys, source };
        gate.set(issuer(ForeignCheck::Keys(Arc::clone(&gate.keys)), rules));
        gate
    }

    pub(crate) fn new(keys: &[&Key]) -> Self {
        Self::with(jwks(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()), rules())
    }

    pub(crate) fn set(&self, issuer: ForeignIssuer) {
        self.verifier.set_accepts(Accepts::only(TokenKind::Foreign(Arc::new(issuer))));
    }

    /// Whether the token opens the tool.
    pub(crate) fn opens(&self, token: &str) -> Result<bool, VerifyError> {
        let verified = self.verifier.verify_waiting(token, NOW)?;
        Ok(verified.allows(Verb::Download, &RefName::parse(TOOL).unwrap()))
    }
}
