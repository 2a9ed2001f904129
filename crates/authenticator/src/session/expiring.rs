//! Tokens in memory, each until a moment of its own.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use flatpass_token::UnixTime;

use crate::secret::SecretText;

/// Tokens by what they open. The empty token is for what needs none.
pub(crate) struct Expiring<K> {
    entries: HashMap<K, Entry>,
    most: usize,
}

struct Entry {
    token: SecretText,
    until: UnixTime,
}

impl<K: Eq + Hash> Expiring<K> {
    /// None yet, and never more than so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most }
    }

    /// The token, if one is known that counts yet.
    pub(crate) fn get(&self, key: &K, now: UnixTime) -> Option<&str> {
        self.entries.get(key).filter(|entry| now.0 < entry.until.0).map(|entry| entry.token.expose())
    }

    /// Drops what counts no more, and everything if there is no room for so many more.
    pub(crate) fn make_room(&mut self, more: usize, now: UnixTime) {
        self.entries.retain(|_, entry| now.0 < entry.until.0);
        if self.entries.len() + more > self.most {
            self.entries.clear();
        }
    }

    /// Remembers a token.
    pub(crate) fn put(&mut self, key: K, token: &str, until: UnixTime) {
        self.entries.insert(key, Entry { token: SecretText::new(token.to_owned()), until });
    }

    /// Forgets one.
    pub(crate) fn forget(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Of the tokens it shows how many there are.
impl<K> fmt::Debug for Expiring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiring").field("tokens", &self.entries.len()).finish_non_exhaustive()
    }
}

/// Until when a token is given out that was asked for at `asked` and is good for so many seconds: `margin` is kept back, because a
/// download takes time, and of short-lived ones a fifth.
pub(crate) fn kept_until(asked: UnixTime, expires_in: i64, margin: i64) -> UnixTime {
    UnixTime(asked.0.saturating_add(expires_in - margin.min(expires_in / 5)))
}
