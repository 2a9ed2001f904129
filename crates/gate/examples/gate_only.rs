//! Serves one repo behind a gate and nothing else: `gate_only REPO ADDRESS POLICY [ID…]`. Prints a token that allows the download
//! of those ids for a day. It shows how to mount a gate, and is what to profile.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gate, GateConfig, Gates, Limits, ObjectIndex, ObjectIndexConfig,
    ObjectIndexError, Policy, Rules, serve_connection,
};
use flatpass_token::{Claims, Grant, KeySet, SigningKey, Verb, Verifier, VerifierConfig};
use http_body_util::Empty;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::watch;

const DAY: i64 = 24 * 60 * 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |name: &str| arguments.next().with_context(|| format!("{name} is missing"));
    let (root, address, policy) = (next("REPO")?, next("ADDRESS")?, next("POLICY")?);
    let ids: Vec<String> = arguments.collect();

    let clock = Clock::system();
    let (issuer, repo) = (format!("http://{address}/"), format!("http://{address}/repo/apps"));
    let key = SigningKey::generate()?;
    let now = clock.now().unix();
    let token = key.sign(&Claims {
        iss: issuer.clone(),
        aud: repo.clone(),
        sub: "somebody".to_owned(),
        sid: None,
        client_id: "gate_only".to_owned(),
        iat: now,
        exp: now.plus_seconds(DAY),
        nbf: None,
        jti: "only".to_owned(),
        authorization_details: vec![Grant::for_ids(&[Verb::Download], ids)],
    })?;

    let cache = Arc::new(FileCache::new(CacheLimits::default()));
    let verifier = Arc::new(Verifier::new(VerifierConfig::new(&issuer, &repo), KeySet::new().with(&key)));
    let policy: Policy = policy.parse()?;
    let state = std::env::temp_dir().join(format!("gate_only-{}", std::process::id()));
    let objects = policy.checks_objects().then(|| {
        let (name, root, file) = ("apps".to_owned(), PathBuf::from(&root), state.join("apps.objects"));
        let index =
            ObjectIndex::open(ObjectIndexConfig { name, root, file, patience: Duration::from_secs(2) })?;
        index.follow()?;
        Ok::<_, ObjectIndexError>(index)
    });
    let objects = objects.transpose()?;
    let config = GateConfig {
        name: "apps".to_owned(),
        root: root.into(),
        rules: Rules::new(policy),
        public_url: repo,
        sign_in_url: issuer.clone(),
        problem_url: format!("{issuer}problems/"),
        objects,
    };
    let gates = Arc::new(Gates::new(Arc::clone(&cache)));
    gates.replace(vec![("/repo/apps".to_owned(), Arc::new(Gate::open(config, verifier, cache)?))]);

    let listener = TcpListener::bind(&address).await?;
    println!("{token}");
    let (_end, shutdown) = watch::channel(false);
    loop {
        let (stream, peer) = listener.accept().await?;
        let (gates, clock, shutdown) = (Arc::clone(&gates), clock.clone(), shutdown.clone());
        tokio::spawn(async move {
            let nothing = service_fn(async |_request| {
                let mut answer = http::Response::new(Empty::<Bytes>::new());
                *answer.status_mut() = http::StatusCode::NOT_FOUND;
                Ok::<_, Infallible>(answer)
            });
            serve_connection(stream, peer, gates, &Limits::default(), clock, shutdown, nothing).await;
        });
    }
}
