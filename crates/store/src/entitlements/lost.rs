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

/// Every path that was broken from `since` until `now`. It begins with what was removed, so the cost is that of what changed and
/// not of what there is: of a group that somebody left, only who left is looked at.
pub(super) async fn since(
    executor: impl Executor<'_>,
    since: UnixTime,
    now: UnixTime,
) -> Result<Vec<Lost>, StoreError> {
    let rows = sqlx::query(paths!(
        "touched AS (
           SELECT id FROM entitlements WHERE revoked_at >= $1
           UNION SELECT entitlements.id FROM groups CROSS JOIN entitlements
             WHERE groups.removed_at >= $1 AND entitlements.group_id = groups.id
           UNION SELECT entitlements.id FROM plans CROSS JOIN entitlements
             WHERE plans.removed_at >= $1 AND entitlements.plan_id = plans.id
           UNION SELECT entitlements.id FROM plan_items CROSS JOIN entitlements
             WHERE plan_items.removed_at >= $1 AND entitlements.plan_id = plan_items.plan_id)",
        "touched CROSS JOIN entitlements WHERE entitlements.id = touched.id AND entitlements.account_id IS NOT NULL",
        "touched CROSS JOIN entitlements CROSS JOIN groups CROSS JOIN group_members
         WHERE entitlements.id = touched.id AND groups.id = entitlements.group_id
           AND group_members.group_id = groups.id
         UNION
           SELECT entitlements.*, group_members.account_id, group_members.joined_at, group_members.removed_at,
             groups.removed_at
           FROM group_members CROSS JOIN groups CROSS JOIN entitlements
           WHERE group_members.removed_at >= $1 AND groups.id = group_members.group_id
             AND entitlements.group_id = groups.id",
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
