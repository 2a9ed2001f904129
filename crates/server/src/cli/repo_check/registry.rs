//! A container registry: whom it lets in, whether it takes this store's tokens, and what the store can see of it.

use std::sync::Arc;
use std::time::Duration;

use flatpass::RegistryTokenFor;
use flatpass_oci::client::{
    Access, Asked, Door, HttpLimits, RegistryAddress, RegistryClient, RegistryError, RegistryToken, knock,
};
use flatpass_oci::{Access as Right, RepositoryName, Target};
use flatpass_store::{KeyPhase, Registry, RegistryAccess, Repo, RepoPolicy, StoredKey};
use flatpass_token::{Secret, SigningKey};
use url::Url;

use super::{Finding, Weight, broker};
use crate::cli::failure::Failure;
use crate::cli::registry::settings::Settings;
use crate::cli::{Shop, system_rng};

/// Life of the tokens that a check is made with.
const SECONDS: u32 = 60;

/// The registry under the eyes of the checks.
struct Look<'a> {
    shop: &'a Shop,
    repo: &'a Repo,
    registry: &'a Registry,
    address: RegistryAddress,
    limits: HttpLimits,
    findings: Vec<Finding>,
    /// It knows HTTP Basic only.
    asks_for_passwords: bool,
}

/// What is wrong with it.
pub(super) async fn findings(
    shop: &Shop,
    repo: &Repo,
    registry: &Registry,
    is_priced: bool,
) -> Result<Vec<Finding>, Failure> {
    let address = RegistryAddress::parse(&registry.url)
        .map_err(|error| Failure::told(error.to_string(), "remove the repo and add it again"))?;
    let limits = HttpLimits { extra_roots: shop.config.registries.roots.clone(), ..HttpLimits::default() };
    let mut look =
        Look { shop, repo, registry, address, limits, findings: Vec::new(), asks_for_passwords: false };
    look.at_policy(is_priced);
    match knock(&look.address, None, &look.limits).await {
        Err(error) => look.unreachable(&error),
        Ok(door) => {
            let may_go_on = look.at_door(&door);
            let takes_keys = match registry.access {
                RegistryAccess::Realm if may_go_on => look.at_keys().await?,
                _ => may_go_on,
            };
            if takes_keys {
                look.at_list().await?;
            }
        }
    }
    Ok(look.findings)
}

