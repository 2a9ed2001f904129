//! When what is in force changes by itself.

use flatpass_token::UnixTime;

use crate::{Store, StoreError, optional_time};

impl Store {
    /// The next moment after `now` at which an entitlement begins or ends by its own time; `None` when there is none. Not every one
    /// of them changes what somebody may do.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_begin_or_end(&self, now: UnixTime) -> Result<Option<UnixTime>, StoreError> {
        let row = sqlx::query(
            "SELECT MIN(moment) AS moment FROM (
               SELECT starts_at AS moment FROM entitlements WHERE starts_at > $1 AND revoked_at IS NULL
               UNION ALL SELECT ends_at FROM entitlements WHERE ends_at > $1 AND revoked_at IS NULL) AS moments",
        )
        .bind(now.0)
        .fetch_one(self.read())
        .await?;
        Ok(optional_time(&row, "moment")?)
    }
}
