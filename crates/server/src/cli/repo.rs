//! `flatpass repo`.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Subcommand};
use flatpass_ostree::repo::{Mode, Repo as OstreeRepo, RepoError};
use flatpass_store::{AppPattern, NewRepo, Repo, RepoPolicy, RepoSource, RepoTokens, StoreError};
use serde_json::{Value, json};
use url::Url;

use super::failure::Failure;
use super::flat_manager::{self, FlatManagerOptions};
use super::output::{Answer, table};
use super::registry::location::Location;
use super::registry::options::{self, RegistryOptions};
use super::registry::role::{self, Role};
use super::registry::settings::Settings;
use super::registry::{add, certificates, change};
use super::repo_listing::{self, ListingOptions};
use super::shell::quoted;
use super::{Shop, gpg_key, repo_check, repo_tokens, system_rng};

/// What can be done with repos.
#[derive(Subcommand)]
pub(super) enum RepoCommand {
    /// Add an OSTree repository or image layout that is on this machine, or a container registry
    #[command(after_help = "Policies:\n  \
        open     everything is served to everybody\n  \
        refs     the list is public; apps with a price, or with a token type that is not open, need a token\n  \
        objects  as refs, and every file is checked too, not only the commit that names it\n  \
        private  everything needs a token, the list too; with --signing-key everybody sees a list of their own\n\n\
        Examples:\n  flatpass repo add apps /srv/repo\n  \
        flatpass repo add internal /srv/internal --policy private\n  \
        flatpass repo add images oci-layout:/srv/images\n  \
        flatpass repo add shop oci://registry.example/shop\n  \
        flatpass repo add hosted oci://registry.example/me --robot me+store --password-file FILE\n\n\
        Flatpass never writes to the repository. Publish with flatpak build-export and build-update-repo, or skopeo, as before.")]
    Add {
        /// Its name, which becomes a part of its URL: a-z, 0-9, '.', '_', '-'
        name: String,
        /// The directory of the repository, oci-layout:DIRECTORY, or oci://HOST[:PORT][/NAMESPACE]
        source: Location,
        /// What needs a token: open, refs, objects or private
        #[arg(long, default_value = "refs")]
        policy: RepoPolicy,
        /// Another public URL under which clients may have this repo (a mirror, a CDN); may be given again
        #[arg(long = "url", value_name = "URL", value_parser = parse_url)]
        urls: Vec<String>,
        /// The token types that need no token
        #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [0, 1])]
        open_token_types: Vec<i32>,
        /// The public key that the repo is signed with, as `gpg --export KEY-ID` writes it, for .flatpakrepo files
        #[arg(long, value_name = "FILE")]
        gpg_key: Option<PathBuf>,
        #[command(flatten)]
        listing: ListingOptions,
        #[command(flatten)]
        registry: RegistryOptions,
    },
    /// Change what a repo was added with
    #[command(after_help = format!("{}\n\n{}", repo_listing::HELP, format!("{}\n\n{}\n\n{}", repo_tokens::HELP, flat_manager::HELP, options::HELP)))]
    #[command(group = ArgGroup::new("change").required(true).multiple(true)
        .args(["gpg_key", "no_gpg_key", "signing_key", "per_person_index", "one_index", "tokens"])
        .args(RegistryOptions::NAMES).args(change::NAMES).args(FlatManagerOptions::NAMES))]
    Set {
        /// Its name
        name: String,
        /// The public key that the repo is signed with, as `gpg --export KEY-ID` writes it, for .flatpakrepo files
        #[arg(long, value_name = "FILE")]
        gpg_key: Option<PathBuf>,
        /// The repo is not signed any more
        #[arg(long, conflicts_with = "gpg_key")]
        no_gpg_key: bool,
        #[command(flatten)]
        listing: ListingOptions,
        /// Give every member of a private repo the one index that is in the repository
        #[arg(long, conflicts_with_all = ["signing_key", "per_person_index"])]
        one_index: bool,
        /// Which kind of token opens it: jwt, opaque, flat-manager or issuer:NAME
        #[arg(long, value_name = "KIND")]
        tokens: Option<RepoTokens>,
        #[command(flatten)]
        flat_manager: FlatManagerOptions,
        #[command(flatten)]
        registry: RegistryOptions,
        #[command(flatten)]
        change: change::Change,
    },
    /// Say who may write to a repo's registry, or change it
    Role(Role),
    /// Print the certificates by which a registry knows this store's tokens
    #[command(
        after_help = "One self-signed certificate for each key that `flatpass key list` shows, the coming one included. Registries read the\n\
        file when they start.\n\nExample:\n  flatpass repo certificates images > /etc/docker/registry/flatpass.pem"
    )]
    Certificates {
        /// The repo's name
        name: String,
    },
    /// List the repos
    List,
    /// Remove a repo from this store, with its prices and access tokens; its directory is not touched
    Remove {
        /// Its name
        name: String,
    },
    /// Say what is wrong with a repo, and the command that mends it
    #[command(
        after_help = "Looks at the repository as clients will see it: mode, summary, signatures, authenticator, token types. Asks a container\n\
        registry who it lets in, and whether it takes this store's tokens.\n\
        Exit code 3 when there is a problem; notes alone are 0."
    )]
    Check {
        /// Its name
        name: String,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: RepoCommand) -> Result<Answer, Failure> {
    match command {
        RepoCommand::Add { name, source, policy, urls, open_token_types, gpg_key, listing, registry } => {
            let path = match &source {
                Location::Directory(path) => usable(path)?,
                _ => {
                    add::for_ostree_only(gpg_key.as_deref(), listing.read(policy)?.as_ref())?;
                    let source = add::source(shop, &name, &source, &registry)?;
                    let new = NewRepo { name, source, policy, urls, open_token_types };
                    return add::run(shop, new, &registry).await;
                }
            };
            registry.must_be_absent()?;
            let key = gpg_key.as_deref().map(gpg_key::read).transpose()?;
            let listing = listing.read(policy)?;
            let key = key.or_else(|| repo_listing::public_key(listing.as_ref()?));
            let source = RepoSource::Ostree(path);
            let new = NewRepo { name, source, policy, urls, open_token_types };
            let mut repo = shop.store.add_repo(new, shop.now).await?;
            if let Some(key) = &key {
                repo = shop.store.set_repo_gpg_key(&repo.name, Some(key)).await?;
            }
            if let Some(listing) = &listing {
                shop.store.set_repo_listing(&repo.name, Some(listing), shop.now, &mut system_rng()).await?;
            }
            let text = added(shop, &repo);
            let text = match repo.policy {
                RepoPolicy::Private => {
                    format!("{text}\n\n{}", repo_listing::told(&repo.name, listing.as_ref()))
                }
                _ => text,
            };
            Ok(Answer::new(text, with_url(shop, &repo)))
        }
        RepoCommand::Set {
            name,
            gpg_key,
            no_gpg_key,
            listing,
            one_index,
            tokens,
            flat_manager,
            registry,
            change,
        } => {
            let mut repo = shop.store.repo(&name).await?.ok_or(StoreError::NoRepo(name))?;
            if repo.source.is_oci() {
                repo_tokens::for_ostree_only(tokens.as_ref())?;
                flat_manager.must_be_absent()?;
                add::for_ostree_only(gpg_key.as_deref(), listing.read(repo.policy)?.as_ref())?;
                return change::run(shop, &repo, &registry, &change).await;
            }
            registry.must_be_absent()?;
            change.must_be_absent()?;
            let key = gpg_key.as_deref().map(gpg_key::read).transpose()?;
            let listing = listing.read(repo.policy)?;
            // Who has another key in the files for clients, or none on purpose, keeps it so.
            let derived = listing.as_ref().filter(|_| repo.gpg_key.is_none() && !no_gpg_key);
            let key = key.or_else(|| repo_listing::public_key(derived?));
            let mut told = Vec::new();
            if key.is_some() || no_gpg_key {
                repo = shop.store.set_repo_gpg_key(&repo.name, key.as_deref()).await?;
                told.push(match &repo.gpg_key {
                    Some(_) => format!("{}.flatpakrepo has the key now.", repo.name),
                    None => format!("{}.flatpakrepo has no key any more.", repo.name),
                });
            }
            if listing.is_some() || one_index {
                let rng = &mut system_rng();
                shop.store.set_repo_listing(&repo.name, listing.as_ref(), shop.now, rng).await?;
                told.push(repo_listing::told(&repo.name, listing.as_ref()));
            }
            told.extend(flat_manager.apply(shop, &repo).await?);
            flat_manager::must_have_secret(shop, &repo, tokens.as_ref()).await?;
            if let Some(tokens) = &tokens {
                repo = shop.store.set_repo_tokens(&repo.name, tokens, shop.now).await?;
                told.push(repo_tokens::told(&repo));
            }
            let mut json = with_url(shop, &repo);
            let listing = shop.store.repo_listing(&repo.name).await?;
            json["flat_manager"] = flat_manager::shown(shop, &repo).await?;
            json["per_person_index"] = json!(listing.is_some());
            json["signing_key"] = json!(listing.as_ref().and_then(repo_listing::fingerprint));
            Ok(Answer::new(told.join("\n"), json))
        }
        RepoCommand::List => {
            let repos = shop.store.repos().await?;
            let rows: Vec<_> = repos
                .iter()
                .map(|repo| {
                    let url = remote_url(shop, repo);
                    let (policy, tokens) = (repo.policy.to_string(), repo.tokens.to_string());
                    [repo.name.clone(), policy, tokens, repo.source.to_string(), url]
                })
                .collect();
            let none = "No repo yet. Add one with: flatpass repo add NAME PATH";
            let json = repos.iter().map(|repo| with_url(shop, repo)).collect();
            Ok(Answer::new(
                table(["repo", "policy", "tokens", "source", "url"], &rows, none),
                Value::Array(json),
            ))
        }
        RepoCommand::Remove { name } => {
            shop.store.remove_repo(&name, shop.now).await?;
            let text = format!("Removed {name}. What people own of it counts again if it is added again.");
            Ok(Answer::new(text, json!({ "removed": name })))
        }
        RepoCommand::Role(role) => role::run(shop, role).await,
        RepoCommand::Certificates { name } => {
            let repo = shop.store.repo(&name).await?.ok_or(StoreError::NoRepo(name))?;
            certificates::run(shop, &repo).await
        }
        RepoCommand::Check { name } => {
            let repo = shop.store.repo(&name).await?.ok_or(StoreError::NoRepo(name))?;
            repo_check::run(shop, &repo).await
        }
    }
}

