//! Invitations into groups: links that whoever has one may join by.

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use super::members::{self, How, MemberError, authority};
use super::{Group, Role, group, must_exist};
use crate::accounts::normalise_email;
use crate::backend::{Connection, Row};
use crate::secret::{hash_of, prefix};
use crate::{AccountId, GroupId, InvitationId, Random, Store, StoreError, optional_time, time};

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// The role that it gives.
    pub role: Role,
    /// Only for the account that proved this address.
    pub email: Option<String>,
    /// How many accounts may join by it, at least 1.
    pub max_uses: u32,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

/// An invitation, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Invitation {
    /// Its identifier, which is no secret.
    pub id: InvitationId,
    /// Into which group.
    pub group_id: GroupId,
    /// The role that it gives.
    pub role: Role,
    /// Only for the account that proved this address.
    pub email: Option<String>,
    /// How many accounts may join by it.
    pub max_uses: u32,
    /// How many did.
    pub uses: u32,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

/// Why an invitation does not let somebody in.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// It never was, or it ended: used up, expired, revoked, or its group is gone. Nobody learns which.
    #[error(
        "this invitation does not work; it may have been used, taken back or be too old. Ask for a new one"
    )]
    Ended,
    /// It is for another address than the account's.
    #[error("this invitation is for another e-mail address than yours")]
    OtherAddress,
    /// It is for the account's address, which nobody proved.
    #[error("this invitation is for your e-mail address, and first you must show that the address is yours")]
    NotVerified,
    /// The account is a member already; the invitation is not used up.
    #[error("you are a member of this group already")]
    AlreadyMember,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for InvitationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn invitation(row: &Row) -> Result<Invitation, StoreError> {
    let count = |column| {
        u32::try_from(row.try_get::<i64, _>(column)?)
            .map_err(|_| StoreError::Corrupt("group_invitations.uses"))
    };
    Ok(Invitation {
        id: InvitationId(row.try_get("id")?),
        group_id: GroupId(row.try_get("group_id")?),
        role: row
            .try_get::<String, _>("role")?
            .parse()
            .map_err(|_| StoreError::Corrupt("group_invitations.role"))?,
        email: row.try_get("email")?,
        max_uses: count("max_uses")?,
        uses: count("uses")?,
        created_at: time(row, "created_at")?,
        expires_at: time(row, "expires_at")?,
    })
}

/// What a live invitation invites to.
async fn live(
    connection: &mut Connection,
    secret: &str,
    now: UnixTime,
) -> Result<(Invitation, Group), InvitationError> {
    let hash = hash_of(secret, prefix::INVITATION).ok_or(InvitationError::Ended)?;
    let row = sqlx::query(
        "SELECT * FROM group_invitations WHERE secret_hash = $1 AND revoked_at IS NULL AND expires_at > $2 AND uses < max_uses",
    )
    .bind(hash)
    .bind(now.0)
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(InvitationError::Ended)?;
    let by = row.try_get::<Option<String>, _>("created_by")?.map(AccountId);
    let invitation = invitation(&row)?;
    if let Some(by) = by {
        let here = sqlx::query("SELECT 1 FROM accounts WHERE id = $1 AND disabled_at IS NULL")
            .bind(by.as_str())
            .fetch_optional(&mut *connection)
            .await?
            .is_some();
        let role = members::role_of(connection, &invitation.group_id, &by).await?.filter(|_| here);
        if role.is_none_or(|role| role < Role::Manager || role < invitation.role) {
            return Err(InvitationError::Ended);
        }
    }
    let row = sqlx::query("SELECT * FROM groups WHERE id = $1 AND removed_at IS NULL")
        .bind(invitation.group_id.as_str())
        .fetch_optional(connection)
        .await?
        .ok_or(InvitationError::Ended)?;
    Ok((invitation, group(&row)?))
}

/// Whether the account may use it.
async fn admits(
    connection: &mut Connection,
    invitation: &Invitation,
    account_id: &AccountId,
) -> Result<(), InvitationError> {
    let row = sqlx::query(
        "SELECT email, email_verified_at FROM accounts WHERE id = $1 AND disabled_at IS NULL AND kind = 'person'",
    )
    .bind(account_id.as_str())
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(StoreError::NoAccount)?;
    if let Some(email) = &invitation.email {
        if *email != row.try_get::<String, _>("email")? {
            return Err(InvitationError::OtherAddress);
        }
        if optional_time(&row, "email_verified_at")?.is_none() {
            return Err(InvitationError::NotVerified);
        }
    }
    if members::role_of(connection, &invitation.group_id, account_id).await?.is_some() {
        return Err(InvitationError::AlreadyMember);
    }
    // Who was put out does not come back by a link from before. Times are whole seconds: rather one too many.
    let put_out = sqlx::query(
        "SELECT 1 FROM group_members WHERE group_id = $1 AND account_id = $2 AND removed_at >= $3",
    )
    .bind(invitation.group_id.as_str())
    .bind(account_id.as_str())
    .bind(invitation.created_at.0)
    .fetch_optional(connection)
    .await?;
    if put_out.is_some() { Err(InvitationError::Ended) } else { Ok(()) }
}

