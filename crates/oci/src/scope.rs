//! Scopes: what a client asks a registry's token server for (Docker registry token scope and access).

use std::fmt;

use crate::{NameError, RepositoryName};

/// So many scopes are read from one request. Clients ask for one, or two when they mount a blob from another repository.
pub const MAX_SCOPES: usize = 64;
/// The longest list of scopes, in bytes.
const MAX_SCOPES_BYTES: usize = 16 * 1024;

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Read manifests, blobs and tags.
    Pull,
    /// Write them.
    Push,
    /// Delete them.
    Delete,
}

impl Action {
    /// `pull`, `push` or `delete`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// A set of actions, in the order pull, push, delete. `*` asks for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// These actions.
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Self {
        let mut actions: Vec<_> = actions.into_iter().collect();
        actions.sort_unstable();
        actions.dedup();
        Self(actions)
    }

    /// The actions.
    pub fn iter(&self) -> impl Iterator<Item = Action> {
        self.0.iter().copied()
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(&self, action: Action) -> bool {
        self.0.contains(&action)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `pull,push`. Words that are not known here ask for nothing that could be given.
    fn parse(text: &str) -> Self {
        Self::new(text.split(',').flat_map(|word| match word {
            "pull" => vec![Action::Pull],
            "push" => vec![Action::Push],
            "delete" => vec![Action::Delete],
            "*" => vec![Action::Pull, Action::Push, Action::Delete],
            _ => Vec::new(),
        }))
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, action) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(out, "{comma}{}", action.as_str())?;
        }
        Ok(())
    }
}

/// What is to be acted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A repository.
    Repository(RepositoryName),
    /// `registry:catalog:*`, the list of all repositories.
    Catalog,
    /// Something that this server gives no rights to, such as `repository(plugin)`.
    Other,
}

/// One scope: `repository:shop/free:pull`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What is to be acted on.
    pub target: Target,
    /// What is to be done.
    pub actions: Actions,
}

/// Why scopes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not of the form `TYPE:NAME:ACTIONS`.
    #[error("a scope is written TYPE:NAME:ACTION,ACTION, such as repository:shop/app:pull")]
    Form,
    /// The name is not one of a repository.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Too many at once.
    #[error("ask for at most {MAX_SCOPES} scopes at once")]
    TooMany,
}

impl Scope {
    /// To pull from that repository, and nothing more.
    #[must_use]
    pub fn pull(name: RepositoryName) -> Self {
        Self { target: Target::Repository(name), actions: Actions::new([Action::Pull]) }
    }

    /// Reads one scope. The name may have colons in it (a host with a port), so it ends at the last one.
    ///
    /// # Errors
    /// [`ScopeError`]
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let (kind, rest) = text.split_once(':').ok_or(ScopeError::Form)?;
        let (name, actions) = rest.rsplit_once(':').ok_or(ScopeError::Form)?;
        if kind.is_empty() || name.is_empty() {
            return Err(ScopeError::Form);
        }
        let target = match (kind, name) {
            ("repository", name) => Target::Repository(RepositoryName::parse(name)?),
            ("registry", "catalog") => Target::Catalog,
            _ => Target::Other,
        };
        Ok(Self { target, actions: Actions::parse(actions) })
    }

    /// Reads a list of scopes with spaces between them, as one `scope` parameter may have it.
    ///
    /// # Errors
    /// [`ScopeError`]
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ScopeError> {
        if text.len() > MAX_SCOPES_BYTES {
            return Err(ScopeError::TooMany);
        }
        let scopes = text.split(' ').filter(|scope| !scope.is_empty());
        let scopes: Vec<_> = scopes.take(MAX_SCOPES + 1).map(Self::parse).collect::<Result<_, _>>()?;
        if scopes.len() > MAX_SCOPES { Err(ScopeError::TooMany) } else { Ok(scopes) }
    }

    /// The repository, if it is one.
    #[must_use]
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match &self.target {
            Target::Repository(name) => Some(name),
            Target::Catalog | Target::Other => None,
        }
    }
}

/// As it stands in requests. A target that is not known here cannot be written, and is never made here.
impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Repository(name) => write!(out, "repository:{name}:{}", self.actions),
            Target::Catalog => out.write_str("registry:catalog:*"),
            Target::Other => Ok(()),
        }
    }
}
