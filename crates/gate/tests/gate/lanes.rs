//! The fast lane and hyper give the same answers, and no bytes whatsoever bring the reader out of step.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use flatpass_gate::{Limits, Opaque, Policy, Rules, serve_connection};
use flatpass_token::{Grant, Verb};
use http_body_util::Empty;
use hyper::service::service_fn;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::shop::{Desk, MOUNT, Shop};
use crate::wire::{Reply, Server, Way, request};

type Fields = Vec<(&'static str, String)>;

fn paths(shop: &Shop) -> impl Strategy<Value = String> + use<> {
    let real = select(shop.files(""));
    let strange = "[a-zA-Z0-9%._~!$&'()*+,;=:@/?-]{0,40}";
    prop_oneof![
        6 => real.clone(),
        1 => (real.clone(), strange).prop_map(|(path, end)| path + &end),
        1 => (real, any::<prop::sample::Index>(), strange).prop_map(|(path, at, middle)| {
            let (front, back) = path.split_at(at.index(path.len()));
            format!("{front}{middle}{back}")
        }),
        1 => strange,
    ]
}

fn fields(desk: &Desk) -> impl Strategy<Value = Fields> + use<> {
    let list = Grant::for_everything(&[Verb::List]);
    let authorizations = vec![
        desk.download(&["org.test.Paid"]),
        desk.download(&["org.test.Other", "org.test.Free"]),
        desk.bearer(&[Grant::for_everything(&Verb::ALL)]),
        desk.basic(&[list, Grant::for_ids(&[Verb::Download], ["org.test.Paid"])]),
        "Bearer a.b.c".to_owned(),
        "Basic Og==".to_owned(),
        "bearer".to_owned(),
        "Other x".to_owned(),
    ];
    let texts = |values: &[&str]| select(values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    let one = prop_oneof![
        4 => select(authorizations).prop_map(|value| ("Authorization", value)),
        2 => texts(&["bytes=0-3", "bytes=-1", "bytes=5-", "bytes=99999999-", "bytes=1-0", "bytes=0-1,3-4", "x"]).prop_map(|value| ("Range", value)),
        1 => texts(&["*", "\"x\"", "W/\"x\"", ""]).prop_map(|value| ("If-None-Match", value)),
        1 => texts(&["*", "\"x\""]).prop_map(|value| ("If-Match", value)),
        1 => texts(&["Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 1999 08:00:00 GMT", "x"]).prop_map(|value| ("If-Modified-Since", value)),
        1 => texts(&["Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 1999 08:00:00 GMT"]).prop_map(|value| ("If-Unmodified-Since", value)),
        1 => texts(&["\"x\"", "Fri, 15 Jan 1999 08:00:00 GMT"]).prop_map(|value| ("If-Range", value)),
        1 => texts(&["keep-alive", "TE"]).prop_map(|value| ("Connection", value)),
        1 => texts(&["gzip, br"]).prop_map(|value| ("Accept-Encoding", value)),
    ];
    prop::collection::vec(one, 0..5)
}

fn comparable(mut reply: Reply) -> Reply {
    reply.fields.retain(|(name, _)| name != "date");
    reply.fields.sort();
    reply
}

#[test]
fn the_fast_lane_and_hyper_give_equal_answers() {
    let shop = Shop::build();
    for policy in [Policy::Refs, Policy::Private, Policy::Open] {
        let desk = Desk::open(shop.repo(), Rules::new(policy));
        let fast = Server::start(&desk);
        let opaque = Server::start_with(&desk, Limits::default(), Way::Opaque);
        let mut runner = TestRunner::new(Config { cases: 250, ..Config::default() });
        let requests = (select(vec!["GET", "GET", "GET", "HEAD"]), paths(&shop), fields(&desk));
        let outcome = runner.run(&requests, |(method, path, fields)| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let target = format!("{MOUNT}/{path}");
            let quick = comparable(fast.connect().ask(method, &target, &fields));
            let mut in_hyper = fast.connect();
            in_hyper.ask("GET", "/other", &[]);
            prop_assert_eq!(&quick, &comparable(in_hyper.ask(method, &target, &fields)));
            prop_assert_eq!(&quick, &comparable(opaque.connect().ask(method, &target, &fields)));
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{policy}: {error}");
        }
    }
}

/// What one connection answers to these bytes, in whatever pieces they come.
async fn answers_to(desk: &Desk, bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut client, stream) = tokio::io::duplex(64 << 10);
    let (_end, shutdown) = watch::channel(false);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (gates, clock) = (Arc::clone(&desk.gates), desk.clock.clone());
    let server = tokio::spawn(async move {
        let nothing =
            service_fn(async |_request| Ok::<_, std::io::Error>(http::Response::new(Empty::<Bytes>::new())));
        serve_connection(Opaque(stream), peer, gates, &Limits::default(), clock, shutdown, nothing).await;
    });
    for piece in bytes.chunks(piece.max(1)) {
        if client.write_all(piece).await.is_err() {
            break;
        }
    }
    let _gone = client.shutdown().await;
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.unwrap();
    server.await.expect("the server does not panic");
    answers
}

#[test]
fn no_bytes_bring_the_reader_out_of_step() {
    let shop = Shop::empty();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Refs));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let good = request("GET", &format!("{MOUNT}/config"), &[]);
    let line = prop_oneof![
        Just(good.clone()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"Host: a\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Upgrade: h2c\r\nConnection: upgrade\r\n".to_vec()),
        Just(b"Expect: 100-continue\r\n".to_vec()),
        Just(format!("GET {MOUNT}/config HTTP/1.1\r\n").into_bytes()),
        Just(format!("GET {MOUNT}/config HTTP/1.0\r\n").into_bytes()),
        Just(format!("POST {MOUNT}/config HTTP/1.1\r\n").into_bytes()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        Just(b"GET /".to_vec()),
        prop::collection::vec(any::<u8>(), 0..30),
        "[ -~]{0,30}".prop_map(String::into_bytes),
    ];
    let mut runner = TestRunner::new(Config { cases: 1500, ..Config::default() });
    let outcome = runner.run(&(prop::collection::vec(line, 0..12), 1..200_usize), |(lines, piece)| {
        let bytes = lines.concat();
        let answers = runtime.block_on(answers_to(&desk, &bytes, piece));
        prop_assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
        // Where the requests end does not depend on how they were cut.
        prop_assert_eq!(&answers, &runtime.block_on(answers_to(&desk, &bytes, bytes.len())));
        // After good requests alone, there is an answer to each, and what follows does not change them.
        let mut more = good.repeat(3);
        more.extend(&bytes);
        let answers = runtime.block_on(answers_to(&desk, &more, piece));
        prop_assert!(count(&answers, b"HTTP/1.1 200 OK\r\n") >= 3);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|window| *window == part).count()
}
