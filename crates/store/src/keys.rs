//! Signing keys: made here, sealed at rest, rotated with an overlap.
//!
//! A rotation takes two overlaps. During the first the new key is published and does not sign yet, so that every gate that
//! caches the key set knows it before it sees a token of it. Then it signs, and the old key is published for one overlap more,
//! until the last token it signed has expired. Each step is a time in the row, so there is nothing that a crash could leave
//! half done.

use flatpass_token::{SigningKey, UnixTime};
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::backend::{Connection, Row};
use crate::{Random, Store, StoreError, mark_changed, optional_time, time};

/// What a key does at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyPhase {
    /// It is in the key set and does not sign yet.
    Published,
    /// It signs.
    Signing,
    /// It signs no more; what it signed is still accepted.
    Retired,
}

/// A signing key that is in force in some way.
#[derive(Clone)]
pub struct StoredKey {
    /// The key's id.
    pub kid: String,
    /// The private key, PKCS #8 in DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From when on it signs.
    pub active_from: UnixTime,
    /// From when on it signs no more.
    pub retired_at: Option<UnixTime>,
    /// From when on what it signed is refused.
    pub expires_at: Option<UnixTime>,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StoredKey")
            .field("kid", &self.kid)
            .field("active_from", &self.active_from)
            .finish_non_exhaustive()
    }
}

impl StoredKey {
    /// What the key does at `now`. Among the keys that [`Store::signing_keys`] gives exactly one signs.
    pub fn phase(&self, now: UnixTime) -> KeyPhase {
        if self.active_from > now {
            KeyPhase::Published
        } else if self.retired_at.is_none_or(|retired| retired > now) {
            KeyPhase::Signing
        } else {
            KeyPhase::Retired
        }
    }

    /// The key, ready to sign.
    ///
    /// # Errors
    /// [`StoreError::Key`] when the stored bytes are no key.
    pub fn signing_key(&self) -> Result<SigningKey, StoreError> {
        SigningKey::from_pkcs8_der(&self.pkcs8).map_err(|error| StoreError::Key(error.to_string()))
    }
}

/// What a sealed key is bound to: it does not open in another key's row.
fn context(kid: &str) -> String {
    format!("signing-key:{kid}")
}

impl Store {
    fn stored_key(&self, row: &Row) -> Result<StoredKey, StoreError> {
        let kid: String = row.try_get("kid")?;
        let pkcs8 = self.inner.sealer.open(&context(&kid), &row.try_get::<String, _>("sealed")?)?;
        Ok(StoredKey {
            kid,
            pkcs8,
            created_at: time(row, "created_at")?,
            active_from: time(row, "active_from")?,
            retired_at: optional_time(row, "retired_at")?,
            expires_at: optional_time(row, "expires_at")?,
        })
    }

    /// Makes a key that signs from `active_from` on.
    async fn insert_key(
        &self,
        connection: &mut Connection,
        active_from: UnixTime,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<StoredKey, StoreError> {
        let failed = |error: flatpass_token::KeyError| StoreError::Key(error.to_string());
        let key = SigningKey::generate().map_err(failed)?;
        let pkcs8 = key.to_pkcs8_der().map_err(failed)?;
        let sealed = self.inner.sealer.seal(&context(key.kid()), &pkcs8, rng)?;
        sqlx::query(
            "INSERT INTO signing_keys (kid, sealed, created_at, active_from) VALUES ($1, $2, $3, $4)",
        )
        .bind(key.kid())
        .bind(sealed)
        .bind(now.0)
        .bind(active_from.0)
        .execute(&mut *connection)
        .await?;
        mark_changed(connection).await?;
        Ok(StoredKey {
            kid: key.kid().to_owned(),
            pkcs8,
            created_at: now,
            active_from,
            retired_at: None,
            expires_at: None,
        })
    }

    /// Makes the first signing key if there is none that signs or will sign. To be called at each start; two programs that
    /// start at the same time make one.
    ///
    /// # Errors
    /// [`StoreError::Seal`], [`StoreError::Key`], [`StoreError::Database`].
    pub async fn ensure_signing_key(&self, now: UnixTime, rng: Random<'_>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let usable = sqlx::query("SELECT 1 FROM signing_keys WHERE retired_at IS NULL LIMIT 1")
            .fetch_optional(&mut *transaction)
            .await?
            .is_some();
        if !usable {
            self.insert_key(&mut transaction, now, now, rng).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// The keys that are published at `now`: those to come, the one that signs, and those whose tokens still count. The one
    /// that began to sign last comes first, so the first whose [`StoredKey::phase`] is `Signing` is the one to sign with.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when a key does not open with this key file.
    pub async fn signing_keys(&self, now: UnixTime) -> Result<Vec<StoredKey>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM signing_keys WHERE expires_at IS NULL OR expires_at > $1 ORDER BY active_from DESC, kid",
        )
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(|row| self.stored_key(row)).collect()
    }

    /// Begins a rotation: a new key is published now and signs in `overlap_seconds`; the one that signs until then stays
    /// published for `overlap_seconds` more. The overlap must be at least the longest life of a token. With 0, for a key that
    /// was stolen, the new key signs at once and everything that older keys signed is refused at once.
    ///
    /// # Errors
    /// [`StoreError::RotationPending`] when a key is published already and does not sign yet (not with overlap 0).
    pub async fn rotate_key(
        &self,
        now: UnixTime,
        overlap_seconds: u32,
        rng: Random<'_>,
    ) -> Result<StoredKey, StoreError> {
        let overlap = i64::from(overlap_seconds);
        let active_from = now.plus_seconds(overlap);
        let mut transaction = self.begin().await?;
        if overlap_seconds > 0 {
            let pending = sqlx::query(
                "SELECT active_from FROM signing_keys WHERE active_from > $1 AND retired_at IS NULL",
            )
            .bind(now.0)
            .fetch_optional(&mut *transaction)
            .await?;
            if let Some(row) = pending {
                return Err(StoreError::RotationPending(time(&row, "active_from")?));
            }
            sqlx::query("UPDATE signing_keys SET retired_at = $1, expires_at = $2 WHERE retired_at IS NULL")
                .bind(active_from.0)
                .bind(active_from.plus_seconds(overlap).0)
                .execute(&mut *transaction)
                .await?;
        } else {
            sqlx::query(
                "UPDATE signing_keys SET retired_at = $1, expires_at = $1 WHERE expires_at IS NULL OR expires_at > $1",
            )
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        }
        let key = self.insert_key(&mut transaction, active_from, now, rng).await?;
        transaction.commit().await?;
        Ok(key)
    }
}
