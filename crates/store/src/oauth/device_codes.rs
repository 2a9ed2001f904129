//! The device grant (RFC 8628): a device without a browser shows a short code, which a person types where they are signed in.
//!
//! The device holds a code of its own, with 190 random bits, and asks with it until the person decided. The short one has 34
//! bits, lives ten minutes, and is worth nothing but to let that device in: whoever asks for it is counted (the server does).

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use super::devices::{self, NewDevice};
use super::tokens::{self, TokenPair};
use crate::secret::{hash_of, prefix};
use crate::{AccountId, GrantId, Random, Store, StoreError, shortened, time};

/// Consonants: easy to tell apart, and no words come of them (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;
/// How much longer a device that asks too often must wait each time (RFC 8628, 3.5).
const SLOWER: i64 = 5;
/// It never has to wait longer than this.
const SLOWEST: i64 = 60;
/// Whole seconds are compared, and networks are not even.
const EARLY: i64 = 1;

/// A device that asks to be let in.
#[derive(Clone, Debug)]
pub struct NewDeviceCodes {
    /// The client that asks.
    pub client_id: String,
    /// What it asks for.
    pub scope: String,
    /// What the device calls itself.
    pub device_name: String,
    /// What it wants, as it wrote it (`authorization_details`); empty for nothing in particular.
    pub details: String,
    /// From where it asks.
    pub address: String,
}

/// The two codes; shown once.
#[derive(Clone, Debug)]
pub struct DeviceCodes {
    /// For the device.
    pub device_code: Secret,
    /// For the person, as `XXXX-XXXX`.
    pub user_code: Secret,
    /// Their life in seconds.
    pub expires_in: i64,
    /// How many seconds the device must wait between two questions.
    pub interval: i64,
}

/// What a person sees of a device that asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// What the device calls itself; empty when it says nothing.
    pub device_name: String,
    /// What it wants, as it wrote it; empty for nothing in particular.
    pub details: String,
    /// From where it asks.
    pub address: String,
    /// Since when.
    pub created_at: UnixTime,
}

/// Why a device got no tokens (RFC 8628, 3.5).
#[derive(Debug, thiserror::Error)]
pub enum DeviceGrantError {
    /// Nobody decided yet.
    #[error("nobody has answered yet; ask again later")]
    Pending,
    /// Nobody decided yet, and the device asks too often: from now on it must wait five seconds longer.
    #[error("nobody has answered yet, and this is asked too often; wait five seconds longer from now on")]
    SlowDown,
    /// The person said no.
    #[error("the person said no")]
    Denied,
    /// The codes' time is over.
    #[error("this code has expired; begin again")]
    Expired,
    /// No such code, or it is so old that it was forgotten, or it is another client's.
    #[error("this device code is not known")]
    Unknown,
    /// The code was used before. What its first use gave has been revoked now.
    #[error("this device code was used before; what it gave has been revoked")]
    Reused,
    /// The account was disabled meanwhile.
    #[error("this account is disabled")]
    AccountDisabled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for DeviceGrantError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Eight random letters.
fn new_letters(rng: Random<'_>) -> Secret {
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let mut bytes = [0u8; 16];
        rng.fill_bytes(&mut bytes);
        // What is above the 20 letters is thrown away, so that each is equally likely.
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 31)));
        let missing = LENGTH - text.len();
        text.extend(letters.take(missing).map(|letter| char::from(*letter)));
    }
    Secret::from(text)
}

/// The letters of a code as a person typed it: case, dashes and spaces do not matter. `None` for what is no code.
fn letters_of(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let letters: String =
        typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
    let is_code = letters.len() == LENGTH && letters.bytes().all(|letter| LETTERS.contains(&letter));
    is_code.then_some(letters)
}

impl Store {
    /// Makes the two codes for a device that asks to be let in.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_device_codes(
        &self,
        new: NewDeviceCodes,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<DeviceCodes, StoreError> {
        let device_code = Secret::generate(prefix::DEVICE_CODE, rng);
        let options = self.options();
        let mut transaction = self.begin().await?;
        loop {
            let letters = new_letters(rng);
            let made = sqlx::query(
                "INSERT INTO device_codes
                   (device_hash, user_hash, client_id, scope, device_name, details, address, created_at, expires_at, poll_seconds)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (user_hash) DO NOTHING",
            )
            .bind(device_code.hash().to_string())
            .bind(self.inner.sealer.keyed_hash(letters.expose()))
            .bind(&new.client_id)
            .bind(&new.scope)
            .bind(shortened(&new.device_name, 100))
            .bind(&new.details)
            .bind(shortened(&new.address, 64))
            .bind(now.0)
            .bind(now.plus_seconds(options.device_code_seconds).0)
            .bind(options.device_poll_seconds)
            .execute(&mut *transaction)
            .await?;
            if made.rows_affected() == 1 {
                transaction.commit().await?;
                let (front, back) = letters.expose().split_at(LENGTH / 2);
                return Ok(DeviceCodes {
                    device_code,
                    user_code: Secret::from(format!("{front}-{back}")),
                    expires_in: options.device_code_seconds,
                    interval: options.device_poll_seconds,
                });
            }
        }
    }

