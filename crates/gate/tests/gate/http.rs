//! HTTP/1.1 as it comes over the wire: pipelines, hand-over to hyper, ranges, odd and hostile requests. Threats 3 and 15.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flatpass_gate::{
    Answer, HeadWriter, Limits, ManifestKind, Moment, Mount, Mounted, Policy, Request, Rules, WouldWait,
};

use crate::shop::{Desk, MOUNT, PAID, Shop};
use crate::wire::{Server, Way, request};

fn open(shop: &Shop) -> Desk {
    Desk::open(shop.repo(), Rules::new(Policy::Open))
}

/// The largest object, which is served from an open file, and a small one, which is served from memory.
fn large_and_small(shop: &Shop) -> [String; 2] {
    let largest = shop.files("objects").into_iter().max_by_key(|path| shop.read(path).len()).unwrap();
    assert!(shop.read(&largest).len() > 200_000);
    [largest, shop.commit(PAID)]
}

#[test]
fn pipelined_requests_are_answered_in_order_also_when_hyper_takes_over_in_the_middle() {
    let shop = Shop::build();
    let desk = open(&shop);
    let [large, small] = large_and_small(&shop);
    let paths = [&small, "config", "nothing", &large, "summary", &small];
    for way in [Way::Tcp, Way::Opaque] {
        let server = Server::start_with(&desk, Limits::default(), way);
        for odd in [None, Some("GET"), Some("POST")] {
            let mut client = server.connect();
            let mut bytes = Vec::new();
            for _ in 0..20 {
                for path in paths {
                    bytes.extend(request("GET", &format!("{MOUNT}/{path}"), &[]));
                }
            }
            if let Some(method) = odd {
                bytes.extend(request(method, "/sign-in?a=b", &[("Content-Length", "5")]));
                bytes.extend(b"hello");
                for path in paths {
                    bytes.extend(request("GET", &format!("{MOUNT}/{path}"), &[]));
                }
            }
            let mut sender = client.sender();
            std::thread::scope(|scope| {
                // Cut where nobody would cut it.
                scope.spawn(move || {
                    for chunk in bytes.chunks(37) {
                        sender.write_all(chunk).unwrap();
                    }
                });
                let rounds = if odd.is_some() { 21 } else { 20 };
                for round in 0..rounds {
                    if round == 20 {
                        let reply = client.reply(false);
                        assert_eq!(
                            reply.text(),
                            format!("fallback {} /sign-in?a=b 5 127.0.0.1", odd.unwrap())
                        );
                    }
                    for path in paths {
                        let reply = client.reply(false);
                        if path == "nothing" {
                            assert_eq!(reply.status, 404);
                        } else {
                            assert!((reply.status, &reply.body) == (200, &shop.read(path)), "{path}");
                        }
                    }
                }
            });
        }
    }
}

