//! Repos: the OSTree repositories that the authority issues tokens for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::{Connection, Row};
use crate::{Store, StoreError, mark_changed, time};

/// What a gate demands in front of a repo; see the gate's own policy for what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
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
    /// The directory of the OSTree repository, absolute.
    pub path: PathBuf,
    /// What its gate demands.
    pub policy: RepoPolicy,
    /// More public URLs under which clients may have it (mirrors, a CDN), besides the one below the server's own URL.
    pub urls: Vec<String>,
    /// The token types that need no token.
    pub open_token_types: Vec<i32>,
}

/// A repo that the store knows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Repo {
    /// Its name, part of its URL.
    pub name: String,
    /// The directory of the OSTree repository.
    pub path: PathBuf,
    /// What its gate demands.
    pub policy: RepoPolicy,
    /// More public URLs of it.
    pub urls: Vec<String>,
    /// The token types that need no token.
    pub open_token_types: Vec<i32>,
    /// The public OpenPGP key that it is signed with, in base64, for the files that clients add it by.
    pub gpg_key: Option<String>,
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

fn repo(row: &Row) -> Result<Repo, StoreError> {
    let list = |column: &str| row.try_get::<String, _>(column);
    Ok(Repo {
        name: row.try_get("name")?,
        path: PathBuf::from(row.try_get::<String, _>("path")?),
        policy: row
            .try_get::<String, _>("policy")?
            .parse()
            .map_err(|RepoPolicyError| StoreError::Corrupt("repos.policy"))?,
        urls: serde_json::from_str(&list("urls")?).map_err(|_| StoreError::Corrupt("repos.urls"))?,
        open_token_types: serde_json::from_str(&list("open_token_types")?)
            .map_err(|_| StoreError::Corrupt("repos.open_token_types"))?,
        gpg_key: row.try_get("gpg_key")?,
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
    /// Adds a repo. Whether its directory is one is not looked at here.
    ///
    /// # Errors
    /// [`StoreError::RepoName`], [`StoreError::RepoExists`]; [`StoreError::Corrupt`] for a path that is not UTF-8.
    pub async fn add_repo(&self, new: NewRepo, now: UnixTime) -> Result<Repo, StoreError> {
        if !is_name(&new.name) {
            return Err(StoreError::RepoName(new.name));
        }
        let path = new.path.to_str().ok_or(StoreError::Corrupt("repos.path"))?;
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO repos (name, path, policy, urls, open_token_types, created_at) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO NOTHING RETURNING *",
        )
        .bind(&new.name)
        .bind(path)
        .bind(new.policy.as_str())
        .bind(serde_json::json!(new.urls).to_string())
        .bind(serde_json::json!(new.open_token_types).to_string())
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(StoreError::RepoExists(new.name))?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        repo(&row)
    }

    /// All repos, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repos(&self) -> Result<Vec<Repo>, StoreError> {
        let rows = sqlx::query("SELECT * FROM repos ORDER BY name").fetch_all(self.read()).await?;
        rows.iter().map(repo).collect()
    }

    /// The repo of this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repo(&self, name: &str) -> Result<Option<Repo>, StoreError> {
        let row =
            sqlx::query("SELECT * FROM repos WHERE name = $1").bind(name).fetch_optional(self.read()).await?;
        row.as_ref().map(repo).transpose()
    }

    /// Sets, or with `None` takes away, the public OpenPGP key (in base64) that clients are told to check the repo with.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_repo_gpg_key(&self, name: &str, key: Option<&str>) -> Result<Repo, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("UPDATE repos SET gpg_key = $1 WHERE name = $2 RETURNING *")
            .bind(key)
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
