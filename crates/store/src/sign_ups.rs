//! Signing up by a link in a mail: the account is made when the link is opened, so nobody holds an address that is not theirs.

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::accounts::{account, check_password_rule, normalise_email};
use crate::groups::domains::join_by_domain;
use crate::secret::{hash_of, prefix};
use crate::{Account, AccountId, Random, Store, StoreError};

/// How long a link in a mail works.
const LINK_SECONDS: i64 = 24 * 60 * 60;

/// What somebody typed who wants an account.
pub struct NewSignUp {
    /// The e-mail address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Zeroizing<String>,
    /// Where they were going.
    pub next: String,
    /// What tells the browser from others; empty when nothing does.
    pub browser: String,
}

impl std::fmt::Debug for NewSignUp {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NewSignUp").field("email", &self.email).finish_non_exhaustive()
    }
}

/// A sign-up that waits for its link to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignUp {
    /// The address that the link was sent to, normalised.
    pub email: String,
    /// Where they were going.
    pub next: String,
    /// What tells the browser from others; empty when nothing does.
    pub browser: String,
}

impl Store {
    /// Keeps what was typed until the link is opened, for a day, and gives the link's secret. It never looks whether there is an
    /// account with this address, so neither its answer nor its time says so.
    ///
    /// # Errors
    /// [`StoreError::Email`] and [`StoreError::Password`] about what was typed; [`StoreError::Busy`].
    pub async fn begin_sign_up(
        &self,
        new: NewSignUp,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, SignUp), StoreError> {
        let email = normalise_email(&new.email)?;
        check_password_rule(&new.password)?;
        let secret = Secret::generate(prefix::SIGN_UP, rng);
        let hash = self.inner.passwords.hash(&new.password, rng).await?;
        let sign_up = SignUp { email, next: new.next, browser: new.browser };
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO sign_ups (secret_hash, email, password_hash, next, browser, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(secret.hash().to_string())
        .bind(sign_up.email.as_str())
        .bind(hash)
        .bind(sign_up.next.as_str())
        .bind(sign_up.browser.as_str())
        .bind(now.0)
        .bind(now.plus_seconds(LINK_SECONDS).0)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((secret, sign_up))
    }

    /// The sign-up whose link has this secret, while the link works.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sign_up(&self, secret: &str, now: UnixTime) -> Result<Option<SignUp>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::SIGN_UP) else { return Ok(None) };
        let row = sqlx::query("SELECT * FROM sign_ups WHERE secret_hash = $1 AND expires_at > $2")
            .bind(hash)
            .bind(now.0)
            .fetch_optional(self.read())
            .await?;
        let read = |row: &crate::backend::Row| {
            Ok::<_, sqlx::Error>(SignUp {
                email: row.try_get("email")?,
                next: row.try_get("next")?,
                browser: row.try_get("browser")?,
            })
        };
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Makes the account, with a proved address, for who has the link and the password that was chosen with it: neither who reads
    /// the mail of somebody that signed them up nor who signed up with a stranger's address has both. It works once; other
    /// sign-ups with the address end with it. `None` when the link does not work, or there is an account by now.
    ///
    /// # Errors
    /// [`StoreError::WrongPassword`]; [`StoreError::Busy`].
    pub async fn finish_sign_up(
        &self,
        secret: &str,
        password: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Option<Account>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::SIGN_UP) else { return Ok(None) };
        let row =
            sqlx::query("SELECT password_hash FROM sign_ups WHERE secret_hash = $1 AND expires_at > $2")
                .bind(hash.as_str())
                .bind(now.0)
                .fetch_optional(self.read())
                .await?;
        let Some(row) = row else { return Ok(None) };
        let stored: String = row.try_get("password_hash")?;
        // No password that was accepted is longer.
        if check_password_rule(password).is_err()
            || !self.inner.passwords.check(password, Some(stored)).await?
        {
            return Err(StoreError::WrongPassword);
        }
        let mut transaction = self.begin().await?;
        let made = sqlx::query(
            "INSERT INTO accounts (id, email, password_hash, created_at, email_verified_at)
             SELECT $1, email, password_hash, $2, $2 FROM sign_ups WHERE secret_hash = $3 AND expires_at > $2
             ON CONFLICT (email) DO NOTHING RETURNING *",
        )
        .bind(AccountId::random(rng).as_str())
        .bind(now.0)
        .bind(hash)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = made else { return Ok(None) };
        let made = account(&row)?;
        sqlx::query("DELETE FROM sign_ups WHERE email = $1")
            .bind(made.email.as_str())
            .execute(&mut *transaction)
            .await?;
        join_by_domain(&mut transaction, &made.id, now, rng).await?;
        transaction.commit().await?;
        Ok(Some(made))
    }
}
