//! `remote-add`: `flatpak remote-add` with the authenticator set and, for a private repository, a secret of this device
//! in the address.

use std::fs::File;
use std::io::{IsTerminal as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::crossing::{Crossing, UNSIGNED};
use super::location::Found;
use super::sign_in::HowToSignIn;
use super::{Failure, surroundings};
use crate::authority::Reader;
use crate::authority::access_tokens::{DeviceSecret, MadeSecret};
use crate::authority::address::{AuthorityUrl, RemoteKind};
use crate::dbus::BUS_NAME;
use crate::installation::readers::{Readers, readers_of};
use crate::installation::{Installation, Scope};
use crate::robot_file::{self, Origin};
use crate::secret::SecretText;
use crate::session::{Session, Sessions};

/// Add a store's remote to Flatpak.
///
/// WHERE is STORE/REPO, such as `shop.example/apps`; or the address of the repository or of its .flatpakrepo file; or
/// a .flatpakrepo file on this computer. If there is a password in the address, give `-` and type or pipe the address,
/// so that it does not appear in the list of processes.
///
/// If the repository is private, you sign in first. This device then gets a secret of its own for this repository,
/// which Flatpak keeps in the remote's address (for apps in a container registry, in its path): see it, and end it, on your account page; `remote-rotate` replaces it.
/// In a system-wide remote every user of this computer can read it.
///
/// With --bridge there is no such secret: the remote's address is the bridge's on this computer, which fetches the list of
/// apps with your sign-in and serves you alone. Such a remote works for you and while the bridge runs; see `bridge --help`.
#[derive(Debug, Args)]
pub struct RemoteAdd {
    /// STORE/REPO, an address, a .flatpakrepo file, or - to read one of these from standard input
    #[arg(value_name = "WHERE")]
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
    /// The public key that signs the repository (default: what the store's .flatpakrepo says)
    #[arg(long, value_name = "FILE")]
    gpg_import: Option<PathBuf>,
    /// Accept apps that nobody signed
    #[arg(long, conflicts_with = "gpg_import")]
    no_gpg_verify: bool,
    /// Do nothing if there is such a remote already
    #[arg(long)]
    if_not_exists: bool,
    /// Go through the bridge, so that no secret stands in Flatpak's configuration
    #[arg(long)]
    bridge: bool,
    #[command(flatten)]
    how: HowToSignIn,
    /// Sign in as this machine's robot, with the credentials in this file (see `run --help`)
    #[arg(long, value_name = "FILE", conflicts_with = "no_browser")]
    robot: Option<PathBuf>,
    /// Do not ask before a secret is put where others can read it
    #[arg(short = 'y', long)]
    assumeyes: bool,
}

impl RemoteAdd {
    /// Adds the remote.
    ///
    /// # Errors
    /// A sentence with the next step; flatpak's own words if it refuses.
    pub async fn run(self) -> Result<(), Failure> {
        let location = self.location()?;
        let mut environment = surroundings::environment()?;
        if let Some(file) = &self.robot {
            environment.robots.push(robot_file::read(file, Origin::Disk)?);
        }
        let sessions = Sessions::new(environment);
        let mut found = Found::at(&location, self.store.as_deref(), &sessions).await?;
        if let Some(robot) = sessions.environment().robots.iter().find(|robot| robot.store != found.store) {
            return Err(anyhow!(
                "The robot is one of {}, and the repository belongs to {}.",
                robot.store,
                found.store
            )
            .into());
        }
        let session = sessions.with(&found.store)?;
        let name = self.name.clone().unwrap_or_else(|| found.name.clone());
        let installation = Installation::of(self.scope())
            .context("HOME is not set, so there is no installation for you alone. Set it, then try again.")?;
        if installation.remote(&name)?.is_some() {
            if self.if_not_exists {
                println!("There is a remote {name} already.");
                return Ok(());
            }
            return Err(anyhow!(
                "There is a remote {name} already. Choose another name, or remove it first with \
                 `flatpass-authenticator remote-remove {} {name}`.",
                self.scope().option()
            )
            .into());
        }
        found.take_up_file(&session, Reader::Anybody).await?;
        if self.bridge {
            return Box::pin(self.run_over_bridge(&name, found, &installation, sessions)).await;
        }
        let given = DeviceSecret::in_url(&found.repo.url)?;
        let is_private = found.is_private(&sessions).await?;
        let fresh = if given.is_none() && is_private {
            Some(self.get_secret(&mut found, &installation, &sessions, &session).await?)
        } else {
            let now = sessions.environment().now();
            if !session.authority().knows_repo(&found.plain, now).await? {
                return Err(self.unknown(&found).into());
            }
            if let Some(secret) = &given {
                found.take_up_file(&session, Reader::Device(secret)).await?;
            }
            self.check_key(&found)?;
            None
        };
        // From here on a fresh secret is in use, or it is ended.
        let added = self.add(&name, &found, fresh.as_ref(), &installation).await;
        if let (Err(_), Some(fresh)) = (&added, &fresh) {
            take_back(&sessions, &session, &fresh.secret).await;
        }
        added?;
        if let Some(fresh) = &fresh {
            println!(
                "This device's secret is called \u{201c}{}\u{201d} on {}account.",
                fresh.name, found.store
            );
            say_who_can_read(&installation);
        }
        println!(
            "Added the remote {name}. See what it has: flatpak remote-ls {} {name}",
            self.scope().option()
        );
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

    fn scope(&self) -> Scope {
        if self.user { Scope::User } else { Scope::System }
    }

    fn unknown(&self, found: &Found) -> anyhow::Error {
        anyhow!(
            "The store at {} does not know the repository {}. Ask the store for its address, or name the right store \
             with --store URL.",
            found.store,
            found.plain
        )
    }

    fn check_key(&self, found: &Found) -> anyhow::Result<()> {
        if found.kind() == RemoteKind::Oci {
            if self.gpg_import.is_some() {
                return Err(anyhow!(
                    "The apps of {} are in a container registry: they have no key. Leave --gpg-import out.",
                    found.plain
                ));
            }
            if self.no_gpg_verify {
                return Ok(());
            }
            if found.is_signed {
                return Err(anyhow!(
                    "{} is to be a signed repository: a key came with its address. What is there now is the list of a container \
                     registry, which nobody signs. Ask the store. If it has moved to a registry, use its new address, which begins \
                     with oci+; or, if you accept apps that nobody signed, add --no-gpg-verify.",
                    found.plain
                ));
            }
            eprintln!(
                "The apps of {} are in a container registry: nobody signs them, and the store's list says what you get.",
                found.plain
            );
            return Ok(());
        }
        if found.repo.has_key() || self.gpg_import.is_some() || self.no_gpg_verify {
            return Ok(());
        }
        Err(anyhow!(
            "The key that signs this repository is not known. Use the store's .flatpakrepo file, or give the key with \
             --gpg-import FILE; or, if you accept apps that nobody signed, add --no-gpg-verify."
        ))
    }

    /// Adds a remote whose address is the bridge's.
    async fn run_over_bridge(
        &self,
        name: &str,
        mut found: Found,
        installation: &Installation,
        sessions: Sessions,
    ) -> Result<(), Failure> {
        let sessions = Arc::new(sessions);
        let session = sessions.with(&found.store)?;
        self.sign_in(&mut found, &sessions, &session).await?;
        let crossing = Crossing::open(&sessions, &session, &found.plain).await?;
        let address = match found.kind() {
            RemoteKind::Ostree => crossing.address().to_owned(),
            RemoteKind::Oci => format!("oci+{}", crossing.address()),
        };
        found.repo = found.repo.at(address);
        if self.no_gpg_verify || found.kind() == RemoteKind::Oci {
            eprintln!("{UNSIGNED}");
        }
        let added = self.add(name, &found, None, installation).await;
        let advice = crossing.advice();
        crossing.close(added.is_ok()).await;
        added?;
        if self.scope() == Scope::System {
            println!(
                "Other users of this computer see the remote, and cannot use it: the bridge serves you alone."
            );
        }
        println!(
            "Added the remote {name}. See what it has: flatpak remote-ls {} {name}",
            self.scope().option()
        );
        if let Some(advice) = advice {
            println!("{advice}");
        }
        Ok(())
    }

    /// Signs in if nobody is, and takes up what only members are told about the repository.
    async fn sign_in(
        &self,
        found: &mut Found,
        sessions: &Sessions,
        session: &Arc<Session>,
    ) -> Result<(), Failure> {
        let mut access = session.api_access().await?;
        if access.is_none() {
            eprintln!("The repository {} is private.", found.plain);
            self.how.sign_in(sessions, session).await.map_err(Failure::ended)?;
            access = session.api_access().await?;
        }
        if let Some(access) = &access {
            found.take_up_file(session, Reader::Account(access)).await?;
        }
        found.find_kind(sessions, session).await.map_err(Failure::ended)?;
        self.check_key(found)?;
        Ok(())
    }

    /// Signs in if nobody is, and gets this device a secret.
    async fn get_secret(
        &self,
        found: &mut Found,
        installation: &Installation,
        sessions: &Sessions,
        session: &Arc<Session>,
    ) -> Result<MadeSecret, Failure> {
        if self.scope() == Scope::System && !self.agrees(installation, found)? {
            return Err(Failure::Cancelled);
        }
        self.sign_in(found, sessions, session).await?;
        let host = surroundings::host_name().unwrap_or_else(|| "Flatpak".to_owned());
        let name = format!("{host} ({})", self.scope().word());
        // From here on Ctrl-C ends nothing: there would be a secret that nobody knows of.
        let _ignored = signal(SignalKind::interrupt())?;
        Ok(session.make_device_secret(&found.plain, &name).await?)
    }

    /// Says who will be able to read the secret, before there is one.
    fn agrees(&self, installation: &Installation, found: &Found) -> anyhow::Result<bool> {
        let config = installation.config();
        if readers_of(&config) != Readers::Everyone {
            return Ok(true);
        }
        eprintln!(
            "The repository {} is private. A system-wide remote keeps this device's secret in {}, which every user \
             and every program of this computer can read: they all could then read what you may read there. To \
             avoid that, add the remote for you alone with --user or with --bridge, or for unattended machines use a robot \
             of its own that may do little, and `flatpass-authenticator run`.",
            found.plain,
            config.display()
        );
        if self.assumeyes || !std::io::stdin().is_terminal() {
            return Ok(true);
        }
        eprint!("Go on? [y/N] ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("Cannot read your answer")?;
        Ok(matches!(line.trim(), "y" | "Y" | "yes"))
    }

    /// Lets flatpak add the remote. A secret travels in a file without a name, never among arguments.
    async fn add(
        &self,
        name: &str,
        found: &Found,
        fresh: Option<&MadeSecret>,
        installation: &Installation,
    ) -> anyhow::Result<()> {
        let no_place = || anyhow!("The address {} has no place for a secret.", found.plain);
        let put = |fresh: &MadeSecret| fresh.secret.put_into(&found.plain, found.kind()).ok_or_else(no_place);
        let url = fresh.map(put).transpose()?;
        let mut repo = match &url {
            Some(url) => found.repo.clone().at(url.expose().to_owned()),
            None => found.repo.clone(),
        };
        if found.kind() == RemoteKind::Oci {
            repo = repo.unsigned();
        }
        // Not as flatpak's own --gpg-import: beside --from that imports the key and then checks no signature (1.14).
        if let Some(file) = &self.gpg_import {
            let key = std::fs::read(file).with_context(|| format!("Cannot read {}", file.display()))?;
            repo = repo.signed_with(&key);
        }
        let text = SecretText::new(repo.to_text());
        let file = unnamed_file(&text).context("Cannot make a file in memory")?;
        let mut command = self.flatpak(name, &found.store);
        let mut child =
            command.stdin(file).spawn().context("Cannot run flatpak. Install it, then try again")?;
        // Ctrl-C goes to flatpak as well; what it has done by then decides.
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.context("Cannot wait for flatpak")?,
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        if !status.success() {
            return Err(anyhow!("flatpak did not add the remote; what it said stands above."));
        }
        if let Some(url) = url
            && installation.remote(name)?.is_none_or(|remote| remote.url != url.expose())
        {
            return Err(anyhow!("flatpak did not take up the address, so the remote {name} is not of use."));
        }
        Ok(())
    }

    fn flatpak(&self, name: &str, store: &AuthorityUrl) -> Command {
        let mut command = Command::new("flatpak");
        command
            .arg("remote-add")
            .arg(self.scope().option())
            .arg("--from")
            .arg(format!("--authenticator-name={BUS_NAME}"))
            .arg(format!("--authenticator-option=url={store}"));
        if self.if_not_exists {
            command.arg("--if-not-exists");
        }
        if self.no_gpg_verify {
            command.arg("--no-gpg-verify");
        }
        command.arg("--").arg(name).arg("/dev/stdin");
        command
    }
}

/// A file that has no name and is gone when nobody has it open any more.
fn unnamed_file(text: &SecretText) -> std::io::Result<Stdio> {
    let mut file = File::from(memfd_create("flatpakrepo", MemfdFlags::CLOEXEC)?);
    file.write_all(text.expose().as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Ends a secret that nobody will use.
async fn take_back(sessions: &Sessions, session: &Session, secret: &DeviceSecret) {
    if let Err(error) = session.authority().revoke_device_secret(secret, sessions.environment().now()).await {
        eprintln!(
            "The secret that was made for this device could not be ended ({error}) End it on your account page: \
             {}account",
            session.authority().url()
        );
    }
}

fn say_who_can_read(installation: &Installation) {
    let config = installation.config();
    match (readers_of(&config), installation.scope) {
        (Readers::Owner, _) => println!("Only you can read it; it stands in {}.", config.display()),
        (Readers::Group, _) => println!("Your group can read it; it stands in {}.", config.display()),
        (Readers::Everyone, Scope::System) => {
            println!("Every user of this computer can read it; it stands in {}.", config.display());
        }
        (Readers::Everyone, Scope::User) => println!(
            "Every user of this computer can read it; it stands in {}. To change that, close a folder above it, for \
             example: chmod 700 {}",
            config.display(),
            config.parent().and_then(|repo| repo.parent()).unwrap_or(&config).display()
        ),
    }
}
