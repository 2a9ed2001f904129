//! Entitlements: what an account may do, with what, from when until when, and because of what.

use flatpass_token::{UnixTime, Verb};
use sqlx::Row as _;

use crate::apps::AppPattern;
use crate::backend::{Connection, Executor, Row};
use crate::{AccountId, EntitlementId, Random, Store, StoreError, mark_changed, optional_time, time};

/// The kind of reason for an entitlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// An order was paid.
    Order,
    /// A code was redeemed.
    Code,
    /// The operator gave it.
    Grant,
}

impl SourceKind {
    /// `order`, `code` or `grant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Code => "code",
            Self::Grant => "grant",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "order" => Ok(Self::Order),
            "code" => Ok(Self::Code),
            "grant" => Ok(Self::Grant),
            _ => Err(StoreError::Corrupt("entitlements.source_kind")),
        }
    }
}

/// Why an account has an entitlement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The kind of reason.
    pub kind: SourceKind,
    /// The order's or code's id, or a note of the operator. One order or code gives at most one entitlement.
    pub id: String,
}

/// An entitlement to be given.
#[derive(Clone, Debug)]
pub struct NewEntitlement {
    /// Who gets it.
    pub account_id: AccountId,
    /// In which repo.
    pub repo: String,
    /// For which app or apps.
    pub app: AppPattern,
    /// What it allows; none allows nothing.
    pub verbs: Vec<Verb>,
    /// From when on.
    pub starts_at: UnixTime,
    /// Until when; `None` is for ever.
    pub ends_at: Option<UnixTime>,
    /// Why.
    pub source: Source,
}

/// An entitlement in force or to come.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entitlement {
    /// Its identifier.
    pub id: EntitlementId,
    /// Who has it.
    pub account_id: AccountId,
    /// In which repo.
    pub repo: String,
    /// For which app or apps.
    pub app: AppPattern,
    /// What it allows.
    pub verbs: Vec<Verb>,
    /// From when on.
    pub starts_at: UnixTime,
    /// Until when; `None` is for ever.
    pub ends_at: Option<UnixTime>,
    /// Why.
    pub source: Source,
}

impl Entitlement {
    /// Whether it allows `verb` on the app `app_id`.
    pub fn allows(&self, app_id: &str, verb: Verb) -> bool {
        self.verbs.contains(&verb) && self.app.covers(app_id)
    }
}

fn verbs_to_text(verbs: &[Verb]) -> String {
    verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(" ")
}

/// Unknown words are left out: they allow nothing.
fn verbs_from_text(text: &str) -> Vec<Verb> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn entitlement(row: &Row) -> Result<Entitlement, StoreError> {
    Ok(Entitlement {
        id: EntitlementId(row.try_get("id")?),
        account_id: AccountId(row.try_get("account_id")?),
        repo: row.try_get("repo")?,
        app: row.try_get::<String, _>("app")?.parse().map_err(|_| StoreError::Corrupt("entitlements.app"))?,
        verbs: verbs_from_text(&row.try_get::<String, _>("verbs")?),
        starts_at: time(row, "starts_at")?,
        ends_at: optional_time(row, "ends_at")?,
        source: Source {
            kind: SourceKind::parse(&row.try_get::<String, _>("source_kind")?)?,
            id: row.try_get("source_id")?,
        },
    })
}

/// Entitlements in force at `$1`, of accounts that are not disabled. The rest of a condition may follow.
macro_rules! in_force {
    ($rest:literal) => {
        concat!(
            "SELECT entitlements.* FROM entitlements JOIN accounts ON accounts.id = account_id
             WHERE starts_at <= $1 AND (ends_at IS NULL OR ends_at > $1) AND revoked_at IS NULL AND disabled_at IS NULL ",
            $rest
        )
    };
}

/// What the account may do in the repo now, inside a transaction or on a pool's connection.
pub(crate) async fn in_force(
    executor: impl Executor<'_>,
    account_id: &AccountId,
    repo: &str,
    now: UnixTime,
) -> Result<Vec<Entitlement>, StoreError> {
    let rows = sqlx::query(in_force!(
        "AND account_id = $2 AND repo = $3 ORDER BY entitlements.created_at, entitlements.id"
    ))
    .bind(now.0)
    .bind(account_id.as_str())
    .bind(repo)
    .fetch_all(executor)
    .await?;
    rows.iter().map(entitlement).collect()
}

