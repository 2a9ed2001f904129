//! Which kind of token opens a repo.

use std::fmt;
use std::str::FromStr;

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::Row;
use crate::repos::{Repo, is_name, must_exist};
use crate::{Store, StoreError, mark_changed, time};

/// Which kind of token opens a repo. Access tokens (HTTP Basic) open it whichever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RepoTokens {
    /// Tokens that this store signs, and that everybody can check who has its public keys: the only kind for peers.
    #[default]
    Jwt,
    /// Reference tokens: random secrets of this store, which only it can check.
    Opaque,
    /// Tokens as flat-manager takes them, signed with its secret.
    FlatManager,
    /// Tokens of somebody else: the issuer of this name.
    Issuer(String),
}

impl RepoTokens {
    /// `jwt`, `opaque`, `flat-manager` or `issuer`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
            Self::FlatManager => "flat-manager",
            Self::Issuer(_) => "issuer",
        }
    }

    /// The issuer's name, if somebody else issues the tokens.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Issuer(name) => Some(name),
            _ => None,
        }
    }

    fn of_columns(kind: &str, issuer: Option<String>) -> Option<Self> {
        match (kind, issuer) {
            ("jwt", None) => Some(Self::Jwt),
            ("opaque", None) => Some(Self::Opaque),
            ("flat-manager", None) => Some(Self::FlatManager),
            ("issuer", Some(name)) => Some(Self::Issuer(name)),
            _ => None,
        }
    }
}

/// As it is written in `flatpass repo set --tokens`.
impl fmt::Display for RepoTokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(name) => write!(out, "issuer:{name}"),
            other => out.write_str(other.kind()),
        }
    }
}

/// As [`fmt::Display`] writes it.
impl serde::Serialize for RepoTokens {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Not a kind of token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tokens of a repo are one of: jwt, opaque, flat-manager, issuer:NAME")]
pub struct RepoTokensError;

impl FromStr for RepoTokens {
    type Err = RepoTokensError;

    fn from_str(text: &str) -> Result<Self, RepoTokensError> {
        let (kind, issuer) = text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name)));
        let issuer = issuer.map(|name| is_name(name).then(|| name.to_owned()).ok_or(RepoTokensError));
        Self::of_columns(kind, issuer.transpose()?).ok_or(RepoTokensError)
    }
}

/// The kind that a repo had before the one that it has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FormerTokens {
    /// Which.
    pub tokens: RepoTokens,
    /// When it was exchanged.
    pub until: UnixTime,
}

pub(crate) fn of_row(row: &Row) -> Result<(RepoTokens, Option<FormerTokens>), StoreError> {
    let corrupt = || StoreError::Corrupt("repos.token_kind");
    let tokens =
        RepoTokens::of_columns(&row.try_get::<String, _>("token_kind")?, row.try_get("token_issuer")?)
            .ok_or_else(corrupt)?;
    let before: Option<String> = row.try_get("token_kind_before")?;
    let before = before.map(|text| text.parse().map_err(|RepoTokensError| corrupt())).transpose()?;
    let until = time(row, "token_kind_since")?;
    Ok((tokens, before.map(|tokens| FormerTokens { tokens, until })))
}

impl Store {
    /// From now on tokens of this kind open the repo.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`]; [`StoreError::NoIssuer`] for tokens of an issuer that there is not.
    pub async fn set_repo_tokens(
        &self,
        name: &str,
        tokens: &RepoTokens,
        now: UnixTime,
    ) -> Result<Repo, StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, name).await?;
        if let Some(issuer) = tokens.issuer() {
            sqlx::query("SELECT 1 FROM issuers WHERE name = $1")
                .bind(issuer)
                .fetch_optional(&mut *transaction)
                .await?
                .ok_or_else(|| StoreError::NoIssuer(issuer.to_owned()))?;
        }
        let row = sqlx::query("SELECT * FROM repos WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *transaction)
            .await?;
        let (before, _) = of_row(&row)?;
        if before != *tokens {
            sqlx::query(
                "UPDATE repos SET token_kind = $1, token_issuer = $2, token_kind_before = $3, token_kind_since = $4
                 WHERE name = $5",
            )
            .bind(tokens.kind())
            .bind(tokens.issuer())
            .bind(before.to_string())
            .bind(now.0)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
            mark_changed(&mut transaction).await?;
        }
        transaction.commit().await?;
        self.repo(name).await?.ok_or_else(|| StoreError::NoRepo(name.to_owned()))
    }
}
