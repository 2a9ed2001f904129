//! Lists and reads one registry.

use std::collections::HashSet;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LINK, LOCATION};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::access::{Access, Pass, Passes};
use super::address::RegistryAddress;
use super::asked::{Asked, Realm};
use super::error::{RegistryError, shown};
use super::http::{Http, HttpLimits, body, refusal, send};
use super::secure::{host_and_port, is_loopback};
use super::token::TokenExchange;
use crate::{
    Actions, Descriptor, Digest, Document, MAX_DOCUMENT_BYTES, ManifestError, MediaType, Reference,
    RepositoryName, Scope, Tag, Target,
};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Entries that are asked for on one page. Registries refuse larger numbers.
const PAGE: usize = 100;
/// The largest page that is read, in bytes.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The most repositories of a registry.
pub const MAX_REPOSITORIES: usize = 50_000;
/// The most tags of a repository.
pub const MAX_TAGS: usize = 10_000;

/// A client of one registry. It keeps tokens while they are good.
#[derive(Debug)]
pub struct RegistryClient {
    http: Http,
    address: RegistryAddress,
    passes: Passes,
}

/// A manifest or index whose digest was verified.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its digest.
    pub digest: Digest,
    /// As what it came.
    pub media_type: MediaType,
    /// What it is.
    pub document: Document,
}

impl RegistryClient {
    /// A client of the registry at that address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Setup`]
    pub fn new(address: RegistryAddress, access: Access, limits: &HttpLimits) -> Result<Self, RegistryError> {
        let http = Http::new(limits)?;
        let passes = Passes::new(access, TokenExchange::with(http.clone()));
        Ok(Self { http, address, passes })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &RegistryAddress {
        &self.address
    }

    /// The token server that the registry named first.
    #[must_use]
    pub fn first_realm(&self) -> Option<Realm> {
        self.passes.first_realm()
    }

    /// The repositories that the registry lists. Names that are none are left out.
    ///
    /// # Errors
    /// [`RegistryError`]; many registries show their list to nobody, or not to everybody.
    pub async fn repositories(&self) -> Result<Vec<RepositoryName>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let scope = Scope { target: Target::Catalog, actions: Actions::default() };
        let first = self.address.catalog(PAGE);
        let read = |page: Page| page.repositories.unwrap_or_default();
        let name = |text: &str| RepositoryName::parse(text).ok();
        self.pages(first, &scope, "repositories", MAX_REPOSITORIES, read, name).await
    }

