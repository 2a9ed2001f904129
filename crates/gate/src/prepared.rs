//! A content in memory that many requests get, with its head made once.

use bytes::Bytes;

use crate::answer::{Answer, Body, HeadWriter};
use crate::representation::{Representation, respond, slice, whole_head};
use crate::request::Request;

/// A content in memory that many requests get. A clone costs a count or two.
#[derive(Clone, Debug)]
pub struct Prepared {
    content: Bytes,
    etag: Box<str>,
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
        made.head = whole_head(&made);
        made
    }

    /// The content.
    pub const fn content(&self) -> &Bytes {
        &self.content
    }

    /// The answer to a request for it, or for a part of it, or under a condition.
    pub fn answer(&self, request: &Request<'_>) -> Answer {
        respond(self, request)
    }
}

impl Representation for Prepared {
    fn size(&self) -> u64 {
        self.content.len() as u64
    }

    fn etag(&self) -> &str {
        &self.etag
    }

    fn last_modified(&self) -> Option<&str> {
        None
    }

    fn content_type(&self) -> &str {
        &self.content_type
    }

    fn describe(&self, head: HeadWriter) -> HeadWriter {
        let head = head.field("Accept-Ranges", "bytes").field("ETag", &self.etag);
        self.fields.iter().fold(head, |head, (name, value)| head.field(name, value))
    }

    fn head(&self) -> Bytes {
        self.head.clone()
    }

    fn body(&self, start: u64, end: u64) -> Body {
        slice(&self.content, start, end)
    }
}
