//! Registries: where the images of a repo are that is no directory of this machine, and what the store may do there.
//!
//! The password of a registry's robot account is sealed, bound to the registry's address: moved to a row with another address it does
//! not open, so it is never sent elsewhere.

use std::fmt;
use std::str::FromStr;

use flatpass_token::{Secret, SecretHash};
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::backend::{Connection, Row};
use crate::secret::prefix;
use crate::{Random, Store, StoreError, mark_changed};

/// Whose tokens a registry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryAccess {
    /// This store's: the registry sends its clients to the store's token realm.
    Realm,
    /// Its own: the store has an account there, and fetches tokens for those who are entitled.
    Broker,
    /// Nobody's: it asks for nothing.
    None,
}

impl RegistryAccess {
    /// `realm`, `broker` or `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Realm => "realm",
            Self::Broker => "broker",
            Self::None => "none",
        }
    }
}

impl fmt::Display for RegistryAccess {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Not a kind of access.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access to a registry is one of: realm, broker, none")]
pub struct RegistryAccessError;

impl FromStr for RegistryAccess {
    type Err = RegistryAccessError;

    fn from_str(text: &str) -> Result<Self, RegistryAccessError> {
        match text {
            "realm" => Ok(Self::Realm),
            "broker" => Ok(Self::Broker),
            "none" => Ok(Self::None),
            _ => Err(RegistryAccessError),
        }
    }
}

/// A registry, and the part of it that is a repo.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Registry {
    /// Its address: scheme, host and port, with a slash at the end.
    pub url: String,
    /// The repo is what is below this name; `None` is all of it.
    pub namespace: Option<String>,
    /// The full names of the repositories; `None` is what the registry's catalog lists.
    pub repositories: Option<Vec<String>>,
    /// Whose tokens it takes.
    pub access: RegistryAccess,
    /// What it calls itself: the audience of its tokens.
    pub service: String,
    /// The user name of the store's account there. Its password: [`Store::registry_robot`].
    pub robot: Option<String>,
    /// Of the secret with which it tells the store of changes.
    #[serde(skip)]
    pub webhook: Option<SecretHash>,
}

impl Registry {
    /// Its host, and its port if that is not the usual one: what container tools call it by.
    pub fn host(&self) -> &str {
        let address = self.url.trim_end_matches('/');
        address.split_once("://").map_or(address, |(_, host)| host)
    }

    /// Whether the repository of this name, as the registry calls it, is a part of the repo.
    pub fn covers(&self, repository: &str) -> bool {
        let below = |namespace: &String| {
            repository.strip_prefix(namespace.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.namespace.as_ref().is_none_or(below)
            && self.repositories.as_ref().is_none_or(|names| names.iter().any(|name| name == repository))
    }

    /// Whether both are the same repositories of the same registry, by whatever right they are read.
    pub fn is_same_part(&self, other: &Self) -> bool {
        self.url == other.url && self.namespace == other.namespace && self.repositories == other.repositories
    }

    /// Whether some repository could be a part of both.
    fn overlaps(&self, other: &Self) -> bool {
        if self.url != other.url {
            return false;
        }
        match (&self.repositories, &other.repositories) {
            (Some(names), _) => names.iter().any(|name| self.covers(name) && other.covers(name)),
            (None, Some(_)) => other.overlaps(self),
            (None, None) => match (&self.namespace, &other.namespace) {
                (Some(one), Some(two)) => {
                    let (one, two) = (format!("{one}/"), format!("{two}/"));
                    one.starts_with(&two) || two.starts_with(&one)
                }
                _ => true,
            },
        }
    }
}

/// As the address that it was added with.
impl fmt::Display for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.trim_end_matches('/');
        match url.strip_prefix("https://") {
            Some(host) => write!(out, "oci://{host}")?,
            None => write!(out, "oci+{url}")?,
        }
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(out, "/{namespace}"))
    }
}

/// The store's account at a registry.
#[derive(Clone)]
pub struct RegistryRobot {
    /// Its user name.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
    /// The token server that has had the password, as `host` or `host:port`; no other one may have it. `None` before the first time.
    pub realm: Option<String>,
}

impl fmt::Debug for RegistryRobot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RegistryRobot").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a sealed password is bound to.
fn context(repo: &str, url: &str) -> String {
    format!("registry-robot:{repo}:{url}")
}

/// Reads the columns of `registries`.
pub(crate) fn registry(row: &Row) -> Result<Registry, StoreError> {
    let corrupt = |_| StoreError::Corrupt("registries.repositories");
    let names: Option<String> = row.try_get("repositories")?;
    let hash: Option<String> = row.try_get("webhook_hash")?;
    Ok(Registry {
        url: row.try_get("url")?,
        namespace: row.try_get("namespace")?,
        repositories: names.map(|names| serde_json::from_str(&names).map_err(corrupt)).transpose()?,
        access: row
            .try_get::<String, _>("access")?
            .parse()
            .map_err(|RegistryAccessError| StoreError::Corrupt("registries.access"))?,
        service: row.try_get("service")?,
        robot: row.try_get("robot_user")?,
        webhook: hash
            .map(|hash| hash.parse().map_err(|_| StoreError::Corrupt("registries.webhook_hash")))
            .transpose()?,
    })
}

