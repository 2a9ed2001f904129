//! Which tokens gates refuse before they expire, worked out from the store: also after a restart, and also what another process
//! changed.

use std::collections::{BTreeSet, HashMap};

use flatpass_store::{AccountId, AppPattern, Entitlement, Lost, Store, StoreError};
use flatpass_token::{Grant, Revocations, UnixTime, Verb};

use crate::config::{LONGEST_LEEWAY_SECONDS, LONGEST_REF_TOKEN_SECONDS};

/// A token may be made for so many seconds after what it relies on was taken away: the right was still read, and the change was
/// dated before it had come to the disk. A token that says no more than the account holds is not touched, whenever it was made.
const SLACK_SECONDS: i64 = 60;

/// What is refused, at one moment. For the gates, and for the command that says what they would say.
#[derive(Debug)]
pub struct Refused {
    /// In every repo: accounts that were closed, devices that were signed out, single reference tokens.
    everywhere: Revocations,
    /// What accounts lost, by repo.
    lost: HashMap<String, Vec<Lost>>,
}

impl Refused {
    /// Reads what happened while tokens that live now were made. How long those live the configuration of that time said, which
    /// nobody knows any more: so it is as long as any configuration can say.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn read(store: &Store, now: UnixTime) -> Result<Self, StoreError> {
        let longest = LONGEST_REF_TOKEN_SECONDS + LONGEST_LEEWAY_SECONDS;
        let since = now.plus_seconds(-(longest + SLACK_SECONDS));
        let mut everywhere = Revocations::new();
        for (account, until) in store.refused_tokens(now, longest).await? {
            everywhere = everywhere.with_subject(account.0, until);
        }
        for (device, _) in store.signed_out_since(since).await? {
            everywhere = everywhere.with_session(device.0);
        }
        for id in store.revoked_ref_tokens(now).await? {
            everywhere = everywhere.with_id(id);
        }
        let mut lost: HashMap<String, Vec<Lost>> = HashMap::new();
        // What another machine's clock calls later is lost as well.
        for one in store.lost_since(since, UnixTime(i64::MAX)).await? {
            lost.entry(one.entitlement.repo.clone()).or_default().push(one);
        }
        Ok(Self { everywhere, lost })
    }

    /// For the gate of one repo.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn in_repo(&self, store: &Store, repo: &str, now: UnixTime) -> Result<Revocations, StoreError> {
        let mut revocations = self.everywhere.clone();
        let Some(lost) = self.lost.get(repo) else { return Ok(revocations) };
        for one in lost {
            let until = one.at.plus_seconds(SLACK_SECONDS);
            revocations = revocations.with_lost(one.account_id.0.clone(), until, said(&one.entitlement));
        }
        let accounts: BTreeSet<&AccountId> = lost.iter().map(|one| &one.account_id).collect();
        for account in accounts {
            for kept in store.entitlements(account, Some(repo), now).await? {
                let kept_grants = Grant { made_until: kept.commits_until(), ..said(&kept) };
                // To see a ref has nothing to do with its commits.
                let seen = Grant { made_until: None, ..only(&kept_grants, |verb| verb == Verb::List) };
                let had = only(&kept_grants, |verb| verb != Verb::List);
                revocations =
                    revocations.with_kept(account.0.clone(), seen).with_kept(account.0.clone(), had);
            }
        }
        Ok(revocations)
    }
}

fn only(grant: &Grant, keep: impl Fn(Verb) -> bool) -> Grant {
    let actions = grant.actions.iter().copied().filter(|verb| keep(*verb)).collect();
    Grant { actions, ..grant.clone() }
}

/// An entitlement as a token would say it, of its apps alone: the gate counts their extensions in.
fn said(entitlement: &Entitlement) -> Grant {
    let mut grant = match &entitlement.app {
        AppPattern::All => Grant::for_everything(&entitlement.verbs),
        AppPattern::Below(prefix) => Grant {
            prefixes: vec![prefix.clone()],
            ..Grant::for_ids(&entitlement.verbs, Vec::<String>::new())
        },
        AppPattern::App(app) => Grant::for_ids(&entitlement.verbs, [app.clone()]),
    };
    if let Some(branch) = &entitlement.branch {
        grant.branches = vec![branch.clone()];
    }
    grant
}
