//! Which paths below a repo pass the bridge: the files that Flatpak's clients ask for, in the spelling that they
//! send.
//!
//! This is a sieve, not the repo's own parser: the store judges each path again. It lets no path through that could
//! be read in two ways, or that leads out of the repo.

/// The longest path that passes, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;

/// Files at the repo's root.
const FILES: [&str; 5] = ["config", "summary", "summary.sig", "summary.idx", "summary.idx.sig"];
/// The index of a repo whose images are in a registry: only these have a query.
const INDEXES: [&str; 2] = ["index/static", "index/dynamic"];
/// The longest query that passes, in bytes.
const MAX_QUERY_BYTES: usize = 1024;
/// Folders at the repo's root.
const FOLDERS: [&str; 5] = ["objects", "deltas", "delta-indexes", "summaries", "refs"];

/// A path below a repo that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BelowRepo<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> BelowRepo<'a> {
    /// Reads a path as it came over the wire, without a leading slash. `None` if it does not pass: an unknown file or
    /// folder, an empty part, a part that begins with a dot, or any character but letters, digits and `. _ + -`;
    /// percent-encoding never passes. Only an index may have a query.
    #[must_use]
    pub fn parse(raw: &'a str, query: Option<&'a str>) -> Option<Self> {
        if raw.len() > MAX_PATH_BYTES {
            return None;
        }
        let is_index = INDEXES.contains(&raw);
        let passes = match raw.split_once('/') {
            _ if is_index => query.is_none_or(is_query),
            _ if query.is_some() => false,
            None => FILES.contains(&raw),
            Some(("icons", icon)) => is_part(icon) && icon.ends_with(".png"),
            Some((folder, rest)) => FOLDERS.contains(&folder) && rest.split('/').all(is_part),
        };
        passes.then_some(Self { path: raw, query })
    }

    /// The path, without a leading slash.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.path
    }

    /// The query.
    #[must_use]
    pub fn query(self) -> Option<&'a str> {
        self.query
    }

    /// Whether a stock client that gets 401 for it asks the authenticator for a ref token: a commit, or a static
    /// delta.
    #[must_use]
    pub fn is_asked_for_again(self) -> bool {
        self.path.ends_with(".commit") || self.path.starts_with("deltas/")
    }

    /// Whether 403 for it means to a stock client that there is none: signatures of a commit, and the list of its
    /// deltas. (401 would end the pull.)
    #[must_use]
    pub fn may_be_absent(self) -> bool {
        self.path.ends_with(".commitmeta") || self.path.starts_with("delta-indexes/")
    }
}

/// What Flatpak puts into the query of an index: names and values, percent-encoded.
fn is_query(query: &str) -> bool {
    let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-%+=&:,".contains(&byte);
    query.len() <= MAX_QUERY_BYTES && query.bytes().all(is_byte)
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_ask_for_passes() {
        for path in [
            "config",
            "summary.idx.sig",
            "summaries/0123abcd.gz",
            "summaries/0123abcd-4567.delta",
            "objects/01/23abcd.filez",
            "deltas/AB/cd+_EF-gh+ij/superblock",
            "deltas/AB/cd+_EF-gh+ij/0",
            "delta-indexes/AB/cd.index",
            "refs/heads/app/org.test.App/x86_64/stable",
            "refs/mirrors/org.test.Apps/appstream/x86_64",
            "index/static",
            "index/dynamic",
            "icons/0123abcd.png",
        ] {
            assert_eq!(BelowRepo::parse(path, None).map(BelowRepo::as_str), Some(path));
        }
        // As flatpak 1.14 writes it.
        let query = "label%3Aorg.flatpak.ref%3Aexists=1&architecture=amd64&os=linux&tag=latest";
        assert_eq!(BelowRepo::parse("index/static", Some(query)).and_then(BelowRepo::query), Some(query));
        for (path, query) in [
            ("config", "a=b"),
            ("objects/a", ""),
            ("icons/a.png", "a"),
            ("index/static", "a b"),
            ("index/static", "a#b"),
        ] {
            assert_eq!(BelowRepo::parse(path, Some(query)), None, "{path}?{query}");
        }
        assert_eq!(BelowRepo::parse("index/static", Some(&"a".repeat(MAX_QUERY_BYTES + 1))), None);
    }

    #[test]
    fn nothing_that_leads_elsewhere_passes() {
        for path in [
            "",
            "/",
            "/summary",
            "summary/",
            "summary/x",
            "objects",
            "objects/",
            "objects//a",
            "objects/../summary",
            "objects/./a",
            "objects/.a",
            "objects/a/..",
            "objects/%2e%2e/a",
            "objects/a%2Fb",
            "objects/a\\b",
            "objects/a\0",
            "objects/a b",
            "objects/a\r\nX: y",
            "objects/a?b",
            "objects/a#b",
            "objects/a;b",
            "objects/\u{e9}",
            "Objects/a",
            "account",
            "api/v1/ref-tokens",
            "index",
            "index/",
            "index/other",
            "index/static/",
            "index/../static",
            "icons/a",
            "icons/a/b.png",
            "icons/.png",
            "v2/shop/app/manifests/stable",
        ] {
            assert_eq!(BelowRepo::parse(path, None), None, "{path:?}");
        }
        assert_eq!(BelowRepo::parse(&format!("objects/{}", "a".repeat(MAX_PATH_BYTES)), None), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_passes_stays_below_the_repo(path in "(objects|deltas|refs|icons|index/static|x)?[/.%a-z+_\\\\ -]{0,40}") {
            if let Some(below) = BelowRepo::parse(&path, None) {
                let base = url::Url::parse("https://shop.example/repo/apps/").expect("valid");
                let joined = base.join(below.as_str()).expect("joins");
                proptest::prop_assert_eq!(joined.as_str(), format!("https://shop.example/repo/apps/{path}"));
            }
        }
    }
}
