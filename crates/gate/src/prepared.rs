//! A content in memory that many requests get, with its head made once.

use bytes::Bytes;

use crate::answer::{Answer, Body, HeadWriter};
use crate::conditional::{Selection, select};
use crate::request::{Method, Request};

/// A content in memory that many requests get. A clone costs a count or two.
#[derive(Clone, Debug)]
pub struct Prepared {
    content: Bytes,
    etag: Box<str>,
    /// What all answers have in common: `Cache-Control` and what was added.
    fields: Box<[(&'static str, String)]>,
    content_type: Box<str>,
    head: Bytes,
}

impl Prepared {
    /// This content. `etag` is its strong validator without quotes, so the same only for the same content; `fields` go with every
    /// answer, also 304, such as `Cache-Control`.
    pub fn new(
        content: impl Into<Bytes>,
        content_type: &str,
        etag: &str,
        fields: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let mut made = Self {
            content: content.into(),
            etag: format!("\"{etag}\"").into(),
            fields: fields.into_iter().collect(),
            content_type: content_type.into(),
            head: Bytes::new(),
        };
        made.head =
            made.with_type(made.describe(200).field("Content-Length", &made.content.len().to_string()));
        made
    }

    /// The content.
    pub const fn content(&self) -> &Bytes {
        &self.content
    }

    /// The answer to a request for it, or for a part of it, or under a condition (RFC 9110, 13 and 14).
    pub fn answer(&self, request: &Request<'_>) -> Answer {
        let size = self.content.len() as u64;
        let selection = if request.headers.is_plain() {
            Selection::Whole
        } else {
            select(request.method, &request.headers, &self.etag, None, size)
        };
        let empty = |head: HeadWriter, status| Answer::new(status, head.finish(), Body::Empty);
        let answer = match selection {
            Selection::Whole => Answer::new(200, self.head.clone(), Body::Bytes(self.content.clone())),
            Selection::Part { start, end } => {
                let head = self
                    .describe(206)
                    .field("Content-Range", &format!("bytes {start}-{}/{size}", end.saturating_sub(1)))
                    .field("Content-Length", &end.saturating_sub(start).to_string());
                Answer::new(206, self.with_type(head), Body::Bytes(self.slice(start, end)))
            }
            Selection::NotModified => empty(self.describe(304), 304),
            Selection::PreconditionFailed => empty(self.describe(412).field("Content-Length", "0"), 412),
            Selection::Unsatisfiable => {
                let head = self.describe(416).field("Content-Range", &format!("bytes */{size}"));
                empty(head.field("Content-Length", "0"), 416)
            }
        };
        if request.method == Method::Head { answer.without_body() } else { answer }
    }

    fn describe(&self, status: u16) -> HeadWriter {
        let head = HeadWriter::new(status).field("Accept-Ranges", "bytes").field("ETag", &self.etag);
        self.fields.iter().fold(head, |head, (name, value)| head.field(name, value))
    }

    fn with_type(&self, head: HeadWriter) -> Bytes {
        head.field("Content-Type", &self.content_type).finish()
    }

    /// The bytes `start..end`, which [`select`] cut to the size.
    fn slice(&self, start: u64, end: u64) -> Bytes {
        let length = self.content.len();
        let start = usize::try_from(start).unwrap_or(length).min(length);
        let end = usize::try_from(end).unwrap_or(length).clamp(start, length);
        self.content.slice(start..end)
    }
}
