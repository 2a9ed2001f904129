//! The bridge's answers: the repo's own, streamed, with the headers that a Flatpak client needs; or a sentence.

use std::fs::File;
use std::future::Future as _;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::Sleep;

use super::object::Object;

/// How much of a file is sent at once.
const PIECE: usize = 128 * 1024;

/// What of the repo's answer reaches the client. Never a cookie, an address, or what would open it to web pages.
const PASSED_BACK: [HeaderName; 14] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_ENCODING,
    header::ACCEPT_RANGES,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::AGE,
    header::DATE,
    header::VARY,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// The repo's answer as the client gets it. `idle`: the longest silence of the repo in the middle of a body.
#[must_use]
pub fn pass_back(from: reqwest::Response, idle: Duration) -> Response<AnswerBody> {
    let (head, body) = Response::from(from).into_parts();
    let mut answer = Response::new(AnswerBody::Streamed(Streamed { body, idle, silence: None }));
    *answer.status_mut() = head.status;
    let has_content = head.status != StatusCode::NOT_MODIFIED && head.status != StatusCode::NO_CONTENT;
    for name in PASSED_BACK {
        if let Some(value) = head.headers.get(&name)
            && (has_content || name != header::CONTENT_LENGTH)
        {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    close_to_web_pages(&mut answer);
    answer
}

/// An answer of the bridge's own: a sentence. Flatpak shows only the status; a person with `curl` sees the rest.
#[must_use]
pub fn sentence(status: StatusCode, text: &str) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Text(Full::new(Bytes::from(format!("{text}\n")))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    close_to_web_pages(&mut answer);
    answer
}

/// An object that is whole already.
#[must_use]
pub(super) fn whole(object: Object) -> Response<AnswerBody> {
    let size = object.size();
    let mut answer = Response::new(match object {
        Object::Memory(bytes) => AnswerBody::Text(Full::new(bytes)),
        Object::File(file, left) => AnswerBody::File { file, left },
    });
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    close_to_web_pages(&mut answer);
    answer
}

/// An answer that says nothing, to somebody who has no business here. The connection is closed after it.
#[must_use]
pub fn nothing(status: StatusCode) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::Text(Full::new(Bytes::new())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn close_to_web_pages(answer: &mut Response<AnswerBody>) {
    let headers = answer.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// The bridge's own, or a small object.
    Text(Full<Bytes>),
    /// A large object, from a file that was written a moment ago.
    File {
        /// The file, at the next byte.
        file: File,
        /// How many bytes there are still.
        left: u64,
    },
    /// The repo's, piece by piece as the client takes it.
    Streamed(Streamed),
}

/// The next piece of a file that is in the page cache: no disk is waited for.
fn next_piece(file: &mut File, left: &mut u64) -> io::Result<Option<Frame<Bytes>>> {
    if *left == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE))];
    file.read_exact(&mut piece)?;
    *left -= piece.len() as u64;
    Ok(Some(Frame::data(piece.into())))
}

/// A body of the repo's that breaks off when the repo is silent for too long.
#[derive(Debug)]
pub struct Streamed {
    body: reqwest::Body,
    idle: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Streamed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.silence = None;
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Poll::Pending => {
                let idle = self.idle;
                let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                match silence.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the repository has fallen silent",
                    )))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Text(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Self::File { file, left } => Poll::Ready(next_piece(file, left).transpose()),
            Self::Streamed(streamed) => streamed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::File { left, .. } => *left == 0,
            Self::Streamed(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::File { left, .. } => SizeHint::with_exact(*left),
            Self::Streamed(streamed) => streamed.body.size_hint(),
        }
    }
}
