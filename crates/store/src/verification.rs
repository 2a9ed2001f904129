//! Proof that an e-mail address is its account's: a one-time link in a mail, or the operator's word.

use flatpass_token::{Secret, UnixTime};

use crate::backend::Connection;
use crate::groups::domains::join_by_domain;
use crate::secret::{hash_of, prefix};
use crate::{AccountId, Group, Random, Store, StoreError};

/// How long a link in a mail works.
const LINK_SECONDS: i64 = 24 * 60 * 60;

impl Store {
    /// Makes the secret of a link that proves the account's address, in place of an earlier one. It works for a day.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] when there is none, it is disabled, or it is a robot's.
    pub async fn create_verification(
        &self,
        account_id: &AccountId,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Secret, StoreError> {
        let secret = Secret::generate(prefix::VERIFICATION, rng);
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM email_verifications WHERE account_id = $1")
            .bind(account_id.as_str())
            .execute(&mut *transaction)
            .await?;
        let made = sqlx::query(
            "INSERT INTO email_verifications (secret_hash, account_id, email, created_at, expires_at)
             SELECT $1, id, email, $2, $3 FROM accounts WHERE id = $4 AND disabled_at IS NULL AND kind = 'person'",
        )
        .bind(secret.hash().to_string())
        .bind(now.0)
        .bind(now.plus_seconds(LINK_SECONDS).0)
        .bind(account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() != 1 {
            return Err(StoreError::NoAccount);
        }
        transaction.commit().await?;
        Ok(secret)
    }

    /// Takes the secret as proof, once, and lets the account into the groups that have its domain; gives those. The account must
    /// be the one that asked for it: otherwise somebody could sign up with a stranger's address and wait for the stranger's
    /// click. `None` when the secret is not good for this account now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn verify_email(
        &self,
        secret: &str,
        account_id: &AccountId,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Option<Vec<Group>>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::VERIFICATION) else { return Ok(None) };
        let mut transaction = self.begin().await?;
        let used = sqlx::query(
            "DELETE FROM email_verifications
             WHERE secret_hash = $1 AND account_id = $2 AND expires_at > $3
               AND email = (SELECT accounts.email FROM accounts WHERE accounts.id = $2 AND disabled_at IS NULL)",
        )
        .bind(hash)
        .bind(account_id.as_str())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        if used.rows_affected() != 1 {
            return Ok(None);
        }
        let joined = verified(&mut transaction, account_id, now, rng).await?;
        transaction.commit().await?;
        Ok(Some(joined))
    }

    /// Takes the operator's word that the address is the account's, with what follows from it; gives the groups that it joins.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] when there is none, it is disabled, or it is a robot's.
    pub async fn vouch_for_email(
        &self,
        account_id: &AccountId,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Vec<Group>, StoreError> {
        let mut transaction = self.begin().await?;
        let joined = verified(&mut transaction, account_id, now, rng).await?;
        transaction.commit().await?;
        Ok(joined)
    }
}

async fn verified(
    connection: &mut Connection,
    account_id: &AccountId,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<Vec<Group>, StoreError> {
    let changed = sqlx::query(
        "UPDATE accounts SET email_verified_at = COALESCE(email_verified_at, $1)
         WHERE id = $2 AND disabled_at IS NULL AND kind = 'person'",
    )
    .bind(now.0)
    .bind(account_id.as_str())
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() != 1 {
        return Err(StoreError::NoAccount);
    }
    join_by_domain(connection, account_id, now, rng).await
}
