//! Forgetting what has ended, so that the database does not grow with every sign-in.

use flatpass_token::UnixTime;

use crate::{Store, StoreError};

/// What [`Store::prune`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Links that would have proved an address.
    pub verifications: u64,
    /// Sign-ups whose link was not opened.
    pub sign_ups: u64,
    /// Expired browser sessions.
    pub sessions: u64,
    /// Authorization codes that expired a day ago or more.
    pub codes: u64,
    /// Codes of devices without a browser that expired two days ago or more.
    pub device_codes: u64,
    /// Expired access tokens of the API.
    pub api_tokens: u64,
    /// Expired reference tokens.
    pub ref_tokens: u64,
    /// Devices that can never fetch a token again, with their refresh tokens.
    pub devices: u64,
    /// Refresh tokens that were rotated and whose idle time is over.
    pub refresh_tokens: u64,
    /// Signing keys that verify nothing any more.
    pub keys: u64,
    /// Secrets shared with a flat-manager whose last token has ended.
    pub shared_secrets: u64,
}

/// Ended codes are kept for a day, so that a late second use is still recognised and logged as one.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// Ended devices are kept for as long as a token of theirs may live (a day) and one more, so that it is refused all that time.
const DEVICE_KEPT_SECONDS: i64 = 2 * KEPT_SECONDS;

impl Store {
    /// Deletes what has ended: sessions, codes, tokens, devices and keys. Never orders, events, entitlements or accounts.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn prune(&self, now: UnixTime) -> Result<Pruned, StoreError> {
        let kept_since = now.0.saturating_sub(KEPT_SECONDS);
        let mut transaction = self.begin().await?;
        let mut delete = async |sql: &'static str, before: i64| {
            sqlx::query(sql).bind(before).execute(&mut *transaction).await.map(|done| done.rows_affected())
        };
        let pruned = Pruned {
            verifications: delete("DELETE FROM email_verifications WHERE expires_at <= $1", now.0).await?,
            sign_ups: delete("DELETE FROM sign_ups WHERE expires_at <= $1", now.0).await?,
            sessions: delete("DELETE FROM sessions WHERE expires_at <= $1", now.0).await?,
            codes: delete("DELETE FROM authorization_codes WHERE expires_at <= $1", kept_since).await?,
            device_codes: delete("DELETE FROM device_codes WHERE expires_at <= $1", kept_since).await?
                + delete("DELETE FROM device_codes WHERE expires_at <= $1 AND used_at IS NULL", now.0)
                    .await?,
            api_tokens: delete("DELETE FROM api_tokens WHERE expires_at <= $1", now.0).await?,
            ref_tokens: delete("DELETE FROM ref_tokens WHERE expires_at <= $1", now.0).await?,
            devices: delete(
                "DELETE FROM devices WHERE expires_at <= $1 OR revoked_at <= $1
                   OR (NOT EXISTS (SELECT 1 FROM refresh_tokens
                                   WHERE device_id = devices.id AND refresh_tokens.expires_at > $1)
                       AND NOT EXISTS (SELECT 1 FROM robot_secrets WHERE device_id = devices.id))",
                now.0.saturating_sub(DEVICE_KEPT_SECONDS),
            )
            .await?,
            refresh_tokens: delete("DELETE FROM refresh_tokens WHERE expires_at <= $1", kept_since).await?,
            keys: delete("DELETE FROM signing_keys WHERE expires_at <= $1", kept_since).await?,
            shared_secrets: delete("DELETE FROM flat_manager_secrets WHERE accepted_until <= $1", now.0)
                .await?,
        };
        transaction.commit().await?;
        Ok(pruned)
    }
}