#[test]
fn every_answer_says_what_a_cache_and_a_client_need_to_know() {
    let shop = Shop::build();
    let desk = open(&shop);
    for way in [Way::Tcp, Way::Opaque] {
        let server = Server::start_with(&desk, Limits::default(), way);
        for path in large_and_small(&shop) {
            let content = shop.read(&path);
            let target = format!("{MOUNT}/{path}");
            let mut client = server.connect();
            let whole = client.ask("GET", &target, &[]);
            assert_eq!(whole.body, content);
            assert_eq!(whole.field("accept-ranges"), Some("bytes"));
            assert_eq!(whole.field("date"), Some("Fri, 15 Jan 2027 08:00:00 GMT"));
            assert_eq!(whole.field("content-encoding"), None);
            let etag = whole.field("etag").unwrap().to_owned();

            let head = client.ask("HEAD", &target, &[]);
            assert_eq!((head.status, head.fields), (200, whole.fields.clone()));

            let unchanged = client.ask("GET", &target, &[("If-None-Match", &etag)]);
            assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some(&*etag)));
            assert_eq!(unchanged.field("cache-control"), whole.field("cache-control"));
            assert_eq!(client.ask("GET", &target, &[("If-None-Match", "\"other\"")]).body, content);

            let size = content.len();
            for (range, start, end) in
                [("0-0", 0, 1), ("10-19", 10, 20), ("5-", 5, size), ("-7", size - 7, size)]
            {
                let part =
                    client.ask("GET", &target, &[("Range", &format!("bytes={range}")), ("If-Range", &etag)]);
                assert_eq!((part.status, &*part.body), (206, &content[start..end]), "{range}");
                let expected = format!("bytes {start}-{}/{size}", end - 1);
                assert_eq!(part.field("content-range"), Some(&*expected));
                assert_eq!(part.field("etag"), Some(&*etag));
            }
            let past = client.ask("GET", &target, &[("Range", &format!("bytes={size}-"))]);
            assert_eq!((past.status, past.field("content-range")), (416, Some(&*format!("bytes */{size}"))));
            assert_eq!(client.ask("GET", &target, &[("Range", "bytes=0-1,4-5")]).body, content);
            assert_eq!(client.ask("GET", &target, &[("If-Match", "\"other\"")]).status, 412);

            let last = client.ask("GET", &target, &[("Connection", "x, Close")]);
            assert_eq!((last.status, last.field("connection"), &last.body), (200, Some("close"), &content));
            assert!(client.is_over());
        }
    }
}

#[test]
fn other_methods_are_refused_and_change_nothing() {
    let shop = Shop::build();
    let desk = open(&shop);
    let server = Server::start(&desk);
    let before = shop.read("config");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW"] {
        for path in ["config", "nothing", ""] {
            let reply = server.connect().ask(method, &format!("{MOUNT}/{path}"), &[]);
            assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD")), "{method} {path}");
        }
    }
    assert_eq!(shop.read("config"), before);
}

