//! Classes: what commits have in common as far as anybody's right to them goes.

use flatpass_ostree::Commit;
use flatpass_token::RefName;

use crate::facts::CommitFacts;

/// The number of a class in one table.
pub(crate) type ClassId = u32;

/// Commits that were made for the same refs and ask for the same token type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class {
    /// In order, none twice. Empty for lists of apps and for commits that say nothing: no token names them.
    pub(crate) refs: Box<[RefName]>,
    /// The commits' own; `None` when the repo's default counts.
    pub(crate) token_type: Option<i32>,
    /// Whether they are bound to flatpak's own refs and to no other.
    pub(crate) is_list_of_apps: bool,
}

impl Class {
    pub(crate) fn of(commit: &Commit) -> Self {
        let facts = CommitFacts::from(commit.clone());
        let mut refs = facts.refs.into_vec();
        refs.sort();
        refs.dedup();
        Self { refs: refs.into(), token_type: facts.token_type, is_list_of_apps: facts.is_list_of_apps }
    }

    /// One line: the token type or `-`, then `*` for lists of apps, then the refs.
    pub(crate) fn to_line(&self) -> String {
        let mut line = self.token_type.map_or_else(|| "-".to_owned(), |token_type| token_type.to_string());
        if self.is_list_of_apps {
            line.push_str(" *");
        }
        for name in &self.refs {
            line.push(' ');
            line.push_str(name.as_str());
        }
        line.push('\n');
        line
    }

    /// Reads what [`Class::to_line`] wrote, without the line's end.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ').peekable();
        let token_type = match words.next()? {
            "-" => None,
            number => Some(number.parse().ok()?),
        };
        let is_list_of_apps = words.next_if_eq(&"*").is_some();
        let refs = words.map(|name| RefName::parse(name).ok()).collect::<Option<_>>()?;
        Some(Self { refs, token_type, is_list_of_apps })
    }
}
