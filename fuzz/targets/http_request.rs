//! What comes over a connection: no bytes make the server panic or wait for ever, and where requests end does not depend on how the
//! bytes were cut on their way.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gate, GateConfig, Gates, Limits, Opaque, Policy, Rules, serve_connection,
};
use flatpass_token::{KeySet, UnixTime, Verifier, VerifierConfig};
use http_body_util::Empty;
use hyper::service::service_fn;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// A repo that has nothing but a config, mounted at `/r`.
struct Server {
    runtime: Runtime,
    gates: Arc<Gates>,
}

impl Server {
    fn start() -> Self {
        let root = std::env::temp_dir().join("flatpass-fuzz-http-request");
        fs::create_dir_all(&root).expect("a scratch folder");
        fs::write(root.join("config"), "[core]\nmode=archive-z2\n").expect("a scratch file");
        let cache = Arc::new(FileCache::new(CacheLimits::default()));
        let config = GateConfig {
            name: "r".to_owned(),
            root,
            rules: Rules::new(Policy::Refs),
            public_url: "http://shop.example/r".to_owned(),
            sign_in_url: "http://shop.example/sign-in".to_owned(),
            problem_url: "http://shop.example/problems/".to_owned(),
            objects: None,
        };
        let verifier = VerifierConfig::new("http://shop.example/", "http://shop.example/r");
        let verifier = Arc::new(Verifier::new(verifier, KeySet::new()));
        let gate = Gate::open(config, verifier, Arc::clone(&cache)).expect("a gate");
        let gates = Arc::new(Gates::new(cache));
        gates.replace(vec![("/r".to_owned(), Arc::new(gate))]);
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        Self { runtime, gates }
    }

    fn answers_to(&self, bytes: &[u8], piece: usize) -> Vec<u8> {
        self.runtime.block_on(async {
            let (mut client, stream) = tokio::io::duplex(64 << 10);
            let (_end, shutdown) = watch::channel(false);
            let (gates, peer) = (Arc::clone(&self.gates), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            let server = tokio::spawn(async move {
                let nothing =
                    service_fn(async |_| Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new())));
                let clock = Clock::manual(UnixTime(1_800_000_000));
                let limits = Limits { head_bytes: 2048, header_fields: 16, ..Limits::default() };
                serve_connection(Opaque(stream), peer, gates, &limits, clock, shutdown, nothing).await;
            });
            for piece in bytes.chunks(piece) {
                if client.write_all(piece).await.is_err() {
                    break;
                }
            }
            let _gone = client.shutdown().await;
            let mut answers = Vec::new();
            client.read_to_end(&mut answers).await.expect("what is in memory can be read");
            server.await.expect("the server does not panic");
            answers
        })
    }
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::start());
}

fuzz_target!(|bytes: &[u8]| {
    SERVER.with_borrow(|server| {
        let whole = server.answers_to(bytes, bytes.len().max(1));
        assert!(whole.is_empty() || whole.starts_with(b"HTTP/1."), "an answer that is none");
        let pieces = server.answers_to(bytes, 1);
        // hyper, which writes its names in lower case, promises this less exactly for what is no request.
        let in_hyper = |answers: &[u8]| answers.windows(8).any(|part| part == b"\r\ndate: ");
        assert!(whole == pieces || in_hyper(&whole) || in_hyper(&pieces), "another answer to the same bytes in pieces");
    });
});