/// All that is in force in the repo now, by account.
pub(crate) async fn in_force_in_repo(
    executor: impl Executor<'_>,
    repo: &str,
    now: UnixTime,
) -> Result<Vec<Entitlement>, StoreError> {
    let rows = sqlx::query(in_force!("AND repo = $2")).bind(now.0).bind(repo).fetch_all(executor).await?;
    rows.iter().map(entitlement).collect()
}

/// Gives an entitlement inside a transaction.
pub(crate) async fn insert(
    connection: &mut Connection,
    new: &NewEntitlement,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<Entitlement, StoreError> {
    let row = sqlx::query(
        "INSERT INTO entitlements
           (id, account_id, repo, app, verbs, starts_at, ends_at, source_kind, source_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *",
    )
    .bind(EntitlementId::random(rng).0)
    .bind(new.account_id.as_str())
    .bind(&new.repo)
    .bind(new.app.to_string())
    .bind(verbs_to_text(&new.verbs))
    .bind(new.starts_at.0)
    .bind(new.ends_at.map(|time| time.0))
    .bind(new.source.kind.as_str())
    .bind(&new.source.id)
    .bind(now.0)
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| match StoreError::is_conflict(&error) {
        true => StoreError::SourceUsed,
        false => error.into(),
    })?;
    mark_changed(connection).await?;
    entitlement(&row)
}

/// Ends what an order gave.
pub(crate) async fn end_of_order(
    connection: &mut Connection,
    order_id: &str,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE entitlements SET revoked_at = $1 WHERE source_kind = 'order' AND source_id = $2 AND revoked_at IS NULL",
    )
    .bind(now.0)
    .bind(order_id)
    .execute(&mut *connection)
    .await?;
    mark_changed(connection).await
}

impl Store {
    /// Gives an entitlement that did not come from an order of this store.
    ///
    /// # Errors
    /// [`StoreError::NoAccount`], [`StoreError::NoRepo`]; [`StoreError::SourceUsed`] when the same code gave one before.
    pub async fn grant(
        &self,
        new: NewEntitlement,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Entitlement, StoreError> {
        let mut transaction = self.begin().await?;
        crate::repos::must_exist(&mut transaction, &new.repo).await?;
        sqlx::query("SELECT 1 FROM accounts WHERE id = $1")
            .bind(new.account_id.as_str())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(StoreError::NoAccount)?;
        let given = insert(&mut transaction, &new, now, rng).await?;
        transaction.commit().await?;
        Ok(given)
    }

    /// Ends an entitlement now. If it came from an order, the order becomes `refund_due`: who loses what was paid for is owed the
    /// money. `false` when there is none of this id in force.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke_entitlement(&self, id: &EntitlementId, now: UnixTime) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "UPDATE entitlements SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL
             RETURNING source_kind, source_id",
        )
        .bind(now.0)
        .bind(id.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(false) };
        if row.try_get::<String, _>("source_kind")? == SourceKind::Order.as_str() {
            sqlx::query(
                "UPDATE orders SET state = 'refund_due', updated_at = $1 WHERE id = $2 AND state = 'paid'",
            )
            .bind(now.0)
            .bind(row.try_get::<String, _>("source_id")?)
            .execute(&mut *transaction)
            .await?;
        }
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// What the account has in force now, in one repo or in all. Nothing for a disabled account.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn entitlements(
        &self,
        account_id: &AccountId,
        repo: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Entitlement>, StoreError> {
        if let Some(repo) = repo {
            return in_force(self.read(), account_id, repo, now).await;
        }
        let rows = sqlx::query(in_force!(
            "AND account_id = $2 ORDER BY repo, entitlements.created_at, entitlements.id"
        ))
        .bind(now.0)
        .bind(account_id.as_str())
        .fetch_all(self.read())
        .await?;
        rows.iter().map(entitlement).collect()
    }

    /// Whether the account may do `verb` with the app now. For a ref, first find the app it belongs to with
    /// [`crate::owner_of`]: an entitlement to an app covers its extensions, and not another offered app below it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn entitled(
        &self,
        account_id: &AccountId,
        repo: &str,
        app_id: &str,
        verb: Verb,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let found = in_force(self.read(), account_id, repo, now).await?;
        Ok(found.iter().any(|entitlement| entitlement.allows(app_id, verb)))
    }
}
