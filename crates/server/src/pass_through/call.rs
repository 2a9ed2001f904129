//! Which calls of flat-manager's are passed: those that publish, by method and path. What manages tokens, prunes, serves the unpublished
//! builds or shows their logs to everybody is not among them.

use axum::http::Method;

/// `#` stands for a number, `*` for the name of a repo.
const CALLS: [(&[Method], &str); 17] = [
    (&[Method::GET, Method::POST], "api/v1/build"),
    (&[Method::GET], "api/v1/build/#"),
    (&[Method::GET], "api/v1/build/#/extended"),
    (&[Method::POST], "api/v1/build/#/build_ref"),
    (&[Method::GET], "api/v1/build/#/build_ref/#"),
    (&[Method::GET], "api/v1/build/#/missing_objects"),
    (&[Method::POST], "api/v1/build/#/add_extra_ids"),
    (&[Method::POST], "api/v1/build/#/upload"),
    (&[Method::GET, Method::POST], "api/v1/build/#/commit"),
    (&[Method::GET, Method::POST], "api/v1/build/#/publish"),
    (&[Method::POST], "api/v1/build/#/purge"),
    (&[Method::GET], "api/v1/build/#/check/*/job"),
    (&[Method::GET], "api/v1/job/#"),
    (&[Method::POST], "api/v1/job/#/check/review"),
    (&[Method::POST], "api/v1/repo/*/republish"),
    (&[Method::POST], "api/v1/delta/upload/*"),
    (&[Method::POST], "api/v1/token_subset"),
];

/// The path as flat-manager gets it, if it is one of its calls: the same text, in which nothing can be read in two ways.
pub(super) fn call<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    let known = |(methods, pattern): &&(&[Method], &str)| methods.contains(method) && fits(pattern, path);
    CALLS.iter().find(known).map(|_| path)
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if is(wanted, found) => {}
            _ => return false,
        }
    }
}

fn is(wanted: &str, found: &str) -> bool {
    match wanted {
        "#" => (1..=10).contains(&found.len()) && found.bytes().all(|byte| byte.is_ascii_digit()),
        "*" => {
            (1..=64).contains(&found.len())
                && !found.starts_with('.')
                && found.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        word => word == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_of_publishers_are_passed() {
        for (method, path) in [
            (Method::POST, "api/v1/build"),
            (Method::GET, "api/v1/build/17/missing_objects"),
            (Method::POST, "api/v1/build/17/upload"),
            (Method::POST, "api/v1/delta/upload/stable"),
            (Method::GET, "api/v1/job/3"),
        ] {
            assert_eq!(call(&method, path), Some(path), "{path}");
        }
        for (method, path) in [
            (Method::DELETE, "api/v1/build"),
            (Method::PUT, "api/v1/build/17/upload"),
            (Method::HEAD, "api/v1/build/17"),
            (Method::GET, "api/v1/build/17/upload"),
            (Method::GET, ""),
            (Method::GET, "api/v1"),
            (Method::GET, "api/v1/build/"),
            (Method::GET, "api/v1//build"),
            (Method::GET, "api/v1/build/../tokens/get_list"),
            (Method::GET, "api/v1/build/%31"),
            (Method::GET, "api/v1/build/1%2f..%2f..%2ftokens"),
            (Method::GET, "api/v1/build/99999999999"),
            (Method::GET, "api/v1/build/-1"),
            (Method::POST, "api/v1/delta/upload/.."),
            (Method::POST, "api/v1/delta/upload/a/b"),
            (Method::GET, "api/v1/delta/worker"),
            (Method::POST, "api/v1/tokens/get_list"),
            (Method::POST, "api/v1/tokens/revoke"),
            (Method::POST, "api/v1/prune"),
            (Method::GET, "build-repo/1/config"),
            (Method::GET, "repo/stable/summary"),
            (Method::GET, "metrics"),
            // It shows the logs of all jobs to everybody.
            (Method::GET, "status"),
            (Method::GET, "status/1"),
        ] {
            assert_eq!(call(&method, path), None, "{method} {path}");
        }
    }
}
