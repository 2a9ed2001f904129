//! What all pages share: who sits in front of the browser, headers, forms, errors.

pub(crate) mod browser;
pub(crate) mod fields;
pub(crate) mod page;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::HeaderMap;
use axum::http::request::Parts;

use flatpass_gate::Peer;

use crate::app::App;
use crate::oauth::LoopbackUri;
use crate::web::fields::Fields;

/// The client's address: the connection's, or what a trusted proxy says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let peer = parts
            .extensions
            .get::<Peer>()
            .map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical());
        if app.config.limits.trusted_proxies.contains(&peer) {
            return Ok(Self(forwarded_for(&parts.headers).unwrap_or(peer)));
        }
        Ok(Self(peer))
    }
}

/// The last entry, which the nearest proxy wrote; those before it are anybody's word.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    headers
        .get_all("x-forwarded-for")
        .iter()
        .next_back()?
        .to_str()
        .ok()?
        .rsplit(',')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Takes a path to go to afterwards from a query or form: a path of this site, or nothing. `//host` and `/\host`, which
/// browsers take for another site, are refused, and so is everything that could end a header line.
pub(crate) fn safe_next(next: &str) -> Option<&str> {
    let rest = next.strip_prefix('/')?;
    let harmless = !rest.starts_with(['/', '\\'])
        && next.len() <= 8192
        && next.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\');
    harmless.then_some(next)
}

/// The source that a page's `form-action` must name beside the page's own, when its forms lead to `next` and `next` may lead on
/// to a program on the person's machine: browsers check each redirect after a form against the policy of the page with the form.
pub(crate) fn form_target(next: &str) -> Option<String> {
    let (path, query) = next.split_once('?')?;
    let query = Fields::parse(query.as_bytes()).ok()?;
    if path == "/purchase" || (path.starts_with("/flat-manager/") && path.ends_with("/purchase")) {
        let back = query.get("return")?.trim_end_matches('/');
        return Some(LoopbackUri::parse(&format!("{back}/success"))?.form_action().to_owned());
    }
    if path != "/oauth/authorize" && path != "/api/login" && !path.starts_with("/api/purchase/") {
        return None;
    }
    Some(LoopbackUri::parse(query.get("redirect_uri")?)?.form_action().to_owned())
}

/// Percent-encodes a value for a query.
pub(crate) fn query_value(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Percent-encodes a value for a segment of a path: all but the unreserved characters (RFC 3986 section 2.3).
pub(crate) fn path_segment(value: &str) -> String {
    const RESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(value, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_site_are_followed() {
        for good in ["/", "/account", "/oauth/authorize?a=b&c=%20d"] {
            assert_eq!(safe_next(good), Some(good));
        }
        for bad in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "/a\r\nb",
            "/a b",
            "/a\\b",
            "/\t/evil",
        ] {
            assert_eq!(safe_next(bad), None, "{bad:?}");
        }
    }
}
