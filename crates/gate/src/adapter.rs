//! Gates for hyper and axum: the same answers as on the fast lane.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::answer::{Answer, Body, FileBody};
use crate::lane::{Peer, piece};
use crate::moment::Clock;
use crate::mounts::Gates;
use crate::refusal::connection_error;
use crate::request::{Headers, Method, OwnedRequest, Request};

/// Bytes of a file in one frame.
const FRAME_BYTES: u64 = 64 << 10;

/// Answers a request whose path is below a mount, or where one could be; `None` for all others. The body of the request does not matter.
pub async fn answer_request(
    gates: &Gates,
    clock: &Clock,
    request: &http::request::Parts,
) -> Option<http::Response<GateBody>> {
    let (mount, path) = gates.find_anyhow(request.uri.path())?;
    let mut headers = Headers::default();
    for (name, value) in &request.headers {
        headers.note(name.as_str(), value.as_bytes());
    }
    let method = match request.method {
        http::Method::GET => Method::Get,
        http::Method::HEAD => Method::Head,
        _ => Method::Other,
    };
    let peer = request.extensions.get::<Peer>();
    headers.certificate = peer.and_then(|peer| peer.1);
    let peer = peer.map(|peer| peer.0.ip());
    let plain = Request { method, path, query: request.uri.query(), headers, peer };
    let now = clock.now();
    // RFC 9112, 3.2; the fast lane does not take such requests.
    let hosts = request.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version == http::Version::HTTP_11) {
        let answer = connection_error(400, "Bad request", "A request needs one Host field.");
        return Some(into_response(answer));
    }
    let answer = match mount.answer_cached(&plain, now) {
        Ok(answer) => answer,
        Err(_) => mount.answer_anyhow(OwnedRequest::copy(&plain), now).await,
    };
    Some(into_response(answer))
}

fn into_response(answer: Answer) -> http::Response<GateBody> {
    let mut response = http::Response::new(GateBody(State::Empty));
    *response.status_mut() =
        http::StatusCode::from_u16(answer.status()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.fields() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    let (_, _, body) = answer.into_parts();
    *response.body_mut() = GateBody(match body {
        Body::Empty => State::Empty,
        Body::Bytes(bytes) => State::Bytes(bytes),
        Body::File(file) => State::File(file, None),
    });
    response
}

/// The body of a gate's answer, for hyper.
pub struct GateBody(State);

enum State {
    Empty,
    Bytes(Bytes),
    /// What is left of a file, and the piece that is being read.
    File(FileBody, Option<Reading>),
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send + Sync>>;

impl std::fmt::Debug for GateBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GateBody").field(&self.left()).finish()
    }
}

impl GateBody {
    /// Bytes that are still to come.
    fn left(&self) -> u64 {
        match &self.0 {
            State::Empty => 0,
            State::Bytes(bytes) => bytes.len() as u64,
            State::File(file, _) => file.range.end.saturating_sub(file.range.start),
        }
    }
}

impl HttpBody for GateBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        if body.left() == 0 {
            return Poll::Ready(None);
        }
        let read = match &mut body.0 {
            State::Empty => return Poll::Ready(None),
            State::Bytes(bytes) => Ok(std::mem::take(bytes)),
            State::File(file, reading) => {
                let next = reading.get_or_insert_with(|| {
                    let file = file.clone();
                    Box::pin(async move {
                        let length = FRAME_BYTES.min(file.range.end - file.range.start);
                        piece(&file, file.range.start, length).await.map_err(io::Error::other)
                    })
                });
                let Poll::Ready(read) = next.as_mut().poll(cx) else { return Poll::Pending };
                *reading = None;
                if let Ok(bytes) = &read {
                    file.range.start += bytes.len() as u64;
                }
                read
            }
        };
        if read.is_err() {
            body.0 = State::Empty;
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
