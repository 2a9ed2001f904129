//! From what is held to what an account may do: through its groups, with plans spelled out, in one query.

use std::collections::HashMap;

use flatpass_token::UnixTime;
use sqlx::Row as _;

use super::{Entitlement, Holder, holder, source, verbs_from_text};
use crate::backend::{Executor, Pool, Row};
use crate::{AccountId, EntitlementId, GroupId, StoreError, optional_time, time};

/// Each path to something that may be done. `start` is the common table expressions that it begins with; `direct` and `through`
/// are the FROM and WHERE of those without and with a group, `rest` is a condition on the whole, which may also order.
///
/// `CROSS JOIN` with a condition is a plain join; SQLite then also keeps the order of the tables, which here is from few rows to
/// many.
macro_rules! paths {
    ($start:expr, $direct:expr, $through:expr, $rest:literal) => {
        concat!(
            "WITH ",
            $start,
            ", paths AS (
               SELECT entitlements.*, entitlements.account_id AS for_account, CAST(NULL AS BIGINT) AS joined_at,
                 CAST(NULL AS BIGINT) AS left_at, CAST(NULL AS BIGINT) AS group_removed_at
               FROM ",
            $direct,
            " UNION ALL
               SELECT entitlements.*, group_members.account_id, group_members.joined_at, group_members.removed_at,
                 groups.removed_at
               FROM ",
            $through,
            ")
             SELECT paths.*, plans.name AS plan, plans.removed_at AS plan_removed_at, items.repo AS item_repo,
               items.app AS item_app, items.branch AS item_branch, items.verbs AS item_verbs,
               items.created_at AS item_from, items.removed_at AS item_removed_at
             FROM paths LEFT JOIN plans ON plans.id = paths.plan_id LEFT JOIN plan_items AS items ON items.plan_id = plans.id
             WHERE (paths.plan_id IS NULL OR items.id IS NOT NULL) ",
            $rest
        )
    };
}

/// The paths of some accounts: `holders` selects their ids as `id`, `touched` is a condition on `entitlements`.
macro_rules! paths_of {
    ($holders:literal, $touched:literal, $rest:literal) => {
        paths!(
            concat!("holders AS (", $holders, ")"),
            concat!(
                "holders CROSS JOIN entitlements WHERE entitlements.account_id = holders.id AND ",
                $touched
            ),
            concat!(
                "holders CROSS JOIN group_members CROSS JOIN groups CROSS JOIN entitlements
                 WHERE group_members.account_id = holders.id AND group_members.removed_at IS NULL
                   AND groups.id = group_members.group_id AND groups.removed_at IS NULL
                   AND entitlements.group_id = groups.id AND ",
                $touched
            ),
            $rest
        )
    };
}
pub(super) use paths;

/// One way in which an account has or had a right.
pub(super) struct Path {
    pub(super) account_id: AccountId,
    pub(super) entitlement: Entitlement,
    /// When the last thing that it needs came to be.
    pub(super) began: UnixTime,
    /// When the first thing that it needs was taken away.
    pub(super) broken: Option<UnixTime>,
}

/// Reads a row of [`paths!`].
pub(super) fn path(row: &Row) -> Result<Path, StoreError> {
    let plan: Option<String> = row.try_get("plan")?;
    let mut verbs = verbs_from_text(&row.try_get::<String, _>("verbs")?);
    let mut starts_at = time(row, "starts_at")?;
    let (repo, app, branch) = if plan.is_some() {
        let item = verbs_from_text(&row.try_get::<String, _>("item_verbs")?);
        verbs.retain(|verb| item.contains(verb));
        starts_at = starts_at.max(time(row, "item_from")?);
        ("item_repo", "item_app", "item_branch")
    } else {
        ("repo", "app", "branch")
    };
    let began = starts_at.max(optional_time(row, "joined_at")?.unwrap_or(starts_at));
    let ends = ["revoked_at", "left_at", "group_removed_at", "plan_removed_at", "item_removed_at"];
    let ends = ends.map(|column| optional_time(row, column));
    let broken = ends.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min();
    let entitlement = Entitlement {
        id: EntitlementId(row.try_get("id")?),
        holder: holder(row)?,
        plan,
        repo: row.try_get(repo)?,
        app: row.try_get::<String, _>(app)?.parse().map_err(|_| StoreError::Corrupt("entitlements.app"))?,
        branch: row.try_get(branch)?,
        verbs,
        starts_at,
        ends_at: optional_time(row, "ends_at")?,
        upgrades_until: optional_time(row, "upgrades_until")?,
        source: source(row)?,
    };
    Ok(Path { account_id: AccountId(row.try_get("for_account")?), entitlement, began, broken })
}

/// What allows nothing is left out.
fn allowing(rows: &[Row]) -> impl Iterator<Item = Result<Path, StoreError>> {
    rows.iter().map(path).filter(|path| path.as_ref().map_or(true, |path| !path.entitlement.verbs.is_empty()))
}

