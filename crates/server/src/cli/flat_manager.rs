//! Options of `flatpass repo set`: the flat-manager that publishes to a repo, and the secrets that are shared with it.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use flatpass::config::{DOWNLOAD_TOKEN_SECONDS, LONGEST_LEEWAY_SECONDS, UPDATE_TOKEN_SECONDS};
use flatpass_store::{Repo, RepoTokens, SecretFor};
use flatpass_token::{FlatManagerKeys, SharedSecret, VerifiedToken, VerifyError};
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::{Shop, system_rng};

/// The longest file with a secret, in bytes.
const LONGEST_SECRET: u64 = 16 * 1024;

pub(super) const HELP: &str = "Of a repo that flat-manager publishes to:\n  \
    --flat-manager-secret-file is flat-manager's own `repo-secret`, or else its `secret`, as it stands in config.json (base64).\n  \
    Set again, the new one is accepted at once and signs from 5 seconds later; what the old one signed is good for a day more.\n  \
    flat-manager knows one secret at a time: change it here first, then there.\n  \
    --update-token-secret-file turns on Flathub's two steps: /purchases/generate-update-token and the others.\n  \
    --flat-manager-url passes the calls of flat-manager-client through: below /flat-manager/NAME/.";

/// What is known of a repo's flat-manager, and what changes.
#[derive(clap::Args)]
pub(super) struct FlatManagerOptions {
    /// Read the secret that flat-manager checks tokens with from this file, in base64; it is kept sealed
    #[arg(long, value_name = "FILE", help_heading = "flat-manager")]
    flat_manager_secret_file: Option<PathBuf>,
    /// What flat-manager's configuration calls the repo [default: its name here]
    #[arg(long, value_name = "NAME", value_parser = parse_name, help_heading = "flat-manager")]
    flat_manager_repo: Option<String>,
    /// Pass the calls of those who publish through to flat-manager at this address
    #[arg(long, value_name = "URL", value_parser = parse_url, help_heading = "flat-manager")]
    flat_manager_url: Option<String>,
    /// Pass nothing through any more
    #[arg(long, conflicts_with = "flat_manager_url", help_heading = "flat-manager")]
    no_flat_manager_url: bool,
    /// Give update tokens and download tokens, as Flathub does, signed with the secret in this file, in base64; it is kept sealed
    #[arg(long, value_name = "FILE", help_heading = "flat-manager")]
    update_token_secret_file: Option<PathBuf>,
    /// Give no update tokens any more; those that were given end
    #[arg(long, conflicts_with = "update_token_secret_file", help_heading = "flat-manager")]
    no_update_tokens: bool,
    /// End at once what the secrets before the present ones signed
    #[arg(long, help_heading = "flat-manager")]
    end_old_secrets: bool,
}

impl FlatManagerOptions {
    /// The options by name, for an argument group.
    pub(super) const NAMES: [&str; 7] = [
        "flat_manager_secret_file",
        "flat_manager_repo",
        "flat_manager_url",
        "no_flat_manager_url",
        "update_token_secret_file",
        "no_update_tokens",
        "end_old_secrets",
    ];

    fn any(&self) -> bool {
        self.flat_manager_secret_file.is_some()
            || self.flat_manager_repo.is_some()
            || self.flat_manager_url.is_some()
            || self.update_token_secret_file.is_some()
            || self.no_flat_manager_url
            || self.no_update_tokens
            || self.end_old_secrets
    }

    /// Refuses all of them for a repo of images.
    pub(super) fn must_be_absent(&self) -> Result<(), Failure> {
        if self.any() {
            return Err(Failure::told(
                "flat-manager publishes to OSTree repositories",
                "leave the option out",
            ));
        }
        Ok(())
    }