#[test]
fn what_is_not_quite_http_is_refused_and_ends_the_connection() {
    let shop = Shop::empty();
    let desk = open(&shop);
    let server = Server::start(&desk);
    let target = format!("{MOUNT}/config");
    let long = "x".repeat(20_000);
    let many = "A: b\r\n".repeat(100);
    for (bytes, status) in [
        (format!("GET {target} HTTP/1.1\nHost: a\n\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost : a\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n"), 400),
        (format!("GET  {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (format!("GET {target}\r\n\r\n"), 400),
        (format!("GET {target} x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nLong: {long}\r\n\r\n"), 431),
        (format!("GET {target}?{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 431),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n"), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n".to_owned(), 400),
        ("\r\n\r\n\r\nnonsense\r\n\r\n".to_owned(), 400),
        (format!("GET {target} HTTP/1.1\r\nHost: a\r\nX: {long}"), 431),
    ] {
        let mut client = server.connect();
        client.send(bytes.as_bytes());
        let what = bytes.get(..bytes.len().min(90));
        let reply = client.try_reply(false).unwrap_or_else(|| panic!("an answer to {what:?}"));
        assert_eq!(reply.status, status, "{what:?}");
        assert!(
            reply.field("connection") == Some("close")
                || reply.field("content-type") == Some("application/problem+json")
        );
    }
    // Said also when the line that is wrong never ends.
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHo st").as_bytes());
    client.finish_sending();
    assert_eq!(client.reply(false).status, 400);
    // What comes after such a request is not read as another one.
    let mut client = server.connect();
    client.send(
        format!("GET {target} HTTP/1.1\nHost: a\n\nGET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
    );
    assert_eq!(client.reply(false).status, 400);
    assert!(client.is_over());
}

#[test]
fn requests_with_a_body_and_older_protocols_are_read_as_far_as_they_go() {
    let shop = Shop::empty();
    let desk = open(&shop);
    let server = Server::start(&desk);
    let target = format!("{MOUNT}/config");
    let mut client = server.connect();
    // The body is not mistaken for a request.
    let inner = String::from_utf8(request("GET", "/inner", &[])).unwrap();
    client.send(&request("GET", &target, &[("Content-Length", &inner.len().to_string())]));
    client.send(inner.as_bytes());
    client.send(&request("GET", &target, &[("Transfer-Encoding", "chunked")]));
    client.send(b"3\r\nabc\r\n0\r\n\r\n");
    client.send(&request("GET", "/after", &[]));
    assert_eq!(client.reply(false).body, shop.read("config"));
    assert_eq!(client.reply(false).body, shop.read("config"));
    assert!(client.reply(false).text().starts_with("fallback GET /after"));

    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes());
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200 OK\r\n")
            && answer.ends_with(std::str::from_utf8(&shop.read("config")).unwrap())
    );

    let mut client = server.connect();
    client.send(&request("GET", &format!("http://shop.example{target}"), &[]));
    assert_eq!(client.reply(false).body, shop.read("config"));
}

#[test]
fn slow_silent_and_greedy_clients_are_let_go() {
    let shop = Shop::build();
    let desk = open(&shop);
    let limits = Limits {
        head_read: Duration::from_millis(400),
        idle: Duration::from_millis(800),
        write_stall: Duration::from_millis(600),
        ..Limits::default()
    };
    for way in [Way::Tcp, Way::Opaque] {
        let server = Server::start_with(&desk, limits, way);
        // A head in drops: the time counts from its first byte, not from its last.
        let begin = Instant::now();
        let mut slow = server.connect();
        for byte in request("GET", &format!("{MOUNT}/config"), &[("Slow", &"x".repeat(2000))]) {
            if !slow.try_send(&[byte]) || begin.elapsed() > Duration::from_secs(8) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(begin.elapsed() < Duration::from_secs(4));
        if let Some(reply) = slow.try_reply(false) {
            assert_eq!(reply.status, 408);
        }
        // Silent from the start, and silent after a request.
        for first in [false, true] {
            let mut silent = server.connect();
            if first {
                assert_eq!(silent.ask("GET", &format!("{MOUNT}/config"), &[]).status, 200);
            }
            let begin = Instant::now();
            assert!(silent.is_over());
            assert!(
                begin.elapsed() >= Duration::from_millis(700) && begin.elapsed() < Duration::from_secs(4)
            );
        }
        // One that asks for much and reads nothing: its connection ends, whether its answer was a file or in a pipeline.
        let [large, small] = large_and_small(&shop);
        for path in [large, small] {
            let mut greedy = server.connect();
            let bytes = request("GET", &format!("{MOUNT}/{path}"), &[]).repeat(20);
            let begin = Instant::now();
            while greedy.try_send(&bytes) {
                assert!(begin.elapsed() < Duration::from_secs(15), "{path}");
            }
        }
        // In hyper's hands too.
        let mut greedy = server.connect();
        let bytes = [
            request("GET", "/other", &[]),
            request("GET", &format!("{MOUNT}/{}", large_and_small(&shop)[0]), &[]).repeat(20),
        ]
        .concat();
        let begin = Instant::now();
        while greedy.try_send(&bytes) {
            assert!(begin.elapsed() < Duration::from_secs(15));
        }
    }
}

#[test]
fn a_patient_reader_gets_all_however_slowly_it_reads() {
    let shop = Shop::build();
    let desk = open(&shop);
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let [large, _] = large_and_small(&shop);
    for way in [Way::Tcp, Way::Opaque] {
        let server = Server::start_with(&desk, limits, way);
        let mut client = server.connect();
        let asked = 40;
        client.send(&request("GET", &format!("{MOUNT}/{large}"), &[]).repeat(asked));
        for _ in 0..asked {
            std::thread::sleep(Duration::from_millis(40));
            assert!(client.reply(false).body == shop.read(&large));
        }
    }
}

#[test]
fn a_server_that_ends_finishes_the_answers_under_way() {
    let shop = Shop::build();
    let desk = open(&shop);
    let [large, _] = large_and_small(&shop);
    for way in [Way::Tcp, Way::Opaque] {
        let server = Server::start_with(&desk, Limits::default(), way);
        let mut idle = server.connect();
        assert_eq!(idle.ask("GET", &format!("{MOUNT}/config"), &[]).status, 200);
        let mut in_hyper = server.connect();
        assert_eq!(in_hyper.ask("GET", "/other", &[]).status, 200);
        let mut busy = server.connect();
        let asked = 60;
        busy.send(&request("GET", &format!("{MOUNT}/{large}"), &[]).repeat(asked));
        busy.wait_for_bytes();
        server.shutdown.send(true).unwrap();
        assert!(idle.is_over() && in_hyper.is_over());
        let mut answered = 0;
        while let Some(reply) = busy.try_reply(false) {
            assert!(reply.body == shop.read(&large));
            answered += 1;
        }
        assert!(
            (1..asked).contains(&answered),
            "{answered}: those under way, and not the rest of what was asked"
        );
        assert!(busy.is_over());
    }
}

#[test]
fn mounts_come_and_go_while_connections_live() {
    let (shop, other) = (Shop::build(), Shop::empty());
    let desk = open(&shop);
    let elsewhere = open(&other);
    let server = Server::start(&desk);
    let mut client = server.connect();
    let mount = |prefix: &str, desk: &Desk| (prefix.to_owned(), Arc::clone(&desk.gate));
    let at = |client: &mut crate::wire::Client, target: &str| client.ask("GET", target, &[]);
    assert_eq!(at(&mut client, "/repo/apps/config").body, shop.read("config"));
    desk.gates.replace(vec![
        mount("/repo/apps", &elsewhere),
        mount("/a", &desk),
        mount("/a/b/c", &elsewhere),
    ]);
    assert_eq!(at(&mut client, "/repo/apps/config").body, other.read("config"));
    assert_eq!(at(&mut client, "/a/summary").body, shop.read("summary"));
    assert_eq!(at(&mut client, "/a/b/c/summary").status, 404, "the shorter prefix counts");
    desk.gates.replace(vec![mount("/a/b/c", &elsewhere)]);
    assert_eq!(at(&mut client, "/a/b/c/config").body, other.read("config"));
    assert!(at(&mut client, "/a/b/config").text().starts_with("fallback"));
}

/// Says what reached it.
#[derive(Debug)]
struct Echo;

impl Mounted for Echo {
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        if request.path.starts_with("slow") { Err(WouldWait) } else { Ok(self.answer(request, now)) }
    }

    fn answer(&self, request: &Request<'_>, _now: Moment) -> Answer {
        let takes = |kind| request.headers.accept.takes(kind);
        let seen = (request.path, request.query, takes(ManifestKind::Index), takes(ManifestKind::Manifest));
        HeadWriter::new(200).answer(request.method, "text/plain", format!("{seen:?}"))
    }
}

#[test]
fn what_is_mounted_beside_the_gates_sees_the_same_request_on_both_lanes() {
    let shop = Shop::empty();
    let desk = Desk::open(shop.repo(), Rules::new(Policy::Refs));
    desk.gates.replace(vec![
        ("/v2".to_owned(), Mount::Other(Arc::new(Echo))),
        (MOUNT.to_owned(), Arc::clone(&desk.gate).into()),
    ]);
    let server = Server::start(&desk);
    let index = ("Accept", ManifestKind::Index.media_type());
    for (target, accept, seen) in [
        ("/v2/", &[][..], r#"("", None, true, true)"#),
        ("/v2/a/b?n=1&x=%2F", &[index], r#"("a/b", Some("n=1&x=%2F"), true, false)"#),
        ("/v2/slow?", &[index, ("Accept", "text/html")], r#"("slow", Some(""), true, false)"#),
        ("/v2/slow?q", &[("Accept", "*/*;q=0")], r#"("slow", Some("q"), false, false)"#),
    ] {
        let fast = server.connect().ask("GET", target, accept);
        assert_eq!((fast.status, fast.body), (200, seen.as_bytes().to_vec()), "{target}");
        let mut rest = server.connect();
        rest.ask("GET", "/other", &[]);
        assert_eq!(rest.ask("GET", target, accept).body, seen.as_bytes(), "{target}");
    }
    assert_eq!(server.get("config", &[]).status, 200);
}
