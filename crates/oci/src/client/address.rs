//! The address of a registry.

use std::fmt;

use url::Url;

use super::error::{RegistryError, shown};
use super::secure::{host_and_port, is_loopback, is_secret};
use crate::{Digest, Reference, RepositoryName};

/// Scheme, host and port of a registry. Its endpoints are below `/v2/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryAddress(Url);

impl RegistryAddress {
    /// Reads `https://HOST[:PORT]`, or the same with `http` for a registry that has no TLS, with or without a slash at the end. Over
    /// `http` to another machine it is never sent credentials.
    ///
    /// # Errors
    /// [`RegistryError::Address`] for anything else, also with a user, a path or a query.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = || RegistryError::Address(shown(text));
        let url = Url::parse(text).map_err(|_| wrong())?;
        let is_plain = matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        if is_plain { Ok(Self(url)) } else { Err(wrong()) }
    }

    /// `host` or `host:port`: what credentials are stored by.
    #[must_use]
    pub fn host(&self) -> String {
        host_and_port(&self.0)
    }

    /// Whether it is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether credentials may be sent there: over https, or on this machine.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        is_secret(&self.0)
    }

    /// Where it says who it lets in.
    pub(crate) fn door(&self) -> Url {
        self.at("v2/")
    }

    /// Where its list of repositories begins, so many on a page.
    pub(crate) fn catalog(&self, page: usize) -> Url {
        let mut url = self.at("v2/_catalog");
        url.set_query(Some(&format!("n={page}")));
        url
    }

    pub(crate) fn tags(&self, repository: &RepositoryName, page: usize) -> Url {
        let mut url = self.at(&format!("v2/{repository}/tags/list"));
        url.set_query(Some(&format!("n={page}")));
        url
    }

    pub(crate) fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Url {
        self.at(&format!("v2/{repository}/manifests/{reference}"))
    }

    pub(crate) fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Url {
        self.at(&format!("v2/{repository}/blobs/{digest}"))
    }

    /// Names and references have no character that a path could not have as it is.
    fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }

    /// Where a page says that the next one is, if it is a page of the same registry.
    pub(crate) fn page(&self, from: &Url, link: &str) -> Option<Url> {
        from.join(link).ok().filter(|next| {
            next.origin() == self.0.origin() && next.username().is_empty() && next.password().is_none()
        })
    }
}

/// With a slash at the end.
impl fmt::Display for RegistryAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
