//! Repos: the OSTree repositories, image layouts and registries that the authority issues tokens for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flatpass_token::UnixTime;
use serde::Serialize;
use sqlx::Row as _;

use crate::backend::{Connection, Row};
use crate::registries::{self, Registry};
use crate::repo_tokens::{self, FormerTokens, RepoTokens};
use crate::{Store, StoreError, mark_changed, time};

/// Where the content of a repo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepoSource {
    /// An OSTree repository: its directory.
    Ostree(PathBuf),
    /// An OCI image layout: its directory.
    OciLayout(PathBuf),
    /// A container registry.
    Registry(Registry),
}

impl RepoSource {
    /// The directory, if it is an OSTree repository.
    pub fn ostree(&self) -> Option<&Path> {
        match self {
            Self::Ostree(path) => Some(path),
            _ => None,
        }
    }

    /// The directory, if it is an OCI image layout.
    pub fn oci_layout(&self) -> Option<&Path> {
        match self {
            Self::OciLayout(path) => Some(path),
            _ => None,
        }
    }

    /// The registry, if it is in one.
    pub fn registry(&self) -> Option<&Registry> {
        match self {
            Self::Registry(registry) => Some(registry),
            _ => None,
        }
    }

    /// Whether its content is OCI images.
    pub fn is_oci(&self) -> bool {
        !matches!(self, Self::Ostree(_))
    }

    /// `ostree`, `oci-layout` or `registry`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ostree(_) => "ostree",
            Self::OciLayout(_) => "oci-layout",
            Self::Registry(_) => "registry",
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Ostree(path) | Self::OciLayout(path) => path,
            Self::Registry(_) => Path::new(""),
        }
    }
}

/// As it is written in `flatpass repo add`.
impl fmt::Display for RepoSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ostree(path) => path.display().fmt(out),
            Self::OciLayout(path) => write!(out, "oci-layout:{}", path.display()),
            Self::Registry(registry) => registry.fmt(out),
        }
    }
}

/// An object with `kind` and, by that, `path` or `registry`.
impl Serialize for RepoSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shape<'a> {
            kind: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            path: Option<&'a Path>,
            #[serde(skip_serializing_if = "Option::is_none")]
            registry: Option<&'a Registry>,
        }
        let registry = self.registry();
        let path = registry.is_none().then(|| self.path());
        Shape { kind: self.kind(), path, registry }.serialize(serializer)
    }
}

/// What a gate demands in front of a repo; see the gate's own policy for what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoPolicy {
    /// No checks.
    Open,
    /// Commits and deltas need a token where the token type or an offer says so.
    Refs,
    /// Commits, deltas and every object need a token where the token type or an offer says so; the list is public.
    Objects,
    /// Everything needs a token.
    Private,
}

impl RepoPolicy {
    /// `open`, `refs`, `objects` or `private`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refs => "refs",
            Self::Objects => "objects",
            Self::Private => "private",
        }
    }
}

impl fmt::Display for RepoPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Not the name of a policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy is one of: open, refs, objects, private")]
pub struct RepoPolicyError;

impl FromStr for RepoPolicy {
    type Err = RepoPolicyError;

    fn from_str(text: &str) -> Result<Self, RepoPolicyError> {
        match text {
            "open" => Ok(Self::Open),
            "refs" => Ok(Self::Refs),
            "objects" => Ok(Self::Objects),
            "private" => Ok(Self::Private),
            _ => Err(RepoPolicyError),
        }
    }
}

/// A repo to be added.
#[derive(Clone, Debug)]
pub struct NewRepo {
    /// Its name, part of its URL: 1 to 64 of `a-z0-9._-`, beginning with a letter or digit.
    pub name: String,
    /// Where its content is; directories are absolute paths. The robot and the webhook of a registry are set afterwards.
    pub source: RepoSource,
    /// What its gate demands.
    pub policy: RepoPolicy,
    /// More public URLs under which clients may have it (mirrors, a CDN), besides the one below the server's own URL.
    pub urls: Vec<String>,
    /// The token types that need no token.
    pub open_token_types: Vec<i32>,
}

/// A repo that the store knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repo {
    /// Its name, part of its URL.
    pub name: String,
    /// Where its content is.
    #[serde(flatten)]
    pub source: RepoSource,
    /// What its gate demands.
    pub policy: RepoPolicy,
    /// More public URLs of it.
    pub urls: Vec<String>,
    /// The token types that need no token.
    pub open_token_types: Vec<i32>,
    /// The public OpenPGP key that it is signed with, in base64, for the files that clients add it by.
    pub gpg_key: Option<String>,
    /// Which kind of token opens it.
    pub tokens: RepoTokens,
    /// The kind before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_tokens: Option<FormerTokens>,
    /// When it was added.
    pub created_at: UnixTime,
}

