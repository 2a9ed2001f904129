//! The bridge between a plain client and a plain repo: what passes, with which token, and what comes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flatpass_authenticator::authority::address::{AuthorityUrl, RepoUrl};
use flatpass_authenticator::authority::http::HttpConfig;
use flatpass_authenticator::bridge::book::{Book, Bridged};
use flatpass_authenticator::bridge::tokens::{Given, NoToken, TokenSource};
use flatpass_authenticator::bridge::{Bridge, Limits, serve};
use flatpass_authenticator::secret::SecretText;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::stage::PATIENCE;
use crate::upstream::{Reply, Upstream, body, get, send, status};

/// What the authenticator would say: a token, or none because none is needed, or none at all.
type Answer = Result<Option<&'static str>, NoToken>;

/// Gives the tokens of a list, one after the other and then the last for ever; notes whether each was to be fresh.
#[derive(Clone)]
pub(crate) struct Source {
    answers: Arc<Mutex<Vec<Answer>>>,
    pub(crate) asked: Arc<Mutex<Vec<bool>>>,
}

impl Source {
    pub(crate) fn new(answers: &[Answer]) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.to_vec())), asked: Arc::default() }
    }

    pub(crate) fn token(token: &'static str) -> Self {
        Self::new(&[Ok(Some(token))])
    }
}

impl TokenSource for Source {
    fn peers_token<'a>(
        &'a self,
        _remote: &'a Bridged,
        name: &'a str,
        commit: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        let token = format!("for-peers/{name}/{}", commit.unwrap_or_default());
        let given = Given { token: Some(SecretText::new(token)), keep_for: Duration::ZERO };
        Box::pin(std::future::ready(Ok(given)))
    }

    fn token<'a>(
        &'a self,
        _remote: &'a Bridged,
        fresh: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        self.asked.lock().expect("no panic").push(fresh);
        let mut answers = self.answers.lock().expect("no panic");
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        let given = answer.map(|token| Given {
            token: token.map(|token| SecretText::new(token.to_owned())),
            keep_for: Duration::from_secs(3600),
        });
        Box::pin(std::future::ready(given))
    }
}

/// A bridge with one remote.
pub(crate) struct Running {
    pub(crate) port: u16,
    /// The path of the remote's address.
    pub(crate) key: String,
    pub(crate) book: Book,
    pub(crate) remote: Bridged,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<()>,
    _folder: TempDir,
}

impl Running {
    pub(crate) async fn start(repo: &str, source: Source) -> Self {
        Self::with(repo, source, |_| {}).await
    }

    pub(crate) async fn with(repo: &str, source: Source, change: impl FnOnce(&mut Limits)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::new(folder.path().to_owned());
        let store = AuthorityUrl::parse("http://127.0.0.1:9/").expect("valid");
        let repo = RepoUrl::parse(repo).expect("valid");
        let (_, remote) = book.add(&store, &repo, &mut StdRng::seed_from_u64(3)).await.expect("added");
        // The port of the book is Flatpak's business; here it is whichever is free.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let mut limits = Limits::default();
        change(&mut limits);
        let bridge = Bridge { book: book.clone(), http: HttpConfig::default(), limits };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stop = async {
                let _dropped = stopped.await;
            };
            serve(listener, bridge, source, stop).await.expect("served");
        });
        let key = format!("/{}", remote.key.expose());
        Self { port, key, book, remote, stop: Some(stop), serving, _folder: folder }
    }

    /// A GET below the remote's address.
    pub(crate) async fn get(&self, path: &str, more: &str) -> String {
        get(self.port, &format!("{}/{path}", self.key), more).await
    }

    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, &mut self.serving).await.expect("it ends").expect("no panic");
    }
}

fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = text.split_once("\r\n\r\n")?;
    let found = head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    found.map(str::trim)
}

