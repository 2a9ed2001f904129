//! `flatpass access-token`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use flatpass_store::{AccessTokenId, Registry, RegistryAccess, StoreError};
use flatpass_token::{CertificateHash, Secret, UnixTime};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use super::certificate_end::ends_at;
use super::failure::Failure;
use super::moment::{must_be_ahead, parse_until, shown};
use super::output::{Answer, table};
use super::shell::quoted;
use super::{Shop, system_rng};

/// What can be done with access tokens.
#[derive(Subcommand)]
pub(super) enum AccessTokenCommand {
    /// Make an access token and print its secret, once
    #[command(
        after_help = "Example:\n  flatpass access-token add ann@example.org internal --name laptop\n\n\
        The secret opens the list of a private repo and the apps that the account has a right to, for as long as it has it. \
        Whatever the account's role, it neither pushes nor deletes in a container registry: with --push it is made for that, and belongs \
        in no remote's address."
    )]
    Add {
        /// The account's e-mail address
        email: String,
        /// The repo's name
        repo: String,
        /// What it is for, such as the device
        #[arg(long)]
        name: String,
        /// The last day (UTC), or a moment; until it is revoked without it
        #[arg(long, value_name = "DATE", value_parser = parse_until)]
        until: Option<UnixTime>,
        /// The client's certificate (PEM), which it shows under TLS in place of a secret, until it ends; needs client_certificates in [tls]
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        /// For container tools: the account's role in the repo may be used with it, to push and delete (see `flatpass repo role`)
        #[arg(long, conflicts_with = "certificate")]
        push: bool,
    },
    /// List the access tokens in force, with when and from where each was last used
    List {
        /// Only those of this account
        email: Option<String>,
    },
    /// Give an access token a new secret and print it, once; the old one goes on for an hour
    Rotate {
        /// Its id, as `flatpass access-token list` shows it
        id: String,
    },
    /// End an access token
    Revoke {
        /// Its id, as `flatpass access-token list` shows it
        id: String,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: AccessTokenCommand) -> Result<Answer, Failure> {
    match command {
        AccessTokenCommand::Add { email, repo, name, until, push: true, .. } => {
            add_to_push(shop, &email, &repo, &name, until).await
        }
        AccessTokenCommand::Add { email, repo, name, until, certificate: None, .. } => {
            add(shop, &email, &repo, &name, until).await
        }
        AccessTokenCommand::Add { email, repo, name, until, certificate: Some(file), .. } => {
            add_for(shop, &file, &email, &repo, &name, until).await
        }
        AccessTokenCommand::List { email } => list(shop, email.as_deref()).await,
        AccessTokenCommand::Rotate { id } => rotate(shop, &AccessTokenId(id)).await,
        AccessTokenCommand::Revoke { id } => {
            let id = AccessTokenId(id);
            if !shop.store.revoke_access_token(None, &id, shop.now).await? {
                return Err(none_in_force());
            }
            Ok(Answer::new(format!("{id} is revoked."), json!({ "revoked": id })))
        }
    }
}

fn none_in_force() -> Failure {
    Failure::told(
        "there is no access token in force with this id",
        "see the ids with: flatpass access-token list",
    )
}

/// The URL of the remote with that secret in it.
async fn remote_url(shop: &Shop, repo: &str, secret: &Secret) -> Result<String, Failure> {
    let is_oci = shop.store.repo(repo).await?.is_some_and(|repo| repo.source.is_oci());
    Ok(shop.config.remote_url_with(repo, is_oci, secret))
}

async fn rotate(shop: &Shop, id: &AccessTokenId) -> Result<Answer, Failure> {
    let rotated = shop.store.rotate_access_token_with_id(id, shop.now, &mut system_rng()).await?;
    let (secret, token) = rotated.ok_or_else(none_in_force)?;
    if token.may_push {
        let text = format!(
            "{} has a new secret, shown only now:\n{}\n\nWithin an hour, log in with it where the old one was used: docker login",
            token.id,
            secret.expose()
        );
        return Ok(Answer::new(text, json!({ "secret": secret.expose(), "token": token })));
    }
    let url = remote_url(shop, &token.repo, &secret).await?;
    let text = format!(
        "{} has a new secret, shown only now:\n{}\n\n\
         On the device, within an hour, write this address into the remote's url in Flatpak's repo/config with an editor (an argument \
         of a command could be read by other users there):\n  {url}\n\
         Or let the device get one of its own, in place of this one:\n  flatpass-authenticator remote-rotate REMOTE",
        token.id,
        secret.expose(),
    );
    Ok(Answer::new(text, json!({ "secret": secret.expose(), "url": url, "token": token })))
}

