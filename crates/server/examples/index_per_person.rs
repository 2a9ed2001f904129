//! How long it takes to make an index per person: `index_per_person REPO KEY PERSON…`. KEY is a file with the OpenPGP secret key that signs, as
//! the server has it. Each person may list the ids below some prefixes, with a comma between them. It prints one line of JSON with
//! milliseconds: for each person the slowest of the first four answers, with which the index is made and signed, and the median and the
//! slowest of thousands of answers that are there already.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use flatpass::openpgp::OpenPgpKey;
use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gate, GateConfig, Headers, Listing, Method, Policy, Request, Rules,
};
use flatpass_token::{Claims, Grant, KeySet, SigningKey, Verb, Verifier, VerifierConfig};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().context("REPO is missing")?;
    let signer = OpenPgpKey::read(&std::fs::read(arguments.next().context("KEY is missing")?)?)?;
    let people: Vec<String> = arguments.collect();
    let (clock, key) = (Clock::system(), SigningKey::generate()?);
    let (issuer, repo) = ("https://shop.example/", "https://shop.example/repo/apps");
    let now = clock.now().unix();
    let config = VerifierConfig::new(issuer, repo);
    let verifier = Arc::new(Verifier::new(config, KeySet::new().with(&key)));
    let cache = Arc::new(FileCache::new(CacheLimits::default()));
    let config = GateConfig {
        name: "apps".to_owned(),
        root: root.into(),
        rules: Rules::new(Policy::Private),
        public_url: repo.to_owned(),
        sign_in_url: String::new(),
        problem_url: String::new(),
        objects: None,
    };
    let listing = Listing::PerPerson { signer: Some(Arc::new(signer)) };
    let gate = Gate::open(config, verifier, cache)?.with_listing(listing);
    let mut cold = Vec::new();
    let mut warm = Vec::new();
    let mut bytes = 0;
    for person in people {
        let token = key.sign(&Claims {
            iss: issuer.to_owned(),
            aud: repo.to_owned(),
            sub: person.clone(),
            sid: None,
            client_id: "measure".to_owned(),
            iat: now,
            exp: now.plus_seconds(3600),
            nbf: None,
            jti: person.clone(),
            authorization_details: vec![Grant {
                prefixes: person.split(',').map(str::to_owned).collect(),
                ..Grant::for_ids(&[Verb::List], Vec::<String>::new())
            }],
        })?;
        let authorization = format!("Bearer {token}");
        let mut headers = Headers::default();
        headers.note("authorization", authorization.as_bytes());
        let mut ask = |path: &str| {
            let started = Instant::now();
            let answer = gate.answer(
                &Request { method: Method::Get, path, query: None, headers, peer: None },
                clock.now(),
            );
            let elapsed = started.elapsed().as_secs_f64() * 1000.0;
            anyhow::ensure!(answer.status() == 200, "{path}: {}", answer.status());
            bytes = answer.field("Content-Length").map_or(0, |length| length.parse().unwrap_or(0));
            Ok(elapsed)
        };
        // As flatpak asks: the signature is made with the second question, and those of the old summary by old clients only.
        let mut slowest: f64 = 0.0;
        for path in ["summary.idx", "summary.idx.sig", "summary", "summary.sig"] {
            slowest = slowest.max(ask(path)?);
        }
        cold.push(slowest);
        for path in ["summary", "summary.sig", "summary.idx", "summary.idx.sig"] {
            for _ in 0..1000 {
                warm.push(ask(path)?);
            }
        }
        ask("summary")?;
    }
    warm.sort_unstable_by(f64::total_cmp);
    let at =
        |share: usize| warm.get(warm.len().saturating_sub(1) * share / 1000).copied().unwrap_or_default();
    println!(
        "{{\"cold_ms\": {cold:.2?}, \"warm_median_ms\": {:.4}, \"warm_slowest_ms\": {:.4}, \"summary_bytes\": {bytes}}}",
        at(500),
        at(1000)
    );
    Ok(())
}
