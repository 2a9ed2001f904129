//! `remote-add`: `flatpak remote-add` with the authenticator set, which takes three options that nobody remembers.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use tokio::process::Command;
use url::Url;

use super::flatpakrepo::FlatpakRepo;
use super::{Failure, surroundings};
use crate::authority::address::{AuthorityUrl, RepoUrl, host_and_port};
use crate::authority::error::AuthorityError;
use crate::authority::http::Http;
use crate::dbus::BUS_NAME;
use crate::session::Sessions;
use crate::webflow::pkce::random_text;

/// The largest `.flatpakrepo` that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Add a store's remote to Flatpak.
///
/// URL is the address of the store's .flatpakrepo file (best: the key that signs its apps is in it), a .flatpakrepo
/// file on this computer, or the address of the repository itself. If the address has a password in it, give `-`
/// and type or pipe the address, so that it does not appear in the list of processes.
#[derive(Debug, Args)]
pub struct RemoteAdd {
    /// The store's .flatpakrepo (an address or a file), its repository's address, or - to read it from standard input
    #[arg(value_name = "URL")]
    location: String,
    /// What you want to call the remote (default: from the address)
    name: Option<String>,
    /// For you alone
    #[arg(short, long, conflicts_with = "system")]
    user: bool,
    /// For all users of this computer (Flatpak's default)
    #[arg(long)]
    system: bool,
    /// The store's address, if it cannot be found out from the repository's
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The public key that signs the repository
    #[arg(long, value_name = "FILE")]
    gpg_import: Option<PathBuf>,
    /// Accept apps that nobody signed
    #[arg(long, conflicts_with = "gpg_import")]
    no_gpg_verify: bool,
    /// Do nothing if there is such a remote already
    #[arg(long)]
    if_not_exists: bool,
}

impl RemoteAdd {
    /// Adds the remote.
    ///
    /// # Errors
    /// A sentence with the next step; flatpak's own words if it refuses.
    pub async fn run(self) -> Result<(), Failure> {
        let location = self.location()?;
        let sessions = surroundings::sessions()?;
        let repo = read_location(&location, &sessions).await?;
        let plain =
            RepoUrl::parse(&repo.url).map_err(|error| anyhow!("This remote cannot be used: {error}."))?;
        if !repo.has_key() && self.gpg_import.is_none() && !self.no_gpg_verify {
            return Err(anyhow!(
                "The key that signs this repository is not known. Use the store's .flatpakrepo file, or give the \
                 key with --gpg-import FILE; or, if you accept apps that nobody signed, add --no-gpg-verify."
            )
            .into());
        }
        let store = match &self.store {
            Some(url) => AuthorityUrl::parse(url)?,
            None => find_store(&plain, &sessions).await?,
        };
        let session = sessions.with(&store)?;
        if !session.authority().knows_repo(&plain, sessions.environment().now()).await? {
            return Err(anyhow!(
                "The store at {store} does not know the repository {plain}. Ask the store for its address, or name \
                 the right store with --store URL."
            )
            .into());
        }
        let name = self.name.clone().unwrap_or_else(|| name_from(&location, &plain));
        let file = TemporaryFile::new(&repo.to_text())?;
        let status = self.flatpak(&name, &store, file.path()).status().await;
        let status = status.context("Cannot run flatpak. Install it, then try again")?;
        drop(file);
        if !status.success() {
            return Err(anyhow!("flatpak did not add the remote; what it said stands above.").into());
        }
        println!("Added the remote {name}. See what it has: flatpak remote-ls {} {name}", self.scope());
        Ok(())
    }

    fn location(&self) -> anyhow::Result<String> {
        if self.location != "-" {
            return Ok(self.location.clone());
        }
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("Cannot read the address from standard input")?;
        Ok(line.trim().to_owned())
    }

