//! Devices: one consent of one account to one client, with the family of refresh tokens that came from it.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::Connection;
use crate::{AccountId, GrantId, Random, Store, StoreError, access_tokens, mark_changed, shortened, time};

/// A signed-in device, as the account page lists it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Device {
    /// Its identifier; the same as [`crate::TokenPair::grant_id`].
    pub id: GrantId,
    /// The OAuth client that runs on it.
    pub client_id: String,
    /// What it called itself.
    pub name: String,
    /// What it may do.
    pub scope: String,
    /// When it signed in.
    pub created_at: UnixTime,
    /// When it last fetched new tokens.
    pub last_used_at: UnixTime,
    /// From where it did; empty when unknown.
    pub last_address: String,
}

impl Store {
    /// The account's signed-in devices, the last used first. Devices whose tokens have all expired are left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn list_devices(
        &self,
        account_id: &AccountId,
        now: UnixTime,
    ) -> Result<Vec<Device>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM devices WHERE account_id = $1 AND revoked_at IS NULL AND expires_at > $2
               AND EXISTS (SELECT 1 FROM refresh_tokens
                           WHERE device_id = devices.id AND refresh_tokens.expires_at > $3 AND rotated_at IS NULL)
             ORDER BY last_used_at DESC, id",
        )
        .bind(account_id.as_str())
        .bind(now.0)
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        let device = |row: &crate::backend::Row| {
            Ok(Device {
                id: GrantId(row.try_get("id")?),
                client_id: row.try_get("client_id")?,
                name: row.try_get("name")?,
                scope: row.try_get("scope")?,
                created_at: time(row, "created_at")?,
                last_used_at: time(row, "last_used_at")?,
                last_address: row.try_get("last_address")?,
            })
        };
        Ok(rows.iter().map(device).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Signs a device of the account out: its refresh and access tokens end at once. `false` when the account has no such
    /// device or it was signed out before.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_device(
        &self,
        account_id: &AccountId,
        device: &GrantId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let owned =
            sqlx::query("SELECT 1 FROM devices WHERE id = $1 AND account_id = $2 AND revoked_at IS NULL")
                .bind(device.as_str())
                .bind(account_id.as_str())
                .fetch_optional(&mut *transaction)
                .await?
                .is_some();
        if owned {
            end(&mut transaction, device, "signed out", now).await?;
            transaction.commit().await?;
        }
        Ok(owned)
    }

    /// The devices that were signed out from `since` on, whatever the reason, and when: what they were given before is refused.
    /// [`Store::prune`] forgets them after two days.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn signed_out_since(&self, since: UnixTime) -> Result<Vec<(GrantId, UnixTime)>, StoreError> {
        let rows =
            sqlx::query("SELECT id, revoked_at FROM devices WHERE revoked_at >= $1 ORDER BY revoked_at, id")
                .bind(since.0)
                .fetch_all(self.read())
                .await?;
        let one = |row: &crate::backend::Row| Ok((GrantId(row.try_get("id")?), time(row, "revoked_at")?));
        Ok(rows.iter().map(one).collect::<Result<_, sqlx::Error>>()?)
    }
}

/// A device that signs in.
pub(crate) struct NewDevice {
    pub(crate) account_id: AccountId,
    pub(crate) client_id: String,
    pub(crate) name: String,
    pub(crate) scope: String,
}

/// Adds a device.
pub(crate) async fn insert(
    connection: &mut Connection,
    new: &NewDevice,
    address: &str,
    expires_at: UnixTime,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<GrantId, sqlx::Error> {
    let id = GrantId::random(rng);
    sqlx::query(
        "INSERT INTO devices
           (id, account_id, client_id, name, scope, created_at, last_used_at, last_address, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id.as_str())
    .bind(new.account_id.as_str())
    .bind(&new.client_id)
    .bind(shortened(&new.name, 100))
    .bind(&new.scope)
    .bind(now.0)
    .bind(now.0)
    .bind(shortened(address, 64))
    .bind(expires_at.0)
    .execute(connection)
    .await?;
    Ok(id)
}

/// Ends a device with the access tokens that it made, and deletes those of the API. Its refresh tokens stay as rows, so that a later use of one is recognised.
pub(crate) async fn end(
    connection: &mut Connection,
    device: &GrantId,
    because: &str,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE devices SET revoked_at = $1, revoked_because = $2 WHERE id = $3 AND revoked_at IS NULL",
    )
    .bind(now.0)
    .bind(because)
    .bind(device.as_str())
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM api_tokens WHERE device_id = $1")
        .bind(device.as_str())
        .execute(&mut *connection)
        .await?;
    access_tokens::end_those_of(connection, device, now).await?;
    mark_changed(connection).await
}

/// Ends all devices of an account.
pub(crate) async fn end_all(
    connection: &mut Connection,
    account_id: &AccountId,
    because: &str,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM api_tokens WHERE device_id IN (SELECT id FROM devices WHERE account_id = $1)")
        .bind(account_id.as_str())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE devices SET revoked_at = $1, revoked_because = $2 WHERE account_id = $3 AND revoked_at IS NULL",
    )
    .bind(now.0)
    .bind(because)
    .bind(account_id.as_str())
    .execute(&mut *connection)
    .await?;
    mark_changed(connection).await
}
