//! Membership by the domain of an e-mail address: of one that its account proved, and of exactly that domain.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use super::members::{How, join};
use super::{Group, Role, group, must_exist};
use crate::accounts::is_domain;
use crate::backend::{Connection, Row};
use crate::{AccountId, GroupId, Random, Store, StoreError};

/// Makes the account a member of each group that has the domain of its proved address, where it never was one before: who was
/// removed or left does not come back by a domain. Gives those groups.
pub(crate) async fn join_by_domain(
    connection: &mut Connection,
    account_id: &AccountId,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<Vec<Group>, StoreError> {
    let rows = sqlx::query(
        "SELECT groups.* FROM accounts
           JOIN group_domains ON accounts.email LIKE '%@' || group_domains.domain
           JOIN groups ON groups.id = group_domains.group_id
         WHERE accounts.id = $1 AND kind = 'person' AND disabled_at IS NULL AND email_verified_at IS NOT NULL
           AND groups.removed_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM group_members
                           WHERE group_members.group_id = groups.id AND group_members.account_id = accounts.id)
         ORDER BY groups.name",
    )
    .bind(account_id.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let groups: Vec<Group> = rows.iter().map(group).collect::<Result<_, _>>()?;
    for group in &groups {
        join(connection, &group.id, account_id, (Role::Member, How::Domain), now, rng).await?;
    }
    Ok(groups)
}

/// A domain as it is compared: lower case, without an `@` in front.
fn normal(text: &str) -> Result<String, StoreError> {
    let text = text.trim();
    let domain = text.strip_prefix('@').unwrap_or(text).to_ascii_lowercase();
    if is_domain(&domain) && domain.len() <= 252 {
        Ok(domain)
    } else {
        Err(StoreError::Domain(text.to_owned()))
    }
}

impl Store {
    /// Lets everybody with a proved address in the domain (exactly it, no domain below it) into the group, those who are here now
    /// and those who come. Gives how many joined now. Adding a domain twice changes nothing but lets in who was missed.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`], [`StoreError::Domain`].
    pub async fn add_domain(
        &self,
        group_id: &GroupId,
        domain: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<usize, StoreError> {
        let domain = normal(domain)?;
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        sqlx::query(
            "INSERT INTO group_domains (group_id, domain, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (group_id, domain) DO NOTHING",
        )
        .bind(group_id.as_str())
        .bind(&domain)
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        let rows = sqlx::query(
            "SELECT id FROM accounts
             WHERE email LIKE $1 AND kind = 'person' AND disabled_at IS NULL AND email_verified_at IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM group_members WHERE group_id = $2 AND account_id = accounts.id)",
        )
        .bind(format!("%@{domain}"))
        .bind(group_id.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        for row in &rows {
            let account = AccountId(row.try_get("id")?);
            join(&mut transaction, group_id, &account, (Role::Member, How::Domain), now, rng).await?;
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    /// Lets nobody else in by the domain. Who came in by it stays. `false` when the group does not have it.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`], [`StoreError::Domain`].
    pub async fn remove_domain(&self, group_id: &GroupId, domain: &str) -> Result<bool, StoreError> {
        let domain = normal(domain)?;
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        let removed = sqlx::query("DELETE FROM group_domains WHERE group_id = $1 AND domain = $2")
            .bind(group_id.as_str())
            .bind(domain)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(removed.rows_affected() == 1)
    }

    /// The domains of the group, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn domains(&self, group_id: &GroupId) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT domain FROM group_domains WHERE group_id = $1 ORDER BY domain")
            .bind(group_id.as_str())
            .fetch_all(self.read())
            .await?;
        let domain = |row: &Row| row.try_get("domain");
        Ok(rows.iter().map(domain).collect::<Result<_, sqlx::Error>>()?)
    }
}
