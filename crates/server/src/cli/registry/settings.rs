//! What the settings of a registry must say, as `flatpass repo add` and `flatpass repo check` print it.

use flatpass_store::{Registry, RegistryAccess, Repo, RepoPolicy};
use flatpass_token::Secret;
use serde_json::{Value, json};

use crate::cli::Shop;

/// The repo as a container registry's clients and the registry itself must know it.
pub(in crate::cli) struct Settings<'a> {
    shop: &'a Shop,
    repo: &'a Repo,
    registry: &'a Registry,
}

impl<'a> Settings<'a> {
    /// Those of a repo in a registry.
    pub(in crate::cli) fn of(shop: &'a Shop, repo: &'a Repo) -> Option<Self> {
        repo.source.registry().map(|registry| Self { shop, repo, registry })
    }

    /// The address of the token realm.
    pub(in crate::cli) fn realm(shop: &Shop) -> String {
        shop.config.at("oauth/registry-token")
    }

    /// For programs.
    pub(in crate::cli) fn json(&self) -> Value {
        match self.registry.access {
            RegistryAccess::Realm => json!({
                "realm": Self::realm(self.shop), "service": self.registry.service, "issuer": self.shop.config.issuer(),
            }),
            RegistryAccess::Broker | RegistryAccess::None => Value::Null,
        }
    }

    /// What to do at the registry.
    pub(in crate::cli) fn told(&self) -> String {
        let name = &self.repo.name;
        match self.registry.access {
            RegistryAccess::Realm => format!(
                "The registry must take this store's tokens. For docker-registry, in its config.yml:\n\n{}\n\n\
                 The certificates:  flatpass repo certificates {name} > /etc/docker/registry/flatpass.pem\n\
                 Then restart the registry. Do both again after each `flatpass key rotate`.\n\
                 Log in:  docker login {host}, with any user name and an access token as password\n\
                 Who pushes:  flatpass repo role {name} EMAIL publisher",
                self.yaml(),
                host = self.registry.host(),
            ),
            RegistryAccess::Broker if self.registry.robot.is_none() => {
                format!("The store needs an account at the registry:  flatpass repo set {name} --robot USER")
            }
            RegistryAccess::Broker => {
                format!(
                    "Let the store's account at the registry pull, and nothing more. It must get tokens there, not only a password: \
                     flatpass repo check {name} says whether it does."
                )
            }
            RegistryAccess::None => {
                let what = match self.repo.policy {
                    RepoPolicy::Open => "",
                    RepoPolicy::Private => " Only the list is private: who knows a name can pull.",
                    RepoPolicy::Refs | RepoPolicy::Objects => {
                        " What has a price can be pulled without paying."
                    }
                };
                format!("The registry asks nobody for a token.{what}")
            }
        }
    }

    /// The part of docker-registry's settings that names this store.
    pub(in crate::cli) fn yaml(&self) -> String {
        format!(
            "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    rootcertbundle: /etc/docker/registry/flatpass.pem",
            Self::realm(self.shop),
            scalar(&self.registry.service),
            self.shop.config.issuer(),
        )
    }

    /// How the registry tells the store of changes.
    pub(in crate::cli) fn webhook(&self, secret: &Secret) -> String {
        format!(
            "To tell this store of changes at once, in the registry's settings (the secret is shown only now):\n\n\
             notifications:\n  endpoints:\n    - name: flatpass\n      url: {}\n      headers:\n        Authorization: [Bearer {}]\n      \
             timeout: 5s\n      threshold: 5\n      backoff: 10s",
            self.webhook_url(),
            secret.expose(),
        )
    }

    /// Where the registry tells the store of changes.
    pub(in crate::cli) fn webhook_url(&self) -> String {
        self.shop.config.at(&format!("api/v1/registry-events/{}", self.repo.name))
    }
}

/// A YAML scalar: in quotes where it might be read as something else.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    let is_plain = text.bytes().all(plain)
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && !text.ends_with(':')
        && text.contains(['.', ':', '-']);
    if is_plain { text.to_owned() } else { format!("\"{text}\"") }
}
