//! Options of `flatpass repo add` and `flatpass repo set`: how the store and a registry work together.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flatpass_oci::RepositoryName;
use flatpass_store::{Registry, RegistryAccess, RegistryRobot};
use url::Url;
use zeroize::Zeroizing;

use super::location::{host_of, is_secret};
use crate::cli::failure::Failure;
use crate::cli::{Shop, password};

/// The longest password that is read from a file, in bytes.
const LONGEST_PASSWORD: u64 = 16 * 1024;

pub(in crate::cli) const HELP: &str = "Of a repo in a container registry (oci://HOST/NAMESPACE):\n  \
    --access realm    the registry sends its clients to this store for tokens (docker-registry with auth: token)\n  \
    --access broker   the registry knows its own accounts only; the store has one there, and passes short-lived tokens on\n  \
    --access none     the registry asks nobody for anything: only the list can be private\n  \
    A robot's password is read from standard input, a prompt or --password-file, and kept sealed.";

/// How the store and a registry work together.
#[derive(clap::Args)]
pub(in crate::cli) struct RegistryOptions {
    /// Whose tokens the registry takes: realm (this store's), broker (its own) or none [default: realm, with --robot broker]
    #[arg(long, value_name = "HOW", help_heading = "Container registry")]
    access: Option<RegistryAccess>,
    /// What the registry calls itself in its settings [default: its host, with its port]
    #[arg(long, value_parser = parse_service, help_heading = "Container registry")]
    service: Option<String>,
    /// A repository that belongs to the repo, with its full name; may be given again [default: what the catalog lists]
    #[arg(long = "repository", value_name = "NAME", help_heading = "Container registry")]
    repositories: Vec<RepositoryName>,
    /// The user name of the store's account at the registry
    #[arg(long, value_name = "USER", help_heading = "Container registry")]
    robot: Option<String>,
    /// Read the password of that account from this file
    #[arg(long, value_name = "FILE", requires = "robot", help_heading = "Container registry")]
    password_file: Option<PathBuf>,
    /// Make a secret with which the registry tells the store of changes, and print it once
    #[arg(long, help_heading = "Container registry")]
    webhook: bool,
}

impl RegistryOptions {
    /// The options by name, for an argument group.
    pub(in crate::cli) const NAMES: [&str; 5] = ["access", "service", "repositories", "robot", "webhook"];

    fn any(&self) -> bool {
        self.access.is_some()
            || self.service.is_some()
            || !self.repositories.is_empty()
            || self.robot.is_some()
            || self.webhook
    }

    /// Whether a secret for notifications is to be made.
    pub(in crate::cli) const fn webhook(&self) -> bool {
        self.webhook
    }

    /// Refuses all of them for a repo that is in no registry.
    pub(in crate::cli) fn must_be_absent(&self) -> Result<(), Failure> {
        if self.any() {
            return Err(Failure::told(
                "--access, --service, --repository, --robot and --webhook are for a repo in a container registry",
                "leave them out, or name a registry: oci://HOST/NAMESPACE",
            ));
        }
        Ok(())
    }

    /// The registry that they describe.
    pub(in crate::cli) fn registry(
        &self,
        shop: &Shop,
        url: &Url,
        namespace: Option<String>,
    ) -> Result<Registry, Failure> {
        let usual = if self.robot.is_some() { RegistryAccess::Broker } else { RegistryAccess::Realm };
        let registry = Registry {
            url: url.to_string(),
            namespace,
            repositories: None,
            access: usual,
            service: host_of(url),
            robot: None,
            webhook: None,
        };
        self.changed(shop, registry)
    }

    /// That registry with what they change.
    pub(in crate::cli) fn changed(&self, shop: &Shop, mut registry: Registry) -> Result<Registry, Failure> {
        registry.access = self.access.unwrap_or(registry.access);
        if let Some(service) = &self.service {
            registry.service.clone_from(service);
        }
        if !self.repositories.is_empty() {
            registry.repositories = None;
            let names: Vec<_> = self.repositories.iter().map(RepositoryName::to_string).collect();
            if let Some(outside) = names.iter().find(|name| !registry.covers(name)) {
                return Err(Failure::told(
                    format!("the repository {outside} is not below {registry}"),
                    "give the full name, such as --repository shop/app for oci://HOST/shop",
                ));
            }
            registry.repositories = Some(names);
        }
        if registry.service == host_of(&shop.config.url) {
            return Err(Failure::told(
                format!("the service {} is this store's own", registry.service),
                "give the registry another one, in its settings and with --service",
            ));
        }
        Ok(registry)
    }

    /// The store's account at the registry, with its password.
    pub(in crate::cli) fn robot(&self, registry: &Registry) -> Result<Option<RegistryRobot>, Failure> {
        let Some(user) = &self.robot else { return Ok(None) };
        let url = Url::parse(&registry.url).ok();
        if !url.as_ref().is_some_and(is_secret) {
            return Err(Failure::told(
                format!("{registry} has no TLS, so the password would go there in clear text"),
                "use the registry's https address",
            ));
        }
        if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
            return Err(Failure::Usage("a user name is not empty and has no colon".to_owned()));
        }
        let password = match &self.password_file {
            Some(path) => from_file(path)?,
            None => password::of_other(&format!("Password of {user} at {registry}: "))?,
        };
        if password.is_empty() {
            return Err(Failure::told(
                "the password is empty",
                "give it on standard input, or with --password-file",
            ));
        }
        Ok(Some(RegistryRobot { user: user.clone(), password, realm: None }))
    }
}

/// The file's content without a newline at its end.
fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(LONGEST_PASSWORD).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::told(format!("cannot read {}: {error}", path.display()), "name a file with the password")
    })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn parse_service(text: &str) -> Result<String, String> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if (1..=255).contains(&text.len()) && text.trim() == text && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a service is 1 to 255 printable ASCII characters, without quotes".to_owned())
    }
}
