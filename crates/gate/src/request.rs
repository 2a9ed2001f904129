//! What the gate looks at in a request: the method, the raw path below the mount, the query, ten header fields, and the client's certificate.

use std::net::IpAddr;

use flatpass_token::CertificateHash;

use crate::accept::{Accept, takes_gzip};

/// The method, as far as a gate cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: the answer to `GET` without its body (RFC 9110, 9.3.2).
    Head,
    /// Anything else, which a gate answers with 405.
    Other,
}

/// One request to a gate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path below the mount without its leading slash and without the query, still percent-encoded.
    pub path: &'a str,
    /// What follows the `?`, still percent-encoded. Repositories of files have no use for it.
    pub query: Option<&'a str>,
    /// The header fields that matter.
    pub headers: Headers<'a>,
    /// The other end of the connection, for notes of who used an access token; `None` makes no note.
    pub peer: Option<IpAddr>,
}

/// The value of a header field that may stand in a request once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// Not in the request.
    #[default]
    Absent,
    /// There once.
    Once(&'a [u8]),
    /// There more than once, with values that differ: which one counts would be a guess, so none does.
    Repeated,
}

impl<'a> Field<'a> {
    /// The same value again says nothing else. libostree sends all fields once more with each further server of a mirror list that it
    /// asks for a file (measured with 2022.7).
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Field::Absent => Field::Once(value),
            Field::Once(first) if *first == value => return,
            Field::Once(_) | Field::Repeated => Field::Repeated,
        };
    }

    /// The one value as text; `None` when absent, repeated or not ASCII.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self {
            Field::Once(value) if value.is_ascii() => std::str::from_utf8(value).ok(),
            _ => None,
        }
    }

    pub(crate) fn is_absent(self) -> bool {
        self == Field::Absent
    }
}

/// The header fields that matter to a gate (RFC 9110, sections 11.6.2, 13.1 and 14.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `Authorization`
    pub authorization: Field<'a>,
    /// `If-Match`
    pub if_match: Field<'a>,
    /// `If-None-Match`
    pub if_none_match: Field<'a>,
    /// `If-Modified-Since`
    pub if_modified_since: Field<'a>,
    /// `If-Unmodified-Since`
    pub if_unmodified_since: Field<'a>,
    /// `If-Range`
    pub if_range: Field<'a>,
    /// `Range`
    pub range: Field<'a>,
    /// `Accept`, of which there may be several
    pub accept: Accept,
    /// Whether `Accept-Encoding` takes gzip
    pub takes_gzip: bool,
    /// The last `X-Forwarded-For`.
    pub forwarded_for: Option<&'a [u8]>,
    /// Of the certificate whose key the client has, if it showed one under TLS. It counts where no `Authorization` is.
    pub certificate: Option<CertificateHash>,
}

impl<'a> Headers<'a> {
    /// Takes note of one header line. Names compare without regard to case; names that do not matter are skipped.
    pub fn note(&mut self, name: &str, value: &'a [u8]) {
        let field = match name.len() {
            5 if name.eq_ignore_ascii_case("range") => &mut self.range,
            8 if name.eq_ignore_ascii_case("if-match") => &mut self.if_match,
            8 if name.eq_ignore_ascii_case("if-range") => &mut self.if_range,
            13 if name.eq_ignore_ascii_case("authorization") => &mut self.authorization,
            13 if name.eq_ignore_ascii_case("if-none-match") => &mut self.if_none_match,
            17 if name.eq_ignore_ascii_case("if-modified-since") => &mut self.if_modified_since,
            6 if name.eq_ignore_ascii_case("accept") => {
                self.accept.note(value);
                return;
            }
            15 if name.eq_ignore_ascii_case("accept-encoding") => {
                self.takes_gzip |= takes_gzip(value);
                return;
            }
            15 if name.eq_ignore_ascii_case("x-forwarded-for") => {
                self.forwarded_for = Some(value);
                return;
            }
            19 if name.eq_ignore_ascii_case("if-unmodified-since") => &mut self.if_unmodified_since,
            _ => return,
        };
        field.note(value);
    }

    /// Whether the request asks for the whole file without a condition, as nearly all do.
    pub(crate) fn is_plain(&self) -> bool {
        self.range.is_absent()
            && self.if_none_match.is_absent()
            && self.if_modified_since.is_absent()
            && self.if_match.is_absent()
            && self.if_unmodified_since.is_absent()
    }
}

/// A request that owns its text, to carry it to a thread that may wait for the disk.
#[derive(Clone, Debug)]
pub(crate) struct OwnedRequest {
    method: Method,
    path: String,
    query: Option<Box<str>>,
    accept: Accept,
    takes_gzip: bool,
    certificate: Option<CertificateHash>,
    fields: [OwnedField; 7],
}

#[derive(Clone, Debug)]
enum OwnedField {
    Absent,
    Once(Box<[u8]>),
    Repeated,
}

impl OwnedField {
    fn copy(field: Field<'_>) -> Self {
        match field {
            Field::Absent => Self::Absent,
            Field::Once(value) => Self::Once(value.into()),
            Field::Repeated => Self::Repeated,
        }
    }

    fn borrow(&self) -> Field<'_> {
        match self {
            Self::Absent => Field::Absent,
            Self::Once(value) => Field::Once(value),
            Self::Repeated => Field::Repeated,
        }
    }
}

impl OwnedRequest {
    pub(crate) fn copy(request: &Request<'_>) -> Self {
        let h = &request.headers;
        let fields = [
            h.authorization,
            h.if_match,
            h.if_none_match,
            h.if_modified_since,
            h.if_unmodified_since,
            h.if_range,
            h.range,
        ]
        .map(OwnedField::copy);
        Self {
            method: request.method,
            path: request.path.to_owned(),
            query: request.query.map(Into::into),
            accept: h.accept,
            takes_gzip: h.takes_gzip,
            certificate: h.certificate,
            fields,
        }
    }

    pub(crate) fn borrow(&self) -> Request<'_> {
        let [authorization, if_match, if_none_match, if_modified_since, if_unmodified_since, if_range, range] =
            self.fields.each_ref().map(OwnedField::borrow);
        Request {
            method: self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: Headers {
                authorization,
                if_match,
                if_none_match,
                if_modified_since,
                if_unmodified_since,
                if_range,
                range,
                accept: self.accept,
                takes_gzip: self.takes_gzip,
                forwarded_for: None,
                certificate: self.certificate,
            },
            // Whoever copied the request asked before whether it can be answered at once, and then the use was noted.
            peer: None,
        }
    }
}
