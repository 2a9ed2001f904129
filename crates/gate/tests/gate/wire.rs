//! A server on a real TCP port, and a client that sends exactly the bytes it is told to.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flatpass_gate::{Limits, Opaque, Peer, serve_connection};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::shop::{Desk, MOUNT};

/// A server for the gates of a [`Desk`].
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: watch::Sender<bool>,
    _runtime: Runtime,
}

/// How connections are served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As plain TCP, where the kernel sends files.
    Tcp,
    /// As what could be TLS, where files go through memory.
    Opaque,
}

impl Server {
    pub(crate) fn start(desk: &Desk) -> Self {
        Self::start_with(desk, Limits::default(), Way::Tcp)
    }

    pub(crate) fn start_with(desk: &Desk, limits: Limits, way: Way) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (shutdown, wish) = watch::channel(false);
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (gates, clock) = (Arc::clone(&desk.gates), desk.clock.clone());
        runtime.spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.unwrap();
                let (gates, clock, wish) = (Arc::clone(&gates), clock.clone(), wish.clone());
                tokio::spawn(async move {
                    let fallback = service_fn(fallback);
                    match way {
                        Way::Tcp => {
                            serve_connection(stream, peer, gates, &limits, clock, wish, fallback).await;
                        }
                        Way::Opaque => {
                            serve_connection(Opaque(stream), peer, gates, &limits, clock, wish, fallback)
                                .await;
                        }
                    }
                });
            }
        });
        Self { address, shutdown, _runtime: runtime }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// One request on a connection of its own: `GET` below the mount.
    pub(crate) fn get(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.connect().ask("GET", &format!("{MOUNT}/{path}"), fields)
    }

    /// As [`Server::get`] with an `Authorization`.
    pub(crate) fn get_as(&self, authorization: &str, path: &str) -> Reply {
        self.get(path, &[("Authorization", authorization)])
    }
}

/// Says what came: so tests see that a request with all it had arrived at the fallback.
async fn fallback(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string());
    let length = body.collect().await.map(|body| body.to_bytes().len()).unwrap_or(usize::MAX);
    let text = format!("fallback {} {} {length} {}", head.method, head.uri, peer.unwrap_or_default());
    Ok(http::Response::new(Full::new(text.into())))
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in lower case, in order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The reply without what the second says that it was made in.
pub(crate) fn without_date(reply: Reply) -> Reply {
    Reply { fields: reply.fields.into_iter().filter(|(name, _)| name != "date").collect(), ..reply }
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends, and does not mind if the other side has gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The half that sends, for another thread.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(&request(method, target, fields));
        self.reply(method == "HEAD")
    }

    /// Reads one answer; `to_head` when it has no body whatever its length says.
    pub(crate) fn reply(&mut self, to_head: bool) -> Reply {
        self.try_reply(to_head).expect("an answer")
    }

    /// Reads one answer, or `None` when the connection ends before it.
    pub(crate) fn try_reply(&mut self, to_head: bool) -> Option<Reply> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("a status line, not {line:?}"));
        let status = status.get(..3).unwrap().parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let line = line.strip_suffix("\r\n").unwrap();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            fields.push((name.to_lowercase(), value.to_owned()));
        }
        let mut reply = Reply { status, fields, body: Vec::new() };
        if !to_head && status != 304 {
            let length = reply.field("content-length").expect("a length").parse().unwrap();
            reply.body = vec![0; length];
            self.reader.read_exact(&mut reply.body).unwrap();
        }
        Some(reply)
    }

    /// Whether nothing more comes: the other side has ended the connection.
    pub(crate) fn is_over(&mut self) -> bool {
        self.reader.fill_buf().map_or(true, <[u8]>::is_empty)
    }

    /// Waits until something has arrived, and leaves it there.
    pub(crate) fn wait_for_bytes(&mut self) {
        assert!(!self.reader.fill_buf().unwrap().is_empty());
    }

    /// All that comes until the connection ends, however it does.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _reset_is_an_end_too = self.reader.read_to_end(&mut rest);
        rest
    }
}

pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: shop.example\r\n");
    for (name, value) in fields {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    bytes.into_bytes()
}
