//! A repo's server of a few lines, which notes the head of each request and answers with whatever bytes the test
//! wants; and a client as plain.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::stage::PATIENCE;

/// What the server does with a request.
pub(crate) enum Reply {
    /// These bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then silence.
    Silence(Vec<u8>),
    /// A head that promises so many bytes, and that many zeros, at the speed of the reader.
    Zeros(u64),
}

impl Reply {
    /// A right answer with more headers, each with its line end.
    pub(crate) fn ok(more: &str, body: &str) -> Self {
        Self::status("200 OK", more, body)
    }

    pub(crate) fn status(status: &str, more: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n{body}").into_bytes())
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::status("302 Found", &format!("Location: {to}\r\n"), "go there")
    }
}

type Answers = Box<dyn Fn(&str) -> Reply + Send + Sync>;

/// The server.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    written: Arc<Mutex<u64>>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Answers each request by its head.
    pub(crate) async fn start(answers: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (heads, written) = (Arc::default(), Arc::default());
        let server = tokio::spawn(accept(
            listener,
            Arc::new(Box::new(answers)),
            Arc::clone(&heads),
            Arc::clone(&written),
        ));
        Self { address, heads, written, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The heads so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    /// How many zeros went out.
    pub(crate) fn written(&self) -> u64 {
        *self.written.lock().expect("no panic")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(
    listener: TcpListener,
    answers: Arc<Answers>,
    heads: Arc<Mutex<Vec<String>>>,
    written: Arc<Mutex<u64>>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        let (answers, heads, written) = (Arc::clone(&answers), Arc::clone(&heads), Arc::clone(&written));
        tokio::spawn(async move {
            let _client_left = answer(stream, &answers, &heads, &written).await;
        });
    }
}

async fn answer(
    mut stream: TcpStream,
    answers: &Answers,
    heads: &Mutex<Vec<String>>,
    written: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("text");
    heads.lock().expect("no panic").push(head.to_ascii_lowercase());
    match answers(&head) {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Silence(bytes) => {
            stream.write_all(&bytes).await?;
            // Until the client leaves.
            let _left = stream.read_u8().await;
        }
        Reply::Zeros(count) => {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n").as_bytes())
                .await?;
            let zeros = vec![0; 64 * 1024];
            let mut left = count;
            while left > 0 {
                let some = left.min(zeros.len() as u64);
                stream.write_all(&zeros[..usize::try_from(some).expect("small")]).await?;
                left -= some;
                *written.lock().expect("no panic") += some;
            }
        }
    }
    stream.shutdown().await
}

/// Sends bytes and gives what comes back until the other side closes, in `limit`.
pub(crate) async fn send_for(port: u16, bytes: &[u8], limit: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let mut back = Vec::new();
    let talk = async {
        let _refused = stream.write_all(bytes).await;
        let _reset = stream.read_to_end(&mut back).await;
    };
    tokio::time::timeout(limit, talk).await.ok()?;
    Some(String::from_utf8_lossy(&back).into_owned())
}

/// The same with all patience.
pub(crate) async fn send(port: u16, bytes: &[u8]) -> String {
    send_for(port, bytes, PATIENCE).await.expect("an end")
}

/// A GET with more headers, as flatpak sends it.
pub(crate) async fn get(port: u16, path: &str, more: &str) -> String {
    send(
        port,
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{more}Connection: close\r\n\r\n")
            .as_bytes(),
    )
    .await
}

/// The status of an answer; 0 if there was none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The body of an answer.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