    fn scope(&self) -> &'static str {
        if self.user { "--user" } else { "--system" }
    }

    fn flatpak(&self, name: &str, store: &AuthorityUrl, file: &Path) -> Command {
        let mut command = Command::new("flatpak");
        command
            .arg("remote-add")
            .arg(self.scope())
            .arg("--from")
            .arg(format!("--authenticator-name={BUS_NAME}"))
            .arg(format!("--authenticator-option=url={store}"));
        if self.if_not_exists {
            command.arg("--if-not-exists");
        }
        if let Some(key) = &self.gpg_import {
            let mut option = std::ffi::OsString::from("--gpg-import=");
            option.push(key);
            command.arg(option);
        }
        if self.no_gpg_verify {
            command.arg("--no-gpg-verify");
        }
        command.arg("--").arg(name).arg(file);
        command
    }
}

/// The `.flatpakrepo` at an address or in a file; or one made for the address of a repository.
async fn read_location(location: &str, sessions: &Sessions) -> anyhow::Result<FlatpakRepo> {
    let is_web = location.starts_with("https://") || location.starts_with("http://");
    if !is_web {
        let file = File::open(location).with_context(|| format!("Cannot read {location}"))?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("Cannot read {location}"))?;
        return FlatpakRepo::parse(&text).with_context(|| format!("Cannot use {location}"));
    }
    let url = Url::parse(location).context("The address is not right")?;
    if !url.path().ends_with(".flatpakrepo") {
        return Ok(FlatpakRepo::with_url(location.to_owned()));
    }
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    let _has_host = (origin.set_username(""), origin.set_password(None));
    let http = Http::new(&AuthorityUrl::parse(origin.as_str())?, &sessions.environment().http)?;
    let answer = http.send(http.client().get(url)).await?;
    if !answer.status.is_success() {
        bail!("There is no file at this address (HTTP status {}). Check it.", answer.status.as_u16());
    }
    let text = String::from_utf8(answer.body).context("The file at this address is not text")?;
    FlatpakRepo::parse(&text).context("Cannot use the file at this address")
}

/// The authority that a repository belongs to: at its host, or in a folder above it.
async fn find_store(repo: &RepoUrl, sessions: &Sessions) -> anyhow::Result<AuthorityUrl> {
    let mut base = Url::parse(repo.as_str()).context("The address is not right")?;
    let parts: Vec<String> =
        base.path_segments().map(|parts| parts.map(str::to_owned).collect()).unwrap_or_default();
    let mut last = None;
    for depth in 0..parts.len().min(5) {
        base.set_path(&parts[..depth].join("/"));
        let url = AuthorityUrl::parse(base.as_str())?;
        match sessions.with(&url)?.authority().metadata(sessions.environment().now()).await {
            Ok(_) => return Ok(url),
            Err(error @ (AuthorityError::NotAnAuthority { .. } | AuthorityError::WrongIssuer { .. })) => {
                last = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let host = host_and_port(&base).unwrap_or_default();
    let error = anyhow!("No Flatpass store was found at {host}. Name the store with --store URL.");
    Err(match last {
        Some(AuthorityError::WrongIssuer { issuer, .. }) => {
            error.context(format!("{host} says that it is {issuer}"))
        }
        _ => error,
    })
}

/// A remote's name: the file's or the repository's own.
fn name_from(location: &str, repo: &RepoUrl) -> String {
    let path = if location.contains(".flatpakrepo") { location } else { repo.as_str() };
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = last.split('.').next().unwrap_or_default();
    let name: String =
        stem.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(60).collect();
    if name.is_empty() { "store".to_owned() } else { name }
}

/// A file of mode 0600 that is removed at the end: the repository's address may have a password in it, which must
/// not stand among the arguments of a process.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(text: &str) -> anyhow::Result<Self> {
        let mut rng =
            StdRng::try_from_rng(&mut SysRng).context("This computer has no source of randomness")?;
        let path = std::env::temp_dir().join(format!("flatpass-{}.flatpakrepo", random_text(&mut rng)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let this = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(this)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a temporary file stays");
        }
    }
}
