//! `registry`: what container registries know this person by.

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, password, surroundings};
use crate::registry::address::RegistryUrl;
use crate::registry::credential::Credential;

/// Sign in to container registries that no store stands before.
///
/// Flatpak asks this program for tokens of such a registry if the remote names it as its authenticator, or if it was
/// installed for all OCI remotes (`install --for-oci`). What is remembered here is used after what stands in Flatpak's, Podman's and
/// Docker's own files: who has done `podman login` or `docker login` needs nothing here.
#[derive(Debug, Args)]
pub struct RegistryCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sign in, and remember it
    ///
    /// The password is tried at the registry first. It is kept in the keyring, or where there is none in a file that only
    /// you can read; if the registry gives a token in its place, then that is kept and the password is not. It is sent to
    /// this registry's own token server, and to no other's.
    Login {
        /// The registry, such as `registry.example` or `registry.example:5000`
        registry: String,
        /// The user's name (default: it is asked for)
        #[arg(short, long)]
        user: Option<String>,
        /// Read the password from standard input
        #[arg(long, requires = "user")]
        password_stdin: bool,
    },
    /// Forget a sign-in
    Logout {
        /// The registry, such as `registry.example` or `registry.example:5000`
        registry: String,
    },
    /// Show what is remembered here
    List {
        /// Print JSON: {"registries":[{"registry","user","kept_at","kept_in"}]}, times in seconds since 1970 UTC
        #[arg(long)]
        json: bool,
    },
}

impl RegistryCommand {
    /// Does it.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Login { registry, user, password_stdin } => login(&registry, user, password_stdin).await,
            What::Logout { registry } => logout(&registry).await,
            What::List { json } => list(json).await,
        }
    }
}

fn named(registry: &str) -> anyhow::Result<RegistryUrl> {
    RegistryUrl::named(registry)
        .map_err(|_| anyhow!("That is not the address of a registry. Write it like registry.example:5000"))
}

async fn login(registry: &str, user: Option<String>, password_stdin: bool) -> Result<(), Failure> {
    let registry = named(registry)?;
    let user = match user {
        Some(user) => user,
        None => password::read_shown("User: ").context("Cannot read the user's name")?,
    };
    let question = if password_stdin { "" } else { "Password: " };
    let password = password::read(question).await.context("Cannot read the password")?;
    let password = password.ok_or(Failure::Cancelled)?;
    if user.is_empty() || password.expose().is_empty() {
        return Err(Failure::Cancelled);
    }
    let credential = Credential::password(&user, password)
        .ok_or_else(|| anyhow!("This user or password has characters that cannot be sent."))?;
    let sessions = surroundings::sessions()?;
    let in_keyring = sessions.registries().sign_in(&registry, &credential).await?;
    let place = if in_keyring { "in your keyring" } else { "in a file that only you can read" };
    println!("You are signed in to the registry {}. It is kept {place}.", registry.key());
    Ok(())
}

async fn logout(registry: &str) -> Result<(), Failure> {
    let registry = named(registry)?;
    let sessions = surroundings::sessions()?;
    if sessions.registries().remembered().forget(&registry).await? {
        println!("You are signed out of the registry {} here.", registry.key());
    } else {
        println!("Nothing was remembered here for the registry {}.", registry.key());
    }
    Ok(())
}

async fn list(as_json: bool) -> Result<(), Failure> {
    let records = surroundings::sessions()?.registries().remembered().list().await?;
    if as_json {
        let items: Vec<_> = records
            .iter()
            .map(|record| {
                json!({
                    "registry": record.registry,
                    "user": record.user,
                    "kept_at": record.kept_at.0,
                    "kept_in": if record.secret.is_some() { "file" } else { "keyring" },
                })
            })
            .collect();
        println!("{}", json!({ "registries": items }));
    } else if records.is_empty() {
        println!(
            "Nothing is remembered here. Sign in with `flatpass-authenticator registry login REGISTRY`."
        );
    } else {
        for record in records {
            let user = record.user.as_deref().unwrap_or("a token");
            let place = if record.secret.is_some() { "file" } else { "keyring" };
            println!("{}\n  {user}, since {}, kept in the {place}", record.registry, record.kept_at);
        }
    }
    Ok(())
}
