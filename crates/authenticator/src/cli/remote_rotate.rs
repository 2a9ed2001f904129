//! `remote-rotate`: a new secret in a private remote's address, in place.

use anyhow::{Context as _, anyhow};
use clap::Args;
use url::Url;

use super::location::find_store;
use super::{Failure, surroundings};
use crate::authority::access_tokens::DeviceSecret;
use crate::authority::address::{AuthorityUrl, RemoteKind, RepoUrl};
use crate::authority::error::AuthorityError;
use crate::installation::keyfile::Remote;
use crate::installation::{Installation, Scope};
use crate::session::Sessions;

/// Give a private remote a new secret.
///
/// The remote's address gets a new secret, everything else in Flatpak's configuration stays as it is, and the former
/// secret ends. For a system-wide remote run it as root. If it is interrupted the remote goes on working; run it again
/// within the hour.
#[derive(Debug, Args)]
pub struct RemoteRotate {
    #[command(flatten)]
    which: WhichRemote,
}

/// A remote that is there already.
#[derive(Debug, Args)]
pub struct WhichRemote {
    /// The remote's name
    name: String,
    /// The remote that is for you alone
    #[arg(short, long, conflicts_with = "system")]
    user: bool,
    /// The remote that is for all users of this computer
    #[arg(long)]
    system: bool,
    /// The store's address, if it is on another server than the repository
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// A remote and what is needed to speak to its store about its secret.
#[derive(Debug)]
pub struct FoundRemote {
    /// Where it is.
    pub installation: Installation,
    /// What stands there.
    pub remote: Remote,
    /// Its address without the secret.
    pub plain: RepoUrl,
    /// Which kind of remote it is.
    pub kind: RemoteKind,
    /// The secret, if it has one.
    pub secret: Option<DeviceSecret>,
}

impl WhichRemote {
    /// The remote's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds the remote.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub fn find(&self) -> anyhow::Result<FoundRemote> {
        let scopes = match (self.user, self.system) {
            (true, _) => vec![Scope::User],
            (_, true) => vec![Scope::System],
            _ => vec![Scope::User, Scope::System],
        };
        let name = &self.name;
        let mut found = Vec::new();
        for installation in scopes.into_iter().filter_map(Installation::of) {
            if let Some(remote) = installation.remote(name)? {
                found.push((installation, remote));
            }
        }
        let (installation, remote) = match found.len() {
            0 => return Err(anyhow!("There is no remote {name}. See which there are: flatpak remotes")),
            1 => found.remove(0),
            _ => return Err(anyhow!("There are two remotes {name}. Say which: --user or --system.")),
        };
        let (kind, plain) =
            RepoUrl::of_remote(&remote.url).map_err(|error| anyhow!("The remote {name}: {error}."))?;
        let secret =
            DeviceSecret::in_url(&remote.url).map_err(|error| anyhow!("The remote {name}: {error}."))?;
        Ok(FoundRemote { installation, remote, plain, kind, secret })
    }

    /// The store that may be sent the remote's secret: on the repository's own server, unless a person names another.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn store(&self, found: &FoundRemote, sessions: &Sessions) -> anyhow::Result<AuthorityUrl> {
        if let Some(url) = &self.store {
            return Ok(AuthorityUrl::parse(url)?);
        }
        let store = match &found.remote.store {
            Some(url) => AuthorityUrl::parse(url)?,
            None => find_store(&found.plain, sessions).await?,
        };
        let repo = Url::parse(found.plain.as_str()).context("The remote's address is not right")?;
        if !store.is_same_origin(&repo) {
            return Err(anyhow!(
                "The remote {} says that its store is {store}, which is another server than the repository's, so \
                 nothing was sent. If that is right, add --store {store}",
                self.name
            ));
        }
        Ok(store)
    }
}

impl RemoteRotate {
    /// Rotates the secret.
    ///
    /// # Errors
    /// A sentence with the next step. The remote then has its former secret, which works for an hour yet at least.
    pub async fn run(self) -> Result<(), Failure> {
        let name = self.which.name();
        let found = self.which.find()?;
        let Some(old) = &found.secret else {
            return Err(anyhow!(
                "The remote {name} has no secret in its address, so there is none to replace."
            )
            .into());
        };
        let sessions = surroundings::sessions()?;
        let store = self.which.store(&found, &sessions).await?;
        let session = sessions.with(&store)?;
        let authority = session.authority();
        let now = || sessions.environment().now();
        // Before anything is asked for: whether the answer can be written down.
        let locked = found.installation.lock()?;
        let made = authority.rotate_device_secret(old, &found.plain, now()).await.map_err(|error| match error {
            AuthorityError::InvalidSecret { host } => anyhow!(
                "{host} does not accept the secret of the remote {name} any more. Remove the remote and add it again."
            ),
            other => other.into(),
        })?;
        let url = made
            .secret
            .put_into(&found.plain, found.kind)
            .ok_or_else(|| anyhow!("The address of the remote {name} has no place for a secret."))?;
        let slash = if found.remote.url.ends_with('/') { "/" } else { "" };
        let url = crate::secret::SecretText::new(format!("{}{slash}", url.expose()));
        // The new secret is not ended then: that would end the former one too, which the remote goes on with.
        if let Err(error) = locked.change_url(name, &found.remote.url, &url) {
            return Err(anyhow!(error)
                .context("The former secret works for an hour yet; run this again before that")
                .into());
        }
        drop(locked);
        if let Err(error) = authority.revoke_device_secret(old, now()).await {
            eprintln!("The former secret could not be ended at once ({error}) It ends within the hour.");
        }
        println!("The remote {name} has a new secret, \u{201c}{}\u{201d}.", made.name);
        Ok(())
    }
}
