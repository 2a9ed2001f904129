//! Issuers: somebody else whose tokens open a repo, and what they open there.
//!
//! The secret with which an issuer is asked about tokens is sealed, bound to the address that it is sent to.

use flatpass_token::{Grant, RefKind, Secret, UnixTime};
use sqlx::Row as _;

use crate::access_grants::EXTENSIONS;
use crate::apps::extension_prefix;
use crate::backend::{Connection, Row};
use crate::id::random;
use crate::repos::{is_name, must_exist};
use crate::{Random, Store, StoreError, mark_changed, time};

/// Whom the tokens of an issuer must be for (`aud`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IssuerAudience {
    /// The URL of the repo.
    #[default]
    OfRepo,
    /// This.
    Is(String),
    /// Whoever asks: the introspection endpoint alone decides.
    Any,
}

/// As a program reads it: `null` for the URL of the repo, `*` for any.
impl serde::Serialize for IssuerAudience {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::OfRepo => serializer.serialize_none(),
            Self::Is(audience) => serializer.serialize_str(audience),
            Self::Any => serializer.serialize_str("*"),
        }
    }
}

/// Where an issuer says what a token is (RFC 7662).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IntrospectionAt {
    /// The endpoint.
    pub url: String,
    /// As whom the store asks. Its secret: [`Store::issuer_secret`].
    pub client_id: String,
}

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Issuer {
    /// What it is called here.
    pub name: String,
    /// What it calls itself: the `iss` of its tokens, below which its metadata is.
    pub url: String,
    /// Where its keys are; `None` is what its metadata says.
    pub jwks_url: Option<String>,
    /// With it each token is asked about there, and none is read here.
    pub introspection: Option<IntrospectionAt>,
    /// Whom its tokens must be for.
    pub audience: IssuerAudience,
    /// When it was added.
    pub created_at: UnixTime,
}

/// What claims of an issuer's tokens open.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct IssuerRule {
    /// Its name.
    pub id: String,
    /// Only in this repo; `None` for each that takes the issuer's tokens.
    pub repo: Option<String>,
    /// The claim and what it must be, or have in it; `None` for every token.
    pub claim: Option<ClaimIs>,
    /// What it opens.
    pub grant: Grant,
}

impl IssuerRule {
    /// What it opens: apps with their `.Locale`, `.Debug` and `.Sources`, as access tokens do.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        let mut grants = vec![self.grant.clone()];
        if !self.grant.ids.is_empty() {
            let extensions = self.grant.ids.iter().flat_map(|id| {
                let front = extension_prefix(id);
                EXTENSIONS.map(|extension| format!("{front}{extension}"))
            });
            let ids = extensions.collect();
            grants.push(Grant {
                ids,
                prefixes: Vec::new(),
                kinds: Some(vec![RefKind::Runtime]),
                ..self.grant.clone()
            });
        }
        grants
    }
}

/// A claim and its value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ClaimIs {
    /// The claim, with dots between the names of members of members.
    pub path: String,
    /// What it is, or has in it.
    pub value: String,
}

/// How any audience is written down.
const ANY: &str = "";

/// What a sealed secret is bound to.
fn context(issuer: &str, url: &str) -> String {
    format!("issuer:{issuer}:{url}")
}

fn issuer(row: &Row) -> Result<Issuer, StoreError> {
    let url: Option<String> = row.try_get("introspection_url")?;
    let client: Option<String> = row.try_get("client_id")?;
    Ok(Issuer {
        name: row.try_get("name")?,
        url: row.try_get("url")?,
        jwks_url: row.try_get("jwks_url")?,
        introspection: url.zip(client).map(|(url, client_id)| IntrospectionAt { url, client_id }),
        audience: match row.try_get::<Option<String>, _>("audience")? {
            None => IssuerAudience::OfRepo,
            Some(text) if text == ANY => IssuerAudience::Any,
            Some(text) => IssuerAudience::Is(text),
        },
        created_at: time(row, "created_at")?,
    })
}

fn rule(row: &Row) -> Result<IssuerRule, StoreError> {
    let (path, value): (Option<String>, Option<String>) = (row.try_get("claim")?, row.try_get("value")?);
    let grant: String = row.try_get("grant_json")?;
    Ok(IssuerRule {
        id: row.try_get("id")?,
        repo: row.try_get("repo")?,
        claim: path.zip(value).map(|(path, value)| ClaimIs { path, value }),
        grant: serde_json::from_str(&grant).map_err(|_| StoreError::Corrupt("issuer_rules.grant_json"))?,
    })
}

