//! What can be had whole, in part, or under a condition: the one place that makes such answers (RFC 9110, 13 to 15).

use bytes::Bytes;

use crate::answer::{Answer, Body, HeadWriter};
use crate::conditional::{Selection, select};
use crate::request::{Method, Request};

/// A content with what is said of it.
pub(crate) trait Representation {
    /// Bytes of the content.
    fn size(&self) -> u64;
    /// Its strong validator, with quotes.
    fn etag(&self) -> &str;
    /// When it came to be.
    fn last_modified(&self) -> Option<&str>;
    /// Its media type.
    fn content_type(&self) -> &str;
    /// Adds the fields that 200, 206 and 304 have in common (RFC 9110, 15.4.5).
    fn describe(&self, head: HeadWriter) -> HeadWriter;
    /// The head of the answer 200: [`whole_head`], made once where it is asked for often.
    fn head(&self) -> Bytes;
    /// Bytes `start..end` as a body. The range is cut to the size.
    fn body(&self, start: u64, end: u64) -> Body;
}

/// The head of the answer 200 with the whole content.
pub(crate) fn whole_head(content: &impl Representation) -> Bytes {
    content
        .describe(HeadWriter::new(200))
        .field("Content-Length", &content.size().to_string())
        .field("Content-Type", content.content_type())
        .finish()
}

/// The answer with a content, or the part of it that the request asks for.
pub(crate) fn respond(content: &impl Representation, request: &Request<'_>) -> Answer {
    let size = content.size();
    let selection = if request.headers.is_plain() {
        Selection::Whole
    } else {
        select(request.method, &request.headers, content.etag(), content.last_modified(), size)
    };
    let describe = |status| content.describe(HeadWriter::new(status));
    let empty = |status, head: HeadWriter| Answer::new(status, head.finish(), Body::Empty);
    let answer = match selection {
        Selection::Whole => Answer::new(200, content.head(), content.body(0, size)),
        Selection::Part { start, end } => {
            let head = describe(206)
                .field("Content-Range", &format!("bytes {start}-{}/{size}", end.saturating_sub(1)))
                .field("Content-Length", &end.saturating_sub(start).to_string())
                .field("Content-Type", content.content_type());
            Answer::new(206, head.finish(), content.body(start, end))
        }
        Selection::NotModified => empty(304, describe(304)),
        Selection::PreconditionFailed => empty(412, describe(412).field("Content-Length", "0")),
        Selection::Unsatisfiable => {
            let head = describe(416).field("Content-Range", &format!("bytes */{size}"));
            empty(416, head.field("Content-Length", "0"))
        }
    };
    if request.method == Method::Head { answer.without_body() } else { answer }
}

/// Bytes `start..end` of a content in memory.
pub(crate) fn slice(content: &Bytes, start: u64, end: u64) -> Body {
    let length = content.len();
    let start = usize::try_from(start).unwrap_or(length).min(length);
    let end = usize::try_from(end).unwrap_or(length).clamp(start, length);
    if start == end { Body::Empty } else { Body::Bytes(content.slice(start..end)) }
}
