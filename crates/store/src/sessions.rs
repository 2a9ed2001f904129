//! Browser sessions.

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use crate::backend::Connection;
use crate::secret::{derived, hash_of, prefix};
use crate::{AccountId, Random, SessionId, Store, StoreError, shortened, time};

/// A signed-in browser. Made anew at each sign-in, so that no session id from before it lives on.
#[derive(Clone)]
pub struct Session {
    /// Its identifier, which is no secret.
    pub id: SessionId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The token that each form of this session carries against request forgery. It is computed from the session's secret and
    /// stored nowhere.
    pub csrf: String,
    /// What the browser said it is.
    pub user_agent: String,
    /// From where it signed in.
    pub address: String,
    /// When it signed in.
    pub created_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: UnixTime,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Session")
            .field("id", &self.id)
            .field("account_id", &self.account_id)
            .finish_non_exhaustive()
    }
}

const CSRF: &str = "flatpass form token";

impl Store {
    /// Begins a session for the account; the secret belongs in a cookie.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] when there is none or it is disabled.
    pub async fn create_session(
        &self,
        account_id: &AccountId,
        user_agent: &str,
        address: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, Session), StoreError> {
        let secret = Secret::generate(prefix::SESSION, rng);
        let session = Session {
            id: SessionId::random(rng),
            account_id: account_id.clone(),
            csrf: derived(secret.expose(), CSRF),
            user_agent: shortened(user_agent, 256),
            address: shortened(address, 64),
            created_at: now,
            expires_at: now.plus_seconds(self.options().session_seconds),
        };
        let mut transaction = self.begin().await?;
        let made = sqlx::query(
            "INSERT INTO sessions (id, secret_hash, account_id, user_agent, address, created_at, expires_at)
             SELECT $1, $2, id, $3, $4, $5, $6 FROM accounts WHERE id = $7 AND disabled_at IS NULL",
        )
        .bind(session.id.as_str())
        .bind(secret.hash().to_string())
        .bind(&session.user_agent)
        .bind(&session.address)
        .bind(now.0)
        .bind(session.expires_at.0)
        .bind(account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() != 1 {
            return Err(StoreError::NoAccount);
        }
        transaction.commit().await?;
        Ok((secret, session))
    }

    /// The live session of this secret.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn session(&self, secret: &str, now: UnixTime) -> Result<Option<Session>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::SESSION) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT sessions.* FROM sessions JOIN accounts ON accounts.id = account_id
             WHERE secret_hash = $1 AND expires_at > $2 AND disabled_at IS NULL",
        )
        .bind(hash)
        .bind(now.0)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Session {
            id: SessionId(row.try_get("id")?),
            account_id: AccountId(row.try_get("account_id")?),
            csrf: derived(secret, CSRF),
            user_agent: row.try_get("user_agent")?,
            address: row.try_get("address")?,
            created_at: time(&row, "created_at")?,
            expires_at: time(&row, "expires_at")?,
        }))
    }

    /// Ends one session. Ending one that has ended changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_session(&self, id: &SessionId) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM sessions WHERE id = $1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Ends all sessions of the account except `keep`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn end_other_sessions(
        &self,
        account_id: &AccountId,
        keep: &SessionId,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        end_all(&mut transaction, account_id, Some(keep)).await?;
        Ok(transaction.commit().await?)
    }
}

/// Ends all sessions of the account, except `keep` if given.
pub(crate) async fn end_all(
    connection: &mut Connection,
    account_id: &AccountId,
    keep: Option<&SessionId>,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM sessions WHERE account_id = $1 AND id <> $2")
        .bind(account_id.as_str())
        .bind(keep.map_or("", SessionId::as_str))
        .execute(connection)
        .await?;
    Ok(())
}
