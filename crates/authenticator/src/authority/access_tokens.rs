//! The secrets of devices: what stands in the URL of a private repo's remote. For an OSTree repo they are user and
//! password (HTTP Basic, RFC 7617); Flatpak sends none to an OCI remote, whose secret is a part of the path instead.

use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use super::address::{AuthorityUrl, RemoteKind, RepoUrl};
use super::error::{AuthorityError, shown};
use super::http::{Answer, Http};
use super::metadata::Metadata;
use crate::secret::SecretText;

/// The longest secret that is put into a URL, in bytes.
const MAX_SECRET_BYTES: usize = 256;

/// The user of a secret that stands in a path. Authorities look at the password alone.
const PATH_USER: &str = "device";

/// User and password of a private repo's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSecret {
    user: String,
    password: SecretText,
}

/// A secret that a remote cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret has characters that do not survive in an address")]
pub struct DeviceSecretError;

impl DeviceSecret {
    /// User and password. Some of the client's requests decode percent escapes and others do not, so both are
    /// made of `A-Z a-z 0-9 . _ ~ -` only.
    ///
    /// # Errors
    /// [`DeviceSecretError`].
    pub fn new(user: &str, password: SecretText) -> Result<Self, DeviceSecretError> {
        let survives = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let fits =
            |text: &str| !text.is_empty() && text.len() <= MAX_SECRET_BYTES && text.bytes().all(survives);
        if !fits(user) || !fits(password.expose()) {
            return Err(DeviceSecretError);
        }
        Ok(Self { user: user.to_owned(), password })
    }

    /// The secret in a remote's URL, if there is one.
    ///
    /// # Errors
    /// [`DeviceSecretError`].
    pub fn in_url(url: &str) -> Result<Option<Self>, DeviceSecretError> {
        let (kind, address) = RemoteKind::of(url);
        if kind == RemoteKind::Oci {
            let Ok(address) = RepoUrl::parse(address) else { return Ok(None) };
            let Some((_, secret, _)) = address.path_secret() else { return Ok(None) };
            return Self::new(PATH_USER, SecretText::new(secret.to_owned())).map(Some);
        }
        let Some((_, rest)) = url.split_once("://") else { return Ok(None) };
        let server = rest.split('/').next().unwrap_or_default();
        let Some((user, _)) = server.split_once('@') else { return Ok(None) };
        let (user, password) = user.split_once(':').ok_or(DeviceSecretError)?;
        Self::new(user, SecretText::new(password.to_owned())).map(Some)
    }

    /// A repo's URL with the secret in it, as a remote of that kind has it. `None` for an OCI repo whose address is not
    /// `…/repo/NAME`: no other has a place for a secret.
    #[must_use]
    pub fn put_into(&self, repo: &RepoUrl, kind: RemoteKind) -> Option<SecretText> {
        let password = self.password.expose();
        if kind == RemoteKind::Oci {
            let (above, name) = repo.as_str().rsplit_once("/repo/")?;
            let url = format!("oci+{above}/i/{password}/{name}");
            return (!name.is_empty() && !name.contains('/')).then(|| SecretText::new(url));
        }
        let (scheme, rest) = repo.as_str().split_once("://").unwrap_or(("https", repo.as_str()));
        Some(SecretText::new(format!("{scheme}://{}:{password}@{rest}", self.user)))
    }

    /// The request, with the secret in it.
    pub fn identify(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.user, Some(self.password.expose()))
    }
}

/// A secret as it was made.
#[derive(Debug, Clone)]
pub struct MadeSecret {
    /// The secret.
    pub secret: DeviceSecret,
    /// What the account's page calls it.
    pub name: String,
}

#[derive(Serialize)]
struct Request<'a> {
    repo_url: &'a str,
    name: &'a str,
}

#[derive(Deserialize)]
struct Document {
    name: String,
    url: SecretText,
}

/// Makes a secret for one repo, in the name of the account that `access` belongs to.
///
/// # Errors
/// [`AuthorityError::NotAMember`], [`AuthorityError::UnknownRepo`], [`AuthorityError::InvalidAccessToken`],
/// [`AuthorityError::NotOffered`], and all transport errors.
pub async fn make(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    access: &SecretText,
    repo: &RepoUrl,
    name: &str,
) -> Result<MadeSecret, AuthorityError> {
    let request = http
        .client()
        .post(endpoint(url, metadata)?)
        .bearer_auth(access.expose())
        .json(&Request { repo_url: repo.as_str(), name });
    let answer = http.send(request).await?;
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            Err(AuthorityError::InvalidAccessToken { host: url.host(), url: url.to_string() })
        }
        _ => read(http, url, repo, &answer),
    }
}

/// Makes a secret that takes the place of another, which stays good for at most an hour.
///
/// # Errors
/// [`AuthorityError::InvalidSecret`], [`AuthorityError::NotAMember`], [`AuthorityError::NotOffered`], and all
/// transport errors.
pub async fn rotate(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    secret: &DeviceSecret,
    repo: &RepoUrl,
) -> Result<MadeSecret, AuthorityError> {
    let request = http.client().post(below(endpoint(url, metadata)?, "rotate"));
    let answer = http.send(secret.identify(request)).await?;
    match answer.status {
        StatusCode::UNAUTHORIZED => Err(AuthorityError::InvalidSecret { host: url.host() }),
        _ => read(http, url, repo, &answer),
    }
}