#[tokio::test]
async fn a_file_is_fetched_with_a_summary_token_that_the_client_never_sees() {
    let upstream = Upstream::start(|_| {
        let headers = "ETag: \"1\"\r\nLast-Modified: Mon, 05 Jan 2026 10:00:00 GMT\r\nCache-Control: private, no-store\r\n\
                       Content-Type: application/octet-stream\r\nSet-Cookie: a=b\r\nX-Token: summary-1\r\n\
                       Access-Control-Allow-Origin: *\r\n";
        Reply::ok(headers, "the index")
    })
    .await;
    let source = Source::token("summary-1");
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), source.clone()).await;
    let more = "User-Agent: libostree/2022.7 flatpak/1.14.10\r\nIf-None-Match: \"0\"\r\nRange: bytes=0-3\r\n\
                If-Modified-Since: Sun, 04 Jan 2026 10:00:00 GMT\r\nFlatpak-Ref: app/a/x/s\r\nCookie: c=d\r\n\
                Flatpak-Upgrade-From: abc\r\nX-Other: y\r\nAuthorization: Basic ZGV2aWNlOnNlY3JldA==\r\n";
    let answer = bridge.get("summary.idx", more).await;
    assert_eq!((status(&answer), body(&answer)), (200, "the index"), "{answer}");
    assert_eq!(header(&answer, "ETag"), Some("\"1\""));
    assert_eq!(header(&answer, "Last-Modified"), Some("Mon, 05 Jan 2026 10:00:00 GMT"));
    assert_eq!(header(&answer, "Cache-Control"), Some("private, no-store"));
    assert_eq!(header(&answer, "Content-Length"), Some("9"));
    for absent in ["summary-1", "Set-Cookie", "Access-Control", "set-cookie", "access-control"] {
        assert!(!answer.contains(absent), "{answer}");
    }
    let head = upstream.heads().remove(0);
    assert!(head.starts_with("get /repo/apps/summary.idx http/1.1\r\n"), "{head}");
    for passed in [
        "authorization: bearer summary-1\r\n",
        "user-agent: libostree/2022.7 flatpak/1.14.10\r\n",
        "if-none-match: \"0\"\r\n",
        "if-modified-since: sun, 04 jan 2026 10:00:00 gmt\r\n",
        "range: bytes=0-3\r\n",
        "flatpak-ref: app/a/x/s\r\n",
        "flatpak-upgrade-from: abc\r\n",
    ] {
        assert!(head.contains(passed), "{passed}: {head}");
    }
    assert!(!head.contains("cookie") && !head.contains("x-other") && !head.contains("basic"), "{head}");
    assert!(!head.contains(&bridge.key.to_ascii_lowercase()), "{head}");
    // The token is remembered for a while.
    for _ in 0..5 {
        bridge.get("summary", "").await;
    }
    assert_eq!(*source.asked.lock().expect("no panic"), [false]);
}

#[tokio::test]
async fn other_statuses_and_head_requests_come_back_as_they_are() {
    let upstream = Upstream::start(|head| {
        let path = head.split(' ').nth(1).expect("a path").rsplit('/').next().expect("a name");
        match path {
            "a.filez" => Reply::status("206 Partial Content", "Content-Range: bytes 0-3/9\r\n", "abcd"),
            "b.filez" => Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\n\r\n".to_vec()),
            "c.filez" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()),
            "d.commitmeta" => Reply::status("403 Forbidden", "", "no"),
            "e.filez" => Reply::Bytes(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
            ),
            "f.filez" => Reply::status("503 Service Unavailable", "Retry-After: 7\r\n", "later"),
            _ => Reply::status("404 Not Found", "", "nothing"),
        }
    })
    .await;
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), Source::token("t")).await;
    let answer = bridge.get("objects/00/a.filez", "Range: bytes=0-3\r\n").await;
    assert_eq!((status(&answer), header(&answer, "Content-Range")), (206, Some("bytes 0-3/9")));
    let answer = bridge.get("objects/00/b.filez", "").await;
    assert_eq!((status(&answer), header(&answer, "ETag"), body(&answer)), (304, Some("\"7\""), ""));
    let head = format!(
        "HEAD {}/objects/00/c.filez HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
        bridge.key, bridge.port
    );
    let answer = send(bridge.port, head.as_bytes()).await;
    assert_eq!((status(&answer), header(&answer, "Content-Length"), body(&answer)), (200, Some("1000"), ""));
    assert!(upstream.heads().last().expect("asked").starts_with("head "));
    assert_eq!(
        status(&bridge.get("objects/00/d.commitmeta", "").await),
        403,
        "to Flatpak that means: there is none"
    );
    let answer = bridge.get("objects/00/e.filez", "").await;
    assert!(answer.contains("abc") && header(&answer, "transfer-encoding") == Some("chunked"), "{answer}");
    let answer = bridge.get("objects/00/f.filez", "").await;
    assert_eq!((status(&answer), header(&answer, "Retry-After")), (503, Some("7")));
    assert_eq!(status(&bridge.get("objects/00/g.filez", "").await), 404);
}

