//! An answer of a gate, before it is written to a connection.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

use crate::request::Method;

/// An answer: a status line and header fields as they go over the wire, and a body.
///
/// The head is kept as bytes because most answers repeat one that was made before. It lacks `Date`, `Connection` and the
/// empty line, which belong to the connection.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    head: Bytes,
    body: Body,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug)]
pub enum Body {
    /// None: `HEAD`, 304, or a file without content.
    Empty,
    /// From memory.
    Bytes(Bytes),
    /// Part of an open file.
    File(FileBody),
}

/// Bytes of a file that was opened once and is served from that descriptor, whatever happens to its name meanwhile.
#[derive(Clone, Debug)]
pub struct FileBody {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) range: Range<u64>,
}

impl FileBody {
    /// The offsets of the first byte and of the one after the last.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl Answer {
    pub(crate) fn new(status: u16, head: Bytes, body: Body) -> Self {
        Self { status, head, body }
    }

    /// The status code (RFC 9110, 15).
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The status line and the header fields, each with its line end.
    pub const fn head(&self) -> &Bytes {
        &self.head
    }

    /// The body.
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// The head and the body, apart.
    pub fn into_parts(self) -> (u16, Bytes, Body) {
        (self.status, self.head, self.body)
    }

    /// The header fields in order, by name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = std::str::from_utf8(&self.head).unwrap_or_default();
        text.split("\r\n").skip(1).filter_map(|line| line.split_once(": "))
    }

    /// The first header field of that name, written as the gate writes it (`Content-Length`).
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The same answer without its body, as `HEAD` wants it.
    pub(crate) fn without_body(self) -> Self {
        Self { body: Body::Empty, ..self }
    }
}

/// Writes heads, field by field, and answers with them.
#[derive(Debug)]
pub struct HeadWriter(u16, Vec<u8>);

impl HeadWriter {
    /// The status line.
    pub fn new(status: u16) -> Self {
        let mut head = Vec::with_capacity(320);
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(status.to_string().as_bytes());
        head.push(b' ');
        head.extend_from_slice(reason(status).as_bytes());
        head.extend_from_slice(b"\r\n");
        Self(status, head)
    }

    /// Adds a field. Line ends in the value, which no caller has, would become spaces.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.1.extend_from_slice(name.as_bytes());
        self.1.extend_from_slice(b": ");
        self.1.extend(value.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        self.1.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a field if there is a value.
    pub fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.1.into()
    }

    /// The answer with that content, to a request with that method.
    pub fn answer(self, method: Method, content_type: &str, content: impl Into<Bytes>) -> Answer {
        let content = content.into();
        let status = self.0;
        let head =
            self.field("Content-Length", &content.len().to_string()).field("Content-Type", content_type);
        let answer = Answer::new(status, head.finish(), Body::Bytes(content));
        if method == Method::Head { answer.without_body() } else { answer }
    }
}

/// The reason phrase, which nobody reads but people with a network sniffer.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
