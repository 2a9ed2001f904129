//! Accounts: who may sign in.

use flatpass_token::UnixTime;
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::backend::Row;
use crate::robots::ROBOT;
use crate::{AccountId, Random, SessionId, Store, StoreError, mark_changed, optional_time, time};

/// An account as the rest of the program sees it: without its password hash.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Account {
    /// Its identifier, which never changes.
    pub id: AccountId,
    /// Its e-mail address, normalised.
    pub email: String,
    /// What the person wants to be called.
    pub name: Option<String>,
    /// When it was made.
    pub created_at: UnixTime,
    /// Since when it may do nothing.
    pub disabled_at: Option<UnixTime>,
    /// When it was shown that the address is its own. Only such addresses count for membership by domain.
    pub email_verified_at: Option<UnixTime>,
}

/// An account to be made.
pub struct NewAccount {
    /// The e-mail address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Zeroizing<String>,
    /// A name to be called by; empty is none.
    pub name: Option<String>,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NewAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

/// The text is not an e-mail address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an e-mail address")]
pub struct EmailError;

/// The password breaks the rule of NIST SP 800-63B: a length, and nothing about its letters.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer than 8 characters.
    #[error("the password needs at least 8 characters")]
    TooShort,
    /// More than 1024 characters.
    #[error("the password may have at most 1024 characters")]
    TooLong,
}

/// The longest password that is looked at, in bytes: 1024 characters of up to four.
const PASSWORD_BYTES: usize = 4 * 1024;

/// Trims and lower-cases an address and checks its shape: the rule of HTML's `type=email`, with the lengths of RFC 5321.
pub(crate) fn normalise_email(text: &str) -> Result<String, EmailError> {
    let email = text.trim().to_ascii_lowercase();
    let (local, domain) = email.split_once('@').ok_or(EmailError)?;
    let local_letter =
        |letter: char| letter.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(letter);
    let fits = (1..=64).contains(&local.len()) && email.len() <= 254;
    if fits && local.chars().all(local_letter) && is_domain(domain) { Ok(email) } else { Err(EmailError) }
}

/// Whether `text` is a domain as it stands in an address: labels of letters, digits and `-`.
pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(label)
}

pub(crate) fn check_password_rule(password: &str) -> Result<(), PasswordError> {
    match password.chars().count() {
        0..8 => Err(PasswordError::TooShort),
        8..=1024 => Ok(()),
        _ => Err(PasswordError::TooLong),
    }
}

