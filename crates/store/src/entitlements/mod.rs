//! Entitlements: who may do what with what, from when until when, and because of what.
//!
//! One is *held* by an account or by a group, and is for apps of a repo or for a plan. What an account *may do* is worked out
//! from what it and its groups hold, with each plan spelled out as its items: that is [`expansion`].

mod expansion;
mod lost;
mod source;
mod times;

use flatpass_token::{UnixTime, Verb};
use sqlx::Row as _;

use crate::apps::{AppPattern, is_branch};
use crate::backend::{Connection, Row};
use crate::{
    AccountId, EntitlementId, GroupId, Random, Store, StoreError, groups, mark_changed, optional_time, plans,
    time,
};

pub(crate) use self::expansion::{held_in_repo, in_force};
pub use self::lost::Lost;
pub use self::source::{Source, SourceKind};

/// Who holds an entitlement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum Holder {
    /// An account, a person's or a robot's.
    #[serde(rename = "account_id")]
    Account(AccountId),
    /// A group, for each of its members as long as they are one.
    #[serde(rename = "group_id")]
    Group(GroupId),
}

/// What an entitlement is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(untagged)]
pub enum What {
    /// Apps of one repo.
    Apps {
        /// The repo's name.
        repo: String,
        /// Which apps.
        app: AppPattern,
        /// Only this branch of them; `None` is every branch.
        branch: Option<String>,
    },
    /// What the plan holds, now and later.
    Plan {
        /// The plan's name.
        plan: String,
    },
}

/// An entitlement to be given.
#[derive(Clone, Debug)]
pub struct NewEntitlement {
    /// Who gets it.
    pub holder: Holder,
    /// What it is for.
    pub what: What,
    /// What it allows; none allows nothing. For a plan: at most this, of what its items allow.
    pub verbs: Vec<Verb>,
    /// From when on.
    pub starts_at: UnixTime,
    /// Until when; `None` is for ever.
    pub ends_at: Option<UnixTime>,
    /// Commits made after this are not covered; older ones stay. `None` is no such end.
    pub upgrades_until: Option<UnixTime>,
    /// Why.
    pub source: Source,
}

impl NewEntitlement {
    /// What a purchase gives by default: list, download and upgrade.
    pub const USUAL: [Verb; 3] = [Verb::List, Verb::Download, Verb::Upgrade];
}

/// An entitlement as it was given: a plan is not spelled out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// Its identifier.
    pub id: EntitlementId,
    /// Who holds it.
    #[serde(flatten)]
    pub holder: Holder,
    /// What it is for.
    #[serde(flatten)]
    pub what: What,
    /// What it allows.
    pub verbs: Vec<Verb>,
    /// From when on.
    pub starts_at: UnixTime,
    /// Until when; `None` is for ever.
    pub ends_at: Option<UnixTime>,
    /// Commits made after this are not covered.
    pub upgrades_until: Option<UnixTime>,
    /// Why.
    pub source: Source,
}

/// Something that an account may do, or could: what it or a group of it holds, with a plan spelled out as one of its items. So
/// one entitlement to a plan of three items is three of these with the same id.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entitlement {
    /// Its identifier.
    pub id: EntitlementId,
    /// Who holds it: the account that was asked about, or one of its groups.
    #[serde(flatten)]
    pub holder: Holder,
    /// The name of the plan that it came through.
    pub plan: Option<String>,
    /// In which repo.
    pub repo: String,
    /// For which app or apps.
    pub app: AppPattern,
    /// Only this branch; `None` is every branch.
    pub branch: Option<String>,
    /// What it allows; never empty in what [`Store::entitlements`] gives.
    pub verbs: Vec<Verb>,
    /// From when on. For an item that came into a plan later, that moment.
    pub starts_at: UnixTime,
    /// Until when; `None` is for ever.
    pub ends_at: Option<UnixTime>,
    /// Commits made after this are not covered; older ones stay. `None` is no such end.
    pub upgrades_until: Option<UnixTime>,
    /// Why.
    pub source: Source,
}

impl Entitlement {
    /// Whether it allows `verb` on that branch of the app `app_id`. It says nothing of time.
    pub fn allows(&self, app_id: &str, branch: &str, verb: Verb) -> bool {
        self.branch.as_deref().is_none_or(|only| only == branch) && self.allows_some_of(app_id, verb)
    }

