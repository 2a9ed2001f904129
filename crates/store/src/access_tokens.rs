//! Access tokens: long-lived secrets of one account for one repo, used as the password of HTTP Basic in a remote's URL.
//!
//! **Rotation.** A rotated access token stays the same one, with a new secret; the secret before goes on for an hour. A client
//! that lost the answer may repeat with it, as long as nobody used the new secret: that one is then out of force. Once it was
//! used, the old secret rotates nothing any more, so who stole it cannot take the access token over.

use flatpass_token::{CertificateHash, Secret, SecretHash, UnixTime};
use sqlx::Row as _;

use crate::backend::{Connection, Row};
use crate::secret::{hash_of, prefix};
use crate::{
    AccessTokenId, AccountId, GrantId, Random, Store, StoreError, mark_changed, optional_time, repos,
    shortened, time,
};

/// An account may have so many in force.
const MOST_TOKENS: i64 = 500;
/// How long the secret before a rotation goes on.
const OLD_SECRET_SECONDS: i64 = 60 * 60;
/// What follows an access token's id in a gate's table where its old secret is meant.
pub(crate) const OLD: &str = ".old";

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
    /// When it was last used; `None` for never. A gate tells it some seconds later.
    pub last_used_at: Option<UnixTime>,
    /// From where it was; empty for never.
    pub last_address: String,
    /// Whether a container tool may use the account's role in the repo with it.
    pub may_push: bool,
}

/// That an access token was used, as a gate noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenUse {
    /// The id that [`Store::access_grants`] gave it.
    pub id: String,
    /// When.
    pub at: UnixTime,
    /// From where.
    pub address: String,
}

fn access_token(row: &Row) -> Result<AccessToken, sqlx::Error> {
    Ok(AccessToken {
        id: AccessTokenId(row.try_get("id")?),
        account_id: AccountId(row.try_get("account_id")?),
        repo: row.try_get("repo")?,
        name: row.try_get("name")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
        last_address: row.try_get("last_address")?,
        may_push: may_push(row)?,
    })
}

pub(crate) fn may_push(row: &Row) -> Result<bool, sqlx::Error> {
    Ok(row.try_get::<i64, _>("may_push")? != 0)
}