#[tokio::test]
async fn a_client_with_a_token_of_its_own_is_passed_on_with_that_and_no_other() {
    let upstream = Upstream::start(|head| {
        if head.contains("eyJ.ref-token_~+/=") {
            Reply::ok("", "the app")
        } else {
            Reply::status("401 Unauthorized", "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", "no")
        }
    })
    .await;
    let source = Source::token("summary-1");
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), source.clone()).await;
    let answer = bridge.get("objects/00/a.commit", "Authorization: Bearer eyJ.ref-token_~+/=\r\n").await;
    assert_eq!((status(&answer), body(&answer)), (200, "the app"));
    // One that is refused stays refused: Flatpak then asks for another.
    let answer = bridge.get("objects/00/a.commit", "Authorization: Bearer spent\r\n").await;
    assert_eq!(status(&answer), 401);
    assert!(upstream.heads().iter().all(|head| !head.contains("summary-1")), "{:?}", upstream.heads());
    assert!(source.asked.lock().expect("no panic").is_empty());
    let asked = upstream.heads().len();
    for odd in [
        "Authorization: Bearer a b\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        "Authorization: Bearer \r\n",
    ] {
        assert_eq!(status(&bridge.get("summary", odd).await), 400, "{odd}");
    }
    assert_eq!(upstream.heads().len(), asked);
}

#[tokio::test]
async fn a_token_that_the_repo_refuses_is_exchanged_once() {
    for refusal in ["401 Unauthorized", "403 Forbidden"] {
        let upstream = Upstream::start(move |head| match head.to_ascii_lowercase() {
            head if head.contains("bearer new") => Reply::ok("", "the index"),
            _ => Reply::status(refusal, "", "no"),
        })
        .await;
        let source = Source::new(&[Ok(Some("old")), Ok(Some("new"))]);
        let bridge = Running::start(&format!("{}repo/apps", upstream.url()), source.clone()).await;
        assert_eq!(status(&bridge.get("summary", "").await), 200);
        assert_eq!(upstream.heads().len(), 2);
        assert_eq!(status(&bridge.get("summary", "").await), 200);
        assert_eq!(*source.asked.lock().expect("no panic"), [false, true], "the new one is remembered");
    }

    // A device that was signed out: not a storm of questions, however often Flatpak comes.
    let upstream = Upstream::start(|_| Reply::status("401 Unauthorized", "", "no")).await;
    let source = Source::token("revoked");
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), source.clone()).await;
    for _ in 0..10 {
        let answer = bridge.get("summary", "").await;
        assert_eq!(status(&answer), 401);
        assert!(body(&answer).contains("has ended your access"), "{answer}");
    }
    assert_eq!(*source.asked.lock().expect("no panic"), [false, true]);
}