/// Whether a repo can have this name: 1 to 64 of `a-z0-9._-`, beginning with a letter or digit.
pub fn is_repo_name(name: &str) -> bool {
    is_name(name)
}

/// The rule for names that stand in URLs and commands.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
}

/// What [`repo`] reads, up to the condition.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT repos.*, registries.url, namespace, repositories, access, service, robot_user, webhook_hash
             FROM repos LEFT JOIN registries ON registries.repo = repos.name ",
            $rest
        )
    };
}

fn source(row: &Row) -> Result<RepoSource, StoreError> {
    let path = || row.try_get::<String, _>("path").map(PathBuf::from);
    Ok(match row.try_get::<String, _>("kind")?.as_str() {
        "ostree" => RepoSource::Ostree(path()?),
        "oci-layout" => RepoSource::OciLayout(path()?),
        "registry" => RepoSource::Registry(registries::registry(row)?),
        _ => return Err(StoreError::Corrupt("repos.kind")),
    })
}

fn repo(row: &Row) -> Result<Repo, StoreError> {
    let list = |column: &str| row.try_get::<String, _>(column);
    let (tokens, former_tokens) = repo_tokens::of_row(row)?;
    Ok(Repo {
        name: row.try_get("name")?,
        source: source(row)?,
        policy: row
            .try_get::<String, _>("policy")?
            .parse()
            .map_err(|RepoPolicyError| StoreError::Corrupt("repos.policy"))?,
        urls: serde_json::from_str(&list("urls")?).map_err(|_| StoreError::Corrupt("repos.urls"))?,
        open_token_types: serde_json::from_str(&list("open_token_types")?)
            .map_err(|_| StoreError::Corrupt("repos.open_token_types"))?,
        gpg_key: row.try_get("gpg_key")?,
        tokens,
        former_tokens,
        created_at: time(row, "created_at")?,
    })
}

/// Fails with [`StoreError::NoRepo`] when there is no such repo.
pub(crate) async fn must_exist(connection: &mut Connection, name: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM repos WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?
        .map(|_| ())
        .ok_or_else(|| StoreError::NoRepo(name.to_owned()))
}

impl Store {
    /// Adds a repo. Whether its directory or registry is there is not looked at here.
    ///
    /// # Errors
    /// [`StoreError::RepoName`], [`StoreError::RepoExists`]; [`StoreError::RegistryOverlap`] and [`StoreError::ServiceTaken`] for
    /// what another repo has; [`StoreError::Corrupt`] for a path that is not UTF-8.
    pub async fn add_repo(&self, new: NewRepo, now: UnixTime) -> Result<Repo, StoreError> {
        if !is_name(&new.name) {
            return Err(StoreError::RepoName(new.name));
        }
        let path = new.source.path().to_str().ok_or(StoreError::Corrupt("repos.path"))?;
        let mut transaction = self.begin().await?;
        let added = sqlx::query(
            "INSERT INTO repos (name, kind, path, policy, urls, open_token_types, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&new.name)
        .bind(new.source.kind())
        .bind(path)
        .bind(new.policy.as_str())
        .bind(serde_json::json!(new.urls).to_string())
        .bind(serde_json::json!(new.open_token_types).to_string())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::RepoExists(new.name));
        }
        if let RepoSource::Registry(registry) = &new.source {
            registries::put(&mut transaction, &new.name, registry).await?;
        }
        let row =
            sqlx::query(select!("WHERE name = $1")).bind(&new.name).fetch_one(&mut *transaction).await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        repo(&row)
    }

    /// All repos, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repos(&self) -> Result<Vec<Repo>, StoreError> {
        let rows = sqlx::query(select!("ORDER BY name")).fetch_all(self.read()).await?;
        rows.iter().map(repo).collect()
    }

    /// The repo of this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repo(&self, name: &str) -> Result<Option<Repo>, StoreError> {
        let row = sqlx::query(select!("WHERE name = $1")).bind(name).fetch_optional(self.read()).await?;
        row.as_ref().map(repo).transpose()
    }

    /// Sets, or with `None` takes away, the public OpenPGP key (in base64) that clients are told to check the repo with.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_repo_gpg_key(&self, name: &str, key: Option<&str>) -> Result<Repo, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE repos SET gpg_key = $1 WHERE name = $2")
            .bind(key)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query(select!("WHERE name = $1"))
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| StoreError::NoRepo(name.to_owned()))?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        repo(&row)
    }

    /// Removes a repo, its offers and its access tokens. Orders and entitlements stay: they count again when a repo of this
    /// name returns. The directory is not touched.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn remove_repo(&self, name: &str, now: UnixTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let removed =
            sqlx::query("DELETE FROM repos WHERE name = $1").bind(name).execute(&mut *transaction).await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NoRepo(name.to_owned()));
        }
        sqlx::query("UPDATE access_tokens SET revoked_at = $1 WHERE repo = $2 AND revoked_at IS NULL")
            .bind(now.0)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}
