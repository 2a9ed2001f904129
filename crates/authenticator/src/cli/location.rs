//! Where a repository is, as a person says it: `shop.example/apps`, its address, or a `.flatpakrepo`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use reqwest::StatusCode;
use url::Url;

use super::browser::Terminal;
use super::flatpakrepo::FlatpakRepo;
use crate::authority::Reader;
use crate::authority::access_tokens::DeviceSecret;
use crate::authority::address::{AuthorityUrl, RemoteKind, RepoUrl, host_and_port, is_loopback};
use crate::authority::error::AuthorityError;
use crate::authority::http::{Answer, Http};
use crate::secret::SecretText;
use crate::session::refusal::{Ended, Refusal};
use crate::session::summary::SummaryAsk;
use crate::session::{Session, Sessions};

/// The largest `.flatpakrepo` that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A repository and the store that it belongs to.
#[derive(Debug)]
pub struct Found {
    /// The repository, as its file says or with nothing but its address.
    pub repo: FlatpakRepo,
    /// Its address without a secret.
    pub plain: RepoUrl,
    /// Whether it is an OSTree repository or a registry's index, once that is known.
    pub kind: Option<RemoteKind>,
    /// Whether somebody who says where the repository is says with it, by a key, that it is signed: it is no registry's index then.
    pub is_signed: bool,
    /// What the person gave, for its key: no other takes its place.
    given: FlatpakRepo,
    /// The store.
    pub store: AuthorityUrl,
    /// A name for the remote.
    pub name: String,
}

