//! Update tokens: the first step of the convention by which a device that signed in once fetches download tokens without anybody there.
//!
//! Each stands for a device, which has its name, its times and its end; the token itself is the server's matter. Nobody ever has the
//! refresh token that keeps the device alive.

use flatpass_token::UnixTime;

use super::devices::{self, NewDevice};
use super::tokens::issue;
use crate::{AccessInfo, AccountId, GrantId, Random, Store, StoreError, StoreOptions, shortened, time};

/// The client that these devices belong to.
const CLIENT: &str = "update-token";
const SCOPE: &str = "refs";
/// A device ends by not being used, not by its age.
const FOR_EVER: i64 = 100 * 366 * 24 * 60 * 60;

impl Store {
    /// Signs a device in whose update token is good for so many seconds; each use begins them anew.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_update_device(
        &self,
        account_id: &AccountId,
        name: &str,
        address: &str,
        seconds: i64,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<GrantId, StoreError> {
        let mut transaction = self.begin().await?;
        let new = NewDevice {
            account_id: account_id.clone(),
            client_id: CLIENT.to_owned(),
            name: name.to_owned(),
            scope: SCOPE.to_owned(),
        };
        let device =
            devices::insert(&mut transaction, &new, address, now.plus_seconds(FOR_EVER), now, rng).await?;
        let options = StoreOptions { refresh_idle_seconds: seconds, ..self.options().clone() };
        issue(&mut transaction, &device, &options, now, rng).await?;
        sqlx::query("DELETE FROM api_tokens WHERE device_id = $1")
            .bind(device.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(device)
    }

    /// Whose the device of an update token is; its time begins anew. `None` when it was signed out, was not used for too long, is no such
    /// device, is another account's, or the account is closed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn use_update_device(
        &self,
        device: &GrantId,
        account_id: &AccountId,
        address: &str,
        seconds: i64,
        now: UnixTime,
    ) -> Result<Option<AccessInfo>, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT devices.created_at FROM devices JOIN accounts ON accounts.id = account_id
             WHERE devices.id = $1 AND account_id = $2 AND client_id = $3 AND revoked_at IS NULL AND disabled_at IS NULL
               AND EXISTS (SELECT 1 FROM refresh_tokens WHERE device_id = devices.id AND refresh_tokens.expires_at > $4)",
        )
        .bind(device.as_str())
        .bind(account_id.as_str())
        .bind(CLIENT)
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let expires_at = now.plus_seconds(seconds);
        sqlx::query("UPDATE refresh_tokens SET expires_at = $1 WHERE device_id = $2")
            .bind(expires_at.0)
            .bind(device.as_str())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE devices SET last_used_at = $1, last_address = $2 WHERE id = $3")
            .bind(now.0)
            .bind(shortened(address, 64))
            .bind(device.as_str())
            .execute(&mut *transaction)
            .await?;
        let issued_at = time(&row, "created_at")?;
        transaction.commit().await?;
        Ok(Some(AccessInfo {
            grant_id: device.clone(),
            account_id: account_id.clone(),
            client_id: CLIENT.to_owned(),
            scope: SCOPE.to_owned(),
            issued_at,
            expires_at,
        }))
    }
}
