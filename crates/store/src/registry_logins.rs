//! Who logs in at a registry that takes this store's tokens: accounts, by the secret of an access token or of a robot. An account's own
//! password is none of these: it opens everything that the account has, and container tools write down what they log in with.
//!
//! **Refresh tokens.** Docker and Podman keep one in the place of the secret and use it again and again, so it does not rotate. It is the
//! sealed name of the secret that it was made with, and good as long as that is: until it is revoked, rotated or over, or its account is
//! disabled.

use flatpass_token::{Secret, SecretHash, UnixTime};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use crate::access_tokens::{OLD, may_push};
use crate::backend::Row;
use crate::secret::{hash_of, prefix};
use crate::{AccountId, GrantId, Random, Store, StoreError, optional_time, shortened};

/// The longest refresh token that could be ours.
const LONGEST: usize = 1024;
/// A robot's last use is written down this often, in seconds.
const NOTE_SECONDS: i64 = 60;

/// Somebody who logged in.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// Who.
    pub account_id: AccountId,
    /// The only repo that the secret is for; `None` for a robot's, which are for all.
    pub repo: Option<String>,
    /// The device that is signed out when the secret ends, if there is one.
    pub device: Option<GrantId>,
    /// When the secret ends.
    pub expires_at: Option<UnixTime>,
    /// The access token's id, as [`Store::access_grants`] gives it; `None` for a robot's secret.
    pub access_token: Option<String>,
    /// Whether it may use the account's roles: a robot's secret, and an access token that was made for it. Those in remotes' addresses
    /// are read by more people than may push.
    pub may_push: bool,
    named: Named,
}

/// What a refresh token has in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    kind: Kind,
    /// The hash of the secret. The secret cannot be made of it.
    hash: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "a")]
    AccessToken,
    #[serde(rename = "r")]
    Robot,
}

/// What a sealed refresh token is bound to.
fn context(service: &str) -> String {
    format!("registry-refresh:{service}")
}

impl Store {
    /// Who has this secret; `None` alike for one that is not known, has ended, or is the password of an account.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn registry_login(
        &self,
        secret: &str,
        address: &str,
        now: UnixTime,
    ) -> Result<Option<RegistryLogin>, StoreError> {
        let named = match (hash_of(secret, prefix::ACCESS_TOKEN), hash_of(secret, prefix::ROBOT)) {
            (Some(hash), _) => Named { kind: Kind::AccessToken, hash },
            (None, Some(hash)) => Named { kind: Kind::Robot, hash },
            (None, None) => return Ok(None),
        };
        self.named_login(named, address, now).await
    }

    /// A refresh token for this service, good as long as the secret of the login is.
    ///
    /// # Errors
    /// [`StoreError::Seal`].
    pub fn registry_refresh_token(
        &self,
        login: &RegistryLogin,
        service: &str,
        rng: Random<'_>,
    ) -> Result<Secret, StoreError> {
        let named = serde_json::to_vec(&login.named).map_err(|_| StoreError::Corrupt("a refresh token"))?;
        let sealed = self.inner.sealer.seal(&context(service), &named, rng)?;
        Ok(Secret::from(format!("{}{sealed}", prefix::REGISTRY_REFRESH)))
    }

    /// Who has this refresh token; `None` alike for one that is not known, is for another service, or whose secret has ended.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn registry_refresh(
        &self,
        token: &str,
        service: &str,
        address: &str,
        now: UnixTime,
    ) -> Result<Option<RegistryLogin>, StoreError> {
        let Some(sealed) = token.strip_prefix(prefix::REGISTRY_REFRESH).filter(|text| text.len() <= LONGEST)
        else {
            return Ok(None);
        };
        let Ok(opened) = self.inner.sealer.open(&context(service), sealed) else { return Ok(None) };
        let Ok(named) = serde_json::from_slice::<Named>(&opened) else { return Ok(None) };
        if named.hash.parse::<SecretHash>().is_err() {
            return Ok(None);
        }
        self.named_login(named, address, now).await
    }

    async fn named_login(
        &self,
        named: Named,
        address: &str,
        now: UnixTime,
    ) -> Result<Option<RegistryLogin>, StoreError> {
        match named.kind {
            Kind::AccessToken => {
                let row = sqlx::query(
                    "SELECT access_tokens.* FROM access_tokens
                     JOIN accounts ON accounts.id = account_id JOIN repos ON repos.name = repo
                     WHERE (secret_hash = $1 OR (replaced_hash = $1 AND replaced_until > $2))
                       AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) AND disabled_at IS NULL",
                )
                .bind(&named.hash)
                .bind(now.0)
                .fetch_optional(self.read())
                .await?;
                row.map(|row| access_token_login(&row, named)).transpose()
            }
            Kind::Robot => {
                let row = sqlx::query(
                    "SELECT devices.* FROM robot_secrets JOIN devices ON devices.id = device_id
                     JOIN accounts ON accounts.id = account_id
                     WHERE secret_hash = $1 AND expires_at > $2 AND revoked_at IS NULL AND disabled_at IS NULL",
                )
                .bind(&named.hash)
                .bind(now.0)
                .fetch_optional(self.read())
                .await?;
                let Some(row) = row else { return Ok(None) };
                let login = RegistryLogin {
                    account_id: AccountId(row.try_get("account_id")?),
                    repo: None,
                    device: Some(GrantId(row.try_get("id")?)),
                    expires_at: optional_time(&row, "expires_at")?,
                    access_token: None,
                    may_push: true,
                    named,
                };
                let address = shortened(address, 64);
                let last: (i64, String) = (row.try_get("last_used_at")?, row.try_get("last_address")?);
                if last.0 < now.0.saturating_sub(NOTE_SECONDS) || last.1 != address {
                    self.note_robot(&login, &address, now).await?;
                }
                Ok(Some(login))
            }
        }
    }

    async fn note_robot(
        &self,
        login: &RegistryLogin,
        address: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE devices SET last_used_at = $1, last_address = $2 WHERE id = $3")
            .bind(now.0)
            .bind(address)
            .bind(login.device.as_ref().map(GrantId::as_str))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

fn access_token_login(row: &Row, named: Named) -> Result<RegistryLogin, StoreError> {
    let id: String = row.try_get("id")?;
    let present = row.try_get::<String, _>("secret_hash")? == named.hash;
    let until = optional_time(row, "replaced_until")?.filter(|_| !present);
    let ends = [optional_time(row, "expires_at")?, until].into_iter().flatten().min();
    Ok(RegistryLogin {
        account_id: AccountId(row.try_get("account_id")?),
        repo: Some(row.try_get("repo")?),
        device: row.try_get::<Option<String>, _>("made_by")?.map(GrantId),
        expires_at: ends,
        access_token: Some(if present { id } else { format!("{id}{OLD}") }),
        may_push: may_push(row)?,
        named,
    })
}
