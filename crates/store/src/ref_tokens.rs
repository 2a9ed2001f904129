//! Reference tokens: random secrets that stand for what a signed token would say. Only their hashes are kept, until they expire.

use flatpass_token::{Grant, Secret, UnixTime};
use sqlx::Row as _;

use crate::id::random;
use crate::secret::{hash_of, prefix};
use crate::{AccountId, GrantId, Random, Store, StoreError, mark_changed, time};

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewRefToken {
    /// The repo that it is for.
    pub repo: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// The device that it is given to, and ends with.
    pub device_id: GrantId,
    /// The client that asked for it.
    pub client_id: String,
    /// What it opens.
    pub grants: Vec<Grant>,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

/// A token in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefToken {
    /// Its name; not the secret.
    pub id: String,
    /// The repo that it is for.
    pub repo: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// The device that it was given to.
    pub device_id: GrantId,
    /// The client that asked for it.
    pub client_id: String,
    /// What it opens.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

impl Store {
    /// Makes tokens, all or none, and gives their secrets in that order. They are shown only now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_ref_tokens(
        &self,
        new: &[NewRefToken],
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Vec<Secret>, StoreError> {
        let mut secrets = Vec::with_capacity(new.len());
        let mut transaction = self.begin().await?;
        for one in new {
            let secret = Secret::generate(prefix::REFERENCE, rng);
            sqlx::query(
                "INSERT INTO ref_tokens (token_hash, id, repo, account_id, device_id, client_id, grants, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(secret.hash().to_string())
            .bind(random("rft_", rng))
            .bind(&one.repo)
            .bind(one.account_id.as_str())
            .bind(one.device_id.as_str())
            .bind(&one.client_id)
            .bind(serde_json::json!(one.grants).to_string())
            .bind(now.0)
            .bind(one.expires_at.0)
            .execute(&mut *transaction)
            .await?;
            secrets.push(secret);
        }
        transaction.commit().await?;
        Ok(secrets)
    }

    /// What the secret stands for; `None` for one that is not, or no longer, in force, whose device was signed out or account closed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ref_token(&self, secret: &str, now: UnixTime) -> Result<Option<RefToken>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::REFERENCE) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT ref_tokens.* FROM ref_tokens JOIN accounts ON accounts.id = ref_tokens.account_id
             LEFT JOIN devices ON devices.id = device_id
             WHERE token_hash = $1 AND ref_tokens.expires_at > $2 AND ref_tokens.revoked_at IS NULL
               AND disabled_at IS NULL AND devices.revoked_at IS NULL",
        )
        .bind(hash)
        .bind(now.0)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let grants: String = row.try_get("grants")?;
        Ok(Some(RefToken {
            id: row.try_get("id")?,
            repo: row.try_get("repo")?,
            account_id: AccountId(row.try_get("account_id")?),
            device_id: GrantId(row.try_get("device_id")?),
            client_id: row.try_get("client_id")?,
            grants: serde_json::from_str(&grants).map_err(|_| StoreError::Corrupt("ref_tokens.grants"))?,
            created_at: time(&row, "created_at")?,
            expires_at: time(&row, "expires_at")?,
        }))
    }

    /// Ends a token now. `false` when there was none in force that was given to this client.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_ref_token(
        &self,
        secret: &str,
        client_id: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let Some(hash) = hash_of(secret, prefix::REFERENCE) else { return Ok(false) };
        let mut transaction = self.begin().await?;
        let ended = sqlx::query(
            "UPDATE ref_tokens SET revoked_at = $1
             WHERE token_hash = $2 AND client_id = $3 AND revoked_at IS NULL AND expires_at > $1",
        )
        .bind(now.0)
        .bind(hash)
        .bind(client_id)
        .execute(&mut *transaction)
        .await?;
        if ended.rows_affected() > 0 {
            mark_changed(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(ended.rows_affected() > 0)
    }

    /// The ids of tokens that were ended and would live still.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoked_ref_tokens(&self, now: UnixTime) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT id FROM ref_tokens WHERE revoked_at IS NOT NULL AND expires_at > $1")
            .bind(now.0)
            .fetch_all(self.read())
            .await?;
        Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?)
    }
}