    /// Whether it allows `verb` on the app, whatever its branch: what a purchase would give.
    pub fn allows_all_of(&self, app_id: &str, verb: Verb) -> bool {
        self.branch.is_none() && self.allows_some_of(app_id, verb)
    }

    /// Whether it allows `verb` on some branch of the app.
    pub fn allows_some_of(&self, app_id: &str, verb: Verb) -> bool {
        self.verbs.contains(&verb) && self.app.covers(app_id)
    }

    /// Whether a purchase of the app would add nothing to it now: it allows every branch to be downloaded, and new commits too.
    pub fn is_as_good_as_bought(&self, app_id: &str, now: UnixTime) -> bool {
        self.allows_all_of(app_id, Verb::Download) && self.commits_until().is_none_or(|until| until > now)
    }

    /// The time of the newest commit that it covers; `None` is no such limit. Without the verb `upgrade` that is its start: a
    /// ref that had no commit by then is covered with its first.
    pub fn commits_until(&self) -> Option<UnixTime> {
        let start = (!self.verbs.contains(&Verb::Upgrade)).then_some(self.starts_at);
        [start, self.upgrades_until].into_iter().flatten().min()
    }
}

/// In the order of what one does first.
const ORDER: [Verb; 4] = [Verb::List, Verb::Download, Verb::Upgrade, Verb::Export];

pub(crate) fn verbs_to_text(verbs: &[Verb]) -> String {
    let kept: Vec<_> = ORDER.iter().filter(|verb| verbs.contains(verb)).map(|verb| verb.as_str()).collect();
    kept.join(" ")
}

/// Unknown words are left out: they allow nothing.
pub(crate) fn verbs_from_text(text: &str) -> Vec<Verb> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn holder(row: &Row) -> Result<Holder, StoreError> {
    let account: Option<String> = row.try_get("account_id")?;
    let group: Option<String> = row.try_get("group_id")?;
    match (account, group) {
        (Some(account), None) => Ok(Holder::Account(AccountId(account))),
        (None, Some(group)) => Ok(Holder::Group(GroupId(group))),
        _ => Err(StoreError::Corrupt("entitlements.account_id")),
    }
}

fn source(row: &Row) -> Result<Source, StoreError> {
    let kind = SourceKind::parse(&row.try_get::<String, _>("source_kind")?)?;
    Ok(Source { kind, id: row.try_get("source_id")? })
}

/// A row of entitlements with the name of its plan as `plan`.
fn held(row: &Row) -> Result<Held, StoreError> {
    let what = match row.try_get::<Option<String>, _>("plan")? {
        Some(plan) => What::Plan { plan },
        None => What::Apps {
            repo: row.try_get("repo")?,
            app: row
                .try_get::<String, _>("app")?
                .parse()
                .map_err(|_| StoreError::Corrupt("entitlements.app"))?,
            branch: row.try_get("branch")?,
        },
    };
    Ok(Held {
        id: EntitlementId(row.try_get("id")?),
        holder: holder(row)?,
        what,
        verbs: verbs_from_text(&row.try_get::<String, _>("verbs")?),
        starts_at: time(row, "starts_at")?,
        ends_at: optional_time(row, "ends_at")?,
        upgrades_until: optional_time(row, "upgrades_until")?,
        source: source(row)?,
    })
}

