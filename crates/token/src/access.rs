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
    /// What it opens. Nothing at all if it and `ending` are empty.
    pub grants: Vec<Grant>,
    /// What it opens besides until that moment. It ends by itself, whether or not the table is ever built anew.
    pub ending: Vec<(Grant, UnixTime)>,
    /// From when on it is refused. `None` for one that lives until it is revoked.
    pub expires_at: Option<UnixTime>,
}

/// All access tokens of one repo, by the hash of their secrets. It is built at once and given to
/// [`Verifier::set_access_tokens`](crate::Verifier::set_access_tokens); what is no longer in it is refused.
#[derive(Clone, Debug, Default)]
pub struct AccessTable {
    by_secret: HashMap<SecretHash, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// With all grants; those that end come last, the one that ends first at the very end.
    content: Arc<Content>,
    /// When these end, in that order.
    ends: Box<[UnixTime]>,
}

impl Entry {
    fn new(grant: AccessGrant) -> Self {
        let AccessGrant { id, subject, mut grants, mut ending, expires_at } = grant;
        ending.sort_by_key(|(_, end)| std::cmp::Reverse(*end));
        let ends = ending.iter().map(|(_, end)| *end).collect();
        grants.extend(ending.into_iter().map(|(grant, _)| grant));
        Self { content: Arc::new(Content::of_access_token(id, subject, grants, expires_at)), ends }
    }

    /// What holds at that moment. It is made only after something ended that is still in the table.
    fn at(&self, now: UnixTime) -> Arc<Content> {
        let ended = self.ends.iter().rev().take_while(|end| **end <= now).count();
        if ended == 0 {
            return Arc::clone(&self.content);
        }
        let left = self.content.grants.len().saturating_sub(ended);
        let grants = self.content.grants.iter().take(left).cloned().collect();
        Arc::new(Content { grants, ..Content::clone(&self.content) })
    }
}

impl AccessTable {
    /// A table without any access token.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, in place of what had the same hash.
    pub fn insert(&mut self, secret: SecretHash, grant: AccessGrant) {
        self.by_secret.insert(secret, Entry::new(grant));
    }

    pub(crate) fn find(&self, secret: &SecretHash, now: UnixTime) -> Option<Arc<Content>> {
        self.by_secret.get(secret).map(|entry| entry.at(now))
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
