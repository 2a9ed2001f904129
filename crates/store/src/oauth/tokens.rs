//! Refresh tokens, which rotate, and the opaque access tokens of the authority's own API.
//!
//! **Reuse and lost answers.** A refresh token works once; its answer holds the next. When an old one comes again, either its
//! holder or the holder of its successor is a thief, so the whole family ends (RFC 9700 section 4.14.2). One case is
//! innocent and common: the answer was lost on the way, and the client repeats its request. So for
//! [`crate::StoreOptions::refresh_retry_seconds`] after its rotation, and only while its successor has not been used, an old
//! token may be repeated: the successor that nobody used is put out of force, and a new one is given. A thief gains nothing
//! lasting by it: whichever of the two comes second holds a token that is out of force, and its use ends the family.

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use super::devices::{self, NewDevice};
use crate::backend::Connection;
use crate::secret::{hash_of, prefix};
use crate::{AccountId, GrantId, Random, Store, StoreError, StoreOptions, shortened, time};

/// What a client gets: an access token and the refresh token for the next pair.
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// The access token; shown once.
    pub access: Secret,
    /// Its life in seconds.
    pub access_expires_in: i64,
    /// The refresh token; shown once, works once.
    pub refresh: Secret,
    /// The device.
    pub grant_id: GrantId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What the access token may do.
    pub scope: String,
}

/// What an access token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessInfo {
    /// The device.
    pub grant_id: GrantId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The client it was given to.
    pub client_id: String,
    /// What it may do.
    pub scope: String,
    /// When it was given.
    pub issued_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

/// Why a refresh token gave nothing. All but `Store` are `invalid_grant` to the client.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// No such token, or it is so old that it was forgotten.
    #[error("this refresh token is not known")]
    Unknown,
    /// It was given to another client.
    #[error("this refresh token was given to another client")]
    OtherClient,
    /// It was not used for too long, or the device must sign in again.
    #[error("this refresh token has expired; sign in again")]
    Expired,
    /// The device was signed out, or its account disabled.
    #[error("this device was signed out")]
    Revoked,
    /// It was used before. The device has been signed out now.
    #[error("this refresh token was used before; the device has been signed out")]
    Reused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RefreshError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A new pair, already in the database.
pub(crate) struct Issued {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
}

