//! What a registry checks in a token of its token server (Docker registry token specification; docker-registry 2.8.2).

use flatpass_token::UnixTime;
use serde::Serialize;

use crate::{RepositoryName, Scope};

/// The claims. docker-registry takes `aud` as a plain string only, and `exp` must be an integer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegistryClaims {
    /// The token server, as the registry's configuration has it in `issuer`.
    pub iss: String,
    /// The account; empty for nobody.
    pub sub: String,
    /// The registry, as its configuration has it in `service`.
    pub aud: String,
    /// From when on it is refused.
    pub exp: UnixTime,
    /// Before when it is refused. Registries allow for clocks that differ by 60 s.
    pub nbf: UnixTime,
    /// When it was made.
    pub iat: UnixTime,
    /// The name of this token.
    pub jti: String,
    /// What it opens. Nothing at all if it is empty.
    pub access: Vec<Access>,
}

/// One right in a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    /// `repository` or `registry`.
    pub r#type: &'static str,
    /// The repository, or `catalog`.
    pub name: String,
    /// `pull`, `push`, `delete`, or `*` for the catalog.
    pub actions: Vec<&'static str>,
}

impl Access {
    /// A right in a repository: what is left of a scope.
    #[must_use]
    pub fn repository(name: &RepositoryName, scope: &Scope) -> Self {
        let actions = scope.actions.iter().map(crate::Action::as_str).collect();
        Self { r#type: "repository", name: name.to_string(), actions }
    }
}
