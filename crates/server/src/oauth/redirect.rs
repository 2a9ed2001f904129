//! Redirects of native apps: to a loopback address only (RFC 8252, 7.3).

use std::net::IpAddr;

use url::{Host, Url};

/// What answers have in their query.
const ANSWER: [&str; 7] = ["code", "state", "iss", "error", "error_description", "token", "redirect_uri"];

/// `http://127.0.0.1:PORT/…` or `http://[::1]:PORT/…`, exactly as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopbackUri {
    text: String,
    origin: String,
}

impl LoopbackUri {
    /// `None` for anything else: another host or scheme, user info, a fragment, a name such as `localhost` that somebody's
    /// resolver answers, a spelling that a URL parser would change, or a query that has a parameter of the answer: the client
    /// would find it twice, and might take the one that it was given.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let loopback = match url.host()? {
            Host::Ipv4(address) => {
                IpAddr::from(address).is_loopback() && text.starts_with("http://127.0.0.1:")
            }
            Host::Ipv6(address) => IpAddr::from(address).is_loopback() && text.starts_with("http://[::1]:"),
            Host::Domain(_) => false,
        };
        let plain = url.scheme() == "http"
            && url.port().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && !text.contains('#')
            && url.as_str() == text
            && !url.query_pairs().any(|(name, _)| ANSWER.contains(&&*name))
            && text.len() <= 2048;
        (loopback && plain)
            .then(|| Self { text: text.to_owned(), origin: url.origin().ascii_serialization() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What a Content-Security-Policy must name in `form-action` so that a form may end in this address: its origin. CSP has no
    /// way to write an IPv6 address, so all of `http:` is named for those.
    pub(crate) fn form_action(&self) -> &str {
        if self.origin.contains('[') { "http:" } else { &self.origin }
    }
}

/// Adds parameters to a URL's query.
pub(crate) fn with_query(uri: &LoopbackUri, parameters: &[(&str, &str)]) -> String {
    let mut url = uri.text.clone();
    for (name, value) in parameters {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        url.push_str(&crate::web::query_value(value));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_redirected_to() {
        for good in [
            "http://127.0.0.1:4711/cb/x",
            "http://[::1]:4711/cb",
            "http://127.0.0.1:4711/",
            "http://127.0.0.1:4711/?x=code",
        ] {
            assert!(LoopbackUri::parse(good).is_some(), "{good}");
        }
        for bad in [
            "https://127.0.0.1:4711/",
            "http://127.0.0.1/",
            "http://127.0.0.1:80/",
            "http://localhost:4711/",
            "http://127.0.0.1@evil.example:4711/",
            "http://user@127.0.0.1:4711/",
            "http://127.0.0.1.evil.example:4711/",
            "http://127.0.0.1:4711/#fragment",
            "http://127.0.0.1:4711/#",
            "http://127.1:4711/",
            "http://127.0.0.1:4711/?code=x",
            "http://127.0.0.1:4711/?a=b&st%61te=x",
            "http://127.0.0.1:4711/?error",
            "http://2130706433:4711/",
            "http://127.0.0.1:4711\\@evil.example/",
            "http://127.0.0.1:4711",
            "HTTP://127.0.0.1:4711/",
            "javascript:alert(1)",
            "",
        ] {
            assert!(LoopbackUri::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn values_in_the_query_are_encoded() {
        let uri = LoopbackUri::parse("http://127.0.0.1:1/cb").unwrap();
        assert_eq!(
            with_query(&uri, &[("a", "1&b=2"), ("s", "x y")]),
            "http://127.0.0.1:1/cb?a=1%26b%3D2&s=x%20y"
        );
    }
}