/// The absolute path of a repository that can be served.
fn usable(path: &Path) -> Result<PathBuf, Failure> {
    let shown = quoted(&path.display().to_string());
    let make = format!("make one with: ostree init --mode=archive-z2 --repo={shown}");
    let path = std::fs::canonicalize(path)
        .map_err(|error| Failure::told(format!("cannot open {}: {error}", path.display()), make.clone()))?;
    let repo = OstreeRepo::open(&path).map_err(|error| match error {
        RepoError::NotARepository { .. } => Failure::told(error.to_string(), make),
        _ => Failure::told(error.to_string(), "look at the file, or restore the repository"),
    })?;
    match repo.mode() {
        Mode::Archive => Ok(path),
        Mode::Other(mode) => Err(Failure::told(
            format!("{} has the mode {mode}; only the mode archive-z2 can be served", path.display()),
            format!("make a copy that can be: {}", repo_check::into_archive(&path)),
        )),
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(text.to_owned())
    } else {
        Err("write an http or https URL without user, query and fragment".to_owned())
    }
}

/// What is said of a new repo first.
pub(super) fn added(shop: &Shop, repo: &Repo) -> String {
    format!(
        "Added {name}: {source}, policy {policy}.\n\nClients:  flatpak remote-add {name} {url}\nNext:     flatpass repo check {name}",
        name = repo.name,
        source = repo.source,
        policy = repo.policy,
        url = remote_url(shop, repo)
    )
}

/// The URL that clients add.
pub(super) fn remote_url(shop: &Shop, repo: &Repo) -> String {
    shop.config.remote_url(&repo.name, repo.source.is_oci())
}

/// The repo for programs.
pub(super) fn with_url(shop: &Shop, repo: &Repo) -> Value {
    let mut value = json!(repo);
    value["url"] = json!(shop.config.repo_url(&repo.name));
    value["remote_url"] = json!(remote_url(shop, repo));
    if let Some(settings) = Settings::of(shop, repo) {
        value["registry"]["settings"] = settings.json();
    }
    value
}

/// Whether the repository has a ref that the pattern covers now; `None` when it cannot be read.
pub(super) fn has_app(repo: &Repo, app: &AppPattern) -> Option<bool> {
    let refs = OstreeRepo::open(repo.source.ostree()?).and_then(|repo| repo.refs()).ok()?;
    let mut ids = refs.iter().filter_map(|one| one.name.split('/').nth(1));
    Some(ids.any(|id| app.covers(id)))
}
