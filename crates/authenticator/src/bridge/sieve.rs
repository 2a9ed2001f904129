//! Which requests the bridge answers at all. Everything that does not name a remote's key is told the same nothing.

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use super::book::{Bridged, Page};
use super::path::BelowRepo;
use crate::secret::SecretText;

/// Headers that only browsers send, each of which shows that a web page is behind the request (Fetch, RFC 6454).
const OF_A_BROWSER: [&str; 7] = [
    "origin",
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "sec-fetch-user",
    "access-control-request-method",
    "access-control-request-headers",
];

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwanted {
    /// It is not from a program that was given a remote's address. It learns nothing, not even what runs here.
    NotForYou,
    /// Neither GET nor HEAD.
    Method,
    /// A request with a body, two Authorization headers, or the like.
    Malformed,
    /// No file of a repo.
    NotFound,
}

/// A request that is passed on.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// To which remote's repo.
    pub remote: &'a Bridged,
    /// The file.
    pub path: BelowRepo<'a>,
    /// The client's own token, which then is the only one.
    pub bearer: Option<SecretText>,
}

/// Judges the head of a request that was sent to `host` (address and port of the listener).
///
/// # Errors
/// [`Unwanted`].
pub fn sieve<'a>(head: &'a Parts, host: &str, page: &'a Page) -> Result<Wanted<'a>, Unwanted> {
    if !is_for_us(&head.uri, &head.headers, host) {
        return Err(Unwanted::NotForYou);
    }
    let path = head.uri.path().strip_prefix('/').ok_or(Unwanted::NotForYou)?;
    let (key, path) = path.split_once('/').unwrap_or((path, ""));
    let remote = page.find(key).ok_or(Unwanted::NotForYou)?;
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Unwanted::Method);
    }
    let path = BelowRepo::parse(path, head.uri.query()).ok_or(Unwanted::NotFound)?;
    Ok(Wanted { remote, path, bearer: own_bearer(&head.headers)? })
}

/// Whether the client meant this listener: a page of another site can reach it under a name of its own (DNS
/// rebinding), but not with this Host.
fn is_for_us(uri: &Uri, headers: &HeaderMap, host: &str) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_host =
        hosts.next().is_some_and(|value| value.as_bytes() == host.as_bytes()) && hosts.next().is_none();
    is_host && uri.authority().is_none() && !OF_A_BROWSER.iter().any(|name| headers.contains_key(*name))
}

/// The client's own Bearer token. Other schemes are as good as nothing: the bridge has no passwords.
fn own_bearer(headers: &HeaderMap) -> Result<Option<SecretText>, Unwanted> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unwanted::Malformed);
    }
    let text = value.to_str().map_err(|_| Unwanted::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    let token = SecretText::new(token.trim().to_owned());
    if token.is_bearer_token() { Ok(Some(token)) } else { Err(Unwanted::Malformed) }
}