    /// Does what they say. What was done, in sentences.
    pub(super) async fn apply(&self, shop: &Shop, repo: &Repo) -> Result<Vec<String>, Failure> {
        let (store, name) = (&shop.store, &repo.name);
        let download = self.flat_manager_secret_file.as_deref().map(secret_in).transpose()?;
        let update = self.update_token_secret_file.as_deref().map(secret_in).transpose()?;
        let mut told = Vec::new();
        if let Some(theirs) = &self.flat_manager_repo {
            store.set_flat_manager_name(name, theirs).await?;
            told.push(format!("flat-manager calls {name} \"{theirs}\"."));
        }
        if let Some(secret) = &download {
            let longest = DOWNLOAD_TOKEN_SECONDS.max(shop.config.tokens.ref_token_seconds);
            let overlap = longest + LONGEST_LEEWAY_SECONDS;
            let rng = &mut system_rng();
            store.set_flat_manager_secret(name, SecretFor::Download, secret, overlap, shop.now, rng).await?;
            told.push(format!("The secret of {name} for flat-manager's tokens is set."));
        }
        if let Some(secret) = &update {
            let rng = &mut system_rng();
            let overlap = UPDATE_TOKEN_SECONDS + LONGEST_LEEWAY_SECONDS;
            store.set_flat_manager_secret(name, SecretFor::Update, secret, overlap, shop.now, rng).await?;
            let at = shop.config.at(&format!("flat-manager/{name}/purchases/generate-update-token"));
            told.push(format!("Update tokens for {name} are given at {at}."));
        }
        if self.no_update_tokens {
            store.end_flat_manager_secrets(name, SecretFor::Update, true, shop.now).await?;
            told.push(format!("No update tokens are given for {name} any more."));
        }
        if self.end_old_secrets {
            for purpose in [SecretFor::Download, SecretFor::Update] {
                store.end_flat_manager_secrets(name, purpose, false, shop.now).await?;
            }
            told.push(format!("Only what the present secrets of {name} sign is good now."));
        }
        if let Some(url) = &self.flat_manager_url {
            store.set_flat_manager_url(name, Some(url)).await?;
            let at = shop.config.at(&format!("flat-manager/{name}"));
            told.push(format!("flat-manager-client may use {at}, and is passed through to {url}."));
        }
        if self.no_flat_manager_url {
            store.set_flat_manager_url(name, None).await?;
            told.push(format!("Nothing is passed through to the flat-manager of {name} any more."));
        }
        Ok(told)
    }
}

/// Tokens for flat-manager need its secret.
pub(super) async fn must_have_secret(
    shop: &Shop,
    repo: &Repo,
    tokens: Option<&RepoTokens>,
) -> Result<(), Failure> {
    if tokens != Some(&RepoTokens::FlatManager) {
        return Ok(());
    }
    let known = shop.store.flat_manager(&repo.name, shop.now).await?;
    if known.is_some_and(|known| !known.secrets.is_empty()) {
        return Ok(());
    }
    Err(Failure::told(
        "tokens for flat-manager are signed with its secret, which is not known here",
        format!(
            "copy `repo-secret` (or `secret`) of its config.json into a file: flatpass repo set {} --tokens flat-manager --flat-manager-secret-file FILE",
            repo.name
        ),
    ))
}

/// What is known of the repo's flat-manager, without secrets, for programs.
pub(super) async fn shown(shop: &Shop, repo: &Repo) -> Result<Value, Failure> {
    let Some(known) = shop.store.flat_manager(&repo.name, shop.now).await? else { return Ok(Value::Null) };
    Ok(json!({
        "repo": known.name,
        "url": known.url,
        "secrets": known.secrets.len(),
        "update_token_secrets": known.update_secrets.len(),
    }))
}

/// A token that somebody signed with flat-manager's secret: which repo's gate takes it, and what it opens there.
///
/// # Errors
/// The store's. Within: why the gate of the repo with the secret refuses it, or of every one.
pub(super) async fn verified(
    shop: &Shop,
    token: &str,
) -> Result<Result<(Repo, VerifiedToken), VerifyError>, Failure> {
    let mut refused = VerifyError::UnknownKey;
    for repo in shop.store.repos().await? {
        let Some(known) = shop.store.flat_manager(&repo.name, shop.now).await? else { continue };
        if repo.tokens != RepoTokens::FlatManager {
            continue;
        }
        let verifier = super::token::verifier(shop, &shop.config.repo_url(&repo.name), Some(&repo)).await?;
        let secrets = known.accepted(SecretFor::Download, shop.now);
        verifier.set_flat_manager(Some(FlatManagerKeys::new(known.name.as_str(), secrets)));
        match verifier.verify(token, shop.now) {
            Ok(verified) => return Ok(Ok((repo, verified))),
            // The secret is that of another repo.
            Err(VerifyError::Signature) => {}
            Err(error) => refused = error,
        }
    }
    Ok(Err(refused))
}

fn secret_in(path: &Path) -> Result<SharedSecret, Failure> {
    let shown = path.display();
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::told(format!("cannot read {shown}: {error}"), "name a file with the secret in base64")
    })?;
    SharedSecret::from_base64(&text).map_err(|error| {
        Failure::told(
            format!("{shown}: {error}"),
            "make a secret with `openssl rand -base64 64 | tr -d '\\n'`, and let flat-manager have the same one",
        )
    })
}

/// Names that flat-manager can have in a path.
fn parse_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("the name of a repo in flat-manager's configuration is 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'".to_owned())
    }
}

/// Tokens of those who publish go there, so the way is secret: https, or this very machine.
fn parse_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let here = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match (url.scheme(), plain) {
        ("https", true) | ("http", true) if url.scheme() == "https" || here => {
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        ("http", true) => Err("over http only flat-manager on this machine is reached; use https".to_owned()),
        _ => Err("write an http or https URL without user, query and fragment".to_owned()),
    }
}
