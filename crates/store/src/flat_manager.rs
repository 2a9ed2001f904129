//! The flat-manager that publishes to a repo: its name for the repo, its address, and the secrets that are shared with it.
//!
//! Secrets are sealed, bound to the repo and to what they are for: moved to another row they do not open.

use std::fmt::Write as _;
use std::sync::Arc;

use flatpass_token::{SharedSecret, UnixTime};
use sqlx::Row as _;

use crate::backend::{Connection, Row};
use crate::repos::must_exist;
use crate::{Random, Store, StoreError, mark_changed, optional_time, time};

/// A new secret is accepted at once, and signs only when all who read this database know it.
const LEAD_SECONDS: i64 = 5;

/// What a shared secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretFor {
    /// The tokens that flat-manager itself takes.
    Download,
    /// Update tokens, which buy download tokens.
    Update,
}

impl SecretFor {
    /// `download` or `update`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Update => "update",
        }
    }
}

/// A secret, and when it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSecret {
    /// The secret.
    pub secret: Arc<SharedSecret>,
    /// From when on it signs, if none follows.
    pub signs_from: UnixTime,
    /// Until when what it signed is good. `None` while none follows.
    pub accepted_until: Option<UnixTime>,
}

/// What is known of a repo's flat-manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatManager {
    /// The repo's name in flat-manager's configuration.
    pub name: String,
    /// The base URL that calls are passed through to; `None` passes nothing.
    pub url: Option<String>,
    /// The secrets of download tokens, those that have ended left out.
    pub secrets: Vec<StoredSecret>,
    /// The secrets of update tokens.
    pub update_secrets: Vec<StoredSecret>,
}

impl FlatManager {
    /// The secrets for that.
    pub fn secrets_for(&self, purpose: SecretFor) -> &[StoredSecret] {
        match purpose {
            SecretFor::Download => &self.secrets,
            SecretFor::Update => &self.update_secrets,
        }
    }

    /// The secret that signs at that moment.
    pub fn signing(&self, purpose: SecretFor, now: UnixTime) -> Option<&Arc<SharedSecret>> {
        let mut begun = self.secrets_for(purpose).iter().filter(|one| one.signs_from <= now);
        let first = begun.next()?;
        let last = begun.fold(first, |last, one| if one.signs_from >= last.signs_from { one } else { last });
        Some(&last.secret)
    }

    /// The secrets whose tokens are good at that moment.
    pub fn accepted(
        &self,
        purpose: SecretFor,
        now: UnixTime,
    ) -> impl Iterator<Item = Arc<SharedSecret>> + '_ {
        let is_good = move |one: &&StoredSecret| one.accepted_until.is_none_or(|until| now < until);
        self.secrets_for(purpose).iter().filter(is_good).map(|one| Arc::clone(&one.secret))
    }

    /// The next moment after `now` at which another secret signs or one ends.
    pub fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        let moments = |one: &StoredSecret| [Some(one.signs_from), one.accepted_until];
        let all = self.secrets.iter().chain(&self.update_secrets).flat_map(moments).flatten();
        all.filter(|moment| *moment > now).min()
    }
}

/// What a sealed secret is bound to.
fn context(repo: &str, purpose: &str) -> String {
    format!("flat-manager-secret:{purpose}:{repo}")
}

