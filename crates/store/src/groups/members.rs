//! Members of groups, their roles, and who may change them.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use super::{Group, Role, group, must_exist};
use crate::backend::{Connection, Row};
use crate::{AccountId, GroupId, MembershipId, Random, Store, StoreError, mark_changed, time};

/// How somebody became a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// By an invitation.
    Invitation,
    /// By a proved address in a domain of the group.
    Domain,
    /// The operator did it.
    Hand,
}

impl How {
    /// `invitation`, `domain` or `hand`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Domain => "domain",
            Self::Hand => "hand",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Invitation, Self::Domain, Self::Hand]
            .into_iter()
            .find(|how| how.as_str() == text)
            .ok_or(StoreError::Corrupt("group_members.how"))
    }
}

/// A member as its group lists it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Member {
    /// Who it is.
    pub account_id: AccountId,
    /// The address.
    pub email: String,
    /// What the person wants to be called.
    pub name: Option<String>,
    /// What it may do with the group.
    pub role: Role,
    /// How it became one.
    pub how: How,
    /// When.
    pub joined_at: UnixTime,
}

/// A group as one of its members lists it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Membership {
    /// The group.
    pub group: Group,
    /// What the account may do with it.
    pub role: Role,
    /// Since when.
    pub joined_at: UnixTime,
}

/// Why a membership could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// Who asks is not a member, or not with a role that may do this.
    #[error("your role in this group does not allow that")]
    NotAllowed,
    /// The account is not a member.
    #[error("this account is not a member of the group")]
    NotAMember,
    /// The only owner would go.
    #[error("a group that has owners keeps one: make somebody else an owner first")]
    LastOwner,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for MemberError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn role(row: &Row) -> Result<Role, StoreError> {
    row.try_get::<String, _>("role")?.parse().map_err(|_| StoreError::Corrupt("group_members.role"))
}

