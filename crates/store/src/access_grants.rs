//! What the access tokens of a repo open, for a gate that has no database.

use std::collections::HashMap;

use flatpass_token::{AccessGrant, Grant, RefKind, SecretHash, UnixTime, Verb};
use sqlx::Row as _;

use crate::access_tokens::OLD;
use crate::apps::{AppPattern, extension_prefix, owner_of};
use crate::entitlements::{Entitlement, Holder, held_in_repo};
use crate::{AccountId, Store, StoreError, optional_time};

/// The extensions that flatpak-builder makes of an app.
pub(crate) const EXTENSIONS: [&str; 3] = ["Locale", "Debug", "Sources"];

impl Store {
    /// Each access token of the repo in force now, by the hash of its secret: what its account may do there now, itself, through
    /// its groups and by plans; apps with their `.Locale`, `.Debug` and `.Sources` (other extensions want a ref token). Who may
    /// do nothing in the repo has a token that opens nothing. It is a picture of this moment, in which each right ends at its own time.
    /// Entitlements that begin later are in the next one, so take one now and then (each minute) besides whenever
    /// [`Store::change_counter`] rises.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn access_grants(
        &self,
        repo: &str,
        now: UnixTime,
    ) -> Result<Vec<(SecretHash, AccessGrant)>, StoreError> {
        let rows = sqlx::query(
            "SELECT access_tokens.id, secret_hash, account_id, expires_at
             FROM access_tokens JOIN accounts ON accounts.id = account_id JOIN repos ON repos.name = repo
             WHERE repo = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) AND disabled_at IS NULL
             UNION ALL
             SELECT access_tokens.id || $3, replaced_hash, account_id,
               CASE WHEN expires_at < replaced_until THEN expires_at ELSE replaced_until END
             FROM access_tokens JOIN accounts ON accounts.id = account_id JOIN repos ON repos.name = repo
             WHERE repo = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) AND disabled_at IS NULL
               AND replaced_until > $2",
        )
        .bind(repo)
        .bind(now.0)
        .bind(OLD)
        .fetch_all(self.read())
        .await?;
        let offers = self.offers(repo).await?;
        let offered: Vec<&str> = offers.iter().map(|offer| offer.app_id.as_str()).collect();
        let held = held_in_repo(self.read(), repo, now).await?;
        let grants = |one: &Entitlement| -> Vec<(Grant, Option<UnixTime>)> {
            grants_of(one, &offered).into_iter().map(|grant| (grant, one.ends_at)).collect()
        };
        let by_holder: HashMap<&Holder, Vec<(Grant, Option<UnixTime>)>> =
            held.by_holder().map(|(holder, held)| (holder, held.iter().flat_map(grants).collect())).collect();
        let grant = |row: &crate::backend::Row| {
            let subject: String = row.try_get("account_id")?;
            let holders = held.holders(AccountId(subject.clone()));
            let (mut grants, mut ending) = (Vec::new(), Vec::new());
            for (grant, ends_at) in holders.filter_map(|holder| by_holder.get(&holder)).flatten() {
                match ends_at {
                    None => grants.push(grant.clone()),
                    Some(at) => ending.push((grant.clone(), *at)),
                }
            }
            let hash = row
                .try_get::<String, _>("secret_hash")?
                .parse()
                .map_err(|_| StoreError::Corrupt("access_tokens.secret_hash"))?;
            let expires_at = optional_time(row, "expires_at")?;
            Ok((hash, AccessGrant { id: row.try_get("id")?, subject, grants, ending, expires_at }))
        };
        rows.iter().map(grant).collect()
    }
}

/// One entitlement as a token says it. With an app go the extensions that build tools make, by name and not by prefix: which
/// other apps the repo has below it, offered or not, is not known here, and none of them may be opened by accident.
///
/// A right to older commits only is said in two: to see a ref in the list has nothing to do with its commits. (A ref that had no
/// commit when a right without `upgrade` began is covered with its first one; that wants a ref token.)
fn grants_of(entitlement: &Entitlement, offered: &[&str]) -> Vec<Grant> {
    let verbs = &entitlement.verbs;
    let whole = match &entitlement.app {
        AppPattern::All => vec![Grant::for_everything(verbs)],
        AppPattern::Below(prefix) => {
            vec![Grant { prefixes: vec![prefix.clone()], ..Grant::for_ids(verbs, Vec::<String>::new()) }]
        }
        AppPattern::App(app) => {
            let owner = |id: &str| owner_of(id, offered.iter().copied().chain([app.as_str()]));
            let extensions = EXTENSIONS.map(|name| format!("{}{name}", extension_prefix(app)));
            let own = extensions.into_iter().filter(|id| owner(id) == Some(app.as_str()));
            // An app of that name is another app, whoever has it.
            let extensions = Grant { kinds: Some(vec![RefKind::Runtime]), ..Grant::for_ids(verbs, own) };
            vec![Grant::for_ids(verbs, [app.clone()]), extensions]
        }
    };
    whole.into_iter().flat_map(|grant| limited(entitlement, grant)).collect()
}

/// The grant as far as the entitlement's branch and commits go.
fn limited(entitlement: &Entitlement, mut grant: Grant) -> Vec<Grant> {
    if let Some(branch) = &entitlement.branch {
        grant.branches = vec![branch.clone()];
    }
    let Some(until) = entitlement.commits_until() else { return vec![grant] };
    let (list, rest): (Vec<_>, Vec<_>) = grant.actions.iter().partition(|verb| **verb == Verb::List);
    vec![Grant { actions: list, ..grant.clone() }, Grant { actions: rest, made_until: Some(until), ..grant }]
}
