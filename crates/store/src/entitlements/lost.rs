//! Rights that were taken away, so that tokens from before can be refused.

use flatpass_token::UnixTime;

use super::Entitlement;
use super::expansion::{Path, path, paths};
use crate::backend::Executor;
use crate::{AccountId, StoreError};

/// A right that was taken away.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Lost {
    /// Who had it.
    pub account_id: AccountId,
    /// What it was.
    pub entitlement: Entitlement,
    /// When it was taken away.
    pub at: UnixTime,
}

/// Every path that was broken from `since` until `now`. Which entitlements have one is found by what was removed, so the cost
/// is that of what changed and not of what there is.
pub(super) async fn since(
    executor: impl Executor<'_>,
    since: UnixTime,
    now: UnixTime,
) -> Result<Vec<Lost>, StoreError> {
    let rows = sqlx::query(paths!(
        "SELECT id FROM accounts",
        "entitlements.id IN (
            SELECT id FROM entitlements WHERE revoked_at >= $1
            UNION SELECT given.id FROM groups JOIN entitlements AS given ON given.group_id = groups.id
              WHERE groups.removed_at >= $1
            UNION SELECT given.id FROM group_members AS gone JOIN entitlements AS given ON given.group_id = gone.group_id
              WHERE gone.removed_at >= $1
            UNION SELECT given.id FROM plans JOIN entitlements AS given ON given.plan_id = plans.id
              WHERE plans.removed_at >= $1
            UNION SELECT given.id FROM plan_items AS gone JOIN entitlements AS given ON given.plan_id = gone.plan_id
              WHERE gone.removed_at >= $1)",
        "AND (revoked_at >= $1 OR left_at >= $1 OR group_removed_at >= $1 OR plans.removed_at >= $1
           OR items.removed_at >= $1)"
    ))
    .bind(since.0)
    .fetch_all(executor)
    .await?;
    let mut lost = Vec::new();
    for row in &rows {
        let Path { account_id, entitlement, began, broken } = path(row)?;
        let Some(at) = broken.filter(|at| (since..=now).contains(at)) else { continue };
        let was_in_force = began <= at && entitlement.ends_at.is_none_or(|end| end > at);
        if was_in_force && !entitlement.verbs.is_empty() {
            lost.push(Lost { account_id, entitlement, at });
        }
    }
    lost.sort_by(|one, other| (one.at, &one.account_id).cmp(&(other.at, &other.account_id)));
    Ok(lost)
}
