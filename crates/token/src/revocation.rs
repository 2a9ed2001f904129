//! Tokens that are refused before they expire.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::losses::Losses;
use crate::{Grant, UnixTime};

/// Which tokens are refused although their time has not come: a small list, since tokens live an hour.
/// Whoever builds it may leave out what has expired anyway.
///
/// All but [`Revocations::with_id`] is about signed tokens: an access token says what its account may do now, and ends by
/// leaving the [`AccessTable`](crate::AccessTable).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    ids: HashSet<Box<str>>,
    subjects: HashMap<Box<str>, UnixTime>,
    sessions: HashSet<Box<str>>,
    losses: HashMap<Box<str>, Arc<Losses>>,
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
    /// whole seconds, so a token made in the same second is refused with them: better one too many.
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<Box<str>>, until: UnixTime) -> Self {
        let cut = self.subjects.entry(subject.into()).or_insert(until);
        *cut = until.max(*cut);
        self
    }

    /// Refuses every signed token whose `sid` this is: the device was signed out.
    #[must_use]
    pub fn with_session(mut self, session: impl Into<Box<str>>) -> Self {
        self.sessions.insert(session.into());
        self
    }

    /// What an account has lost: signed tokens of it made at or before `until` no longer allow what `lost` says, unless it
    /// [keeps](Self::with_kept) it otherwise. A right to an app goes for its extensions too
    /// ([`RefName::is_extension_of`](crate::RefName::is_extension_of)), not for other apps below it. What a token says beside
    /// that stays. Which commits `lost` was for does not matter.
    #[must_use]
    pub fn with_lost(mut self, subject: impl Into<Box<str>>, until: UnixTime, lost: Grant) -> Self {
        Arc::make_mut(self.losses.entry(subject.into()).or_default()).lose(until, lost);
        self
    }

    /// What an account that lost something still holds, extensions included.
    #[must_use]
    pub fn with_kept(mut self, subject: impl Into<Box<str>>, kept: Grant) -> Self {
        Arc::make_mut(self.losses.entry(subject.into()).or_default()).keep(kept);
        self
    }

    pub(crate) fn holds_session(&self, session: &str) -> bool {
        !self.sessions.is_empty() && self.sessions.contains(session)
    }

    /// What a token of that account that was made then must be told, usually nothing.
    pub(crate) fn losses(&self, subject: &str, issued_at: UnixTime) -> Option<Arc<Losses>> {
        if self.losses.is_empty() {
            return None;
        }
        self.losses.get(subject).filter(|losses| losses.concern(issued_at)).map(Arc::clone)
    }

    pub(crate) fn holds_id(&self, id: &str) -> bool {
        !self.ids.is_empty() && self.ids.contains(id)
    }

    pub(crate) fn holds_subject(&self, subject: &str, issued_at: UnixTime) -> bool {
        !self.subjects.is_empty() && self.subjects.get(subject).is_some_and(|until| issued_at <= *until)
    }
}
