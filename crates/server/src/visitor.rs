//! Who asks, in one repo: what of it they may see and have, of which commits, until when, and if not why not.

use flatpass_store::{AccessInfo, AccountId, Entitlement, RepoPolicy, StoreError};
use flatpass_token::{RefName, UnixTime, Verb};

use crate::app::App;
use crate::snapshot::RepoView;

/// Who asks, in one repo.
pub(crate) struct Visitor {
    pub(crate) signed_in: bool,
    /// May know that there is something in the repo.
    pub(crate) sees: bool,
    entitlements: Vec<Entitlement>,
    /// What was over by its own time; read only when there is something to explain.
    ended: Vec<Entitlement>,
}

/// What somebody may have of a ref. The one right among several that goes the furthest stands for all.
pub(crate) enum Right<'a> {
    /// They may download it.
    Has(Has<'a>),
    /// They could, until a moment that has passed.
    Ended(UnixTime),
    /// They may have other branches of it, these.
    OtherBranches(Vec<&'a str>),
    /// Nothing is known of any right to it.
    None,
}

/// A right to download a ref.
#[derive(Clone, Copy)]
pub(crate) struct Has<'a> {
    pub(crate) entitlement: &'a Entitlement,
}

impl Has<'_> {
    /// What it allows of what a ref token says.
    pub(crate) fn verbs(&self) -> Vec<Verb> {
        let said = [Verb::Download, Verb::Upgrade];
        said.into_iter().filter(|verb| self.entitlement.verbs.contains(verb)).collect()
    }

    /// Commits made after this are not covered.
    pub(crate) fn commits_until(&self) -> Option<UnixTime> {
        self.entitlement.commits_until()
    }

    /// From when on it is another right than now: the end of it, or of the updates.
    pub(crate) fn good_until(&self, now: UnixTime) -> Option<UnixTime> {
        let updates = self.entitlement.upgrades_until.filter(|until| *until > now);
        [self.entitlement.ends_at, updates].into_iter().flatten().min()
    }
}

/// For ever comes after every moment.
fn rank(moment: Option<UnixTime>) -> (bool, Option<UnixTime>) {
    (moment.is_none(), moment)
}

impl Visitor {
    /// Reads what they may do.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn of(
        app: &App,
        view: &RepoView,
        access: Option<&AccessInfo>,
    ) -> Result<Self, StoreError> {
        Self::of_account(app, view, access.map(|access| &access.account_id)).await
    }

    /// Reads what that account may do, or what somebody may who is not known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn of_account(
        app: &App,
        view: &RepoView,
        account: Option<&AccountId>,
    ) -> Result<Self, StoreError> {
        let entitlements = match account {
            Some(account) => app.store.entitlements(account, Some(&view.repo.name), app.now()).await?,
            None => Vec::new(),
        };
        let sees = view.may_be_seen(&entitlements);
        Ok(Self { signed_in: account.is_some(), sees, entitlements, ended: Vec::new() })
    }

    /// Reads what they could do once, which the sentences of refusals say.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn read_ended(
        &mut self,
        app: &App,
        view: &RepoView,
        account: &AccountId,
    ) -> Result<(), StoreError> {
        let repo = Some(view.repo.name.as_str());
        self.ended = app.store.ended_entitlements(account, repo, app.now()).await?;
        Ok(())
    }

    /// What they may have of that branch of an app.
    pub(crate) fn right(&self, app_id: &str, branch: &str) -> Right<'_> {
        let furthest = |one: &&Entitlement| (rank(one.commits_until()), rank(one.ends_at));
        let has = self.entitlements.iter().filter(|one| one.allows(app_id, branch, Verb::Download));
        if let Some(entitlement) = has.max_by_key(furthest) {
            return Right::Has(Has { entitlement });
        }
        // The one that ended last comes first.
        let mut ended = self.ended.iter().filter(|one| one.allows(app_id, branch, Verb::Download));
        if let Some(at) = ended.find_map(|one| one.ends_at) {
            return Right::Ended(at);
        }
        let others = self.entitlements.iter().filter(|one| one.allows_some_of(app_id, Verb::Download));
        let mut others: Vec<_> = others.filter_map(|one| one.branch.as_deref()).collect();
        others.sort_unstable();
        others.dedup();
        if others.is_empty() { Right::None } else { Right::OtherBranches(others) }
    }

    /// Whether they may do that with that branch of an app.
    pub(crate) fn may(&self, app_id: &str, branch: &str, verb: Verb) -> bool {
        self.entitlements.iter().any(|one| one.allows(app_id, branch, verb))
    }

    /// The right by which they see that branch of an app in the list: of several the one that lasts longest.
    pub(crate) fn sees_in_list(&self, app_id: &str, branch: &str) -> Option<&Entitlement> {
        let lists = self.entitlements.iter().filter(|one| one.allows(app_id, branch, Verb::List));
        lists.max_by_key(|one| rank(one.ends_at))
    }

    /// Whether they may know whether the repo has that ref: in a private one, who may list or have it, or buy it.
    pub(crate) fn may_know(&self, view: &RepoView, app_id: &str, name: &RefName) -> bool {
        view.repo.policy != RepoPolicy::Private
            || (self.sees
                && (view.offers.contains_key(app_id)
                    || self.sees_in_list(app_id, name.branch()).is_some()
                    || matches!(self.right(app_id, name.branch()), Right::Has(_))))
    }
}
