//! Groups of accounts: a company, a team, a customer. What a group holds, each member may do, as long as it is a member.

pub(crate) mod domains;
pub(crate) mod invitations;
pub(crate) mod members;

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::{Connection, Row};
use crate::{GroupId, Random, Store, StoreError, mark_changed, repos, shortened, time};

/// What a member may do with the group itself. Later ones may do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Has what the group holds, and may leave it.
    Member,
    /// Also invites and removes people, except owners.
    Manager,
    /// Also makes owners and removes them, as long as one stays.
    Owner,
}

impl Role {
    /// `member`, `manager` or `owner`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Manager => "manager",
            Self::Owner => "owner",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Not the name of a role.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of: owner, manager, member")]
pub struct RoleError;

impl std::str::FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        [Self::Member, Self::Manager, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(RoleError)
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// Its identifier.
    pub id: GroupId,
    /// Its name, for commands.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// When it was made.
    pub created_at: UnixTime,
}

fn group(row: &Row) -> Result<Group, sqlx::Error> {
    Ok(Group {
        id: GroupId(row.try_get("id")?),
        name: row.try_get("name")?,
        title: row.try_get("title")?,
        created_at: time(row, "created_at")?,
    })
}

/// Fails with [`StoreError::NoGroup`] when there is no such group.
pub(crate) async fn must_exist(connection: &mut Connection, id: &GroupId) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM groups WHERE id = $1 AND removed_at IS NULL")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?
        .map(|_| ())
        .ok_or_else(|| StoreError::NoGroup(id.0.clone()))
}

impl Store {
    /// Makes a group without members. Without a title it is called by its name.
    ///
    /// # Errors
    /// [`StoreError::Name`], [`StoreError::GroupExists`].
    pub async fn add_group(
        &self,
        name: &str,
        title: Option<&str>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Group, StoreError> {
        if !repos::is_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        let title = shortened(title.map(str::trim).filter(|title| !title.is_empty()).unwrap_or(name), 100);
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO groups (id, name, title, created_at) VALUES ($1, $2, $3, $4) RETURNING *",
        )
        .bind(GroupId::random(rng).0)
        .bind(name)
        .bind(title)
        .bind(now.0)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| match StoreError::is_conflict(&error) {
            true => StoreError::GroupExists(name.to_owned()),
            false => error.into(),
        })?;
        transaction.commit().await?;
        Ok(group(&row)?)
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        let rows = sqlx::query("SELECT * FROM groups WHERE removed_at IS NULL ORDER BY name")
            .fetch_all(self.read())
            .await?;
        Ok(rows.iter().map(group).collect::<Result<_, _>>()?)
    }

    /// The group of this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn group_by_name(&self, name: &str) -> Result<Option<Group>, StoreError> {
        let row = sqlx::query("SELECT * FROM groups WHERE name = $1 AND removed_at IS NULL")
            .bind(name)
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(group).transpose()?)
    }

    /// The group with this identifier.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn group(&self, id: &GroupId) -> Result<Option<Group>, StoreError> {
        let row = sqlx::query("SELECT * FROM groups WHERE id = $1 AND removed_at IS NULL")
            .bind(id.as_str())
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(group).transpose()?)
    }

    /// Removes a group: what its members had through it ends now, and its invitations are refused. A group that is made later
    /// under this name is another one.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    pub async fn remove_group(&self, id: &GroupId, now: UnixTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, id).await?;
        sqlx::query("UPDATE groups SET removed_at = $1 WHERE id = $2")
            .bind(now.0)
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}