/// What the account may do now, in the repo or in all, inside a transaction or on a pool's connection.
pub(crate) async fn in_force(
    executor: impl Executor<'_>,
    account_id: &AccountId,
    repo: Option<&str>,
    now: UnixTime,
) -> Result<Vec<Entitlement>, StoreError> {
    let rows = sqlx::query(paths_of!(
        "SELECT id FROM accounts WHERE id = $1 AND disabled_at IS NULL",
        "starts_at <= $2 AND (ends_at IS NULL OR ends_at > $2) AND revoked_at IS NULL",
        "AND plans.removed_at IS NULL AND items.removed_at IS NULL
         AND (joined_at IS NULL OR joined_at <= $2) AND (items.created_at IS NULL OR items.created_at <= $2)
         AND ($3 = '' OR COALESCE(items.repo, paths.repo) = $3)
         ORDER BY COALESCE(items.repo, paths.repo), paths.created_at, paths.id, items.created_at, items.id"
    ))
    .bind(account_id.as_str())
    .bind(now.0)
    .bind(repo.unwrap_or_default())
    .fetch_all(executor)
    .await?;
    allowing(&rows).map(|path| Ok(path?.entitlement)).collect()
}

/// What those hold now who matter to the access tokens of a repo: each account that has one, and each group of such accounts.
#[derive(Default)]
pub(crate) struct HeldInRepo {
    by_holder: HashMap<Holder, Vec<Entitlement>>,
    groups: HashMap<AccountId, Vec<GroupId>>,
}

impl HeldInRepo {
    /// What is held by whom.
    pub(crate) fn by_holder(&self) -> impl Iterator<Item = (&Holder, &[Entitlement])> {
        self.by_holder.iter().map(|(holder, held)| (holder, held.as_slice()))
    }

    /// Through whom the account has rights.
    pub(crate) fn holders(&self, account: AccountId) -> impl Iterator<Item = Holder> {
        let groups = self.groups.get(&account).into_iter().flatten().cloned().map(Holder::Group);
        std::iter::once(Holder::Account(account)).chain(groups)
    }
}

/// Reads [`HeldInRepo`]: what a group holds once, however many of its members have an access token.
pub(crate) async fn held_in_repo(
    executor: &Pool,
    repo: &str,
    now: UnixTime,
) -> Result<HeldInRepo, StoreError> {
    let mut found = HeldInRepo::default();
    // A group stands for its members: no account, and nobody's time in it.
    let rows = sqlx::query(paths!(
        "holders AS (
           SELECT id FROM accounts WHERE disabled_at IS NULL AND id IN
             (SELECT account_id FROM access_tokens WHERE repo = $1 AND revoked_at IS NULL))",
        "holders CROSS JOIN entitlements WHERE entitlements.account_id = holders.id
           AND starts_at <= $2 AND (ends_at IS NULL OR ends_at > $2) AND revoked_at IS NULL",
        "(SELECT '' AS account_id, CAST(NULL AS BIGINT) AS joined_at, CAST(NULL AS BIGINT) AS removed_at) AS group_members
           CROSS JOIN groups CROSS JOIN entitlements
         WHERE groups.removed_at IS NULL AND entitlements.group_id = groups.id
           AND starts_at <= $2 AND (ends_at IS NULL OR ends_at > $2) AND revoked_at IS NULL
           AND groups.id IN (SELECT present.group_id FROM group_members AS present JOIN holders ON holders.id = present.account_id
                             WHERE present.removed_at IS NULL)",
        "AND plans.removed_at IS NULL AND items.removed_at IS NULL
         AND (items.created_at IS NULL OR items.created_at <= $2) AND COALESCE(items.repo, paths.repo) = $1"
    ))
    .bind(repo)
    .bind(now.0)
    .fetch_all(executor)
    .await?;
    for path in allowing(&rows) {
        let entitlement = path?.entitlement;
        found.by_holder.entry(entitlement.holder.clone()).or_default().push(entitlement);
    }
    let rows = sqlx::query(
        "SELECT account_id, group_id FROM group_members
         WHERE removed_at IS NULL AND joined_at <= $2 AND account_id IN
           (SELECT account_id FROM access_tokens WHERE repo = $1 AND revoked_at IS NULL)",
    )
    .bind(repo)
    .bind(now.0)
    .fetch_all(executor)
    .await?;
    for row in &rows {
        let group = GroupId(row.try_get("group_id")?);
        found.groups.entry(AccountId(row.try_get("account_id")?)).or_default().push(group);
    }
    Ok(found)
}

/// What the account could do until a moment at or before now.
pub(super) async fn ended(
    executor: impl Executor<'_>,
    account_id: &AccountId,
    repo: Option<&str>,
    now: UnixTime,
) -> Result<Vec<Entitlement>, StoreError> {
    let rows = sqlx::query(paths_of!(
        "SELECT id FROM accounts WHERE id = $1 AND disabled_at IS NULL",
        "ends_at <= $2 AND revoked_at IS NULL",
        "AND plans.removed_at IS NULL AND items.removed_at IS NULL
         AND (joined_at IS NULL OR joined_at < ends_at) AND (items.created_at IS NULL OR items.created_at < ends_at)
         AND ($3 = '' OR COALESCE(items.repo, paths.repo) = $3)
         ORDER BY ends_at DESC, paths.created_at, paths.id, items.created_at, items.id"
    ))
    .bind(account_id.as_str())
    .bind(now.0)
    .bind(repo.unwrap_or_default())
    .fetch_all(executor)
    .await?;
    allowing(&rows).map(|path| Ok(path?.entitlement)).collect()
}