impl Found {
    /// Reads `location` and finds the store: `store` if it is named, else at the repository's host or in a folder above
    /// the repository.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn at(location: &str, store: Option<&str>, sessions: &Sessions) -> anyhow::Result<Self> {
        let location = with_scheme(location);
        let mut repo = read_location(&location, sessions).await?;
        let unusable = |error| anyhow!("This remote cannot be used: {error}.");
        let given = repo.clone();
        let (kind, mut plain) = RepoUrl::of_remote(&repo.url).map_err(unusable)?;
        let is_signed = repo.has_key() && kind != RemoteKind::Oci;
        let store = match store {
            Some(url) => AuthorityUrl::parse(url)?,
            None => find_store(&plain, sessions).await?,
        };
        let name = name_from(&location, &plain);
        // STORE/NAME is short for STORE/repo/NAME, unless the store has a repository at that very address.
        if let Some(short) = below(&store, &plain).filter(|below| !below.contains('/'))
            && !sessions.with(&store)?.authority().knows_repo(&plain, sessions.environment().now()).await?
        {
            let secret = DeviceSecret::in_url(&repo.url)?;
            plain = RepoUrl::parse(store.join(&format!("repo/{short}")).as_str()).map_err(unusable)?;
            repo.url = match secret.and_then(|secret| secret.put_into(&plain, kind)) {
                Some(url) => url.expose().to_owned(),
                None => with_kind(&plain, kind),
            };
        }
        // A plain address may be either's.
        let kind = (kind == RemoteKind::Oci).then_some(kind);
        Ok(Self { repo, plain, kind, is_signed, given, store, name })
    }

    /// The kind as far as it is known: who says nothing else has an OSTree repository.
    #[must_use]
    pub fn kind(&self) -> RemoteKind {
        self.kind.unwrap_or(RemoteKind::Ostree)
    }

    /// Takes the kind of repository up, and with it the address that Flatpak must get. Nobody signs an index; what it
    /// names is checked by its digest.
    fn set_kind(&mut self, kind: RemoteKind) {
        self.kind = Some(kind);
        if kind == RemoteKind::Oci && RemoteKind::of(&self.repo.url).0 != kind {
            let url = with_kind(&self.plain, kind);
            self.repo = self.repo.clone().at(url);
        }
    }

    /// Takes up what the store's own `.flatpakrepo` for this repository says, if it has one: the key above all, unless the person gave
    /// one. For a private repository the store gives it to who has a secret.
    ///
    /// # Errors
    /// All transport errors. That there is no such file, or one for another address, is none.
    pub async fn take_up_file(&mut self, session: &Session, reader: Reader<'_>) -> anyhow::Result<()> {
        let Some(name) = below(&self.store, &self.plain).and_then(|path| path.strip_prefix("repo/")) else {
            return Ok(());
        };
        let Some(body) = session.authority().fetch(&format!("repos/{name}.flatpakrepo"), reader).await?
        else {
            return Ok(());
        };
        let file = String::from_utf8(body).ok().and_then(|text| FlatpakRepo::parse(&text).ok());
        let is_this =
            |file: &FlatpakRepo| RepoUrl::of_remote(&file.url).is_ok_and(|(_, plain)| plain == self.plain);
        if let Some(file) = file.filter(is_this) {
            self.is_signed |= file.has_key() && RemoteKind::of(&file.url).0 != RemoteKind::Oci;
            let url = std::mem::take(&mut self.repo.url);
            self.repo = file.at(url).with_key_of(&self.given);
        }
        Ok(())
    }

    /// Looks at the repository as a stranger: finds out which kind it is, if strangers may know. Gives whether its index is
    /// closed to who has no secret.
    ///
    /// # Errors
    /// All transport errors.
    pub async fn is_private(&mut self, sessions: &Sessions) -> anyhow::Result<bool> {
        let index = self.ask_for("index/static", sessions, None).await?;
        if index.status == StatusCode::OK && index.is_json {
            self.set_kind(RemoteKind::Oci);
            return Ok(false);
        }
        if self.kind == Some(RemoteKind::Oci) {
            return Ok(index.status == StatusCode::UNAUTHORIZED);
        }
        let config = self.ask_for("config", sessions, None).await?;
        Ok(config.status == StatusCode::UNAUTHORIZED)
    }

    /// Finds out which kind a private repository is, as the account that is signed in.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn find_kind(&mut self, sessions: &Sessions, session: &Arc<Session>) -> Result<(), Ended> {
        if self.kind.is_some() {
            return Ok(());
        }
        let ask = SummaryAsk { repo: self.plain.clone(), interactive: false, fresh: false };
        let token = match session.summary_token(&ask, &Terminal::default()).await {
            Ok(grant) => grant.token,
            // A store that knows no private indexes has no private registries.
            Err(Ended::Refused(Refusal::Authority(AuthorityError::NotOffered { .. }))) => return Ok(()),
            Err(ended) => return Err(ended),
        };
        if let Some(token) = token {
            let index = self.ask_for("index/static", sessions, Some(&token)).await;
            let is_oci = index.is_ok_and(|index| index.status == StatusCode::OK && index.is_json);
            self.set_kind(if is_oci { RemoteKind::Oci } else { RemoteKind::Ostree });
        }
        Ok(())
    }

    /// Asks for the head of a file of the repository.
    async fn ask_for(
        &self,
        file: &str,
        sessions: &Sessions,
        bearer: Option<&SecretText>,
    ) -> anyhow::Result<Answer> {
        let url = Url::parse(self.plain.as_str()).context("The address is not right")?;
        let http = Http::new(&origin_of(&url)?, &sessions.environment().http)?;
        let mut asked = url.clone();
        asked.set_path(&format!("{}/{file}", url.path().trim_end_matches('/')));
        let request = http.client().head(asked);
        let request = match bearer {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        Ok(http.send(request).await?)
    }
}

/// A repository's address as Flatpak must get it.
fn with_kind(plain: &RepoUrl, kind: RemoteKind) -> String {
    match kind {
        RemoteKind::Ostree => plain.as_str().to_owned(),
        RemoteKind::Oci => plain.as_oci_remote(),
    }
}

/// The path of the repository below the store's address, if it is below.
fn below<'a>(store: &AuthorityUrl, repo: &'a RepoUrl) -> Option<&'a str> {
    repo.as_str().strip_prefix(store.as_str())
}

/// An address that was typed without its scheme gets one; the name of a file stays what it is.
fn with_scheme(location: &str) -> String {
    let is_file = location.contains("://")
        || location.starts_with(['/', '.'])
        || location.ends_with(".flatpakrepo") && !location.contains('/')
        || Path::new(location).exists();
    if is_file {
        return location.to_owned();
    }
    let http = format!("http://{location}");
    match Url::parse(&http) {
        Ok(url) if is_loopback(&url) => http,
        _ => format!("https://{location}"),
    }
}

