//! What became of credentials in one request: a wrong password is tried once and not once for each repository, which
//! could lock an account; and a helper, which may ask its person, is asked once.

use std::collections::HashMap;
use std::future::Future;

use flatpass_oci::client::Realm;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::credential::Credential;
use super::helper::Helper;
use crate::credentials::CredentialError;

/// What became of credentials at token servers.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Each with the token server's words, if it did not take them.
    tried: Vec<(Realm, Credential, Option<String>)>,
}

impl Known {
    /// What became of it; the words of the token server, if it did not take it.
    pub(super) fn of(&self, realm: &Realm, credential: &Credential) -> Option<Option<&str>> {
        let mut tried = self.tried.iter();
        let known = tried.find(|(at, one, _)| at == realm && one == credential);
        known.map(|(_, _, words)| words.as_deref())
    }

    /// Notes it.
    pub(super) fn note(&mut self, realm: &Realm, credential: &Credential, words: Option<String>) {
        self.tried.push((realm.clone(), credential.clone(), words));
    }
}

/// One request's.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    known: Mutex<Known>,
    helpers: Mutex<HashMap<Helper, Option<Credential>>>,
    remembered: OnceCell<Result<Option<Credential>, CredentialError>>,
}

impl Attempts {
    /// What is known so far. Who is about to find out more keeps this until it is noted.
    pub(super) async fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().await
    }

    /// What a helper has.
    pub(super) async fn helper(&self, helper: &Helper) -> Option<Credential> {
        let mut helpers = self.helpers.lock().await;
        if let Some(known) = helpers.get(helper) {
            return known.clone();
        }
        let found = helper.get().await;
        helpers.insert(helper.clone(), found.clone());
        found
    }

    /// What was remembered, which `load` finds out.
    pub(super) async fn remembered(
        &self,
        load: impl Future<Output = Result<Option<Credential>, CredentialError>>,
    ) -> &Result<Option<Credential>, CredentialError> {
        self.remembered.get_or_init(|| load).await
    }
}
