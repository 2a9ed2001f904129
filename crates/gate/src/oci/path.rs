//! The one parser of paths below `/v2/`: what it does not parse is 404.

use std::fmt;

use flatpass_oci::{Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName};

/// A request path below `/v2/`, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePath {
    /// The repository.
    pub repository: RepositoryName,
    /// What of it is asked for.
    pub wanted: Wanted,
}

/// What of a repository is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `manifests/TAG` or `manifests/DIGEST`
    Manifest(Reference),
    /// `blobs/DIGEST`
    Blob(Digest),
    /// `tags/list`
    Tags,
    /// `referrers/DIGEST`
    Referrers(Digest),
}

/// Why a path is none of a registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// None of the endpoints for pulling.
    #[error(
        "this registry has manifests, blobs, tags/list and referrers of its repositories, and nothing else"
    )]
    Endpoint,
    /// What should be a repository's name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What should be a tag or a digest is neither.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// What should be a digest is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The same, where what refers to it is asked for.
    #[error(transparent)]
    Referrers(DigestError),
}

impl ImagePath {
    /// Reads a raw path (without query) from behind `/v2/`. Nothing is decoded: names, tags and digests have no character that a client
    /// must encode, so an encoded one has no meaning.
    ///
    /// # Errors
    /// [`PathError`]
    pub fn parse(path: &str) -> Result<Self, PathError> {
        // From the end: a repository's name may have parts that are called like an endpoint.
        let mut parts = path.rsplitn(3, '/');
        let (Some(last), Some(endpoint), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(PathError::Endpoint);
        };
        let wanted = match (endpoint, last) {
            ("manifests", reference) => Wanted::Manifest(Reference::parse(reference)?),
            ("blobs", digest) => Wanted::Blob(Digest::parse(digest)?),
            ("referrers", digest) => Wanted::Referrers(Digest::parse(digest).map_err(PathError::Referrers)?),
            ("tags", "list") => Wanted::Tags,
            _ => return Err(PathError::Endpoint),
        };
        Ok(Self { repository: RepositoryName::parse(name)?, wanted })
    }
}

/// The path that it was read from.
impl fmt::Display for ImagePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, wanted } = self;
        match wanted {
            Wanted::Manifest(reference) => write!(out, "{repository}/manifests/{reference}"),
            Wanted::Blob(digest) => write!(out, "{repository}/blobs/{digest}"),
            Wanted::Tags => write!(out, "{repository}/tags/list"),
            Wanted::Referrers(digest) => write!(out, "{repository}/referrers/{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn only_the_canonical_spelling_of_a_path_parses() {
        for good in [
            "apps/org.test.free/manifests/stable".to_owned(),
            format!("apps/org.test.free/manifests/sha256:{HEX}"),
            format!("a/b/c/blobs/sha256:{HEX}"),
            "a/tags/list".to_owned(),
            "a/manifests/manifests/manifests".to_owned(),
            "a/tags/list/tags/list".to_owned(),
            format!("a/referrers/sha256:{HEX}"),
        ] {
            assert_eq!(ImagePath::parse(&good).map(|path| path.to_string()).as_ref(), Ok(&good));
        }
        for bad in [
            "",
            "apps",
            "manifests/stable",
            "/manifests/stable",
            "apps//free/manifests/stable",
            "apps/./free/manifests/stable",
            "apps/../free/manifests/stable",
            "apps/%66ree/manifests/stable",
            "apps/free/manifests/st%61ble",
            "apps%2Ffree/manifests/stable",
            "Apps/free/manifests/stable",
            "apps/free/Manifests/stable",
            "apps/free/manifests/stable/",
            "apps/free/manifests/",
            "apps/free/manifests/.stable",
            "apps/free/manifests/a b",
            "apps/free/manifests/\0",
            "apps/free/tags/lists",
            "apps/free/blobs/uploads/",
            "apps/free/blobs/stable",
            "apps/free/blobs/sha256:",
            "_catalog",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("apps/free/blobs/sha256:{}", HEX.to_uppercase()),
            format!("apps/free/blobs/sha256:{HEX}0"),
            format!("apps/free/blobs/SHA256:{HEX}"),
            format!("apps/free/blobs/sha512:{HEX}{HEX}"),
            format!("apps/free/blobs/sha256%3A{HEX}"),
            format!("apps/free/blobs/sha256:{HEX}/"),
            format!("{}/tags/list", "a".repeat(256)),
            format!("a/manifests/{}", "a".repeat(129)),
        ]) {
            assert!(ImagePath::parse(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_has_no_second_spelling(
            path in "([a-z0-9A-Z.%_/-]{0,12}/)?(manifests|blobs|tags|referrers|[a-z]{1,3})/(list|sha256:[0-9a-f]{64}|[!-~]{0,9})"
        ) {
            if let Ok(parsed) = ImagePath::parse(&path) {
                prop_assert_eq!(parsed.to_string(), path);
            }
        }
    }
}
