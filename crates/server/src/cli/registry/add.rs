//! `flatpass repo add` for a registry or an image layout.

use std::path::Path;

use flatpass_gate::Layout;
use flatpass_store::{NewRepo, RepoListing, RepoSource};
use serde_json::json;

use super::location::Location;
use super::options::RegistryOptions;
use super::settings::Settings;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::repo::{added, with_url};
use crate::cli::{Shop, system_rng};

/// Refuses what only OSTree repositories have.
pub(in crate::cli) fn for_ostree_only(
    gpg_key: Option<&Path>,
    listing: Option<&RepoListing>,
) -> Result<(), Failure> {
    if gpg_key.is_some() || listing.is_some() {
        return Err(Failure::told(
            "OCI images and their index have no OpenPGP signatures, and each person sees an index of their own anyway",
            "leave --gpg-key, --signing-key and --per-person-index out",
        ));
    }
    Ok(())
}

/// Where the content is; a directory must be there.
pub(in crate::cli) fn source(
    shop: &Shop,
    name: &str,
    location: &Location,
    options: &RegistryOptions,
) -> Result<RepoSource, Failure> {
    match location {
        Location::Directory(path) => Ok(RepoSource::Ostree(path.clone())),
        Location::OciLayout(path) => {
            options.must_be_absent()?;
            let shown = path.display();
            let make = "make one with: flatpak build-bundle --oci REPO DIRECTORY APP";
            let path = std::fs::canonicalize(path)
                .map_err(|error| Failure::told(format!("cannot open {shown}: {error}"), make))?;
            Layout::read(&path, name).map_err(|error| Failure::told(error.to_string(), make))?;
            Ok(RepoSource::OciLayout(path))
        }
        Location::Registry { url, namespace } => {
            Ok(RepoSource::Registry(options.registry(shop, url, namespace.clone())?))
        }
    }
}

/// Adds it, with the robot and the webhook that were asked for.
pub(in crate::cli) async fn run(
    shop: &Shop,
    new: NewRepo,
    options: &RegistryOptions,
) -> Result<Answer, Failure> {
    // First what may be refused: a repo without its robot would be half of what was asked for.
    let robot = match &new.source {
        RepoSource::Registry(registry) => options.robot(registry)?,
        _ => None,
    };
    let name = shop.store.add_repo(new, shop.now).await?.name;
    if let Some(robot) = &robot {
        shop.store.set_registry_robot(&name, Some(robot), &mut system_rng()).await?;
    }
    let secret = match options.webhook() {
        true => Some(shop.store.new_registry_webhook(&name, &mut system_rng()).await?),
        false => None,
    };
    let repo = shop.store.repo(&name).await?.ok_or(flatpass_store::StoreError::NoRepo(name))?;
    let mut text = added(shop, &repo);
    let mut json = with_url(shop, &repo);
    if let Some(settings) = Settings::of(shop, &repo) {
        text.push_str(&format!("\n\n{}", settings.told()));
        if let Some(secret) = &secret {
            text.push_str(&format!("\n\n{}", settings.webhook(secret)));
            json["webhook"] = json!({ "url": settings.webhook_url(), "secret": secret.expose() });
        }
    }
    Ok(Answer::new(text, json))
}