fn in_hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Store {
    /// What is known of the repo's flat-manager, if anything.
    ///
    /// # Errors
    /// [`StoreError::Database`], or [`StoreError::Seal`] when a secret was sealed with another key file or for something else.
    pub async fn flat_manager(&self, repo: &str, now: UnixTime) -> Result<Option<FlatManager>, StoreError> {
        let row = sqlx::query("SELECT name, url FROM flat_managers WHERE repo = $1")
            .bind(repo)
            .fetch_optional(self.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let rows = sqlx::query(
            "SELECT * FROM flat_manager_secrets WHERE repo = $1 AND (accepted_until IS NULL OR accepted_until > $2)
             ORDER BY purpose, signs_from, fingerprint",
        )
        .bind(repo)
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        let mut known = FlatManager {
            name: row.try_get("name")?,
            url: row.try_get("url")?,
            secrets: Vec::new(),
            update_secrets: Vec::new(),
        };
        for row in &rows {
            let purpose: String = row.try_get("purpose")?;
            let secret = self.opened(repo, &purpose, row)?;
            match purpose.as_str() {
                "download" => known.secrets.push(secret),
                "update" => known.update_secrets.push(secret),
                _ => return Err(StoreError::Corrupt("flat_manager_secrets.purpose")),
            }
        }
        Ok(Some(known))
    }

    fn opened(&self, repo: &str, purpose: &str, row: &Row) -> Result<StoredSecret, StoreError> {
        let sealed: String = row.try_get("sealed_secret")?;
        let bytes = self.inner.sealer.open(&context(repo, purpose), &sealed)?;
        let corrupt = |_| StoreError::Corrupt("flat_manager_secrets.sealed_secret");
        Ok(StoredSecret {
            secret: Arc::new(SharedSecret::from_bytes(bytes).map_err(corrupt)?),
            signs_from: time(row, "signs_from")?,
            accepted_until: optional_time(row, "accepted_until")?,
        })
    }

    /// Says what flat-manager calls the repo. Tokens for another name are refused from now on.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_flat_manager_name(&self, repo: &str, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, repo).await?;
        sqlx::query(
            "INSERT INTO flat_managers (repo, name) VALUES ($1, $2) ON CONFLICT (repo) DO UPDATE SET name = excluded.name",
        )
        .bind(repo)
        .bind(name)
        .execute(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Says where flat-manager listens, so that calls are passed through; with `None`, none is.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_flat_manager_url(&self, repo: &str, url: Option<&str>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        known(&mut transaction, repo).await?;
        sqlx::query("UPDATE flat_managers SET url = $1 WHERE repo = $2")
            .bind(url)
            .bind(repo)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Makes this the secret that signs: at once if there is none, else a few seconds from now. What the one before signed is good for
    /// `overlap` seconds more. To set the one that signs again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_flat_manager_secret(
        &self,
        repo: &str,
        purpose: SecretFor,
        secret: &SharedSecret,
        overlap: i64,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        let fingerprint = in_hex(secret.fingerprint());
        let sealed = self.inner.sealer.seal(&context(repo, purpose.as_str()), secret.expose(), rng)?;
        let mut transaction = self.begin().await?;
        known(&mut transaction, repo).await?;
        let last = sqlx::query(
            "SELECT fingerprint FROM flat_manager_secrets
             WHERE repo = $1 AND purpose = $2 AND accepted_until IS NULL",
        )
        .bind(repo)
        .bind(purpose.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let last: Option<String> = last.map(|row| row.try_get("fingerprint")).transpose()?;
        if last.as_ref() == Some(&fingerprint) {
            return Ok(());
        }
        let signs_from = if last.is_some() { now.plus_seconds(LEAD_SECONDS) } else { now };
        sqlx::query(
            "UPDATE flat_manager_secrets SET accepted_until = $1 WHERE repo = $2 AND purpose = $3 AND accepted_until IS NULL",
        )
        .bind(signs_from.plus_seconds(overlap).0)
        .bind(repo)
        .bind(purpose.as_str())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO flat_manager_secrets (repo, purpose, fingerprint, sealed_secret, signs_from) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (repo, purpose, fingerprint)
             DO UPDATE SET signs_from = excluded.signs_from, accepted_until = NULL",
        )
        .bind(repo)
        .bind(purpose.as_str())
        .bind(fingerprint)
        .bind(sealed)
        .bind(signs_from.0)
        .execute(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Ends the secrets of the repo that another one followed, or with `all` every one: what they signed is refused from now on. Gives
    /// how many there were.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn end_flat_manager_secrets(
        &self,
        repo: &str,
        purpose: SecretFor,
        all: bool,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, repo).await?;
        let ended = sqlx::query(
            "DELETE FROM flat_manager_secrets WHERE repo = $1 AND purpose = $2 AND (accepted_until IS NOT NULL OR $3)",
        )
        .bind(repo)
        .bind(purpose.as_str())
        .bind(all)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        // The one that is left need not wait for anybody.
        sqlx::query(
            "UPDATE flat_manager_secrets SET signs_from = $1 WHERE repo = $2 AND purpose = $3 AND signs_from > $4",
        )
        .bind(now.0)
        .bind(repo)
        .bind(purpose.as_str())
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(ended)
    }
}

/// Makes the row if there is none; flat-manager then calls the repo as the store does.
async fn known(connection: &mut Connection, repo: &str) -> Result<(), StoreError> {
    must_exist(&mut *connection, repo).await?;
    sqlx::query("INSERT INTO flat_managers (repo, name) VALUES ($1, $2) ON CONFLICT (repo) DO NOTHING")
        .bind(repo)
        .bind(repo)
        .execute(connection)
        .await?;
    Ok(())
}
