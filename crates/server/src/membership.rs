//! Whether an account is a member of a repo: whether it may list anything of it.

use std::sync::Arc;

use flatpass_store::{AccountId, Entitlement, RepoPolicy, StoreError};
use flatpass_token::{RefName, Verb};

use crate::app::App;
use crate::problem::ApiError;
use crate::snapshot::RepoView;

/// What an account may do in a repo that it may know of.
pub(crate) struct Membership {
    pub(crate) view: Arc<RepoView>,
    /// What it may list; empty in a repo whose list is public.
    pub(crate) lists: Vec<Entitlement>,
}

impl Membership {
    /// Whether the account may see that ref in the list.
    pub(crate) fn may_list(&self, name: &RefName) -> bool {
        let owner = self.view.owner(name);
        self.view.repo.policy != RepoPolicy::Private
            || self.lists.iter().any(|one| one.allows(owner, name.branch(), Verb::List))
    }
}

/// The repo with this URL, for an account that may list some of it or that has it like everybody.
///
/// # Errors
/// [`ApiError::UnknownRepo`] for the URL of another store. [`ApiError::NotAMember`] alike for a private repo that the account may
/// not list and for one that does not exist: who is not a member does not learn which.
pub(crate) async fn membership(app: &App, url: &str, account: &AccountId) -> Result<Membership, ApiError> {
    let snapshot = app.snapshot.load_full();
    // The same work for what is there and what is not.
    let name = match snapshot.repo_by_url(url) {
        Some(view) => Some(view.repo.name.clone()),
        None => app.config.repo_name_in(url),
    };
    let Some(name) = name else { return Err(ApiError::unknown_repo(url)) };
    in_repo(app, &name, account).await?.ok_or_else(|| ApiError::NotAMember(app.config.issuer()))
}

/// Like [`membership`], for the repo of that name; `None` alike when there is none and when the account is no member.
pub(crate) async fn in_repo(
    app: &App,
    name: &str,
    account: &AccountId,
) -> Result<Option<Membership>, StoreError> {
    let entitlements = app.store.entitlements(account, Some(name), app.now()).await?;
    let snapshot = app.snapshot.load_full();
    let Some(view) = snapshot.repos.get(name).cloned() else { return Ok(None) };
    if view.repo.policy != RepoPolicy::Private {
        return Ok(Some(Membership { view, lists: Vec::new() }));
    }
    let lists: Vec<_> = entitlements.into_iter().filter(|one| one.verbs.contains(&Verb::List)).collect();
    Ok((!lists.is_empty()).then_some(Membership { view, lists }))
}
