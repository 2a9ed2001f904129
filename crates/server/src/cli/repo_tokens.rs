//! The option `--tokens` of `flatpass repo set`: which kind of token opens a repo.

use flatpass_store::{Repo, RepoTokens};

use super::failure::Failure;

pub(super) const HELP: &str = "Tokens (--tokens), which Flatpak sends with its downloads:\n  \
    jwt           this store signs them; everybody checks them with its public keys, peers too (the default)\n  \
    opaque        random secrets; only this store can say what they open, and their end is at once everywhere\n  \
    flat-manager  as flat-manager takes them\n  \
    issuer:NAME   somebody else issues them, such as a company's identity provider: flatpass issuer --help\n\
    Tokens of the kind before, if this store made them, are good until they expire.";

/// Refuses the option for what is no OSTree repository.
pub(super) fn for_ostree_only(tokens: Option<&RepoTokens>) -> Result<(), Failure> {
    if tokens.is_none() {
        return Ok(());
    }
    Err(Failure::told(
        "--tokens is for OSTree repositories; whose tokens a container registry takes is said with --access",
        "leave the option out",
    ))
}

/// What a choice means, in words.
pub(super) fn told(repo: &Repo) -> String {
    let name = &repo.name;
    match &repo.tokens {
        RepoTokens::Jwt => format!("{name} is opened by tokens that this store signs."),
        RepoTokens::Opaque => {
            format!(
                "{name} is opened by reference tokens, which only this store can check: peers cannot serve it."
            )
        }
        RepoTokens::FlatManager => format!("{name} is opened by tokens as flat-manager takes them."),
        RepoTokens::Issuer(issuer) => format!(
            "{name} is opened by tokens of {issuer}, as far as its rules go: flatpass issuer show {issuer}"
        ),
    }
}