/// The `.flatpakrepo` at an address or in a file; or one made for the address of a repository.
async fn read_location(location: &str, sessions: &Sessions) -> anyhow::Result<FlatpakRepo> {
    let (_, address) = RemoteKind::of(location);
    let is_web = address.starts_with("https://") || address.starts_with("http://");
    if !is_web {
        let file = File::open(location).with_context(|| format!("Cannot read {location}"))?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("Cannot read {location}"))?;
        return FlatpakRepo::parse(&text).with_context(|| format!("Cannot use {location}"));
    }
    let url = Url::parse(location).context("The address is not right")?;
    if !url.path().ends_with(".flatpakrepo") {
        return Ok(FlatpakRepo::with_url(location.trim_end_matches('/').to_owned()));
    }
    let http = Http::new(&origin_of(&url)?, &sessions.environment().http)?;
    let answer = http.send(http.client().get(url)).await?;
    if !answer.status.is_success() {
        bail!("There is no file at this address (HTTP status {}). Check it.", answer.status.as_u16());
    }
    let text = String::from_utf8(answer.body).context("The file at this address is not text")?;
    FlatpakRepo::parse(&text).context("Cannot use the file at this address")
}

/// The server that an address is on.
fn origin_of(url: &Url) -> anyhow::Result<AuthorityUrl> {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    let _has_host = (origin.set_username(""), origin.set_password(None));
    Ok(AuthorityUrl::parse(origin.as_str())?)
}

/// The authority that a repository belongs to: at its host, or in a folder above it.
///
/// # Errors
/// A sentence with the next step.
pub async fn find_store(repo: &RepoUrl, sessions: &Sessions) -> anyhow::Result<AuthorityUrl> {
    let mut base = Url::parse(repo.as_str()).context("The address is not right")?;
    let parts: Vec<String> =
        base.path_segments().map(|parts| parts.map(str::to_owned).collect()).unwrap_or_default();
    let mut last = None;
    for depth in 0..parts.len().min(5) {
        base.set_path(&parts[..depth].join("/"));
        let url = AuthorityUrl::parse(base.as_str())?;
        match sessions.with(&url)?.authority().metadata(sessions.environment().now()).await {
            Ok(_) => return Ok(url),
            Err(error @ (AuthorityError::NotAnAuthority { .. } | AuthorityError::WrongIssuer { .. })) => {
                last = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let host = host_and_port(&base).unwrap_or_default();
    let error = anyhow!("No Flatpass store was found at {host}. Name the store with --store URL.");
    Err(match last {
        Some(AuthorityError::WrongIssuer { issuer, .. }) => {
            error.context(format!("{host} says that it is {issuer}"))
        }
        _ => error,
    })
}

/// A remote's name: the file's or the repository's own.
fn name_from(location: &str, repo: &RepoUrl) -> String {
    let path = if location.contains(".flatpakrepo") { location } else { repo.as_str() };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default();
    let name: String =
        stem.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(60).collect();
    if name.is_empty() { "store".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_typed_without_its_scheme() {
        for (typed, meant) in [
            ("shop.example/apps", "https://shop.example/apps"),
            ("shop.example:8443/apps", "https://shop.example:8443/apps"),
            ("127.0.0.1:8080/apps", "http://127.0.0.1:8080/apps"),
            ("localhost:8080/apps", "http://localhost:8080/apps"),
            ("http://shop.example/apps", "http://shop.example/apps"),
            ("shop.example/apps.flatpakrepo", "https://shop.example/apps.flatpakrepo"),
            ("apps.flatpakrepo", "apps.flatpakrepo"),
            ("./x/apps", "./x/apps"),
            ("/srv/apps.flatpakrepo", "/srv/apps.flatpakrepo"),
            ("oci+https://shop.example/repo/apps", "oci+https://shop.example/repo/apps"),
        ] {
            assert_eq!(with_scheme(typed), meant);
        }
    }
}