/// Makes a pair for the device.
pub(crate) async fn issue(
    connection: &mut Connection,
    device: &GrantId,
    options: &StoreOptions,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<Issued, sqlx::Error> {
    let access = Secret::generate(prefix::API_TOKEN, rng);
    let refresh = Secret::generate(prefix::REFRESH, rng);
    sqlx::query(
        "INSERT INTO api_tokens (token_hash, device_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(access.hash().to_string())
    .bind(device.as_str())
    .bind(now.0)
    .bind(now.plus_seconds(options.access_token_seconds).0)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO refresh_tokens (token_hash, device_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(refresh.hash().to_string())
    .bind(device.as_str())
    .bind(now.0)
    .bind(now.plus_seconds(options.refresh_idle_seconds).0)
    .execute(connection)
    .await?;
    Ok(Issued { access, refresh })
}

/// Signs a new device in, and makes its first pair.
pub(crate) async fn sign_in(
    connection: &mut Connection,
    new: NewDevice,
    address: &str,
    options: &StoreOptions,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<TokenPair, sqlx::Error> {
    let expires_at = now.plus_seconds(options.refresh_absolute_seconds);
    let device = devices::insert(connection, &new, address, expires_at, now, rng).await?;
    let issued = issue(connection, &device, options, now, rng).await?;
    Ok(TokenPair {
        access: issued.access,
        access_expires_in: options.access_token_seconds,
        refresh: issued.refresh,
        grant_id: device,
        account_id: new.account_id,
        scope: new.scope,
    })
}

impl Store {
    /// Gives a new pair for a refresh token, which is spent by it. See the module's text for reuse and lost answers.
    /// Access tokens given earlier stay in force until they expire.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh(
        &self,
        token: &str,
        client_id: &str,
        address: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<TokenPair, RefreshError> {
        let hash = hash_of(token, prefix::REFRESH).ok_or(RefreshError::Unknown)?;
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT refresh_tokens.*, account_id, client_id, scope, revoked_at, disabled_at,
                    devices.expires_at AS device_expires_at
             FROM refresh_tokens JOIN devices ON devices.id = device_id JOIN accounts ON accounts.id = account_id
             WHERE token_hash = $1",
        )
        .bind(&hash)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(RefreshError::Unknown)?;
        if row.try_get::<String, _>("client_id")? != client_id {
            return Err(RefreshError::OtherClient);
        }
        let ended = row.try_get::<Option<i64>, _>("revoked_at")?.is_some()
            || row.try_get::<Option<i64>, _>("disabled_at")?.is_some();
        if ended {
            return Err(RefreshError::Revoked);
        }
        let device = GrantId(row.try_get("device_id")?);
        if row.try_get::<Option<i64>, _>("rotated_at")?.is_some()
            && !self.put_unused_successor_out_of_force(&mut transaction, &row, now).await?
        {
            devices::end(&mut transaction, &device, "refresh token used twice", now).await?;
            transaction.commit().await?;
            return Err(RefreshError::Reused);
        }
        if time(&row, "expires_at")? <= now || time(&row, "device_expires_at")? <= now {
            return Err(RefreshError::Expired);
        }
        let issued = issue(&mut transaction, &device, self.options(), now, rng).await?;
        sqlx::query(
            "UPDATE refresh_tokens SET rotated_at = COALESCE(rotated_at, $1), successor_hash = $2 WHERE token_hash = $3",
        )
        .bind(now.0)
        .bind(issued.refresh.hash().to_string())
        .bind(&hash)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE devices SET last_used_at = $1, last_address = $2 WHERE id = $3")
            .bind(now.0)
            .bind(shortened(address, 64))
            .bind(device.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(TokenPair {
            access: issued.access,
            access_expires_in: self.options().access_token_seconds,
            refresh: issued.refresh,
            grant_id: device,
            account_id: AccountId(row.try_get("account_id")?),
            scope: row.try_get("scope")?,
        })
    }

    /// For a token that was rotated before: whether this is a repetition after a lost answer. If so, the successor is put out
    /// of force. The time runs from the first rotation, so repeating does not lengthen it.
    async fn put_unused_successor_out_of_force(
        &self,
        connection: &mut Connection,
        row: &crate::backend::Row,
        now: UnixTime,
    ) -> Result<bool, sqlx::Error> {
        let rotated_at: i64 = row.try_get("rotated_at")?;
        let recent = now.0.saturating_sub(rotated_at) <= self.options().refresh_retry_seconds;
        let superseded = row.try_get::<Option<i64>, _>("superseded_at")?.is_some();
        let Some(successor) = row.try_get::<Option<String>, _>("successor_hash")? else { return Ok(false) };
        if !recent || superseded {
            return Ok(false);
        }
        let changed = sqlx::query(
            "UPDATE refresh_tokens SET rotated_at = $1, superseded_at = $2 WHERE token_hash = $3 AND rotated_at IS NULL",
        )
        .bind(now.0)
        .bind(now.0)
        .bind(successor)
        .execute(connection)
        .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// What a live access token stands for.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn access_token(&self, token: &str, now: UnixTime) -> Result<Option<AccessInfo>, StoreError> {
        let Some(hash) = hash_of(token, prefix::API_TOKEN) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT api_tokens.*, account_id, client_id, scope
             FROM api_tokens JOIN devices ON devices.id = device_id JOIN accounts ON accounts.id = account_id
             WHERE token_hash = $1 AND api_tokens.expires_at > $2 AND revoked_at IS NULL AND disabled_at IS NULL",
        )
        .bind(hash)
        .bind(now.0)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(AccessInfo {
            grant_id: GrantId(row.try_get("device_id")?),
            account_id: AccountId(row.try_get("account_id")?),
            client_id: row.try_get("client_id")?,
            scope: row.try_get("scope")?,
            issued_at: time(&row, "created_at")?,
            expires_at: time(&row, "expires_at")?,
        }))
    }

    /// Revokes the device that a refresh or access token belongs to (RFC 7009). `false` when the token is not known or belongs
    /// to another client; RFC 7009 section 2.2 answers that with success too.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_token(
        &self,
        token: &str,
        client_id: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let lookup = match (hash_of(token, prefix::REFRESH), hash_of(token, prefix::API_TOKEN)) {
            (Some(hash), _) => (
                "SELECT device_id FROM refresh_tokens JOIN devices ON devices.id = device_id
                  WHERE token_hash = $1 AND client_id = $2",
                hash,
            ),
            (None, Some(hash)) => (
                "SELECT device_id FROM api_tokens JOIN devices ON devices.id = device_id
                  WHERE token_hash = $1 AND client_id = $2",
                hash,
            ),
            (None, None) => return Ok(false),
        };
        let (sql, hash) = lookup;
        let mut transaction = self.begin().await?;
        let row = sqlx::query(sql).bind(hash).bind(client_id).fetch_optional(&mut *transaction).await?;
        let Some(row) = row else { return Ok(false) };
        devices::end(&mut transaction, &GrantId(row.try_get("device_id")?), "revoked by the client", now)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }
}
