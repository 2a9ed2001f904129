//! Robots that may ask what the tokens of a repo are (RFC 7662): gates and resource servers elsewhere.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::repos::must_exist;
use crate::secret::{hash_of, prefix};
use crate::{AccountId, Store, StoreError};

impl Store {
    /// Lets the account ask about the tokens of the repo, or no longer. `false` when nothing changed.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_introspector(
        &self,
        repo: &str,
        account_id: &AccountId,
        may: bool,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, repo).await?;
        let query = if may {
            sqlx::query(
                "INSERT INTO introspectors (repo, account_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(repo)
            .bind(account_id.as_str())
            .bind(now.0)
        } else {
            sqlx::query("DELETE FROM introspectors WHERE repo = $1 AND account_id = $2")
                .bind(repo)
                .bind(account_id.as_str())
        };
        let changed = query.execute(&mut *transaction).await?.rows_affected() > 0;
        transaction.commit().await?;
        Ok(changed)
    }

    /// The repos whose tokens the account may ask about, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn introspected_repos(&self, account_id: &AccountId) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT repo FROM introspectors WHERE account_id = $1 ORDER BY repo")
            .bind(account_id.as_str())
            .fetch_all(self.read())
            .await?;
        Ok(rows.iter().map(|row| row.try_get("repo")).collect::<Result<_, _>>()?)
    }

    /// The robot with this identifier, if the secret is one of its secrets in force.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn robot_of_secret(
        &self,
        client_id: &str,
        secret: &str,
        now: UnixTime,
    ) -> Result<Option<AccountId>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::ROBOT) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT account_id FROM robot_secrets JOIN devices ON devices.id = device_id
             JOIN accounts ON accounts.id = account_id
             WHERE secret_hash = $1 AND account_id = $2 AND expires_at > $3 AND revoked_at IS NULL AND disabled_at IS NULL",
        )
        .bind(hash)
        .bind(client_id)
        .bind(now.0)
        .fetch_optional(self.read())
        .await?;
        Ok(row.map(|row| row.try_get("account_id").map(AccountId)).transpose()?)
    }
}
