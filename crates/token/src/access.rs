//! Access tokens: long-lived secrets of one account, sent as a password (HTTP Basic, RFC 7617).

use std::collections::HashMap;
use std::sync::Arc;

use crate::verified::Content;
use crate::{Grant, SecretHash, UnixTime};

/// What the owner of an access token may do in one repo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessGrant {
    /// The access token's id, not its secret. It can be revoked by it.
    pub id: String,
    /// The account.
    pub subject: String,
    /// What it opens. Nothing at all if it is empty.
    pub grants: Vec<Grant>,
    /// From when on it is refused. `None` for one that lives until it is revoked.
    pub expires_at: Option<UnixTime>,
}

/// All access tokens of one repo, by the hash of their secrets. It is built at once and given to
/// [`Verifier::set_access_tokens`](crate::Verifier::set_access_tokens); what is no longer in it is refused.
#[derive(Clone, Debug, Default)]
pub struct AccessTable {
    by_secret: HashMap<SecretHash, Arc<Content>>,
}

impl AccessTable {
    /// A table without any access token.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, in place of what had the same hash.
    pub fn insert(&mut self, secret: SecretHash, grant: AccessGrant) {
        self.by_secret.insert(secret, Arc::new(Content::from_access_grant(grant)));
    }

    pub(crate) fn find(&self, secret: &SecretHash) -> Option<&Arc<Content>> {
        self.by_secret.get(secret)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_secret.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_secret.is_empty()
    }
}

impl FromIterator<(SecretHash, AccessGrant)> for AccessTable {
    fn from_iter<I: IntoIterator<Item = (SecretHash, AccessGrant)>>(items: I) -> Self {
        let mut table = Self::new();
        for (secret, grant) in items {
            table.insert(secret, grant);
        }
        table
    }
}
