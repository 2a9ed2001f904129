//! Tokens that are refused before they expire.

use std::collections::{HashMap, HashSet};

use crate::UnixTime;

/// Which tokens are refused although their time has not come: a small list, since tokens live an hour.
/// Whoever builds it may leave out what has expired anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    ids: HashSet<Box<str>>,
    subjects: HashMap<Box<str>, UnixTime>,
}

impl Revocations {
    /// Nothing is revoked.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses the token with that `jti`, or the access token with that id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.ids.insert(id.into());
        self
    }

    /// Refuses every signed token of that account made at or before `until`; the latest one counts. Times are
    /// whole seconds, so a token made in the same second is refused with them: better one too many. Access
    /// tokens are not touched: those end by leaving the [`AccessTable`](crate::AccessTable).
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<Box<str>>, until: UnixTime) -> Self {
        let cut = self.subjects.entry(subject.into()).or_insert(until);
        *cut = until.max(*cut);
        self
    }

    pub(crate) fn holds_id(&self, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(id)
    }

    pub(crate) fn holds_subject(&self, subject: &str, issued_at: UnixTime) -> bool {
        !self.subjects.is_empty() && self.subjects.get(subject).is_some_and(|until| issued_at <= *until)
    }
}