#[expect(clippy::too_many_arguments, reason = "each is a column")]
async fn insert(
    connection: &mut Connection,
    hash: &SecretHash,
    account_id: &AccountId,
    repo: &str,
    name: &str,
    expires_at: Option<UnixTime>,
    made_by: Option<&GrantId>,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<AccessToken, StoreError> {
    let id = AccessTokenId::random(rng);
    let made_by = made_by.map(GrantId::as_str);
    repos::must_exist(&mut *connection, repo).await?;
    let row = sqlx::query(
        "SELECT COUNT(*) AS tokens FROM access_tokens
         WHERE account_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
    )
    .bind(account_id.as_str())
    .bind(now.0)
    .fetch_one(&mut *connection)
    .await?;
    if row.try_get::<i64, _>("tokens")? >= MOST_TOKENS {
        return Err(StoreError::TooManyAccessTokens(MOST_TOKENS));
    }
    let row = sqlx::query(
        "INSERT INTO access_tokens (id, secret_hash, account_id, repo, name, created_at, expires_at, made_by)
         SELECT $1, $2, id, $3, $4, $5, $6, $7 FROM accounts WHERE id = $8 AND disabled_at IS NULL
           AND ($9 = '' OR EXISTS (SELECT 1 FROM devices
                                   WHERE devices.id = $9 AND account_id = accounts.id AND revoked_at IS NULL))
         RETURNING *",
    )
    .bind(id.as_str())
    .bind(hash.to_string())
    .bind(repo)
    .bind(shortened(name.trim(), 100))
    .bind(now.0)
    .bind(expires_at.map(|time| time.0))
    .bind(made_by)
    .bind(account_id.as_str())
    .bind(made_by.unwrap_or_default())
    .fetch_optional(&mut *connection)
    .await?
    .ok_or(StoreError::NoAccount)?;
    Ok(access_token(&row)?)
}

impl Store {
    /// Makes an access token. The secret has only letters, digits and `_`, so that it survives in a URL.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] (or disabled), [`StoreError::NoRepo`], [`StoreError::TooManyAccessTokens`].
    pub async fn create_access_token(
        &self,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, AccessToken), StoreError> {
        self.insert_access_token(account_id, repo, name, expires_at, None, now, rng).await
    }

    /// Like [`Store::create_access_token`], for a container tool that may use the account's role in the repo, if it has one. Such a secret
    /// is for no remote's URL, where more people read it than may push.
    ///
    /// # Errors
    /// As for that.
    pub async fn create_push_token(
        &self,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, AccessToken), StoreError> {
        let secret = Secret::generate(prefix::ACCESS_TOKEN, rng);
        let mut transaction = self.begin().await?;
        let hash = secret.hash();
        let made =
            insert(&mut transaction, &hash, account_id, repo, name, expires_at, None, now, rng).await?;
        let row = sqlx::query("UPDATE access_tokens SET may_push = 1 WHERE id = $1 RETURNING *")
            .bind(made.id.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok((secret, access_token(&row)?))
    }

    /// Like [`Store::create_access_token`], for a client that shows a certificate and needs no secret.
    ///
    /// # Errors
    /// [`StoreError::CertificateTaken`] when it stands for another access token of the repo; the others as for that.
    #[expect(clippy::too_many_arguments, reason = "each is a column")]
    pub async fn create_access_token_for(
        &self,
        certificate: &CertificateHash,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<AccessToken, StoreError> {
        let hash = certificate.for_repo(repo);
        let mut transaction = self.begin().await?;
        let in_force = sqlx::query(
            "SELECT 1 FROM access_tokens
             WHERE secret_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
        )
        .bind(hash.to_string())
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        if in_force.is_some() {
            return Err(StoreError::CertificateTaken);
        }
        // One that has ended makes place.
        sqlx::query("DELETE FROM access_tokens WHERE secret_hash = $1")
            .bind(hash.to_string())
            .execute(&mut *transaction)
            .await?;
        let made =
            insert(&mut transaction, &hash, account_id, repo, name, expires_at, None, now, rng).await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(made)
    }

    /// Like [`Store::create_access_token`], made by a device of the account: it ends when that is signed out.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] also when the device was signed out; the others as for that.
    #[expect(clippy::too_many_arguments, reason = "each is a column")]
    pub async fn create_access_token_by(
        &self,
        device: &GrantId,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, AccessToken), StoreError> {
        self.insert_access_token(account_id, repo, name, expires_at, Some(device), now, rng).await
    }

    #[expect(clippy::too_many_arguments, reason = "each is a column")]
    async fn insert_access_token(
        &self,
        account_id: &AccountId,
        repo: &str,
        name: &str,
        expires_at: Option<UnixTime>,
        made_by: Option<&GrantId>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, AccessToken), StoreError> {
        let secret = Secret::generate(prefix::ACCESS_TOKEN, rng);
        let mut transaction = self.begin().await?;
        let hash = secret.hash();
        let made =
            insert(&mut transaction, &hash, account_id, repo, name, expires_at, made_by, now, rng).await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok((secret, made))
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

    /// Gives an access token a new secret, for one in force; see the module's text. `None` when the secret is not known, or has
    /// ended, or is an old one whose successor was used.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rotate_access_token(
        &self,
        secret: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Option<(Secret, AccessToken)>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::ACCESS_TOKEN) else { return Ok(None) };
        let new = Secret::generate(prefix::ACCESS_TOKEN, rng);
        let mut transaction = self.begin().await?;
        let with_present = "UPDATE access_tokens SET secret_hash = $1, secret_used_at = NULL,
               replaced_hash = secret_hash, replaced_at = $2, replaced_until = $3
             WHERE secret_hash = $4 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
               AND EXISTS (SELECT 1 FROM accounts WHERE accounts.id = account_id AND disabled_at IS NULL)
             RETURNING *";
        // The hour is not lengthened by repeating.
        let with_old = "UPDATE access_tokens SET secret_hash = $1
             WHERE replaced_hash = $4 AND replaced_until > $2 AND replaced_until <= $3 AND secret_used_at IS NULL
               AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
               AND EXISTS (SELECT 1 FROM accounts WHERE accounts.id = account_id AND disabled_at IS NULL)
             RETURNING *";
        for sql in [with_present, with_old] {
            let row = sqlx::query(sql)
                .bind(new.hash().to_string())
                .bind(now.0)
                .bind(now.plus_seconds(OLD_SECRET_SECONDS).0)
                .bind(&hash)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(row) = row {
                mark_changed(&mut transaction).await?;
                transaction.commit().await?;
                return Ok(Some((new, access_token(&row)?)));
            }
        }
        Ok(None)
    }

    /// Like [`Store::rotate_access_token`], for the operator. `None` when none in force has this id.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn rotate_access_token_with_id(
        &self,
        id: &AccessTokenId,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Option<(Secret, AccessToken)>, StoreError> {
        let new = Secret::generate(prefix::ACCESS_TOKEN, rng);
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "UPDATE access_tokens SET secret_hash = $1, secret_used_at = $2,
               replaced_hash = secret_hash, replaced_at = $2, replaced_until = $3
             WHERE id = $4 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) RETURNING *",
        )
        .bind(new.hash().to_string())
        .bind(now.0)
        .bind(now.plus_seconds(OLD_SECRET_SECONDS).0)
        .bind(id.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Some((new, access_token(&row)?)))
    }

    /// Ends the access token with this secret; an old secret, before a rotation, ends alone. `false` when it is not in force.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_access_secret(&self, secret: &str, now: UnixTime) -> Result<bool, StoreError> {
        let Some(hash) = hash_of(secret, prefix::ACCESS_TOKEN) else { return Ok(false) };
        let mut transaction = self.begin().await?;
        let whole = "UPDATE access_tokens SET revoked_at = $1
             WHERE secret_hash = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
        let old = "UPDATE access_tokens SET replaced_until = $1
             WHERE replaced_hash = $2 AND revoked_at IS NULL AND replaced_until > $1";
        let mut ended = 0;
        for sql in [whole, old] {
            let done = sqlx::query(sql).bind(now.0).bind(&hash).execute(&mut *transaction).await?;
            ended += done.rows_affected();
        }
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(ended > 0)
    }

    /// Records when and from where access tokens were used, all in one transaction. Gates need not hear of it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_access_token_uses(&self, uses: &[AccessTokenUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        for one in uses {
            let (id, by_present) = match one.id.strip_suffix(OLD) {
                Some(id) => (id, false),
                None => (one.id.as_str(), true),
            };
            sqlx::query(
                "UPDATE access_tokens SET last_used_at = $1, last_address = $2
                 WHERE id = $3 AND (last_used_at IS NULL OR last_used_at <= $1)",
            )
            .bind(one.at.0)
            .bind(shortened(&one.address, 64))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
            if by_present {
                // A use that was noted before the rotation was one of what is the old secret now.
                sqlx::query(
                    "UPDATE access_tokens SET secret_used_at = $1
                     WHERE id = $2 AND (replaced_at IS NULL OR replaced_at < $1)",
                )
                .bind(one.at.0)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

/// Ends what a device made, when it is signed out.
pub(crate) async fn end_those_of(
    connection: &mut Connection,
    device: &GrantId,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE access_tokens SET revoked_at = $1 WHERE made_by = $2 AND revoked_at IS NULL")
        .bind(now.0)
        .bind(device.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
