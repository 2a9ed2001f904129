//! What reference tokens stand for, from the store.

use std::sync::Arc;

use flatpass_store::{RefToken, Store};
use flatpass_token::{Lookup, LookupError, Reference, SecretHash, UnixTime};

use super::desk::{Desk, Trouble};

/// The desk of all repos.
pub(super) type ReferenceDesk = Desk<Option<Arc<RefToken>>>;

/// The tokens of one repo.
#[derive(Debug)]
pub(super) struct References {
    pub(super) repo: String,
    pub(super) desk: Arc<ReferenceDesk>,
    pub(super) store: Store,
}

impl Lookup for References {
    fn reference(&self, secret: &str, now: UnixTime) -> Result<Option<Reference>, LookupError> {
        let found = self.desk.ask(SecretHash::of(secret), || {
            let (store, secret) = (self.store.clone(), flatpass_token::Secret::from(secret.to_owned()));
            async move {
                let found = store.ref_token(secret.expose(), now).await;
                found.map(|found| found.map(Arc::new)).map_err(|error| Trouble::Outage(error.to_string()))
            }
        })?;
        Ok(found.filter(|found| found.repo == self.repo).map(|found| Reference {
            id: found.id.clone(),
            subject: found.account_id.0.clone(),
            session: found.device_id.0.clone(),
            grants: found.grants.clone(),
            issued_at: found.created_at,
            expires_at: found.expires_at,
        }))
    }
}
