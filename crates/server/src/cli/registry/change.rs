//! `flatpass repo set` for a registry.

use flatpass_store::{Repo, StoreError};
use serde_json::json;

use super::options::RegistryOptions;
use super::settings::Settings;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::repo::with_url;
use crate::cli::{Shop, system_rng};

/// The options that only `repo set` has, by name.
pub(in crate::cli) const NAMES: [&str; 3] = ["all_repositories", "no_robot", "no_webhook"];

/// What is taken away.
#[derive(clap::Args)]
pub(in crate::cli) struct Change {
    /// The repo is again all that the registry's catalog lists
    #[arg(long, conflicts_with = "repositories", help_heading = "Container registry")]
    all_repositories: bool,
    /// The store has no account at the registry any more
    #[arg(long, conflicts_with = "robot", help_heading = "Container registry")]
    no_robot: bool,
    /// The registry tells nothing any more
    #[arg(long, conflicts_with = "webhook", help_heading = "Container registry")]
    no_webhook: bool,
}

impl Change {
    /// Refuses all of them for a repo that is in no registry.
    pub(in crate::cli) fn must_be_absent(&self) -> Result<(), Failure> {
        if self.all_repositories || self.no_robot || self.no_webhook {
            return Err(Failure::told("this repo is not in a container registry", "leave the option out"));
        }
        Ok(())
    }
}

/// Changes it.
pub(in crate::cli) async fn run(
    shop: &Shop,
    repo: &Repo,
    options: &RegistryOptions,
    change: &Change,
) -> Result<Answer, Failure> {
    let name = &repo.name;
    let Some(old) = repo.source.registry() else {
        options.must_be_absent()?;
        change.must_be_absent()?;
        return Err(Failure::told(
            format!("nothing of {name} can be changed so"),
            "see flatpass repo set --help",
        ));
    };
    let mut new = options.changed(shop, old.clone())?;
    if change.all_repositories {
        new.repositories = None;
    }
    let robot = options.robot(&new)?;
    shop.store.set_registry(name, &new).await?;
    if robot.is_some() || change.no_robot {
        shop.store.set_registry_robot(name, robot.as_ref(), &mut system_rng()).await?;
    }
    let secret = match options.webhook() {
        true => Some(shop.store.new_registry_webhook(name, &mut system_rng()).await?),
        false => None,
    };
    if change.no_webhook {
        shop.store.end_registry_webhook(name).await?;
    }
    let repo = shop.store.repo(name).await?.ok_or_else(|| StoreError::NoRepo(name.clone()))?;
    let mut json = with_url(shop, &repo);
    let Some(settings) = Settings::of(shop, &repo) else {
        return Err(StoreError::NoRegistry(name.clone()).into());
    };
    let mut text = format!("{name} is {}, access {}.\n\n{}", repo.source, new.access, settings.told());
    if let Some(secret) = &secret {
        text.push_str(&format!("\n\n{}", settings.webhook(secret)));
        json["webhook"] = json!({ "url": settings.webhook_url(), "secret": secret.expose() });
    }
    Ok(Answer::new(text, json))
}