/// Writes the registry of a repo, without robot and webhook.
///
/// # Errors
/// [`StoreError::RegistryOverlap`] when a repository would be a part of two repos, whose rules may differ;
/// [`StoreError::ServiceTaken`] when another registry has the service, which would then take tokens for this one.
pub(crate) async fn put(connection: &mut Connection, repo: &str, new: &Registry) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT * FROM registries WHERE repo <> $1")
        .bind(repo)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let (other, name) = (registry(row)?, row.try_get::<String, _>("repo")?);
        if other.overlaps(new) {
            return Err(StoreError::RegistryOverlap(name));
        }
        if other.service == new.service && other.url != new.url {
            return Err(StoreError::ServiceTaken { service: other.service, repo: name });
        }
    }
    sqlx::query(
        "INSERT INTO registries (repo, url, namespace, repositories, access, service) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (repo) DO UPDATE SET namespace = excluded.namespace, repositories = excluded.repositories,
           access = excluded.access, service = excluded.service",
    )
    .bind(repo)
    .bind(&new.url)
    .bind(&new.namespace)
    .bind(new.repositories.as_ref().map(|names| serde_json::json!(names).to_string()))
    .bind(new.access.as_str())
    .bind(&new.service)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Changes which repositories of the registry are a part of the repo, whose tokens it takes and its service. The address, the
    /// robot and the webhook stay as they are.
    ///
    /// # Errors
    /// [`StoreError::NoRegistry`] for a repo without one; [`StoreError::RegistryOverlap`], [`StoreError::ServiceTaken`].
    pub async fn set_registry(&self, repo: &str, registry: &Registry) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        address(&mut transaction, repo).await?;
        put(&mut transaction, repo, registry).await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Sets, or with `None` takes away, the store's account at the repo's registry. A new password is for no token server yet.
    ///
    /// # Errors
    /// [`StoreError::NoRegistry`] for a repo without one.
    pub async fn set_registry_robot(
        &self,
        repo: &str,
        robot: Option<&RegistryRobot>,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let url = address(&mut transaction, repo).await?;
        let seal = |robot: &RegistryRobot| {
            self.inner.sealer.seal(&context(repo, &url), robot.password.as_bytes(), rng)
        };
        let sealed = robot.map(seal).transpose()?;
        sqlx::query("UPDATE registries SET robot_user = $1, sealed_robot_password = $2, robot_realm = $3 WHERE repo = $4")
            .bind(robot.map(|robot| &robot.user))
            .bind(sealed)
            .bind(robot.and_then(|robot| robot.realm.as_ref()))
            .bind(repo)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// The store's account at the repo's registry, if it has one.
    ///
    /// # Errors
    /// [`StoreError::Database`], or [`StoreError::Seal`] when the password was sealed with another key file or for another address.
    pub async fn registry_robot(&self, repo: &str) -> Result<Option<RegistryRobot>, StoreError> {
        let row = sqlx::query(
            "SELECT url, robot_user, sealed_robot_password, robot_realm FROM registries WHERE repo = $1",
        )
        .bind(repo)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let user: Option<String> = row.try_get("robot_user")?;
        let sealed: Option<String> = row.try_get("sealed_robot_password")?;
        let (Some(user), Some(sealed)) = (user, sealed) else { return Ok(None) };
        let url: String = row.try_get("url")?;
        let opened = self.inner.sealer.open(&context(repo, &url), &sealed)?;
        let text = std::str::from_utf8(&opened)
            .map_err(|_| StoreError::Corrupt("registries.sealed_robot_password"))?;
        let realm = row.try_get("robot_realm")?;
        Ok(Some(RegistryRobot { user, password: Zeroizing::new(text.to_owned()), realm }))
    }

    /// Binds the password of the store's account to that token server (`host` or `host:port`), if it is not bound yet. Gives the one
    /// that it is bound to: a registry that names another one later does not get the password there.
    ///
    /// # Errors
    /// [`StoreError::NoRegistry`] for a repo without a registry or without an account there.
    pub async fn bind_registry_robot(&self, repo: &str, realm: &str) -> Result<String, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE registries SET robot_realm = $1 WHERE repo = $2 AND robot_realm IS NULL AND robot_user IS NOT NULL")
            .bind(realm)
            .bind(repo)
            .execute(&mut *transaction)
            .await?;
        let row =
            sqlx::query("SELECT robot_realm FROM registries WHERE repo = $1 AND robot_realm IS NOT NULL")
                .bind(repo)
                .fetch_optional(&mut *transaction)
                .await?
                .ok_or_else(|| StoreError::NoRegistry(repo.to_owned()))?;
        let bound = row.try_get("robot_realm")?;
        transaction.commit().await?;
        Ok(bound)
    }

    /// Makes the secret with which the registry tells the store of changes; one before counts no more. It is shown only now.
    ///
    /// # Errors
    /// [`StoreError::NoRegistry`] for a repo without one.
    pub async fn new_registry_webhook(&self, repo: &str, rng: Random<'_>) -> Result<Secret, StoreError> {
        let secret = Secret::generate(prefix::WEBHOOK, rng);
        self.put_webhook(repo, Some(&secret)).await?;
        Ok(secret)
    }

    /// From now on nobody tells the store of changes in the repo's registry.
    ///
    /// # Errors
    /// [`StoreError::NoRegistry`] for a repo without one.
    pub async fn end_registry_webhook(&self, repo: &str) -> Result<(), StoreError> {
        self.put_webhook(repo, None).await
    }

    async fn put_webhook(&self, repo: &str, secret: Option<&Secret>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        address(&mut transaction, repo).await?;
        sqlx::query("UPDATE registries SET webhook_hash = $1 WHERE repo = $2")
            .bind(secret.map(|secret| secret.hash().to_text()))
            .bind(repo)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}

/// The address of the repo's registry.
async fn address(connection: &mut Connection, repo: &str) -> Result<String, StoreError> {
    let row = sqlx::query("SELECT url FROM registries WHERE repo = $1")
        .bind(repo)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| StoreError::NoRegistry(repo.to_owned()))?;
    Ok(row.try_get("url")?)
}
