//! Golden vectors: tokens that were made once, good and bad ones, and what must come of each.
//!
//! They are in the `*.json` beside this file, made by `good.rs` and `bad.rs`. To make them anew after a change of
//! those: `FLATPASS_WRITE_VECTORS=1 cargo test -p flatpass-token --test vectors`. The keys come from fixed
//! seeds; only the signatures are different each time, which is why the stored ones are what counts.

mod bad;
mod good;
mod maker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use flatpass_token::{CommitMade, KeySet, RefName, UnixTime, Verb, VerifiedToken, Verifier, VerifierConfig};
use serde::{Deserialize, Serialize};

/// One vector, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    /// What is special about it.
    about: String,
    /// When it is looked at, in seconds since 1970.
    now: i64,
    /// `ok`, or the name of the error.
    expect: String,
    /// `VERB REF` that it allows, or `VERB REF COMMIT SECONDS` with when the commit was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allows: Vec<String>,
    /// The same, that it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    forbids: Vec<String>,
    token: String,
}

/// Every vector with its name.
fn all() -> Vec<(&'static str, Vector)> {
    let mut vectors = maker::Vectors(Vec::new());
    good::good_ones(&mut vectors);
    good::limited_ones(&mut vectors);
    good::grants_that_open_nothing(&mut vectors);
    bad::bad_headers(&mut vectors);
    bad::bad_signatures(&mut vectors);
    bad::bad_claims(&mut vectors);
    bad::bad_shapes(&mut vectors);
    vectors.0
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// Everything stored, by name, and the key set.
fn stored() -> (BTreeMap<String, Vector>, KeySet) {
    if std::env::var_os("FLATPASS_WRITE_VECTORS").is_some() {
        static WRITTEN: Once = Once::new();
        WRITTEN.call_once(write_all);
    }
    let mut vectors = BTreeMap::new();
    for entry in fs::read_dir(folder()).expect("the folder of the vectors") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && name != "keys" {
            let text = fs::read_to_string(&path).expect("a readable vector");
            let vector = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            vectors.insert(name, vector);
        }
    }
    let keys = fs::read_to_string(folder().join("keys.json")).expect("the keys");
    (vectors, KeySet::from_jwks_json(&keys).expect("a good key set"))
}

fn write_all() {
    // The test runner starts each test as a process of its own: whoever comes second finds the same names and
    // writes another, equally good, signature.
    let write = |name: &str, text: String| {
        let unfinished = folder().join(format!("{name}.{}.unfinished", std::process::id()));
        fs::write(&unfinished, text + "\n").expect("a vector written");
        fs::rename(unfinished, folder().join(format!("{name}.json"))).expect("a vector moved");
    };
    for (name, vector) in all() {
        write(name, serde_json::to_string_pretty(&vector).expect("JSON"));
    }
    let keys: serde_json::Value =
        serde_json::from_str(&maker::keys().to_jwks_json()).expect("the keys are JSON");
    write("keys", serde_json::to_string_pretty(&keys).expect("JSON"));
}

/// What the token says to `VERB REF` or `VERB REF COMMIT SECONDS`.
fn allows(token: &VerifiedToken, item: &str) -> bool {
    let words: Vec<_> = item.split(' ').collect();
    let verb: Verb = words[0].parse().expect("a verb");
    let target = RefName::parse(words[1]).expect("a ref");
    let [commit, seconds] = words[2..] else { return token.allows(verb, &target) };
    let bytes: Vec<u8> =
        (0..32).map(|n| u8::from_str_radix(&commit[2 * n..2 * n + 2], 16).expect("hex")).collect();
    let checksum = bytes.try_into().expect("32 bytes");
    let at = UnixTime(seconds.parse().expect("seconds"));
    token.allows_commit(verb, &target, CommitMade { checksum: &checksum, at })
}

#[test]
fn every_stored_token_is_judged_as_its_vector_says() {
    let (vectors, keys) = stored();
    let config = VerifierConfig::new(maker::ISSUER, maker::AUDIENCE);
    let mut wrong = Vec::new();
    for (name, vector) in &vectors {
        let verifier = Verifier::new(config.clone(), keys.clone());
        let now = UnixTime(vector.now);
        // Twice: the second answer comes from the cache and must be the same one.
        for round in ["first", "second"] {
            let outcome = verifier.verify(&vector.token, now);
            let found = match &outcome {
                Ok(_) => "ok".to_owned(),
                Err(error) => format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
            };
            if found != vector.expect {
                wrong.push(format!("{name} ({round}): {found} instead of {}", vector.expect));
            }
            let Ok(verified) = outcome else { continue };
            for (list, expected) in [(&vector.allows, true), (&vector.forbids, false)] {
                for item in list {
                    if allows(&verified, item) != expected {
                        wrong.push(format!("{name} ({round}): allows {item} is not {expected}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_stored_vectors_are_those_that_the_generator_makes() {
    let (stored, keys) = stored();
    assert_eq!(keys, maker::keys());
    let unsigned = |token: &str| token.splitn(3, '.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let made = all();
    assert_eq!(made.len(), stored.len(), "a vector was added or removed and not written");
    for (name, vector) in made {
        let old = stored.get(name).unwrap_or_else(|| panic!("{name} is not stored"));
        let same_signature = Vector { token: old.token.clone(), ..vector.clone() };
        assert_eq!(&same_signature, old, "{name}");
        assert_eq!(unsigned(&vector.token), unsigned(&old.token), "{name}");
    }
}
