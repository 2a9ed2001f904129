//! Reads one request head: is it plainly one for a gate, one for hyper, or none at all?

use std::mem::MaybeUninit;

use crate::request::{Headers, Method};

/// The largest number of header fields that is ever read.
pub(crate) const MAX_FIELDS: usize = 128;

/// What the bytes received so far begin with.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one call")]
pub(crate) enum Head<'a> {
    /// Not yet a whole head.
    Partial,
    /// A plain `GET` or `HEAD` of HTTP/1.1 without a body, `length` bytes long.
    Plain {
        length: usize,
        method: Method,
        path: &'a str,
        query: Option<&'a str>,
        headers: Headers<'a>,
        close: bool,
    },
    /// A request for hyper to read again, and all that comes after it.
    Other,
    /// No request. The connection ends after the answer.
    Malformed(Malformed),
}

/// Why the bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// 400
    Syntax,
    /// 431
    TooManyFields,
}

/// Reads the head that `bytes` begins with.
///
/// Only what has one meaning to everybody is read here: a line ends with CR LF, a target is a path of ordinary
/// characters, `Host` is there once, nothing announces a body. All else is left to hyper, or is malformed.
pub(crate) fn read_head(bytes: &[u8], max_fields: usize) -> Head<'_> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let slots = fields.get_mut(..max_fields.min(MAX_FIELDS)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Partial,
        Err(httparse::Error::TooManyHeaders) => return Head::Malformed(Malformed::TooManyFields),
        // Another protocol or version: hyper knows what to say.
        Err(httparse::Error::Version) => return Head::Other,
        Err(_) => return Head::Malformed(Malformed::Syntax),
    };
    if !has_strict_line_ends(bytes.get(..length).unwrap_or_default()) {
        return Head::Malformed(Malformed::Syntax);
    }
    let method = match request.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => return Head::Other,
    };
    let (Some(target), Some(1)) = (request.path, request.version) else { return Head::Other };
    if !is_plain_target(target) {
        return Head::Other;
    }
    let mut headers = Headers::default();
    let mut hosts = 0_u32;
    let mut close = false;
    for field in request.headers.iter() {
        match field.name.len() {
            4 if field.name.eq_ignore_ascii_case("host") => hosts += 1,
            10 if field.name.eq_ignore_ascii_case("connection") => match connection(field.value) {
                Connection::KeepAlive => {}
                Connection::Close => close = true,
                Connection::Upgrade => return Head::Other,
            },
            6 if field.name.eq_ignore_ascii_case("expect") => return Head::Other,
            7 if field.name.eq_ignore_ascii_case("upgrade") => return Head::Other,
            14 if field.name.eq_ignore_ascii_case("content-length") => return Head::Other,
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => return Head::Other,
            _ => headers.note(field.name, field.value),
        }
    }
    if hosts != 1 {
        return Head::Other;
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Head::Plain { length, method, path, query, headers, close }
}

/// Whether each LF follows a CR: a lone LF ends a line for some readers and not for others (RFC 9112, 2.2).
fn has_strict_line_ends(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at.checked_sub(1).and_then(|at| head.get(at)) == Some(&b'\r'))
}

/// Whether the target is an absolute path, with or without a query, of characters that every parser takes for themselves.
fn is_plain_target(target: &str) -> bool {
    target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/%-._~!$&'()*+,;=:@?".contains(&byte))
}

enum Connection {
    KeepAlive,
    Close,
    Upgrade,
}

fn connection(value: &[u8]) -> Connection {
    // The two values that nearly all clients send.
    if value.eq_ignore_ascii_case(b"keep-alive") {
        return Connection::KeepAlive;
    }
    let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    if options.clone().any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
        Connection::Upgrade
    } else if options.any(|option| option.eq_ignore_ascii_case(b"close")) {
        Connection::Close
    } else {
        Connection::KeepAlive
    }
}