impl Look<'_> {
    fn found(&mut self, weight: Weight, code: &'static str, what: String, mend: Vec<String>) -> &mut Finding {
        self.findings.push(Finding { weight, code, what, mend, advice: None });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn problem(&mut self, code: &'static str, what: String, mend: Vec<String>) -> &mut Finding {
        self.found(Weight::Problem, code, what, mend)
    }

    /// `flatpass repo set` with these options.
    fn set(&self, options: &str) -> String {
        format!("flatpass repo set {} {options}", self.repo.name)
    }

    fn settings(&self) -> String {
        Settings::of(self.shop, self.repo).map(|settings| settings.yaml()).unwrap_or_default()
    }

    fn at_policy(&mut self, is_priced: bool) {
        let is_guarded = is_priced && self.repo.policy != RepoPolicy::Open;
        if self.registry.access == RegistryAccess::None && is_guarded {
            let what = format!(
                "{} asks nobody for a token, so what has a price can be pulled unpaid.",
                self.registry
            );
            let mend = self.set("--access realm");
            self.problem("unguarded", what, vec![mend]).advice = Some(
                "Or --access broker --robot USER, for a registry that knows its own accounts only."
                    .to_owned(),
            );
        }
        if self.registry.access == RegistryAccess::Broker && self.registry.robot.is_none() {
            let what =
                "The store has no account at the registry, so it can fetch tokens for nobody.".to_owned();
            let mend = self.set("--robot USER");
            self.problem("no-robot", what, vec![mend]);
        }
    }

    fn unreachable(&mut self, error: &RegistryError) {
        let code = match error {
            RegistryError::NotFound { .. } => "no-registry",
            RegistryError::Scheme { .. }
            | RegistryError::Challenge { .. }
            | RegistryError::InsecureRealm { .. } => "challenge",
            _ => "unreachable",
        };
        self.problem(code, format!("{error}."), vec![]).advice = Some(
            "See whether the address is right, the registry runs, and its certificate is trusted here."
                .to_owned(),
        );
    }

    /// Whether the registry asks as it should for the repo's access.
    fn at_door(&mut self, door: &Door) -> bool {
        let realm = Settings::realm(self.shop);
        match (self.registry.access, door) {
            (RegistryAccess::None, Door::Open) => true,
            (RegistryAccess::None, Door::Asks(_)) => {
                let what = format!("{} asks for credentials, and the store has none.", self.registry);
                let mend = self.set("--access broker --robot USER");
                self.problem("asks", what, vec![mend]).advice = Some(
                    "Or --access realm, if the registry is yours and can take this store's tokens."
                        .to_owned(),
                );
                false
            }
            (RegistryAccess::Realm | RegistryAccess::Broker, Door::Open) => {
                let what =
                    format!("{} lets everybody in, so what has a price can be pulled unpaid.", self.registry);
                let settings = self.settings();
                let is_realm = self.registry.access == RegistryAccess::Realm;
                self.problem("open", what, vec![]).advice = Some(if is_realm {
                    format!("Put this into its settings and restart it:\n{settings}")
                } else {
                    "Make its repositories private.".to_owned()
                });
                true
            }
            (RegistryAccess::Realm, Door::Asks(Asked::Basic)) => {
                let what =
                    format!("{} asks for passwords of its own, not for this store's tokens.", self.registry);
                let settings = self.settings();
                self.problem("not-realm", what, vec![]).advice = Some(format!(
                    "Put this into its settings, in place of its own accounts, and restart it:\n{settings}"
                ));
                false
            }
            (RegistryAccess::Realm, Door::Asks(Asked::Token { realm: asked, service })) => {
                if Url::parse(&realm).ok().as_ref() != Some(asked.url()) {
                    let what = format!(
                        "{} sends its clients to {} for tokens, not to {realm}.",
                        self.registry,
                        asked.url()
                    );
                    let settings = self.settings();
                    self.problem("not-realm", what, vec![]).advice =
                        Some(format!("Put this into its settings and restart it:\n{settings}"));
                    return false;
                }
                let service = service.as_deref().unwrap_or_default();
                if service != self.registry.service {
                    let ours = &self.registry.service;
                    let what = format!(
                        "{} calls itself {service:?}; this store takes it for {ours:?}.",
                        self.registry
                    );
                    let mend = self.set(&format!("--service {}", crate::cli::shell::quoted(service)));
                    self.problem("service", what, vec![mend]);
                    return false;
                }
                true
            }
            (RegistryAccess::Broker, Door::Asks(Asked::Basic)) => {
                self.asks_for_passwords = true;
                let what = format!(
                    "{} knows passwords only and gives no tokens, so the store cannot pass a right on without its own password.",
                    self.registry
                );
                self.problem("basic-only", what, vec![]).advice = Some(
                    "Have the registry give tokens (its own, or this store's with --access realm). Nothing of it is given to anybody until then."
                        .to_owned(),
                );
                true
            }
            (RegistryAccess::Broker, Door::Asks(Asked::Token { .. })) => self.registry.robot.is_some(),
        }
    }

    /// Whether the registry takes the key that signs now. One that it does not know yet is told too.
    async fn at_keys(&mut self) -> Result<bool, Failure> {
        let keys = self.shop.store.signing_keys(self.shop.now).await?;
        let mut takes_all = true;
        for key in keys.iter().filter(|key| key.phase(self.shop.now) != KeyPhase::Retired) {
            takes_all = self.at_key(key).await? && takes_all;
        }
        Ok(takes_all)
    }

    async fn at_key(&mut self, key: &StoredKey) -> Result<bool, Failure> {
        let token = self.sign(&key.signing_key()?, Vec::new())?;
        match knock(&self.address, Some(&token), &self.limits).await {
            Ok(Door::Open) => Ok(true),
            Ok(Door::Asks(_)) => {
                let when = match key.phase(self.shop.now) {
                    KeyPhase::Published => format!("which signs from {} on", key.active_from),
                    KeyPhase::Signing | KeyPhase::Retired => "which signs now".to_owned(),
                };
                let what = format!("{} refuses tokens of the key {}, {when}.", self.registry, key.kid);
                let mend = format!(
                    "flatpass repo certificates {} > /etc/docker/registry/flatpass.pem",
                    self.repo.name
                );
                let issuer = self.shop.config.issuer();
                self.problem("key", what, vec![mend]).advice = Some(format!(
                    "Write to the file that its rootcertbundle names, and restart it. Its issuer must be {issuer}, and its clock right."
                ));
                Ok(false)
            }
            Err(error) => {
                self.unreachable(&error);
                Ok(false)
            }
        }
    }

    fn sign(&self, key: &SigningKey, access: Vec<Right>) -> Result<Secret, Failure> {
        let issuer = self.shop.config.issuer();
        let seconds = i64::from(SECONDS);
        let made =
            RegistryTokenFor { issuer: &issuer, service: &self.registry.service, subject: "", seconds };
        let token = made.sign(key, access, self.shop.now, &mut system_rng());
        let token =
            token.map_err(|error| Failure::told(error.to_string(), "rotate the key: flatpass key rotate"))?;
        Ok(Secret::from(token))
    }

    /// Whether the store sees the repositories.
    async fn at_list(&mut self) -> Result<(), Failure> {
        let client = match RegistryClient::new(self.address.clone(), self.access().await?, &self.limits) {
            Ok(client) => client,
            Err(error) => {
                self.unreachable(&error);
                return Ok(());
            }
        };
        let Some(names) = &self.registry.repositories else {
            match client.repositories().await {
                Ok(mut names) => {
                    names.retain(|name| self.registry.covers(name.as_str()));
                    self.at_broker(&client, &names).await?;
                    if names.is_empty() {
                        let what = format!("{} lists no repository.", self.registry);
                        let next = match self.registry.access {
                            RegistryAccess::Realm => format!(
                                "Push an image, as who may: flatpass repo role {} EMAIL publisher",
                                self.repo.name
                            ),
                            _ => "Push an image, as the registry wants it.".to_owned(),
                        };
                        self.found(Weight::Note, "empty", what, vec![]).advice = Some(next);
                    }
                }
                Err(error) => {
                    let mend = self.set("--repository NAME --repository NAME");
                    self.problem(
                        "catalog",
                        format!("The store cannot list the repositories: {error}."),
                        vec![mend],
                    )
                    .advice =
                        Some("Many hosted registries list nothing: name the repositories then.".to_owned());
                }
            }
            return Ok(());
        };
        let names: Vec<_> = names.iter().filter_map(|name| RepositoryName::parse(name).ok()).collect();
        let mut are_seen = true;
        for name in &names {
            if let Err(error) = client.tags(name).await {
                self.problem("repository", format!("The store cannot read {name}: {error}."), vec![]);
                are_seen = false;
            }
        }
        if are_seen { self.at_broker(&client, &names).await } else { Ok(()) }
    }

    /// Whether customers get tokens that are the registry's own.
    async fn at_broker(&mut self, client: &RegistryClient, names: &[RepositoryName]) -> Result<(), Failure> {
        if self.registry.access != RegistryAccess::Broker || self.asks_for_passwords {
            return Ok(());
        }
        let Some(robot) = self.shop.store.registry_robot(&self.repo.name).await? else { return Ok(()) };
        if let Err(error) = broker::try_one(client, &self.limits, &robot, names).await {
            self.problem("no-token", format!("Customers get no token: {error}."), vec![]).advice = Some(
                "Another account there, or its password again, is set by: flatpass repo set --robot USER"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// By what right the store reads the registry.
    async fn access(&self) -> Result<Access, Failure> {
        match self.registry.access {
            RegistryAccess::None => Ok(Access::Anonymous),
            RegistryAccess::Broker => Ok(match self.shop.store.registry_robot(&self.repo.name).await? {
                Some(robot) => Access::Login {
                    user: robot.user,
                    password: Secret::from(robot.password.as_str().to_owned()),
                    realms: robot.realm.map(|realm| vec![realm]),
                },
                None => Access::Anonymous,
            }),
            RegistryAccess::Realm => {
                let keys = self.shop.store.signing_keys(self.shop.now).await?;
                let signs = keys.iter().find(|key| key.phase(self.shop.now) == KeyPhase::Signing);
                let Some(key) = signs else { return Ok(Access::Anonymous) };
                let (key, now) = (key.signing_key()?, self.shop.now);
                let (issuer, service) = (self.shop.config.issuer(), self.registry.service.clone());
                Ok(Access::Signed(Arc::new(move |scope| {
                    let access = match &scope.target {
                        Target::Repository(name) => Right::repository(name, scope),
                        Target::Catalog => {
                            Right { r#type: "registry", name: "catalog".to_owned(), actions: vec!["*"] }
                        }
                        Target::Other => return None,
                    };
                    let seconds = i64::from(SECONDS);
                    let made = RegistryTokenFor { issuer: &issuer, service: &service, subject: "", seconds };
                    let token = made.sign(&key, vec![access], now, &mut system_rng()).ok()?;
                    let expires_in = Duration::from_secs(SECONDS.into());
                    Some(RegistryToken { secret: Secret::from(token), expires_in, refresh: None })
                })))
            }
        }
    }
}
