//! Access tokens: long-lived secrets of one account for one repo, used as the password of HTTP Basic in a remote's URL.

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use crate::backend::Row;
use crate::secret::prefix;
use crate::{
    AccessTokenId, AccountId, Random, Store, StoreError, mark_changed, optional_time, repos, shortened, time,
};

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AccessToken {
    /// Its identifier, which is no secret.
    pub id: AccessTokenId,
    /// Whose it is.
    pub account_id: AccountId,
    /// For which repo.
    pub repo: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: Option<UnixTime>,
}

fn access_token(row: &Row) -> Result<AccessToken, sqlx::Error> {
    Ok(AccessToken {
        id: AccessTokenId(row.try_get("id")?),
        account_id: AccountId(row.try_get("account_id")?),
        repo: row.try_get("repo")?,
        name: row.try_get("name")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
    })
}

impl Store {
    /// Makes an access token. The secret has only letters, digits and `_`, so that it survives in a URL.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] (or disabled), [`StoreError::NoRepo`].
    pub async fn create_access_token(
        &self,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, AccessToken), StoreError> {
        let secret = Secret::generate(prefix::ACCESS_TOKEN, rng);
        let id = AccessTokenId::random(rng);
        let mut transaction = self.begin().await?;
        repos::must_exist(&mut transaction, repo).await?;
        let row = sqlx::query(
            "INSERT INTO access_tokens (id, secret_hash, account_id, repo, name, created_at, expires_at)
             SELECT $1, $2, id, $3, $4, $5, $6 FROM accounts WHERE id = $7 AND disabled_at IS NULL RETURNING *",
        )
        .bind(id.as_str())
        .bind(secret.hash().to_string())
        .bind(repo)
        .bind(shortened(name.trim(), 100))
        .bind(now.0)
        .bind(expires_at.map(|time| time.0))
        .bind(account_id.as_str())
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(StoreError::NoAccount)?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok((secret, access_token(&row)?))
    }

    /// The access tokens of an account, or of all with `None`, that are neither revoked nor expired; the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn list_access_tokens(
        &self,
        account_id: Option<&AccountId>,
        now: UnixTime,
    ) -> Result<Vec<AccessToken>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM access_tokens
             WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1) AND ($2 = '' OR account_id = $2)
             ORDER BY created_at DESC, id",
        )
        .bind(now.0)
        .bind(account_id.map_or("", AccountId::as_str))
        .fetch_all(self.read())
        .await?;
        Ok(rows.iter().map(access_token).collect::<Result<_, _>>()?)
    }

    /// Ends an access token of the account, or of anyone with `None`. `false` when there is none such in force.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_access_token(
        &self,
        account_id: Option<&AccountId>,
        id: &AccessTokenId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE access_tokens SET revoked_at = $1
             WHERE id = $2 AND revoked_at IS NULL AND ($3 = '' OR account_id = $3)",
        )
        .bind(now.0)
        .bind(id.as_str())
        .bind(account_id.map_or("", AccountId::as_str))
        .execute(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(changed.rows_affected() == 1)
    }
}