pub(crate) fn account(row: &Row) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: AccountId(row.try_get("id")?),
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        created_at: time(row, "created_at")?,
        disabled_at: optional_time(row, "disabled_at")?,
        email_verified_at: optional_time(row, "email_verified_at")?,
    })
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`StoreError::Email`], [`StoreError::Password`], [`StoreError::EmailTaken`] about what was typed; [`StoreError::Busy`].
    pub async fn create_account(
        &self,
        new: NewAccount,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Account, StoreError> {
        let email = normalise_email(&new.email)?;
        check_password_rule(&new.password)?;
        let id = AccountId::random(rng);
        let hash = self.inner.passwords.hash(&new.password, rng).await?;
        let name = new.name.map(|name| crate::shortened(name.trim(), 100)).filter(|name| !name.is_empty());
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO accounts (id, email, name, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (email) DO NOTHING RETURNING *",
        )
        .bind(id.as_str())
        .bind(email)
        .bind(name)
        .bind(hash)
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(StoreError::EmailTaken)?;
        transaction.commit().await?;
        Ok(account(&row)?)
    }

    /// The account with this identifier.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    /// The account with this e-mail address, written in any way that normalises to the same. A text that is no address has none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let Ok(email) = normalise_email(email) else { return Ok(None) };
        self.account_called(&email).await
    }

    /// The account that a command means: a person by the e-mail address, a robot as `robot/NAME`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn account_of_holder(&self, text: &str) -> Result<Option<Account>, StoreError> {
        // A person's address may begin like this too, but no robot's name has an @.
        match text.strip_prefix(ROBOT) {
            Some(name) if !name.contains('@') => self.account_called(text).await,
            _ => self.account_by_email(text).await,
        }
    }

    async fn account_called(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE email = $1")
            .bind(email)
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    /// All accounts, by e-mail address.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn list_accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query("SELECT * FROM accounts ORDER BY email").fetch_all(self.read()).await?;
        Ok(rows.iter().map(account).collect::<Result<_, _>>()?)
    }

    /// The account, if `password` is right and it is not disabled. Takes the same time, and gives the same answer, for an
    /// account that does not exist, a wrong password and a disabled account.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many are being checked; [`StoreError::Database`].
    pub async fn check_password(&self, email: &str, password: &str) -> Result<Option<Account>, StoreError> {
        if password.len() > PASSWORD_BYTES {
            return Ok(None);
        }
        // No account has the empty address, so a text that is no address costs the same query and the same hash.
        let email = normalise_email(email).unwrap_or_default();
        let row = sqlx::query("SELECT * FROM accounts WHERE email = $1")
            .bind(email)
            .fetch_optional(self.read())
            .await?;
        let stored = row.as_ref().map(|row| row.try_get("password_hash")).transpose()?;
        let right = self.inner.passwords.check(password, stored).await?;
        let found = row.as_ref().map(account).transpose()?;
        Ok(found.filter(|account| right && account.disabled_at.is_none()))
    }

    /// Sets a new password and ends all the account's sessions except `keep`. Devices stay signed in: they hold no password.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`], [`StoreError::WrongPassword`] for `old`, [`StoreError::Password`] for `new`,
    /// [`StoreError::Busy`].
    pub async fn change_password(
        &self,
        id: &AccountId,
        old: &str,
        new: &str,
        keep: Option<&SessionId>,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        check_password_rule(new)?;
        if old.len() > PASSWORD_BYTES {
            return Err(StoreError::WrongPassword);
        }
        let row = sqlx::query("SELECT password_hash FROM accounts WHERE id = $1 AND disabled_at IS NULL")
            .bind(id.as_str())
            .fetch_optional(self.read())
            .await?
            .ok_or(StoreError::NoAccount)?;
        let stored: String = row.try_get("password_hash")?;
        if !self.inner.passwords.check(old, Some(stored.clone())).await? {
            return Err(StoreError::WrongPassword);
        }
        let hash = self.inner.passwords.hash(new, rng).await?;
        let mut transaction = self.begin().await?;
        // Of two changes at the same time from the same old password, one wins and the other is told.
        let changed =
            sqlx::query("UPDATE accounts SET password_hash = $1 WHERE id = $2 AND password_hash = $3")
                .bind(hash)
                .bind(id.as_str())
                .bind(stored)
                .execute(&mut *transaction)
                .await?;
        if changed.rows_affected() != 1 {
            return Err(StoreError::WrongPassword);
        }
        crate::sessions::end_all(&mut transaction, id, keep).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Disables an account: its sessions and devices end, its access tokens and ref tokens are refused, it can do nothing. What
    /// it owns stays recorded. Disabling twice changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`].
    pub async fn disable_account(&self, id: &AccountId, now: UnixTime) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let changed = sqlx::query(
            "UPDATE accounts SET disabled_at = COALESCE(disabled_at, $1), tokens_refused_until = $2 WHERE id = $3",
        )
        .bind(now.0)
        .bind(now.0)
        .bind(id.as_str())
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() != 1 {
            return Err(StoreError::NoAccount);
        }
        crate::sessions::end_all(&mut transaction, id, None).await?;
        crate::oauth::devices::end_all(&mut transaction, id, "account disabled", now).await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The accounts whose signed tokens are refused, and until which time of issue (inclusive): for
    /// `Revocations::with_subject`. Entries older
    /// than `longest_token_seconds` are left out, because all such tokens have expired.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn refused_tokens(
        &self,
        now: UnixTime,
        longest_token_seconds: i64,
    ) -> Result<Vec<(AccountId, UnixTime)>, StoreError> {
        let rows =
            sqlx::query("SELECT id, tokens_refused_until FROM accounts WHERE tokens_refused_until >= $1")
                .bind(now.0.saturating_sub(longest_token_seconds))
                .fetch_all(self.read())
                .await?;
        let refused = |row: &Row| Ok((AccountId(row.try_get("id")?), time(row, "tokens_refused_until")?));
        Ok(rows.iter().map(refused).collect::<Result<_, sqlx::Error>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_trimmed_lower_cased_and_checked_for_shape() {
        assert_eq!(normalise_email("  Ada.L+shop@Example.ORG "), Ok("ada.l+shop@example.org".to_owned()));
        assert_eq!(normalise_email("root@localhost"), Ok("root@localhost".to_owned()));
        let long = format!("{}@example.org", "a".repeat(65));
        for bad in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "ada@exa mple.org",
            "ada@@example.org",
            "ada@-x.org",
            "ada@x..org",
            "ada@example.org\r\nBcc: eve@example.org",
            "a\u{0}b@example.org",
            "ädä@example.org",
            &long,
        ] {
            assert_eq!(normalise_email(bad), Err(EmailError), "{bad:?}");
        }
    }
}