    /// The tags of a repository. Texts that are none are left out.
    ///
    /// # Errors
    /// [`RegistryError`], [`RegistryError::NotFound`] among them when there is no such repository.
    pub async fn tags(&self, repository: &RepositoryName) -> Result<Vec<Tag>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let first = self.address.tags(repository, PAGE);
        let read = |page: Page| page.tags.unwrap_or_default();
        let tag = |text: &str| Tag::parse(text).ok();
        self.pages(first, &Scope::pull(repository.clone()), "tags", MAX_TAGS, read, tag).await
    }

    /// The digest of what a tag leads to now, without reading it if the registry says the digest.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub async fn resolve(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, RegistryError> {
        let reference = Reference::Tag(tag.clone());
        let url = self.address.manifest(repository, &reference);
        let what = format!("manifest {repository}:{tag}");
        let scope = Scope::pull(repository.clone());
        let response = self.call(Method::HEAD, url, Some(MediaType::ACCEPT), &scope, &what).await?;
        match said_digest(response.headers()) {
            Some(digest) => Ok(digest),
            None => Ok(self.manifest(repository, &reference).await?.digest),
        }
    }

    /// The manifest or index of that name.
    ///
    /// # Errors
    /// [`RegistryError`], [`RegistryError::WrongDigest`] among them when it is another than the digest says.
    pub async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Fetched, RegistryError> {
        let url = self.address.manifest(repository, reference);
        let what = format!("manifest {repository}:{reference}");
        let scope = Scope::pull(repository.clone());
        let response = self.call(Method::GET, url, Some(MediaType::ACCEPT), &scope, &what).await?;
        let host = host_and_port(response.url());
        let media_type = content_type(response.headers());
        let said = said_digest(response.headers());
        let bytes = body(response, MAX_DOCUMENT_BYTES).await?;
        let digest = Digest::of(&bytes);
        let expected = match reference {
            Reference::Digest(asked) => Some(*asked),
            Reference::Tag(_) => said,
        };
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(RegistryError::WrongDigest { host, expected });
        }
        let unreadable = |why| RegistryError::Document { host: host.clone(), why };
        let media_type =
            media_type.ok_or_else(|| unreadable(ManifestError::MediaType("not said".to_owned())))?;
        let document = Document::read(&bytes, &media_type).map_err(unreadable)?;
        Ok(Fetched { digest, media_type, document })
    }

    /// A small blob, such as an image's configuration.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] for more than [`MAX_DOCUMENT_BYTES`], whatever the descriptor says; [`RegistryError::WrongDigest`]; or
    /// what else goes wrong.
    pub async fn blob(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let limit = MAX_DOCUMENT_BYTES;
        if descriptor.size > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(RegistryError::TooLarge { host: self.address.host(), limit });
        }
        let url = self.address.blob(repository, &descriptor.digest);
        let what = format!("blob {}", descriptor.digest);
        let scope = Scope::pull(repository.clone());
        let response = self.call(Method::GET, url, None, &scope, &what).await?;
        let host = host_and_port(response.url());
        let bytes = body(response, limit).await?;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(RegistryError::WrongDigest { host, expected: descriptor.digest });
        }
        Ok(bytes)
    }

    /// Of each page only the entries are kept, and of what is no entry only that it was there.
    async fn pages<P: for<'de> Deserialize<'de>, E>(
        &self,
        first: Url,
        scope: &Scope,
        what: &'static str,
        limit: usize,
        read: impl Fn(P) -> Vec<String>,
        entry: impl Fn(&str) -> Option<E>,
    ) -> Result<Vec<E>, RegistryError> {
        let host = self.address.host();
        let too_many = || RegistryError::TooMany { host: host.clone(), what, limit };
        let (mut entries, mut listed) = (Vec::new(), 0_usize);
        let mut seen = HashSet::new();
        let mut next = Some(first);
        while let Some(url) = next {
            // A page that leads back, or ever on without entries, ends the list too.
            if !seen.insert(url.clone()) || seen.len() > limit / PAGE * 2 {
                return Err(too_many());
            }
            let response = self.call(Method::GET, url.clone(), None, scope, what).await?;
            next = next_page(response.headers()).and_then(|link| self.address.page(&url, &link));
            let page = body(response, MAX_PAGE_BYTES).await?;
            let page = serde_json::from_slice(&page).map_err(|error| RegistryError::Json {
                host: host.clone(),
                why: shown(&error.to_string()),
            })?;
            let page = read(page);
            listed += page.len();
            if listed > limit {
                return Err(too_many());
            }
            entries.extend(page.iter().filter_map(|text| entry(text)));
        }
        Ok(entries)
    }

    /// Sends a request, with what the registry asks for: the answer's head, if it is a success.
    async fn call(
        &self,
        method: Method,
        url: Url,
        accept: Option<&str>,
        scope: &Scope,
        what: &str,
    ) -> Result<Response, RegistryError> {
        for may_learn in [true, false] {
            let pass = self.passes.pass(&self.address, scope).await?;
            let response = self.follow(&method, url.clone(), accept, &pass).await?;
            let at_home = response.url().origin() == url.origin();
            if response.status() == StatusCode::UNAUTHORIZED && may_learn && at_home {
                self.passes.learn(Asked::by(&self.address, response.headers())?, scope);
                continue;
            }
            if response.status().is_success() {
                return Ok(response);
            }
            let refused = refusal(response, what).await;
            return Err(match &pass {
                Pass::Basic(user, password) => refused.without_login(user, password),
                Pass::Nothing | Pass::Bearer(_) => refused,
            });
        }
        Err(RegistryError::Scheme { host: self.address.host() })
    }

    /// Follows redirects, with the credentials only as long as they stay on the registry's origin.
    async fn follow(
        &self,
        method: &Method,
        url: Url,
        accept: Option<&str>,
        pass: &Pass,
    ) -> Result<Response, RegistryError> {
        let origin = url.origin();
        let mut at_home = true;
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            at_home = at_home && url.origin() == origin;
            let mut request = self.http.for_url(&url).request(method.clone(), url.clone());
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if at_home {
                request = pass.on(request);
            }
            let response = send(request, &url).await?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok(response) };
            let next = location.to_str().ok().and_then(|location| url.join(location).ok());
            let next = next.filter(|next| may_follow(&url, next));
            url = next.ok_or_else(|| RegistryError::Redirect { host: host_and_port(&url) })?;
        }
        Err(RegistryError::Redirect { host: self.address.host() })
    }
}

/// Never from https to http, never with a password, never from the network to this machine.
fn may_follow(from: &Url, next: &Url) -> bool {
    let is_plain = next.username().is_empty() && next.password().is_none();
    let is_safe = match next.scheme() {
        "https" => true,
        "http" => from.scheme() == "http",
        _ => false,
    };
    is_plain && is_safe && (is_loopback(from) || !is_loopback(next))
}

fn said_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get("docker-content-digest")?.to_str().ok()?.trim()).ok()
}

fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    MediaType::parse(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().find_map(|field| {
        let (target, parameters) = field.to_str().ok()?.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.trim().split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"') == "next"
        });
        is_next.then(|| target.to_owned())
    })
}