/// The role that the account has in the group now.
pub(super) async fn role_of(
    connection: &mut Connection,
    group_id: &GroupId,
    account_id: &AccountId,
) -> Result<Option<Role>, StoreError> {
    let row = sqlx::query(
        "SELECT role FROM group_members WHERE group_id = $1 AND account_id = $2 AND removed_at IS NULL",
    )
    .bind(group_id.as_str())
    .bind(account_id.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(role).transpose()
}

/// Makes the account a member. `false` when it is one already, with whatever role.
pub(super) async fn join(
    connection: &mut Connection,
    group_id: &GroupId,
    account_id: &AccountId,
    (role, how): (Role, How),
    now: UnixTime,
    rng: Random<'_>,
) -> Result<bool, StoreError> {
    if role_of(connection, group_id, account_id).await?.is_some() {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO group_members (id, group_id, account_id, role, how, joined_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(MembershipId::random(rng).0)
    .bind(group_id.as_str())
    .bind(account_id.as_str())
    .bind(role.as_str())
    .bind(how.as_str())
    .bind(now.0)
    .execute(&mut *connection)
    .await?;
    mark_changed(connection).await?;
    Ok(true)
}

impl Store {
    /// Makes the account a member, by the operator's hand. `false` when it is one already; its role stays.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`], [`StoreError::NoAccount`] (or disabled).
    pub async fn add_member(
        &self,
        group_id: &GroupId,
        account_id: &AccountId,
        role: Role,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        sqlx::query("SELECT 1 FROM accounts WHERE id = $1 AND disabled_at IS NULL")
            .bind(account_id.as_str())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(StoreError::NoAccount)?;
        let joined = join(&mut transaction, group_id, account_id, (role, How::Hand), now, rng).await?;
        transaction.commit().await?;
        Ok(joined)
    }

    /// The members of the group, owners first, then by address.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn members(&self, group_id: &GroupId) -> Result<Vec<Member>, StoreError> {
        let rows = sqlx::query(
            "SELECT group_members.*, accounts.email, accounts.name
             FROM group_members JOIN accounts ON accounts.id = account_id JOIN groups ON groups.id = group_id
             WHERE group_id = $1 AND group_members.removed_at IS NULL AND groups.removed_at IS NULL ORDER BY email",
        )
        .bind(group_id.as_str())
        .fetch_all(self.read())
        .await?;
        let member = |row: &Row| {
            Ok(Member {
                account_id: AccountId(row.try_get("account_id")?),
                email: row.try_get("email")?,
                name: row.try_get("name")?,
                role: role(row)?,
                how: How::parse(&row.try_get::<String, _>("how")?)?,
                joined_at: time(row, "joined_at")?,
            })
        };
        let mut members = rows.iter().map(member).collect::<Result<Vec<_>, StoreError>>()?;
        members.sort_by_key(|member| std::cmp::Reverse(member.role));
        Ok(members)
    }

    /// The groups that the account is in, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn memberships(&self, account_id: &AccountId) -> Result<Vec<Membership>, StoreError> {
        let rows = sqlx::query(
            "SELECT groups.*, role, joined_at FROM group_members JOIN groups ON groups.id = group_id
             WHERE account_id = $1 AND group_members.removed_at IS NULL AND groups.removed_at IS NULL
             ORDER BY groups.name",
        )
        .bind(account_id.as_str())
        .fetch_all(self.read())
        .await?;
        let one = |row: &Row| {
            Ok(Membership { group: group(row)?, role: role(row)?, joined_at: time(row, "joined_at")? })
        };
        rows.iter().map(one).collect()
    }

    /// Gives a member another role. `by` is who asks for it; `None` is the operator, who may do anything. A manager gives no role
    /// above its own and changes no owner's; the last owner stays one.
    ///
    /// # Errors
    /// [`MemberError`]; [`StoreError::NoGroup`].
    pub async fn set_role(
        &self,
        group_id: &GroupId,
        account_id: &AccountId,
        role: Role,
        by: Option<&AccountId>,
    ) -> Result<(), MemberError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        let asking = authority(&mut transaction, group_id, by).await?;
        if asking.is_some_and(|asking| asking < Role::Manager || asking < role) {
            return Err(MemberError::NotAllowed);
        }
        let before = role_of(&mut transaction, group_id, account_id).await?.ok_or(MemberError::NotAMember)?;
        if asking.is_some_and(|asking| asking < before) {
            return Err(MemberError::NotAllowed);
        }
        if by.is_some() && role != Role::Owner {
            keep_an_owner(&mut transaction, group_id, before).await?;
        }
        sqlx::query(
            "UPDATE group_members SET role = $1 WHERE group_id = $2 AND account_id = $3 AND removed_at IS NULL",
        )
        .bind(role.as_str())
        .bind(group_id.as_str())
        .bind(account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// Ends a membership: what the account had through the group alone ends now, and the group's domains do not bring it back.
    /// `by` is who asks for it, perhaps the member itself; `None` is the operator. A manager removes no owner, and the last owner
    /// stays.
    ///
    /// # Errors
    /// [`MemberError`]; [`StoreError::NoGroup`].
    pub async fn remove_member(
        &self,
        group_id: &GroupId,
        account_id: &AccountId,
        by: Option<&AccountId>,
        now: UnixTime,
    ) -> Result<(), MemberError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        let asking = authority(&mut transaction, group_id, by).await?;
        let leaving = by == Some(account_id);
        if !leaving && asking.is_some_and(|asking| asking < Role::Manager) {
            return Err(MemberError::NotAllowed);
        }
        let before = role_of(&mut transaction, group_id, account_id).await?.ok_or(MemberError::NotAMember)?;
        if asking.is_some_and(|asking| asking < before) {
            return Err(MemberError::NotAllowed);
        }
        if by.is_some() {
            keep_an_owner(&mut transaction, group_id, before).await?;
        }
        sqlx::query(
            "UPDATE group_members SET removed_at = $1 WHERE group_id = $2 AND account_id = $3 AND removed_at IS NULL",
        )
        .bind(now.0)
        .bind(group_id.as_str())
        .bind(account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}

/// The role of who asks, inside the transaction that acts on it; `None` for the operator.
pub(super) async fn authority(
    connection: &mut Connection,
    group_id: &GroupId,
    by: Option<&AccountId>,
) -> Result<Option<Role>, MemberError> {
    match by {
        None => Ok(None),
        Some(by) => {
            let role = role_of(connection, group_id, by).await?.ok_or(MemberError::NotAllowed)?;
            Ok(Some(role))
        }
    }
}

/// Refuses if a member that is an owner would stop to be one and is the only one.
async fn keep_an_owner(
    connection: &mut Connection,
    group_id: &GroupId,
    before: Role,
) -> Result<(), MemberError> {
    if before != Role::Owner {
        return Ok(());
    }
    let owners = sqlx::query(
        "SELECT COUNT(*) FROM group_members JOIN accounts ON accounts.id = account_id
         WHERE group_id = $1 AND role = 'owner' AND removed_at IS NULL AND disabled_at IS NULL",
    )
    .bind(group_id.as_str())
    .fetch_one(connection)
    .await?;
    if owners.try_get::<i64, _>(0)? > 1 { Ok(()) } else { Err(MemberError::LastOwner) }
}
