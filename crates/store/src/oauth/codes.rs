//! Authorization codes (RFC 6749 section 4.1, RFC 7636): one minute, one use.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use super::devices::{self, NewDevice};
use super::tokens::{self, TokenPair};
use crate::backend::Transaction;
use crate::secret::{hash_of, prefix, s256};
use crate::{AccountId, GrantId, Random, Store, StoreError, shortened, time};

/// What a code stands for: the consent that a person just gave.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The client that asked.
    pub client_id: String,
    /// Who consented.
    pub account_id: AccountId,
    /// Where the code is sent; the exchange must name exactly the same.
    pub redirect_uri: String,
    /// The PKCE challenge: base64url of the SHA-256 of the verifier (`S256`), 43 characters.
    pub code_challenge: String,
    /// What was consented to.
    pub scope: String,
    /// What the device calls itself.
    pub device_name: String,
}

/// Why a code was not exchanged. All but `Store` are `invalid_grant` to the client (RFC 6749 section 5.2).
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// No such code, or it is so old that it was forgotten.
    #[error("this code is not known")]
    Unknown,
    /// The code's minute is over.
    #[error("this code has expired")]
    Expired,
    /// The code was used before. What its first use gave has been revoked now.
    #[error("this code was used before; what it gave has been revoked")]
    Reused,
    /// The client, the redirect address or the verifier is not the one that belongs to the code. The code is spent.
    #[error("this code was given for another client, redirect address or verifier")]
    Mismatch,
    /// The account was disabled meanwhile.
    #[error("this account is disabled")]
    AccountDisabled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for CodeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Makes a code for a consent.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] when there is no such account.
    pub async fn create_code(
        &self,
        new: NewCode,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Secret, StoreError> {
        let secret = Secret::generate(prefix::CODE, rng);
        let mut transaction = self.begin().await?;
        let made = sqlx::query(
            "INSERT INTO authorization_codes
               (code_hash, account_id, client_id, redirect_uri, code_challenge, scope, device_name, created_at, expires_at)
             SELECT $1, id, $2, $3, $4, $5, $6, $7, $8 FROM accounts WHERE id = $9 AND disabled_at IS NULL",
        )
        .bind(secret.hash().to_string())
        .bind(&new.client_id)
        .bind(&new.redirect_uri)
        .bind(&new.code_challenge)
        .bind(&new.scope)
        .bind(shortened(&new.device_name, 100))
        .bind(now.0)
        .bind(now.plus_seconds(self.options().code_seconds).0)
        .bind(new.account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        if made.rows_affected() != 1 {
            return Err(StoreError::NoAccount);
        }
        transaction.commit().await?;
        Ok(secret)
    }

    /// Exchanges a code for tokens: a new device. Works once. A second use revokes what the first gave, because one of the two
    /// was a thief; a use with a wrong client, redirect address or verifier spends the code.
    ///
    /// # Errors
    /// See [`CodeError`].
    #[expect(clippy::too_many_arguments, reason = "they are the parameters of RFC 6749 section 4.1.3")]
    pub async fn exchange_code(
        &self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: &str,
        address: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<TokenPair, CodeError> {
        let hash = hash_of(code, prefix::CODE).ok_or(CodeError::Unknown)?;
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT authorization_codes.*, disabled_at FROM authorization_codes
             JOIN accounts ON accounts.id = account_id WHERE code_hash = $1",
        )
        .bind(&hash)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(CodeError::Unknown)?;
        if row.try_get::<Option<i64>, _>("used_at")?.is_some() {
            if let Some(device) = row.try_get::<Option<String>, _>("device_id")? {
                devices::end(&mut transaction, &GrantId(device), "authorization code used twice", now)
                    .await?;
                transaction.commit().await?;
            }
            return Err(CodeError::Reused);
        }
        if time(&row, "expires_at")? <= now {
            return Err(CodeError::Expired);
        }
        if row.try_get::<Option<i64>, _>("disabled_at")?.is_some() {
            return Err(CodeError::AccountDisabled);
        }
        let same = |column: &str, given: &str| {
            let stored: String = row.try_get(column)?;
            Ok::<_, sqlx::Error>(verify_slices_are_equal(stored.as_bytes(), given.as_bytes()).is_ok())
        };
        let matches = same("client_id", client_id)?
            && same("redirect_uri", redirect_uri)?
            && is_verifier(verifier)
            && same("code_challenge", &s256(verifier))?;
        if !matches {
            spend(transaction, &hash, None, now).await?;
            return Err(CodeError::Mismatch);
        }
        let new = NewDevice {
            account_id: AccountId(row.try_get("account_id")?),
            client_id: client_id.to_owned(),
            name: row.try_get("device_name")?,
            scope: row.try_get("scope")?,
        };
        let pair = tokens::sign_in(&mut transaction, new, address, self.options(), now, rng).await?;
        spend(transaction, &hash, Some(&pair.grant_id), now).await?;
        Ok(pair)
    }
}

/// Marks the code as used, with the device it gave, and commits.
async fn spend(
    mut transaction: Transaction,
    hash: &str,
    device: Option<&GrantId>,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE authorization_codes SET used_at = $1, device_id = $2 WHERE code_hash = $3")
        .bind(now.0)
        .bind(device.map(GrantId::as_str))
        .bind(hash)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// RFC 7636 section 4.1: 43 to 128 unreserved characters.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}