async fn find(connection: &mut Connection, name: &str) -> Result<Issuer, StoreError> {
    let row = sqlx::query("SELECT * FROM issuers WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| StoreError::NoIssuer(name.to_owned()))?;
    issuer(&row)
}

impl Store {
    /// Adds an issuer; with the secret, if it has an introspection endpoint. Nobody is asked.
    ///
    /// # Errors
    /// [`StoreError::Name`], [`StoreError::IssuerExists`]; [`StoreError::Corrupt`] for a secret without an endpoint or the other way round.
    pub async fn add_issuer(
        &self,
        new: &Issuer,
        secret: Option<&Secret>,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        if !is_name(&new.name) {
            return Err(StoreError::Name(new.name.clone()));
        }
        let sealed = match (&new.introspection, secret) {
            (None, None) => None,
            (Some(at), Some(secret)) => {
                let context = context(&new.name, &at.url);
                Some(self.inner.sealer.seal(&context, secret.expose().as_bytes(), rng)?)
            }
            _ => return Err(StoreError::Corrupt("issuers.sealed_client_secret")),
        };
        let mut transaction = self.begin().await?;
        let added = sqlx::query(
            "INSERT INTO issuers (name, url, jwks_url, introspection_url, client_id, sealed_client_secret, audience, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&new.name)
        .bind(&new.url)
        .bind(&new.jwks_url)
        .bind(new.introspection.as_ref().map(|at| &at.url))
        .bind(new.introspection.as_ref().map(|at| &at.client_id))
        .bind(sealed)
        .bind(match &new.audience {
            IssuerAudience::OfRepo => None,
            IssuerAudience::Is(audience) => Some(audience.as_str()),
            IssuerAudience::Any => Some(ANY),
        })
        .bind(new.created_at.0)
        .execute(&mut *transaction)
        .await?;
        if added.rows_affected() == 0 {
            return Err(StoreError::IssuerExists(new.name.clone()));
        }
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Puts another secret in the place of the one with which the issuer is asked.
    ///
    /// # Errors
    /// [`StoreError::NoIssuer`], also for one that is not asked.
    pub async fn set_issuer_secret(
        &self,
        name: &str,
        client_id: Option<&str>,
        secret: &Secret,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let found = find(&mut transaction, name).await?;
        let at = found.introspection.ok_or_else(|| StoreError::NoIssuer(name.to_owned()))?;
        let sealed = self.inner.sealer.seal(&context(name, &at.url), secret.expose().as_bytes(), rng)?;
        sqlx::query("UPDATE issuers SET client_id = $1, sealed_client_secret = $2 WHERE name = $3")
            .bind(client_id.unwrap_or(&at.client_id))
            .bind(sealed)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// All issuers, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn issuers(&self) -> Result<Vec<Issuer>, StoreError> {
        let rows = sqlx::query("SELECT * FROM issuers ORDER BY name").fetch_all(self.read()).await?;
        rows.iter().map(issuer).collect()
    }

    /// The issuer of this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn issuer(&self, name: &str) -> Result<Option<Issuer>, StoreError> {
        let row = sqlx::query("SELECT * FROM issuers WHERE name = $1")
            .bind(name)
            .fetch_optional(self.read())
            .await?;
        row.as_ref().map(issuer).transpose()
    }

    /// The secret with which the issuer is asked about tokens, if it is.
    ///
    /// # Errors
    /// [`StoreError::Seal`] when it was sealed with another key file or for another address.
    pub async fn issuer_secret(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let row = sqlx::query("SELECT introspection_url, sealed_client_secret FROM issuers WHERE name = $1")
            .bind(name)
            .fetch_optional(self.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let url: Option<String> = row.try_get("introspection_url")?;
        let sealed: Option<String> = row.try_get("sealed_client_secret")?;
        let (Some(url), Some(sealed)) = (url, sealed) else { return Ok(None) };
        let opened = self.inner.sealer.open(&context(name, &url), &sealed)?;
        let text =
            std::str::from_utf8(&opened).map_err(|_| StoreError::Corrupt("issuers.sealed_client_secret"))?;
        Ok(Some(Secret::from(text.to_owned())))
    }

    /// Removes an issuer with its rules.
    ///
    /// # Errors
    /// [`StoreError::NoIssuer`]; [`StoreError::IssuerUsed`] while a repo takes its tokens.
    pub async fn remove_issuer(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        find(&mut transaction, name).await?;
        let used = sqlx::query("SELECT name FROM repos WHERE token_issuer = $1 ORDER BY name LIMIT 1")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = used {
            return Err(StoreError::IssuerUsed(row.try_get("name")?));
        }
        sqlx::query("DELETE FROM issuers WHERE name = $1").bind(name).execute(&mut *transaction).await?;
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Adds a rule. `None` as the claim is every token of the issuer.
    ///
    /// # Errors
    /// [`StoreError::NoIssuer`], [`StoreError::NoRepo`].
    pub async fn add_issuer_rule(
        &self,
        name: &str,
        repo: Option<&str>,
        claim: Option<&ClaimIs>,
        grant: &Grant,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<IssuerRule, StoreError> {
        let mut transaction = self.begin().await?;
        find(&mut transaction, name).await?;
        if let Some(repo) = repo {
            must_exist(&mut transaction, repo).await?;
        }
        let row = sqlx::query(
            "INSERT INTO issuer_rules (id, issuer, repo, claim, value, grant_json, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
        )
        .bind(random("rul_", rng))
        .bind(name)
        .bind(repo)
        .bind(claim.map(|claim| &claim.path))
        .bind(claim.map(|claim| &claim.value))
        .bind(serde_json::json!(grant).to_string())
        .bind(now.0)
        .fetch_one(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        rule(&row)
    }

    /// The rules of an issuer, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn issuer_rules(&self, name: &str) -> Result<Vec<IssuerRule>, StoreError> {
        let rows = sqlx::query("SELECT * FROM issuer_rules WHERE issuer = $1 ORDER BY created_at, id")
            .bind(name)
            .fetch_all(self.read())
            .await?;
        rows.iter().map(rule).collect()
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`StoreError::NoIssuerRule`].
    pub async fn remove_issuer_rule(&self, name: &str, id: &str) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let removed = sqlx::query("DELETE FROM issuer_rules WHERE issuer = $1 AND id = $2")
            .bind(name)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NoIssuerRule(id.to_owned()));
        }
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }
}
