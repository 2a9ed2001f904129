//! Conditional requests and ranges: RFC 9110, sections 13 and 14.

use std::time::SystemTime;

use crate::request::{Field, Headers, Method};

/// Which part of a file a request is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// 200
    Whole,
    /// 206 with the bytes from `start` to before `end`.
    Part { start: u64, end: u64 },
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416
    Unsatisfiable,
}

/// Decides it in the order of RFC 9110, 13.2.2. `etag` is a strong validator with its quotes.
pub(crate) fn select(
    method: Method,
    headers: &Headers<'_>,
    etag: &str,
    last_modified: Option<&str>,
    size: u64,
) -> Selection {
    let modified = last_modified.and_then(date);
    match headers.if_match {
        Field::Absent => {
            let unmodified_since = headers.if_unmodified_since.text().and_then(date);
            if let (Some(since), Some(modified)) = (unmodified_since, modified)
                && modified > since
            {
                return Selection::PreconditionFailed;
            }
        }
        field => {
            if !field.text().is_some_and(|tags| lists(tags, etag, false)) {
                return Selection::PreconditionFailed;
            }
        }
    }
    match headers.if_none_match {
        Field::Absent => {
            let modified_since = headers.if_modified_since.text().and_then(date);
            if let (Some(since), Some(modified)) = (modified_since, modified)
                && modified <= since
            {
                return Selection::NotModified;
            }
        }
        field => {
            if field.text().is_some_and(|tags| lists(tags, etag, true)) {
                return Selection::NotModified;
            }
        }
    }
    // Only GET has ranges (RFC 9110, 14.2).
    let Some(range) = headers.range.text().filter(|_| method == Method::Get) else {
        return Selection::Whole;
    };
    let same = match headers.if_range {
        Field::Absent => true,
        field => field.text().is_some_and(|validator| {
            let validator = validator.trim();
            validator == etag || (modified.is_some() && date(validator) == modified)
        }),
    };
    if same { part(range, size) } else { Selection::Whole }
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

/// Whether a list of entity tags holds this one. `*` does: the file exists. A weak tag counts only where weak comparison is
/// asked for (RFC 9110, 8.8.3.2); our tags have no comma in them, so splitting there is right for all that can match.
fn lists(tags: &str, etag: &str, weak: bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        tag == "*" || tag == etag || (weak && tag.strip_prefix("W/").is_some_and(|tag| tag == etag))
    })
}

/// One range of bytes (RFC 9110, 14.1.2). Several ranges, other units and what does not parse select the whole file, as the RFC allows.
fn part(range: &str, size: u64) -> Selection {
    let Some((unit, set)) = range.split_once('=') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(length)) if first.is_empty() => (size.saturating_sub(length), size),
        _ => return Selection::Whole,
    };
    if start < end { Selection::Part { start, end } } else { Selection::Unsatisfiable }
}

/// Digits only: `parse` alone would take a sign. More than fits is as good as the largest number.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"abc\"";
    const DATE: &str = "Mon, 23 Nov 2026 10:00:00 GMT";

    fn get(fields: &[(&str, &str)], size: u64) -> Selection {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.note(name, value.as_bytes());
        }
        select(Method::Get, &headers, TAG, Some(DATE), size)
    }

    #[test]
    fn ranges_select_what_rfc_9110_says() {
        let part = |start, end| Selection::Part { start, end };
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 10)),
            ("BYTES=3-5", part(3, 6)),
            ("bytes=9-999999999999999999999999", part(9, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-30", part(0, 10)),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=5-3", Selection::Whole),
            ("bytes=+1-3", Selection::Whole),
            ("bytes=0-1,3-4", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes", Selection::Whole),
            ("lines=1-2", Selection::Whole),
            ("bytes=1--2", Selection::Whole),
        ] {
            assert_eq!(get(&[("Range", range)], 10), expected, "{range}");
        }
        assert_eq!(get(&[("Range", "bytes=0-")], 0), Selection::Unsatisfiable);
        assert_eq!(get(&[("Range", "bytes=0-1"), ("Range", "bytes=0-2")], 10), Selection::Whole);
        assert_eq!(get(&[("Range", "bytes=0-1"), ("Range", "bytes=0-1")], 10), part(0, 2));
    }

    #[test]
    fn a_range_of_another_state_of_the_file_gives_the_whole() {
        let part = Selection::Part { start: 1, end: 3 };
        for (if_range, expected) in [
            (TAG, part),
            (DATE, part),
            ("\"abd\"", Selection::Whole),
            ("W/\"abc\"", Selection::Whole),
            ("Mon, 23 Nov 2026 10:00:01 GMT", Selection::Whole),
            ("yesterday", Selection::Whole),
        ] {
            assert_eq!(get(&[("Range", "bytes=1-2"), ("If-Range", if_range)], 10), expected, "{if_range}");
        }
    }

    #[test]
    fn conditions_are_weighed_in_the_order_of_rfc_9110() {
        let later = "Mon, 23 Nov 2026 10:00:01 GMT";
        let earlier = "Mon, 23 Nov 2026 09:59:59 GMT";
        for (fields, expected) in [
            (&[("If-None-Match", TAG)][..], Selection::NotModified),
            (&[("If-None-Match", "\"x\", W/\"abc\"")], Selection::NotModified),
            (&[("If-None-Match", "*")], Selection::NotModified),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)], Selection::Whole),
            (&[("If-Modified-Since", DATE)], Selection::NotModified),
            (&[("If-Modified-Since", later)], Selection::NotModified),
            (&[("If-Modified-Since", earlier)], Selection::Whole),
            (&[("If-Modified-Since", "soon")], Selection::Whole),
            (&[("If-Match", "W/\"abc\"")], Selection::PreconditionFailed),
            (&[("If-Match", TAG), ("If-Unmodified-Since", earlier)], Selection::Whole),
            (&[("If-Unmodified-Since", earlier)], Selection::PreconditionFailed),
            (&[("If-Match", "\"x\""), ("If-None-Match", TAG)], Selection::PreconditionFailed),
            (&[("If-None-Match", TAG), ("Range", "bytes=99-")], Selection::NotModified),
        ] {
            assert_eq!(get(fields, 10), expected, "{fields:?}");
        }
    }

    #[test]
    fn head_has_no_ranges() {
        let mut headers = Headers::default();
        headers.note("range", b"bytes=1-2");
        assert_eq!(select(Method::Head, &headers, TAG, None, 10), Selection::Whole);
    }
}
