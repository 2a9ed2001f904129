//! Header fields on their way to flat-manager and back.

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Those of one connection (RFC 9110, 7.6.1, and what was there before it).
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What is between the client and this store: cookies are the store's own, and flat-manager would make addresses of what others say of the
/// host.
const NOT_PASSED: [HeaderName; 9] = [
    header::HOST,
    header::COOKIE,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
];

/// Without what is for this connection, or named by its `Connection` field.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let passes = |name: &HeaderName| {
        !OF_THE_CONNECTION.contains(name) && !named.iter().any(|named| named == name.as_str())
    };
    let kept = headers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The request's fields as flat-manager gets them. `Authorization` and the content's own stay as they are.
pub(super) fn to_flat_manager(headers: &HeaderMap) -> HeaderMap {
    let mut passed = end_to_end(headers);
    for name in &NOT_PASSED {
        passed.remove(name);
    }
    passed
}

/// The answer's fields as the client gets them. Addresses at flat-manager become ours, and no other address is passed; what it answers
/// is no page of this site.
pub(super) fn from_flat_manager(headers: &mut HeaderMap, upstream: &str, here: &str) {
    *headers = end_to_end(headers);
    headers.remove(header::SET_COOKIE);
    let location = headers.remove(header::LOCATION);
    let location = location.as_ref().and_then(|value| value.to_str().ok());
    let below = location.and_then(|location| {
        let rest = location.strip_prefix(upstream).unwrap_or(location);
        (rest.starts_with('/') && !rest.starts_with("//")).then_some(rest)
    });
    let ours = below.map(|below| format!("{}{below}", here.trim_end_matches('/')));
    if let Some(Ok(value)) = ours.map(HeaderValue::try_from) {
        headers.insert(header::LOCATION, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'",
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(field).collect()
    }

    #[test]
    fn what_belongs_to_a_connection_or_to_the_store_stays_here() {
        let passed = to_flat_manager(&fields(&[
            ("authorization", "Bearer x"),
            ("content-encoding", "gzip"),
            ("connection", "close, X-Trick"),
            ("x-trick", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("cookie", "flatpass_session=s"),
            ("host", "shop.example"),
            ("x-forwarded-host", "evil.example"),
            ("expect", "100-continue"),
        ]));
        assert_eq!(passed, fields(&[("authorization", "Bearer x"), ("content-encoding", "gzip")]));
    }

    #[test]
    fn addresses_in_answers_become_ours_or_nothing() {
        let upstream = "http://127.0.0.1:8080";
        let here = "https://shop.example/flat-manager/apps";
        for (said, expected) in [
            (
                "http://127.0.0.1:8080/api/v1/build/1",
                Some("https://shop.example/flat-manager/apps/api/v1/build/1"),
            ),
            ("/api/v1/job/2", Some("https://shop.example/flat-manager/apps/api/v1/job/2")),
            ("https://evil.example/", None),
            ("//evil.example/", None),
            ("http://127.0.0.1:80801/", None),
            ("http://127.0.0.1:8080@evil.example/", None),
        ] {
            let mut headers = fields(&[("set-cookie", "flatpass_session=planted")]);
            headers.insert(header::LOCATION, HeaderValue::from_str(said).unwrap());
            from_flat_manager(&mut headers, upstream, here);
            let found = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            assert_eq!(found, expected, "{said}");
            assert_eq!(headers.get(header::SET_COOKIE), None);
        }
    }
}