async fn add(
    shop: &Shop,
    email: &str,
    repo: &str,
    name: &str,
    until: Option<UnixTime>,
) -> Result<Answer, Failure> {
    must_be_ahead(until, shop.now)?;
    let account = shop.account(email).await?;
    let (secret, token) =
        shop.store.create_access_token(&account.id, repo, name, until, shop.now, &mut system_rng()).await?;
    let url = remote_url(shop, repo, &secret).await?;
    let text = format!(
        "Made {} for {}, until {}. Its secret, shown only now:\n{}\n\n\
         On the device, as an argument could be read by other users there, run\n  flatpass-authenticator remote-add --user - {}\n\
         and type or paste this address into it:\n  {url}\n\
         Without flatpass-authenticator, write these lines to a file of mode 0600:\n  [Flatpak Repo]\n  Url={url}\n\
         and run\n  flatpak remote-add --user --from {} FILE",
        token.id,
        account.email,
        shown(token.expires_at, "it is revoked"),
        secret.expose(),
        quoted(repo),
        quoted(repo)
    );
    Ok(Answer::new(text, json!({ "secret": secret.expose(), "url": url, "token": token })))
}

/// Makes one that stands in no remote's address: there, more people read it than may push.
async fn add_to_push(
    shop: &Shop,
    email: &str,
    repo: &str,
    name: &str,
    until: Option<UnixTime>,
) -> Result<Answer, Failure> {
    must_be_ahead(until, shop.now)?;
    let found = shop.store.repo(repo).await?.ok_or_else(|| StoreError::NoRepo(repo.to_owned()))?;
    let registry = found.source.registry().filter(|registry| registry.access == RegistryAccess::Realm);
    let host = registry.map(Registry::host).ok_or_else(|| {
        Failure::told(
            format!("{repo} is in no container registry that takes this store's tokens, so nobody pushes to it with one"),
            "leave --push out, or name another repo: flatpass repo list",
        )
    })?;
    let account = shop.account(email).await?;
    let (secret, token) =
        shop.store.create_push_token(&account.id, repo, name, until, shop.now, &mut system_rng()).await?;
    let text = format!(
        "Made {} for {}, until {}. Its secret, shown only now:\n{}\n\n\
         It is a password for container tools, with any user name:  docker login {host}\n\
         Do not put it into a remote's address: with it, one may push what {} may (see: flatpass repo role {}).",
        token.id,
        account.email,
        shown(token.expires_at, "it is revoked"),
        secret.expose(),
        account.email,
        quoted(repo)
    );
    Ok(Answer::new(text, json!({ "secret": secret.expose(), "token": token })))
}

async fn add_for(
    shop: &Shop,
    file: &Path,
    email: &str,
    repo: &str,
    name: &str,
    until: Option<UnixTime>,
) -> Result<Answer, Failure> {
    must_be_ahead(until, shop.now)?;
    let account = shop.account(email).await?;
    let der = CertificateDer::from_pem_file(file).map_err(|error| {
        Failure::told(
            format!("{} is no certificate in PEM: {error}", file.display()),
            "name the certificate itself, not its key",
        )
    })?;
    // Under TLS its end is not looked at: the access token ends with it.
    let end = ends_at(&der).filter(|end| *end > shop.now).ok_or_else(|| {
        Failure::told(
            format!("{} has ended, or does not say when it ends", file.display()),
            "renew the certificate, and name the new one",
        )
    })?;
    let until = until.map_or(end, |until| until.min(end));
    let until = Some(until);
    let certificate = CertificateHash::of(&der);
    let (id, now) = (&account.id, shop.now);
    let token = shop
        .store
        .create_access_token_for(&certificate, id, repo, name, until, now, &mut system_rng())
        .await?;
    let is_oci = shop.store.repo(repo).await?.is_some_and(|repo| repo.source.is_oci());
    let url = shop.config.remote_url(repo, is_oci);
    let mut text = format!(
        "Made {} for {}, until {}. The certificate with the SHA-256 {certificate} stands for it.\n\n\
         Flatpak 1.16.1 and newer show it for images: put the certificate and its key into\n  \
         ~/.config/containers/certs.d/{host}/client.cert and client.key\n\
         and run\n  flatpak remote-add --user {} {url}",
        token.id,
        account.email,
        shown(token.expires_at, "it is revoked"),
        quoted(repo),
        host = shop.config.host(),
    );
    if !shop.config.tls.as_ref().is_some_and(|tls| tls.client_certificates) {
        text.push_str("\n\nThis store does not ask for certificates: write client_certificates = true below [tls], and restart it.");
    }
    Ok(Answer::new(text, json!({ "certificate": certificate.to_string(), "url": url, "token": token })))
}

async fn list(shop: &Shop, email: Option<&str>) -> Result<Answer, Failure> {
    let account = match email {
        Some(email) => Some(shop.account(email).await?.id),
        None => None,
    };
    let tokens = shop.store.list_access_tokens(account.as_ref(), shop.now).await?;
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for token in &tokens {
        let email =
            shop.store.account(&token.account_id).await?.map(|account| account.email).unwrap_or_default();
        rows.push([
            token.id.to_string(),
            email.clone(),
            token.repo.clone(),
            token.name.clone(),
            token.created_at.to_string(),
            shown(token.expires_at, "revoked"),
            shown(token.last_used_at, "never"),
            token.last_address.clone(),
            if token.may_push { "yes" } else { "no" }.to_owned(),
        ]);
        let mut value = json!(token);
        value["email"] = json!(email);
        json.push(value);
    }
    let none = "No access token. Make one with: flatpass access-token add EMAIL REPO --name NAME";
    Ok(Answer::new(
        table(["id", "account", "repo", "name", "since", "until", "last used", "from", "push"], &rows, none),
        json!(json),
    ))
}
