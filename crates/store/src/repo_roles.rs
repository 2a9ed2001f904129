//! Who may write to the registry of a repo. Reading is a matter of entitlements; these are the publisher's own people and machines.

use std::fmt;
use std::str::FromStr;

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::Row;
use crate::repos::must_exist;
use crate::{AccountId, GroupId, Holder, Store, StoreError, mark_changed, time};

/// What somebody may do with all repositories of a repo, besides reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoRole {
    /// Push.
    Publisher,
    /// Push and delete.
    Operator,
}

impl RepoRole {
    /// `publisher` or `operator`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for RepoRole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Not a role.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role in a repo is one of: publisher, operator")]
pub struct RepoRoleError;

impl FromStr for RepoRole {
    type Err = RepoRoleError;

    fn from_str(text: &str) -> Result<Self, RepoRoleError> {
        match text {
            "publisher" => Ok(Self::Publisher),
            "operator" => Ok(Self::Operator),
            _ => Err(RepoRoleError),
        }
    }
}

/// A role that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HeldRole {
    /// Who.
    #[serde(flatten)]
    pub holder: Holder,
    /// Which.
    pub role: RepoRole,
    /// Since when.
    pub created_at: UnixTime,
}

fn role(row: &Row) -> Result<RepoRole, StoreError> {
    row.try_get::<String, _>("role")?.parse().map_err(|RepoRoleError| StoreError::Corrupt("repo_roles.role"))
}

impl Store {
    /// Gives a role in the repo in place of the one before; with `None` takes it away. `false` when nothing changed.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_repo_role(
        &self,
        repo: &str,
        holder: &Holder,
        role: Option<RepoRole>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let (account, group) = match holder {
            Holder::Account(account) => (Some(account.as_str()), None),
            Holder::Group(group) => (None, Some(group.as_str())),
        };
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, repo).await?;
        let before: Option<String> = sqlx::query(
            "DELETE FROM repo_roles WHERE repo = $1 AND (account_id = $2 OR group_id = $3) RETURNING role",
        )
        .bind(repo)
        .bind(account)
        .bind(group)
        .fetch_optional(&mut *transaction)
        .await?
        .map(|row| row.try_get("role"))
        .transpose()?;
        if before.as_deref() == role.map(RepoRole::as_str) {
            return Ok(false);
        }
        if let Some(role) = role {
            sqlx::query(
                "INSERT INTO repo_roles (repo, account_id, group_id, role, created_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(repo)
            .bind(account)
            .bind(group)
            .bind(role.as_str())
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        }
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Who has which role in the repo.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repo_roles(&self, repo: &str) -> Result<Vec<HeldRole>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM repo_roles WHERE repo = $1 ORDER BY created_at, account_id, group_id")
                .bind(repo)
                .fetch_all(self.read())
                .await?;
        let held = |row: &Row| {
            let account: Option<String> = row.try_get("account_id")?;
            let group: Option<String> = row.try_get("group_id")?;
            let holder = match (account, group) {
                (Some(account), None) => Holder::Account(AccountId(account)),
                (None, Some(group)) => Holder::Group(GroupId(group)),
                _ => return Err(StoreError::Corrupt("repo_roles.account_id")),
            };
            Ok(HeldRole { holder, role: role(row)?, created_at: time(row, "created_at")? })
        };
        rows.iter().map(held).collect()
    }

    /// The highest role that the account has in the repo now, itself or as a member of a group. None for a disabled account.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn repo_role(
        &self,
        account_id: &AccountId,
        repo: &str,
        now: UnixTime,
    ) -> Result<Option<RepoRole>, StoreError> {
        let rows = sqlx::query(
            "SELECT role FROM repo_roles JOIN accounts ON accounts.id = $1
             WHERE repo = $2 AND disabled_at IS NULL AND (account_id = $1 OR group_id IN
               (SELECT group_id FROM group_members JOIN groups ON groups.id = group_id
                WHERE group_members.account_id = $1 AND group_members.removed_at IS NULL AND joined_at <= $3
                  AND groups.removed_at IS NULL))",
        )
        .bind(account_id.as_str())
        .bind(repo)
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        let roles = rows.iter().map(role).collect::<Result<Vec<_>, _>>()?;
        Ok(roles.into_iter().max())
    }
}