/// Ends a secret.
///
/// # Errors
/// [`AuthorityError::InvalidSecret`] if it has ended already, [`AuthorityError::NotOffered`], transport errors.
pub async fn revoke(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    secret: &DeviceSecret,
) -> Result<(), AuthorityError> {
    let request = http.client().post(below(endpoint(url, metadata)?, "revoke"));
    let answer = http.send(secret.identify(request)).await?;
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(AuthorityError::InvalidSecret { host: url.host() }),
        _ => Err(http.refusal(&answer)),
    }
}

fn endpoint(url: &AuthorityUrl, metadata: &Metadata) -> Result<Url, AuthorityError> {
    metadata
        .access_tokens_endpoint
        .clone()
        .ok_or_else(|| AuthorityError::NotOffered { host: url.host(), what: "make secrets for devices" })
}

fn below(mut endpoint: Url, last: &str) -> Url {
    let path = format!("{}/{last}", endpoint.path().trim_end_matches('/'));
    endpoint.set_path(&path);
    endpoint
}

fn read(
    http: &Http,
    url: &AuthorityUrl,
    repo: &RepoUrl,
    answer: &Answer,
) -> Result<MadeSecret, AuthorityError> {
    match answer.status {
        status if status.is_success() => made(url, repo, &answer.body),
        StatusCode::FORBIDDEN if answer.is_problem("not-a-member") => Err(AuthorityError::NotAMember {
            detail: answer.detail().unwrap_or_else(|| format!("{} does not let you use {repo}.", url.host())),
        }),
        StatusCode::NOT_FOUND if answer.is_problem("unknown-repo") => {
            Err(AuthorityError::UnknownRepo { host: url.host(), repo: repo.to_string() })
        }
        _ => Err(http.refusal(answer)),
    }
}

/// Takes the secret from the answer's URL, which must be the repo's own: what another host would be sent is refused.
fn made(url: &AuthorityUrl, repo: &RepoUrl, body: &[u8]) -> Result<MadeSecret, AuthorityError> {
    let malformed = |what: &str| AuthorityError::Malformed { host: url.host(), what: what.to_owned() };
    // serde's message is not shown: it could quote the secret.
    let document: Document =
        serde_json::from_slice(body).map_err(|_| malformed("its device secret is not right"))?;
    if RepoUrl::of_remote(document.url.expose()).map(|(_, url)| url).as_ref() != Ok(repo) {
        return Err(malformed("its device secret is for another address"));
    }
    let secret = DeviceSecret::in_url(document.url.expose())
        .ok()
        .flatten()
        .ok_or_else(|| malformed("its device secret has characters that do not survive in an address"))?;
    Ok(MadeSecret { secret, name: shown(&document.name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_moves_between_urls_unchanged_and_is_not_in_debug_output() {
        let repo = RepoUrl::parse("https://shop.example/repo/apps").expect("valid");
        let url = "https://device:S3cret-._~@shop.example/repo/apps";
        let secret = DeviceSecret::in_url(url).expect("valid").expect("there");
        assert_eq!(secret.put_into(&repo, RemoteKind::Ostree).expect("fits").expose(), url);
        let in_path = "oci+https://shop.example/i/S3cret-._~/apps";
        assert_eq!(secret.put_into(&repo, RemoteKind::Oci).expect("fits").expose(), in_path);
        assert_eq!(DeviceSecret::in_url(in_path), Ok(Some(secret.clone())));
        assert_eq!(DeviceSecret::in_url("oci+https://shop.example/repo/apps"), Ok(None));
        let elsewhere = RepoUrl::parse("https://shop.example/apps").expect("valid");
        assert_eq!(secret.put_into(&elsewhere, RemoteKind::Oci), None);
        assert!(!format!("{secret:?}").contains("S3cret"));
        assert_eq!(DeviceSecret::in_url(repo.as_str()), Ok(None));
        for bad in [
            "https://device@shop.example/r",
            "https://d:a%2fb@shop.example/r",
            "https://d:@shop.example/r",
            "oci+https://shop.example/i/a,b/apps",
        ] {
            assert_eq!(DeviceSecret::in_url(bad), Err(DeviceSecretError), "{bad}");
        }
    }

    /// Threat 5.
    #[test]
    fn a_secret_for_another_address_than_was_asked_for_is_refused() {
        let authority = AuthorityUrl::parse("https://shop.example/").expect("valid");
        let repo = RepoUrl::parse("https://shop.example/repo/apps").expect("valid");
        let answer = |url: &str| {
            let body = serde_json::json!({"id": "1", "name": "laptop", "secret": "s", "url": url});
            made(&authority, &repo, body.to_string().as_bytes())
        };
        assert!(answer("https://device:s@shop.example/repo/apps").is_ok());
        assert!(answer("https://device:s@shop.example/repo/apps/").is_ok());
        assert!(answer("oci+https://shop.example/i/s/apps").is_ok());
        for bad in [
            "https://device:s@evil.example/repo/apps",
            "https://device:s@shop.example/repo/other",
            "http://device:s@shop.example/repo/apps",
            "https://device:s@shop.example:444/repo/apps",
            "https://device:s@evil.example#@shop.example/repo/apps",
            "https://device:a%20b@shop.example/repo/apps",
            "https://device:s\nurl=x@shop.example/repo/apps",
            "https://shop.example/repo/apps",
            "oci+https://evil.example/i/s/apps",
            "oci+https://shop.example/i/s/other",
            "oci+https://shop.example/repo/apps",
        ] {
            assert!(answer(bad).is_err(), "{bad}");
        }
    }
}