/// Gives an entitlement inside a transaction.
pub(crate) async fn insert(
    connection: &mut Connection,
    new: NewEntitlement,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<Held, StoreError> {
    let id = EntitlementId::random(rng);
    let (account, group) = match &new.holder {
        Holder::Account(account) => (Some(account.as_str()), None),
        Holder::Group(group) => (None, Some(group.as_str())),
    };
    let (repo, app, branch, plan) = match &new.what {
        What::Apps { repo, app, branch } => {
            (Some(repo.as_str()), Some(app.to_string()), branch.as_deref(), None)
        }
        What::Plan { plan } => (None, None, None, Some(plans::must_exist(connection, plan).await?)),
    };
    sqlx::query(
        "INSERT INTO entitlements (id, account_id, group_id, plan_id, repo, app, branch, verbs, starts_at, ends_at,
           upgrades_until, source_kind, source_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(id.as_str())
    .bind(account)
    .bind(group)
    .bind(plan.as_ref().map(|plan| plan.as_str()))
    .bind(repo)
    .bind(app)
    .bind(branch)
    .bind(verbs_to_text(&new.verbs))
    .bind(new.starts_at.0)
    .bind(new.ends_at.map(|time| time.0))
    .bind(new.upgrades_until.map(|time| time.0))
    .bind(new.source.kind.as_str())
    .bind(&new.source.id)
    .bind(now.0)
    .execute(&mut *connection)
    .await
    .map_err(|error| match StoreError::is_conflict(&error) {
        true => StoreError::SourceUsed,
        false => error.into(),
    })?;
    mark_changed(connection).await?;
    let NewEntitlement { holder, what, verbs, starts_at, ends_at, upgrades_until, source } = new;
    Ok(Held { id, holder, what, verbs, starts_at, ends_at, upgrades_until, source })
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
    /// [`StoreError::NoAccount`], [`StoreError::NoGroup`], [`StoreError::NoRepo`], [`StoreError::NoPlan`],
    /// [`StoreError::Branch`]; [`StoreError::SourceUsed`] when the same code gave one before.
    pub async fn grant(
        &self,
        new: NewEntitlement,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Held, StoreError> {
        let mut transaction = self.begin().await?;
        if let What::Apps { repo, branch, .. } = &new.what {
            crate::repos::must_exist(&mut transaction, repo).await?;
            if let Some(branch) = branch.as_ref().filter(|branch| !is_branch(branch)) {
                return Err(StoreError::Branch(branch.clone()));
            }
        }
        match &new.holder {
            Holder::Account(account) => {
                sqlx::query("SELECT 1 FROM accounts WHERE id = $1")
                    .bind(account.as_str())
                    .fetch_optional(&mut *transaction)
                    .await?
                    .ok_or(StoreError::NoAccount)?;
            }
            Holder::Group(group) => groups::must_exist(&mut transaction, group).await?,
        }
        let given = insert(&mut transaction, new, now, rng).await?;
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

    /// What this account or group itself holds, as it was given, now or from a later moment on; not what has ended. The oldest
    /// first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn held_by(&self, holder: &Holder, now: UnixTime) -> Result<Vec<Held>, StoreError> {
        let (account, group) = match holder {
            Holder::Account(account) => (Some(account.as_str()), None),
            Holder::Group(group) => (None, Some(group.as_str())),
        };
        let rows = sqlx::query(
            "SELECT entitlements.*, plans.name AS plan FROM entitlements LEFT JOIN plans ON plans.id = plan_id
             WHERE (account_id = $1 OR group_id = $2) AND revoked_at IS NULL AND (ends_at IS NULL OR ends_at > $3)
             ORDER BY entitlements.created_at, entitlements.id",
        )
        .bind(account)
        .bind(group)
        .bind(now.0)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(held).collect()
    }

    /// What the account may do now, in one repo or in all: what it holds itself, what its groups hold, with plans spelled out.
    /// Nothing for a disabled account.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn entitlements(
        &self,
        account_id: &AccountId,
        repo: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Entitlement>, StoreError> {
        in_force(self.read(), account_id, repo, now).await
    }

    /// What the account could do until its time was over, and was not taken away before: for the sentence that says when a right
    /// ended. The one that ended last comes first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ended_entitlements(
        &self,
        account_id: &AccountId,
        repo: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<Entitlement>, StoreError> {
        expansion::ended(self.read(), account_id, repo, now).await
    }

    /// Every way in which an account lost rights from `since` until `now`, both included: an entitlement revoked, a membership, a
    /// group, a plan or an item of one removed. What ended by its own time is not there, and neither is what happened to devices
    /// ([`Store::signed_out_since`]) and disabled accounts ([`Store::refused_tokens`]). The account may hold the same still in
    /// another way.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn lost_since(&self, since: UnixTime, now: UnixTime) -> Result<Vec<Lost>, StoreError> {
        lost::since(self.read(), since, now).await
    }

    /// Whether a purchase of the app would add nothing to what the account has now: not if it has only some branches, or only
    /// what was made until a moment in the past.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn owns(
        &self,
        account_id: &AccountId,
        repo: &str,
        app_id: &str,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let found = in_force(self.read(), account_id, Some(repo), now).await?;
        Ok(found.iter().any(|entitlement| entitlement.is_as_good_as_bought(app_id, now)))
    }

    /// Whether the account may do `verb` with every branch of the app now. For a ref, first find the app it belongs to with
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
        let found = in_force(self.read(), account_id, Some(repo), now).await?;
        Ok(found.iter().any(|entitlement| entitlement.allows_all_of(app_id, verb)))
    }
}
