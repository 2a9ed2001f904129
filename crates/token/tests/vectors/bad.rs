//! Tokens that are refused, each for one reason.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD as BASE64URL};
use serde_json::json;

use crate::maker::{
    AUDIENCE, ISSUER, NOW, Vectors, changed, claims, grant, header, key, sign_raw, signed, text, with_claims,
    with_claims_text, with_grants, with_header, with_header_text, with_hmac, with_signature,
};

pub(crate) fn bad_headers(to: &mut Vectors) {
    let unsigned = |alg: &str| {
        let header = text(&changed(header(), json!({"alg": alg})));
        format!("{}.{}.", BASE64URL.encode(header), BASE64URL.encode(text(&claims())))
    };
    to.add("alg-none", "alg none, no signature", "Algorithm", unsigned("none"));
    to.add("alg-none-mixed-case", "alg nOnE, no signature", "Algorithm", unsigned("nOnE"));
    to.add(
        "alg-none-signed",
        "alg none with a good signature",
        "Algorithm",
        with_header(json!({"alg": "none"})),
    );
    let jwk = key("first").public_jwk();
    let decode = |text: &str| BASE64URL.decode(text).expect("a coordinate");
    let point = [vec![4], decode(&jwk.x), decode(&jwk.y)].concat();
    to.add("alg-hs256-point", "HS256 with the public key's point as secret", "Algorithm", with_hmac(&point));
    let jwk = serde_json::to_vec(&jwk).expect("JSON");
    to.add("alg-hs256-jwk", "HS256 with the published JWK as secret", "Algorithm", with_hmac(&jwk));
    to.add("alg-hs256-empty", "HS256 with an empty secret", "Algorithm", with_hmac(b""));
    to.add("alg-es384", "an algorithm of the same family", "Algorithm", with_header(json!({"alg": "ES384"})));
    to.add("alg-rs256", "an algorithm of another family", "Algorithm", with_header(json!({"alg": "RS256"})));
    to.add("alg-lower-case", "es256 is not ES256", "Algorithm", with_header(json!({"alg": "es256"})));
    to.add("alg-missing", "no alg", "Algorithm", with_header(json!({"alg": null})));
    to.add("alg-number", "alg is a number", "Malformed", with_header(json!({"alg": 256})));
    to.add("typ-jwt", "an ID token's typ", "Type", with_header(json!({"typ": "JWT"})));
    to.add("typ-missing", "no typ", "Type", with_header(json!({"typ": null})));
    to.add("typ-almost", "typ with more behind", "Type", with_header(json!({"typ": "at+jwt; x"})));
    to.add(
        "typ-other-tree",
        "typ of another kind of media",
        "Type",
        with_header(json!({"typ": "text/at+jwt"})),
    );
    to.add(
        "kid-unknown",
        "a key that is not in the set",
        "UnknownKey",
        with_header(json!({"kid": key("third").kid()})),
    );
    to.add("kid-missing", "no kid", "UnknownKey", with_header(json!({"kid": null})));
    to.add("kid-path", "kid as a path", "UnknownKey", with_header(json!({"kid": "../../dev/null"})));
    to.add("kid-array", "kid is a list", "Malformed", with_header(json!({"kid": [key("first").kid()]})));
    to.add("crit", "a critical extension", "Critical", with_header(json!({"crit": ["b64"], "b64": false})));
    to.add("crit-empty", "an empty crit", "Critical", with_header(json!({"crit": []})));
    to.add("crit-null", "crit is null", "Critical", with_header_text("{", r#"{"crit":null,"#));
    let own = key("third").public_jwk();
    to.add("jwk-own", "brings the key it is signed with", "EmbeddedKey", {
        let header = text(&changed(header(), json!({ "jwk": own })));
        let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(text(&claims())));
        let signature = sign_raw("third", &ECDSA_P256_SHA256_FIXED_SIGNING, &message);
        format!("{message}.{}", BASE64URL.encode(signature))
    });
    to.add(
        "jku",
        "says where to get a key",
        "EmbeddedKey",
        with_header(json!({"jku": "https://evil.example/jwks"})),
    );
    to.add(
        "x5u",
        "says where to get a certificate",
        "EmbeddedKey",
        with_header(json!({"x5u": "https://evil.example/"})),
    );
    to.add("x5c", "brings a certificate", "EmbeddedKey", with_header(json!({"x5c": ["AAAA"]})));
    to.add("header-doubled-alg", "alg twice", "Malformed", with_header_text("{", r#"{"alg":"none","#));
    to.add(
        "header-doubled-kid",
        "kid twice, once with an escape",
        "Malformed",
        with_header_text("{", r#"{"k\u0069d":"x","#),
    );
    to.add("header-array", "the header is a list", "Malformed", signed("[]", &text(&claims())));
    to.add("header-empty", "the header is nothing", "Malformed", signed("", &text(&claims())));
    to.add(
        "header-trailing",
        "something behind the header",
        "Malformed",
        signed(&format!("{} x", text(&header())), &text(&claims())),
    );
    to.add(
        "header-deep",
        "a header of very many brackets",
        "Malformed",
        signed(&"[".repeat(3000), &text(&claims())),
    );
}

pub(crate) fn bad_signatures(to: &mut Vectors) {
    let mut bad = |name, about: &str, token| to.add(name, about, "Signature", token);
    bad("signature-empty", "no signature", with_signature(|_| vec![]));
    bad("signature-zero", "r and s are 0", with_signature(|_| vec![0; 64]));
    bad("signature-ones", "r and s are larger than the curve's order", with_signature(|_| vec![0xff; 64]));
    bad(
        "signature-other-key",
        "signed with the set's other key",
        with_signature(|message| sign_raw("second", &ECDSA_P256_SHA256_FIXED_SIGNING, message)),
    );
    bad(
        "signature-short",
        "the last byte is missing",
        with_signature(|message| {
            let mut signature = sign_raw("first", &ECDSA_P256_SHA256_FIXED_SIGNING, message);
            signature.pop();
            signature
        }),
    );
    bad(
        "signature-long",
        "a byte more",
        with_signature(|message| {
            let mut signature = sign_raw("first", &ECDSA_P256_SHA256_FIXED_SIGNING, message);
            signature.push(0);
            signature
        }),
    );
    bad(
        "signature-der",
        "a good signature in DER, as certificates have it",
        with_signature(|message| sign_raw("first", &ECDSA_P256_SHA256_ASN1_SIGNING, message)),
    );
    let (good, other) = (with_claims(json!({})), with_claims(json!({"sub": "acc_mallory"})));
    let (_, signature) = good.rsplit_once('.').expect("three parts");
    let (message, _) = other.rsplit_once('.').expect("three parts");
    bad(
        "signature-of-another",
        "another account's claims under a good signature",
        format!("{message}.{signature}"),
    );
}

pub(crate) fn bad_claims(to: &mut Vectors) {
    to.add(
        "iss-other",
        "made by somebody else",
        "Issuer",
        with_claims(json!({"iss": "https://evil.example/"})),
    );
    to.add(
        "iss-no-slash",
        "almost the issuer",
        "Issuer",
        with_claims(json!({"iss": "https://shop.example"})),
    );
    to.add("iss-array", "iss is a list", "Claims", with_claims(json!({"iss": [ISSUER]})));
    to.add(
        "aud-other",
        "for another repo",
        "Audience",
        with_claims(json!({"aud": "https://shop.example/repo/other"})),
    );
    to.add(
        "aud-slash",
        "almost the audience",
        "Audience",
        with_claims(json!({"aud": format!("{AUDIENCE}/")})),
    );
    to.add(
        "aud-below",
        "for something below the repo",
        "Audience",
        with_claims(json!({"aud": format!("{AUDIENCE}/x")})),
    );
    to.add(
        "aud-array-two",
        "for two gates",
        "Audience",
        with_claims(json!({"aud": [AUDIENCE, "https://peer.example"]})),
    );
    to.add(
        "aud-array-one",
        "for one gate, but as a list",
        "Audience",
        with_claims(json!({"aud": [AUDIENCE]})),
    );
    to.add("aud-empty", "for nobody", "Audience", with_claims(json!({"aud": ""})));
    to.add("exp-past", "expired an hour ago", "Expired", with_claims(json!({"exp": NOW - 3600})));
    to.add(
        "exp-after-leeway",
        "expired 5 seconds ago: just outside the leeway",
        "Expired",
        with_claims(json!({"exp": NOW - 5})),
    );
    to.add("exp-negative", "expired before 1970", "Expired", with_claims(json!({"exp": i64::MIN})));
    to.add("exp-float", "exp with a fraction", "Claims", with_claims_text("1800003540", "1800003540.5"));
    to.add(
        "exp-float-integral",
        "exp as a float without fraction",
        "Claims",
        with_claims_text("1800003540", "1800003540.0"),
    );
    to.add("exp-exponent", "exp with an exponent", "Claims", with_claims_text("1800003540", "1e10"));
    to.add("exp-string", "exp as a string", "Claims", with_claims(json!({"exp": "1800003540"})));
    to.add("exp-null", "exp is null", "Claims", with_claims_text("1800003540", "null"));
    to.add(
        "exp-huge",
        "exp that no clock reaches",
        "Claims",
        with_claims_text("1800003540", "99999999999999999999"),
    );
    to.add(
        "exp-doubled",
        "exp twice, the later one last",
        "Claims",
        with_claims_text("1800003540", r#"1700000000,"exp":1800003540"#),
    );
    to.add(
        "exp-doubled-escape",
        "exp twice, once with an escape",
        "Claims",
        with_claims_text("1800003540", r#"1700000000,"\u0065xp":1800003540"#),
    );
    to.add("nbf-future", "valid in an hour", "NotYetValid", with_claims(json!({"nbf": NOW + 3600})));
    to.add(
        "nbf-after-leeway",
        "valid in 6 seconds: just outside the leeway",
        "NotYetValid",
        with_claims(json!({"nbf": NOW + 6})),
    );
    to.add("nbf-string", "nbf as a string", "Claims", with_claims(json!({"nbf": "0"})));
    to.add("iat-future", "made in an hour", "IssuedInFuture", with_claims(json!({"iat": NOW + 3600})));
    to.add("aud-doubled", "aud twice", "Claims", with_claims_text("{", r#"{"aud":"x","#));
    for (name, claim) in [
        ("iss-missing", "iss"),
        ("aud-missing", "aud"),
        ("exp-missing", "exp"),
        ("iat-missing", "iat"),
        ("sub-missing", "sub"),
        ("client-id-missing", "client_id"),
        ("jti-missing", "jti"),
    ] {
        to.add(name, "a required claim is missing", "Claims", with_claims(json!({ claim: null })));
    }
    for (name, claim) in [("sub-empty", "sub"), ("client-id-empty", "client_id"), ("jti-empty", "jti")] {
        to.add(name, "a required claim is empty", "Claims", with_claims(json!({ claim: "" })));
    }
    for (name, member) in [
        ("details-commits-null", "commits"),
        ("details-made-until-null", "made_until"),
        ("details-kinds-null", "kinds"),
    ] {
        let token = with_claims_text(r#""branches""#, &format!(r#""{member}":null,"branches""#));
        to.add(name, "a limit that is null limits nothing: it is refused", "Claims", token);
    }
    to.add(
        "details-commits-string",
        "commits is a text",
        "Claims",
        with_grants(json!([grant(json!({"commits": "*"}))])),
    );
    to.add(
        "details-made-until-text",
        "a moment as a text",
        "Claims",
        with_grants(json!([grant(json!({"made_until": "1800000000"}))])),
    );
    to.add("sid-empty", "a device without a name", "Claims", with_claims(json!({"sid": ""})));
    to.add("details-object", "the details are not a list", "Claims", with_grants(grant(json!({}))));
    to.add(
        "details-no-type",
        "a detail without a type",
        "Claims",
        with_grants(json!([grant(json!({"type": null}))])),
    );
    to.add(
        "details-ids-string",
        "ids is a string",
        "Claims",
        with_grants(json!([grant(json!({"ids": "org.test.Paid"}))])),
    );
    to.add(
        "details-ids-numbers",
        "ids are numbers",
        "Claims",
        with_grants(json!([grant(json!({"ids": [1]}))])),
    );
    to.add("details-actions-null", "actions is null", "Claims", with_claims_text(r#"["download"]"#, "null"));
    to.add(
        "details-ids-doubled",
        "ids twice",
        "Claims",
        with_claims_text(r#""ids":"#, r#""ids":["org.test.Other"],"ids":"#),
    );
    to.add(
        "details-type-doubled",
        "type twice",
        "Claims",
        with_claims_text(r#""type":"#, r#""type":"other","type":"#),
    );
    to.add("claims-array", "the claims are a list", "Claims", signed(&text(&header()), "[]"));
    to.add("claims-text", "the claims are no JSON", "Claims", signed(&text(&header()), "hello"));
    to.add("claims-empty", "no claims", "Claims", signed(&text(&header()), ""));
    to.add(
        "claims-trailing",
        "something behind the claims",
        "Claims",
        signed(&text(&header()), &format!("{}{{}}", text(&claims()))),
    );
}

pub(crate) fn bad_shapes(to: &mut Vectors) {
    let good = with_claims(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let mut bad = |name, about: &str, token: String| to.add(name, about, "Malformed", token);
    bad("shape-empty", "nothing", String::new());
    bad("shape-dots", "two dots", "..".into());
    bad("shape-two-parts", "two parts", parts[..2].join("."));
    bad("shape-four-parts", "four parts", format!("{good}.{}", parts[2]));
    bad("shape-five-parts", "five parts, as an encrypted token has", format!("{good}.AAAA.AAAA"));
    bad("shape-space-before", "a space before", format!(" {good}"));
    bad("shape-newline-behind", "a line's end behind", format!("{good}\n"));
    bad("shape-nul-behind", "a NUL behind", format!("{good}\0"));
    bad("shape-padded", "base64 with padding", {
        let header = URL_SAFE.encode(format!("{} ", text(&header())));
        let header = if header.ends_with('=') {
            header
        } else {
            URL_SAFE.encode(format!("{}  ", text(&self::header())))
        };
        format!("{header}.{}.{}", parts[1], parts[2])
    });
    bad("shape-spare-bits", "another spelling of the same signature", {
        // 64 bytes are 86 characters, of which the last has 4 bits to spare.
        let (front, last) = good.split_at(good.len() - 1);
        let spare = match last {
            "A" => "B",
            "Q" => "R",
            "g" => "h",
            _ => "x",
        };
        format!("{front}{spare}")
    });
    bad(
        "shape-json",
        "a JWS in JSON with two signatures",
        text(&json!({
            "payload": parts[1],
            "signatures": [{"protected": parts[0], "signature": "AAAA"}, {"protected": parts[0], "signature": "BBBB"}],
        })),
    );
    bad("shape-unicode", "letters that are not ASCII", format!("{}․{}․AAAA", parts[0], parts[1]));
    let filler = "x".repeat(6200);
    to.add(
        "shape-oversized",
        "a good token, but too long",
        "TooLong",
        with_claims(json!({ "scope": filler })),
    );
}