    /// The device that waits for an answer to this code, as a person typed it. `None` for every other text: there is no such
    /// code, or its time is over, or it was answered.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn device_request(
        &self,
        user_code: &str,
        now: UnixTime,
    ) -> Result<Option<DeviceRequest>, StoreError> {
        let Some(letters) = letters_of(user_code) else { return Ok(None) };
        let row = sqlx::query(
            "SELECT * FROM device_codes WHERE user_hash = $1 AND expires_at > $2 AND decision IS NULL",
        )
        .bind(self.inner.sealer.keyed_hash(&letters))
        .bind(now.0)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(DeviceRequest {
            device_name: row.try_get("device_name")?,
            details: row.try_get("details")?,
            address: row.try_get("address")?,
            created_at: time(&row, "created_at")?,
        }))
    }

    /// Answers the device that waits with this code: lets it into the account, or (`allow` false) sends it away. Of several
    /// answers the first counts. `false` when no device waits with this code.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn decide_device_request(
        &self,
        user_code: &str,
        account_id: &AccountId,
        allow: bool,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let Some(letters) = letters_of(user_code) else { return Ok(false) };
        let mut transaction = self.begin().await?;
        let decided = sqlx::query(
            "UPDATE device_codes SET decision = $1, account_id = $2
             WHERE user_hash = $3 AND expires_at > $4 AND decision IS NULL
               AND EXISTS (SELECT 1 FROM accounts WHERE id = $5 AND disabled_at IS NULL)",
        )
        .bind(if allow { "allowed" } else { "denied" })
        .bind(account_id.as_str())
        .bind(self.inner.sealer.keyed_hash(&letters))
        .bind(now.0)
        .bind(account_id.as_str())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(decided.rows_affected() == 1)
    }

    /// Exchanges a device's code for tokens once the person let it in. Works once: a second use revokes what the first gave,
    /// because one of the two was a thief.
    ///
    /// # Errors
    /// See [`DeviceGrantError`].
    pub async fn exchange_device_code(
        &self,
        device_code: &str,
        client_id: &str,
        address: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<TokenPair, DeviceGrantError> {
        let hash = hash_of(device_code, prefix::DEVICE_CODE).ok_or(DeviceGrantError::Unknown)?;
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT device_codes.*, disabled_at FROM device_codes LEFT JOIN accounts ON accounts.id = account_id
             WHERE device_hash = $1 AND client_id = $2",
        )
        .bind(&hash)
        .bind(client_id)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(DeviceGrantError::Unknown)?;
        if row.try_get::<Option<i64>, _>("used_at")?.is_some() {
            if let Some(device) = row.try_get::<Option<String>, _>("device_id")? {
                devices::end(&mut transaction, &GrantId(device), "device code used twice", now).await?;
                transaction.commit().await?;
            }
            return Err(DeviceGrantError::Reused);
        }
        let decision: Option<String> = row.try_get("decision")?;
        if decision.as_deref() == Some("denied") {
            return Err(DeviceGrantError::Denied);
        }
        if time(&row, "expires_at")? <= now {
            return Err(DeviceGrantError::Expired);
        }
        let account_id = row.try_get::<Option<String>, _>("account_id")?.map(AccountId);
        let (Some("allowed"), Some(account_id)) = (decision.as_deref(), account_id) else {
            let waits: i64 = row.try_get("poll_seconds")?;
            let before: Option<i64> = row.try_get("polled_at")?;
            let too_early = before.is_some_and(|before| now.0 < before.saturating_add(waits - EARLY));
            let waits = if too_early { (waits + SLOWER).min(SLOWEST) } else { waits };
            sqlx::query("UPDATE device_codes SET polled_at = $1, poll_seconds = $2 WHERE device_hash = $3")
                .bind(now.0)
                .bind(waits)
                .bind(&hash)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            return Err(if too_early { DeviceGrantError::SlowDown } else { DeviceGrantError::Pending });
        };
        if row.try_get::<Option<i64>, _>("disabled_at")?.is_some() {
            return Err(DeviceGrantError::AccountDisabled);
        }
        let new = NewDevice {
            account_id,
            client_id: client_id.to_owned(),
            name: row.try_get("device_name")?,
            scope: row.try_get("scope")?,
        };
        let pair = tokens::sign_in(&mut transaction, new, address, self.options(), now, rng).await?;
        sqlx::query("UPDATE device_codes SET used_at = $1, device_id = $2 WHERE device_hash = $3")
            .bind(now.0)
            .bind(pair.grant_id.as_str())
            .bind(&hash)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it_and_nothing_else_is_one() {
        for typed in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f-g-h-j-k", "BCDF\u{a0}ghjk"] {
            assert_eq!(letters_of(typed).as_deref(), Some("BCDFGHJK"), "{typed:?}");
        }
        let long = format!("{}BCDFGHJK", "-".repeat(100));
        for bad in ["", "BCDF-GHJ", "BCDF-GHJKL", "ACDF-GHJK", "BCDF_GHJK", "BCDF-GHJ0", "ßCDFGHJK", &long] {
            assert_eq!(letters_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_letter_of_a_new_code_is_equally_likely() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..2500 {
            let letters = new_letters(&mut rng);
            assert_eq!(letters_of(letters.expose()).as_deref(), Some(letters.expose()));
            letters.expose().chars().for_each(|letter| *counts.entry(letter).or_insert(0) += 1);
        }
        // 1000 of each are expected, with a deviation of 31.
        assert!(counts.len() == 20 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
