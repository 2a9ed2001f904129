//! Robots: accounts of machines. They have no password and no pages; each secret of one is a device, from which the programs
//! of the machine get access tokens for the API (client credentials, RFC 6749 section 4.4).

use flatpass_token::{Secret, UnixTime};
use sqlx::Row as _;

use crate::accounts::account;
use crate::backend::Row;
use crate::oauth::devices::{self, NewDevice};
use crate::repos::is_name;
use crate::secret::{hash_of, prefix};
use crate::{Account, AccountId, GrantId, Random, Store, StoreError, shortened, time};

/// What stands before a robot's name where a person has an e-mail address.
pub(crate) const ROBOT: &str = "robot/";
/// What stands where a password's hash would: it is none of any password.
const NO_PASSWORD: &str = "!";
/// The end of a secret that has none.
const NEVER: UnixTime = UnixTime(i64::MAX);

/// A robot's secret, without the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RobotSecret {
    /// Its identifier, which is no secret.
    pub id: GrantId,
    /// What it is called, such as the machine that has it.
    pub name: String,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it ends by itself.
    pub expires_at: Option<UnixTime>,
    /// When a token was last fetched with it; `None` for never.
    pub last_used_at: Option<UnixTime>,
    /// From where; empty for never.
    pub last_address: String,
}

/// What a robot gets for its secret.
#[derive(Clone, Debug)]
pub struct RobotAccess {
    /// The access token; shown once.
    pub access: Secret,
    /// Its life in seconds.
    pub access_expires_in: i64,
    /// What it may do.
    pub scope: String,
}

fn robot_secret(row: &Row) -> Result<RobotSecret, sqlx::Error> {
    let expires_at = time(row, "expires_at")?;
    let last_address: String = row.try_get("last_address")?;
    let last_used_at = time(row, "last_used_at")?;
    Ok(RobotSecret {
        id: GrantId(row.try_get("id")?),
        name: row.try_get("name")?,
        created_at: time(row, "created_at")?,
        expires_at: (expires_at < NEVER).then_some(expires_at),
        last_used_at: (!last_address.is_empty()).then_some(last_used_at),
        last_address,
    })
}

impl Store {
    /// Makes a robot. It can do nothing before it is given a right, and get nothing before it is given a secret.
    ///
    /// # Errors
    /// [`StoreError::RobotName`], [`StoreError::RobotExists`].
    pub async fn create_robot(
        &self,
        name: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Account, StoreError> {
        if !is_name(name) {
            return Err(StoreError::RobotName(name.to_owned()));
        }
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO accounts (id, email, name, password_hash, created_at, kind) VALUES ($1, $2, $3, $4, $5, 'robot')
             ON CONFLICT (email) DO NOTHING RETURNING *",
        )
        .bind(AccountId::random(rng).0)
        .bind(format!("{ROBOT}{name}"))
        .bind(name)
        .bind(NO_PASSWORD)
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or_else(|| StoreError::RobotExists(name.to_owned()))?;
        transaction.commit().await?;
        Ok(account(&row)?)
    }

    /// The robot of this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn robot(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE email = $1 AND kind = 'robot'")
            .bind(format!("{ROBOT}{name}"))
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    /// All robots that were not removed, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn robots(&self) -> Result<Vec<Account>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM accounts WHERE kind = 'robot' AND email LIKE $1 ORDER BY email")
                .bind(format!("{ROBOT}%"))
                .fetch_all(self.read())
                .await?;
        Ok(rows.iter().map(account).collect::<Result<_, _>>()?)
    }

    /// Removes a robot: it can do nothing any more, and its name is free. What was recorded of it stays under its identifier.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`].
    pub async fn remove_robot(&self, id: &AccountId, now: UnixTime) -> Result<(), StoreError> {
        self.disable_account(id, now).await?;
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE accounts SET email = $1 WHERE id = $2 AND kind = 'robot'")
            .bind(format!("removed/{id}"))
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Makes one more secret of a robot; those before stay in force, so that a machine can be given the next one first.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`] when it is not a robot, or disabled.
    pub async fn create_robot_secret(
        &self,
        robot: &AccountId,
        name: &str,
        scope: &str,
        expires_at: Option<UnixTime>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(Secret, RobotSecret), StoreError> {
        let secret = Secret::generate(prefix::ROBOT, rng);
        let mut transaction = self.begin().await?;
        sqlx::query("SELECT 1 FROM accounts WHERE id = $1 AND kind = 'robot' AND disabled_at IS NULL")
            .bind(robot.as_str())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(StoreError::NoAccount)?;
        let new = NewDevice {
            account_id: robot.clone(),
            client_id: robot.0.clone(),
            name: name.trim().to_owned(),
            scope: scope.to_owned(),
        };
        let until = expires_at.unwrap_or(NEVER);
        let device = devices::insert(&mut transaction, &new, "", until, now, rng).await?;
        sqlx::query("INSERT INTO robot_secrets (device_id, secret_hash) VALUES ($1, $2)")
            .bind(device.as_str())
            .bind(secret.hash().to_string())
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query("SELECT * FROM devices WHERE id = $1")
            .bind(device.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((secret, robot_secret(&row)?))
    }

    /// The secrets of a robot that are in force, the newest first. [`Store::revoke_device`] ends one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn robot_secrets(
        &self,
        robot: &AccountId,
        now: UnixTime,
    ) -> Result<Vec<RobotSecret>, StoreError> {
        let rows = sqlx::query(
            "SELECT devices.* FROM devices JOIN robot_secrets ON device_id = devices.id
             WHERE account_id = $1 AND revoked_at IS NULL AND expires_at > $2 ORDER BY created_at DESC, devices.id",
        )
        .bind(robot.as_str())
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        Ok(rows.iter().map(robot_secret).collect::<Result<_, _>>()?)
    }

    /// Gives an access token for a robot's secret; there is no refresh token with it. `None` when the secret is not one in force
    /// of the robot with the identifier `client_id`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn robot_access(
        &self,
        client_id: &str,
        secret: &str,
        address: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Option<RobotAccess>, StoreError> {
        let Some(hash) = hash_of(secret, prefix::ROBOT) else { return Ok(None) };
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "SELECT devices.* FROM robot_secrets JOIN devices ON devices.id = device_id
             JOIN accounts ON accounts.id = account_id
             WHERE secret_hash = $1 AND account_id = $2 AND expires_at > $3 AND revoked_at IS NULL AND disabled_at IS NULL",
        )
        .bind(hash)
        .bind(client_id)
        .bind(now.0)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let device: String = row.try_get("id")?;
        let access = Secret::generate(prefix::API_TOKEN, rng);
        // It does not outlive the secret.
        let ends = now.plus_seconds(self.options().access_token_seconds).min(time(&row, "expires_at")?);
        sqlx::query(
            "INSERT INTO api_tokens (token_hash, device_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        )
        .bind(access.hash().to_string())
        .bind(&device)
        .bind(now.0)
        .bind(ends.0)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("UPDATE devices SET last_used_at = $1, last_address = $2 WHERE id = $3")
            .bind(now.0)
            .bind(shortened(address, 64))
            .bind(device)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(RobotAccess {
            access,
            access_expires_in: ends.0.saturating_sub(now.0),
            scope: row.try_get("scope")?,
        }))
    }
}
