//! Which commits are open, and what opens the others.

use std::collections::HashSet;
use std::str::FromStr;

use flatpass_ostree::Checksum;
use flatpass_token::{RefKind, RefName, Verb, VerifiedToken};
use serde::{Deserialize, Serialize};

use crate::facts::CommitFacts;

/// How much of a repo is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing: every file goes to everybody.
    Open,
    /// Commits and static deltas whose token type says so, or whose app is guarded.
    #[default]
    Refs,
    /// As `Refs`, and every object: it is served only if some commit that contains it is open, or covered by the token.
    Objects,
    /// Everything, the list of refs included; every object is checked as under `Objects`.
    Private,
}

/// The text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no policy: use open, refs, objects or private")]
pub struct UnknownPolicy(String);

impl Policy {
    /// The policy's name: `open`, `refs`, `objects` or `private`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Policy::Open => "open",
            Policy::Refs => "refs",
            Policy::Objects => "objects",
            Policy::Private => "private",
        }
    }

    /// Whether who gets an object depends on the commits that contain it, so that an index of them is needed.
    pub const fn checks_objects(self) -> bool {
        matches!(self, Policy::Objects | Policy::Private)
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        [Policy::Open, Policy::Refs, Policy::Objects, Policy::Private]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

/// What of a repo needs a token.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    policy: Policy,
    open_token_types: Vec<i32>,
    guarded_ids: HashSet<String>,
    /// The guarded ids as flatpak writes them at the front of an extension's id.
    guarded_extensions: HashSet<String>,
}

impl Rules {
    /// Token types 0 (open) and 1 (ask for a donation) need no token; no app is guarded beyond its token type.
    pub fn new(policy: Policy) -> Self {
        Self { policy, open_token_types: vec![0, 1], ..Self::default() }
    }

    /// Only these token types need no token.
    #[must_use]
    pub fn with_open_token_types(self, open_token_types: Vec<i32>) -> Self {
        Self { open_token_types, ..self }
    }

    /// Apps that need a token whatever their token type, with their extensions (`org.test.Paid` guards `org.test.Paid.Locale` too).
    #[must_use]
    pub fn with_guarded_ids(self, guarded_ids: impl IntoIterator<Item = String>) -> Self {
        let guarded_ids: HashSet<String> = guarded_ids.into_iter().collect();
        let guarded_extensions = guarded_ids.iter().map(|id| id.replace('-', "_")).collect();
        Self { guarded_ids, guarded_extensions, ..self }
    }

    /// How much of the repo is guarded.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether commits of this token type need no token.
    pub(crate) fn is_open_type(&self, token_type: i32) -> bool {
        self.open_token_types.contains(&token_type)
    }

    /// Whether that ref is guarded whatever its token type, itself or as an extension.
    pub(crate) fn guards(&self, name: &RefName) -> bool {
        if self.guarded_ids.is_empty() {
            return false;
        }
        let id = name.id();
        if self.guarded_ids.contains(id) {
            return true;
        }
        name.kind() == RefKind::Runtime
            && id
                .match_indices('.')
                .any(|(dot, _)| id.get(..dot).is_some_and(|front| self.guarded_extensions.contains(front)))
    }

    /// Whether a commit is open to everybody who may see the repo at all. A commit that says no token type has `default`; when
    /// that is not known either, it is not open.
    pub(crate) fn is_open(&self, commit: &CommitFacts, default: Option<i32>) -> bool {
        self.is_open_for(&commit.refs, commit.token_type, default)
    }

    /// As [`Rules::is_open`], of all commits with these refs and that token type.
    pub fn is_open_for(&self, refs: &[RefName], token_type: Option<i32>, default: Option<i32>) -> bool {
        !refs.iter().any(|name| self.guards(name))
            && token_type.or(default).is_some_and(|token_type| self.is_open_type(token_type))
    }
}

/// Whether the token opens a commit: it must allow `download` of one of the refs that the commit was made for, and of that very
/// commit. A commit that was made for none is opened by no token.
///
/// `upgrade` is not enough. Who asks for an upgrade says so in a header field that anybody can write, so the verb would be worth
/// as much as `download`; a token says which commits it is for instead.
pub(crate) fn opens(token: &VerifiedToken, commit: &CommitFacts, checksum: &Checksum) -> bool {
    let made = commit.made(checksum);
    commit.refs.iter().any(|name| token.allows_commit(Verb::Download, name, made))
}

/// Whether the token shows a commit of a private repo that is open, "free for members": it must allow `list` of one of the refs
/// that the commit was made for. The list of apps is for all who may see a list at all.
pub(crate) fn shows(token: &VerifiedToken, commit: &CommitFacts, checksum: &Checksum) -> bool {
    let made = commit.made(checksum);
    commit.refs.iter().any(|name| token.allows_commit(Verb::List, name, made))
        || (commit.is_list_of_apps && token.allows_any(Verb::List))
}
