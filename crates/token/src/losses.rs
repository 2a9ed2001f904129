//! What an account lost while tokens that say otherwise are still alive.

use crate::grant::Asked;
use crate::{Grant, RefKind, RefName, UnixTime, Verb};

/// The losses of one account, and what it still holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Each with the last moment at which a token that still says it may have been made.
    lost: Vec<(UnixTime, Grant)>,
    kept: Vec<Grant>,
}

impl Losses {
    pub(crate) fn lose(&mut self, until: UnixTime, grant: Grant) {
        self.lost.push((until, grant));
    }

    pub(crate) fn keep(&mut self, grant: Grant) {
        self.kept.push(grant);
    }

    /// Whether a token that was made then is told of any of it.
    pub(crate) fn concern(&self, issued_at: UnixTime) -> bool {
        self.lost.iter().any(|(until, _)| issued_at <= *until)
    }

    /// Whether a token that was made then no longer allows `verb` on that ref, or on that commit of it.
    pub(crate) fn take(&self, issued_at: UnixTime, verb: Verb, target: &RefName, commit: Asked<'_>) -> bool {
        self.lost.iter().filter(|(until, _)| issued_at <= *until).any(|(_, grant)| {
            reach(grant, verb, target)
                .is_some_and(|reach| !self.kept.iter().any(|kept| keeps(kept, reach, verb, target, commit)))
        })
    }

    /// Whether a token that was made then no longer allows `verb` on anything: it was lost somewhere, and the account holds it
    /// nowhere now.
    pub(crate) fn take_all(&self, issued_at: UnixTime, verb: Verb) -> bool {
        let lost = |(until, grant): &(UnixTime, Grant)| issued_at <= *until && grant.actions.contains(&verb);
        self.lost.iter().any(lost) && !self.kept.iter().any(|kept| kept.covers_some(verb))
    }
}

/// How a right to ids reaches a ref.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// By a prefix, whatever app it belongs to.
    Prefix,
    /// By an id of this length: the ref's own, or that of the app that it extends.
    Id(usize),
}

/// How a lost right reaches the ref; `None` when it does not. A right to an app goes for the app's extensions too. Which commits
/// it was for does not matter.
fn reach(lost: &Grant, verb: Verb, target: &RefName) -> Option<Reach> {
    if !lost.covers_build(verb, target) {
        return None;
    }
    by_id(lost, target).map(Reach::Id).or_else(|| by_prefix(lost, target).then_some(Reach::Prefix))
}

/// Whether what is kept gives the ref that a lost right reached. An extension belongs to the longest id that it continues, so who
/// keeps `org.test.Paid` and lost `org.test.Paid.Pro` does not keep `org.test.Paid.Pro.Locale`.
fn keeps(kept: &Grant, lost: Reach, verb: Verb, target: &RefName, commit: Asked<'_>) -> bool {
    kept.covers_build(verb, target)
        && (by_prefix(kept, target) || by_id(kept, target).is_some_and(|length| Reach::Id(length) >= lost))
        && kept.admits(commit)
}

/// The length of the longest of the ids that the ref has or extends.
fn by_id(grant: &Grant, target: &RefName) -> Option<usize> {
    let reached = |id: &&String| *id == target.id() || target.is_extension_of(id);
    grant.ids.iter().filter(reached).map(String::len).max()
}

fn by_prefix(grant: &Grant, target: &RefName) -> bool {
    grant.covers_by_prefix(target.id())
        || (target.kind() == RefKind::Runtime
            && grant.prefixes.iter().any(|prefix| target.is_extension_of(prefix)))
}