/// On 401 for a commit Flatpak asks the authenticator for a ref token. A repo says 403 to a token that does not open
/// it.
#[tokio::test]
async fn a_commit_that_the_index_token_does_not_open_is_401_so_that_flatpak_asks_for_a_ref_token() {
    let upstream = Upstream::start(|_| Reply::status("403 Forbidden", "", "no")).await;
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), Source::token("t")).await;
    for (path, expected) in [
        ("objects/00/a.commit", 401),
        ("deltas/ab/cd/superblock", 401),
        ("objects/00/a.commitmeta", 403),
        ("delta-indexes/ab/cd.index", 403),
        ("summary", 401),
    ] {
        assert_eq!(status(&bridge.get(path, "").await), expected, "{path}");
    }
    let answer = bridge.get("objects/00/a.commit", "Authorization: Bearer own\r\n").await;
    assert_eq!(status(&answer), 403, "what a token of the client's own gets is the client's");
}

#[tokio::test]
async fn without_a_token_the_client_gets_a_status_and_a_sentence() {
    let upstream = Upstream::start(|_| Reply::ok("", "the index")).await;
    let url = format!("{}repo/apps", upstream.url());
    let first = "Sign in first: run `flatpass-authenticator login https://shop.example/`, then try again.";
    for (answer, code, text) in [
        (NoToken::Refused(first.to_owned()), 401, first),
        (NoToken::Failed("shop.example did not answer in time.".to_owned()), 503, "in time"),
        (NoToken::Unreachable("no bus".to_owned()), 503, "flatpass-authenticator install"),
    ] {
        let bridge = Running::start(&url, Source::new(&[Err(answer)])).await;
        let answer = bridge.get("summary", "").await;
        assert_eq!(status(&answer), code);
        assert!(body(&answer).contains(text), "{answer}");
    }
    assert!(upstream.heads().is_empty(), "nothing was asked for without a token");
    // A repo whose index is public is asked without one.
    let bridge = Running::start(&url, Source::new(&[Ok(None)])).await;
    assert_eq!(status(&bridge.get("summary", "").await), 200);
    assert!(!upstream.heads()[0].contains("authorization"));
}

#[tokio::test]
async fn remotes_come_and_go_while_the_bridge_runs() {
    let upstream = Upstream::start(|head| Reply::ok("", head.split(' ').nth(1).expect("a path"))).await;
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), Source::token("t")).await;
    assert_eq!(body(&bridge.get("summary", "").await), "/repo/apps/summary");
    let other = RepoUrl::parse(&format!("{}repo/other", upstream.url())).expect("valid");
    let mut rng = StdRng::seed_from_u64(4);
    let (_, added) = bridge.book.add(&bridge.remote.store, &other, &mut rng).await.expect("added");
    let answer = get(bridge.port, &format!("/{}/summary", added.key.expose()), "").await;
    assert_eq!(body(&answer), "/repo/other/summary");
    assert!(bridge.book.remove(&bridge.remote.key).await.expect("removed"));
    assert_eq!(status(&bridge.get("summary", "").await), 403);
    std::fs::write(bridge.book.path(), "{").expect("written");
    assert_eq!(status(&get(bridge.port, &format!("/{}/summary", added.key.expose()), "").await), 403);
    bridge.end().await;
}

#[tokio::test]
async fn a_connection_is_used_again_and_an_answer_under_way_is_finished_at_the_end() {
    let upstream = Upstream::start(|_| Reply::Zeros(32 * 1024 * 1024)).await;
    let bridge = Running::start(&format!("{}repo/apps", upstream.url()), Source::token("t")).await;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let url = format!("http://127.0.0.1:{}{}/objects/00/a.filez", bridge.port, bridge.key);
    let mut answer = client.get(&url).send().await.expect("an answer");
    let first = answer.chunk().await.expect("a chunk").expect("some").len();
    let port = bridge.port;
    let ended = tokio::spawn(bridge.end());
    let mut got = first;
    while let Some(chunk) = answer.chunk().await.expect("a chunk") {
        got += chunk.len();
    }
    assert_eq!(got, 32 * 1024 * 1024);
    ended.await.expect("it ended");
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