impl Store {
    /// Makes an invitation; the secret belongs in a link. `by` is who invites; `None` is the operator. A manager invites to no role
    /// above its own.
    ///
    /// # Errors
    /// [`MemberError::NotAllowed`]; [`StoreError::NoGroup`], [`StoreError::Email`].
    pub async fn invite(
        &self,
        group_id: &GroupId,
        new: NewInvitation,
        by: Option<&AccountId>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, Invitation), MemberError> {
        let email = new.email.as_deref().map(normalise_email).transpose().map_err(StoreError::Email)?;
        let secret = Secret::generate(prefix::INVITATION, rng);
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        let asking = authority(&mut transaction, group_id, by).await?;
        if asking.is_some_and(|asking| asking < Role::Manager || asking < new.role) {
            return Err(MemberError::NotAllowed);
        }
        let row = sqlx::query(
            "INSERT INTO group_invitations
               (id, secret_hash, group_id, role, email, max_uses, created_by, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING *",
        )
        .bind(InvitationId::random(rng).0)
        .bind(secret.hash().to_string())
        .bind(group_id.as_str())
        .bind(new.role.as_str())
        .bind(email)
        .bind(i64::from(new.max_uses.max(1)))
        .bind(by.map(AccountId::as_str))
        .bind(now.0)
        .bind(new.expires_at.0)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((secret, invitation(&row)?))
    }

    /// The invitations of the group that somebody can still use, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn invitations(
        &self,
        group_id: &GroupId,
        now: UnixTime,
    ) -> Result<Vec<Invitation>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM group_invitations
             WHERE group_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND uses < max_uses
             ORDER BY created_at DESC, id",
        )
        .bind(group_id.as_str())
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(invitation).collect()
    }

    /// Takes an invitation back. Who joined by it stays. `false` when the group has none such that is alive.
    ///
    /// # Errors
    /// [`MemberError::NotAllowed`] when `by` is neither a manager nor an owner, or the invitation is to a role above its own.
    pub async fn revoke_invitation(
        &self,
        group_id: &GroupId,
        id: &InvitationId,
        by: Option<&AccountId>,
        now: UnixTime,
    ) -> Result<bool, MemberError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, group_id).await?;
        let asking = authority(&mut transaction, group_id, by).await?;
        let row = sqlx::query(
            "SELECT * FROM group_invitations WHERE id = $1 AND group_id = $2 AND revoked_at IS NULL AND expires_at > $3",
        )
        .bind(id.as_str())
        .bind(group_id.as_str())
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let role = row.as_ref().map(invitation).transpose()?.map(|found| found.role);
        if asking.is_some_and(|asking| asking < Role::Manager || role.is_some_and(|role| asking < role)) {
            return Err(MemberError::NotAllowed);
        }
        sqlx::query("UPDATE group_invitations SET revoked_at = $1 WHERE id = $2 AND group_id = $3 AND revoked_at IS NULL")
            .bind(now.0)
            .bind(id.as_str())
            .bind(group_id.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(role.is_some())
    }

    /// What the invitation with this secret would give the account, which is asked before it says yes.
    ///
    /// # Errors
    /// [`InvitationError`], as [`Store::join_by_invitation`] would.
    pub async fn invitation(
        &self,
        secret: &str,
        account_id: &AccountId,
        now: UnixTime,
    ) -> Result<(Invitation, Group), InvitationError> {
        let mut connection = self.read().acquire().await?;
        let (invitation, group) = live(&mut connection, secret, now).await?;
        admits(&mut connection, &invitation, account_id).await?;
        Ok((invitation, group))
    }

    /// Makes the account a member by the invitation with this secret. Of several accounts that use the last use at the same time,
    /// one joins. An invitation whose maker may no longer invite to its role has ended.
    ///
    /// # Errors
    /// [`InvitationError`].
    pub async fn join_by_invitation(
        &self,
        secret: &str,
        account_id: &AccountId,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Group, InvitationError> {
        let mut transaction = self.begin().await?;
        let (invitation, group) = live(&mut transaction, secret, now).await?;
        admits(&mut transaction, &invitation, account_id).await?;
        let used =
            sqlx::query("UPDATE group_invitations SET uses = uses + 1 WHERE id = $1 AND uses < max_uses")
                .bind(invitation.id.as_str())
                .execute(&mut *transaction)
                .await?;
        if used.rows_affected() != 1 {
            return Err(InvitationError::Ended);
        }
        let how = (invitation.role, How::Invitation);
        members::join(&mut transaction, &group.id, account_id, how, now, rng).await?;
        transaction.commit().await?;
        Ok(group)
    }
}
