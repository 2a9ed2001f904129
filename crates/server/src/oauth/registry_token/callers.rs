//! Who asks, in each repo that a request is about.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use flatpass_oci::Image;
use flatpass_store::{AccountId, RegistryLogin, RepoRole, StoreError};

use crate::api::ref_tokens::why_not;
use crate::app::App;
use crate::pulls::may_know;
use crate::snapshot::RepoView;
use crate::visitor::Visitor;

/// Who asks, in one repo.
pub(super) struct Caller {
    pub(super) visitor: Visitor,
    pub(super) role: Option<RepoRole>,
    /// Their account has a role, and the secret that they gave is none to use it with.
    pub(super) is_held_back: bool,
}

/// Who asks, in all of them. What was read once in a request counts for all of it.
pub(super) struct Callers<'a> {
    app: &'a App,
    login: Option<&'a RegistryLogin>,
    read: BTreeMap<String, Caller>,
    was_nowhere: bool,
}

impl<'a> Callers<'a> {
    pub(super) fn new(app: &'a App, login: Option<&'a RegistryLogin>) -> Self {
        Self { app, login, read: BTreeMap::new(), was_nowhere: false }
    }

    /// The account, in that repo. An access token is for one repo: in another one its account is nobody.
    fn account(&self, repo: &str) -> Option<&'a AccountId> {
        let login = self.login?;
        login.repo.as_deref().is_none_or(|only| only == repo).then_some(&login.account_id)
    }

    /// Reads who asks there.
    pub(super) async fn in_repo(&mut self, view: &RepoView) -> Result<&Caller, StoreError> {
        let name = &view.repo.name;
        let account = self.account(name);
        match self.read.entry(name.clone()) {
            Entry::Occupied(read) => Ok(read.into_mut()),
            Entry::Vacant(place) => {
                let visitor = Visitor::of_account(self.app, view, account).await?;
                let role = match account {
                    Some(account) => self.app.store.repo_role(account, name, self.app.now()).await?,
                    None => None,
                };
                let used = role.filter(|_| self.login.is_some_and(|login| login.may_push));
                let is_held_back = role.is_some() && used.is_none();
                Ok(place.insert(Caller { visitor, role: used, is_held_back }))
            }
        }
    }

    /// As much work as for a repo that is there, so that the time does not say whether one is. Like that, once in a request.
    pub(super) async fn nowhere(&mut self) -> Result<(), StoreError> {
        let was_nowhere = std::mem::replace(&mut self.was_nowhere, true);
        if let Some(login) = self.login.filter(|_| !was_nowhere) {
            let (store, account, now) = (&self.app.store, &login.account_id, self.app.now());
            let nowhere = login.repo.as_deref().unwrap_or_default();
            store.entitlements(account, Some(nowhere), now).await?;
            store.repo_role(account, nowhere, now).await?;
        }
        Ok(())
    }

    /// Why they do not get a repository, because of that image, in a sentence that says what to do. Alike for an image that they may not
    /// know of and for none at all.
    pub(super) async fn why_not(
        &mut self,
        view: &RepoView,
        image: Option<&Image>,
    ) -> Result<Option<String>, StoreError> {
        let (app, account) = (self.app, self.account(&view.repo.name));
        let Some(caller) = self.read.get_mut(&view.repo.name) else { return Ok(None) };
        if let Some(account) = account {
            caller.visitor.read_ended(app, view, account).await?;
        }
        let Some(image) = image.filter(|image| may_know(view, &caller.visitor, image)) else {
            return Ok(None);
        };
        let owner = view.owner(image.name());
        Ok(Some(why_not(app, view, &caller.visitor, owner, image.name())))
    }
}
