//! The remotes that could use peers.

use anyhow::anyhow;
use clap::Args;

use crate::authority::address::{AuthorityUrl, RemoteKind, RepoUrl};
use crate::bridge::book::{Bridged, Led, Page};
use crate::installation::keyfile::Remote;
use crate::installation::{Installation, Scope};
use crate::peers::FoundPeer;
use crate::peers::uses::Use;

/// Which remotes.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The remotes' names (default: all that it can be done for)
    #[arg(value_name = "REMOTE")]
    names: Vec<String>,
    /// Remotes that are for you alone
    #[arg(short, long, conflicts_with = "system")]
    user: bool,
    /// Remotes that are for all users of this computer (run it as root then)
    #[arg(long)]
    system: bool,
}

/// A remote.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) installation: Installation,
    pub(super) remote: Remote,
    /// How it uses peers now, if it is not one of the bridge's.
    pub(super) uses: Use,
    /// The repo as the store knows it.
    pub(super) repo: RepoUrl,
    /// The bridge's entry, if the remote goes by it.
    pub(super) bridged: Option<Bridged>,
}

impl Candidate {
    /// The store, as far as the remote says it.
    pub(super) fn store(&self) -> Option<AuthorityUrl> {
        if let Some(bridged) = &self.bridged {
            return Some(bridged.store.clone());
        }
        let named = self.remote.store.as_deref().and_then(|url| AuthorityUrl::parse(url).ok());
        named.or_else(|| self.repo.likely_store())
    }

    /// Whether the peer says that it has copies of this remote's repo.
    pub(super) fn is_of(&self, peer: &FoundPeer) -> bool {
        peer.is_of(&self.repo, self.store().as_ref())
    }

    /// The repo's name.
    pub(super) fn repo_name(&self) -> &str {
        self.repo.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// The remote's name, with the installation's.
    pub(super) fn title(&self) -> String {
        format!("{} ({})", self.name, self.installation.scope.word())
    }
}

impl Which {
    /// Whether names were given.
    pub(super) fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// The remotes that are meant. Those of container registries have no peers and are left out, unless they are named.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub(super) fn find(&self, page: &Page) -> anyhow::Result<Vec<Candidate>> {
        let scopes = match (self.user, self.system) {
            (true, _) => vec![Scope::User],
            (_, true) => vec![Scope::System],
            _ => vec![Scope::User, Scope::System],
        };
        let mut found = Vec::new();
        for installation in scopes.into_iter().filter_map(Installation::of) {
            for name in installation.remotes()? {
                if self.is_named() && !self.names.contains(&name) {
                    continue;
                }
                let Some(remote) = installation.remote(&name)? else { continue };
                match candidate(&installation, &name, remote, page) {
                    Ok(candidate) => found.push(candidate),
                    Err(error) if self.is_named() => return Err(error),
                    Err(_) => {}
                }
            }
        }
        match self.names.iter().find(|name| !found.iter().any(|one| one.name == **name)) {
            Some(missing) => {
                Err(anyhow!("There is no remote {missing}. See which there are: flatpak remotes"))
            }
            None => Ok(found),
        }
    }
}

fn candidate(
    installation: &Installation,
    name: &str,
    remote: Remote,
    page: &Page,
) -> anyhow::Result<Candidate> {
    let uses = Use::of(installation, name, &remote);
    let own = match &uses {
        Use::Alone(_, former) => former.as_str(),
        _ => remote.url.as_str(),
    };
    let (kind, repo) = RepoUrl::of_remote(own).map_err(|error| anyhow!("The remote {name}: {error}."))?;
    if kind == RemoteKind::Oci {
        return Err(anyhow!(
            "The apps of the remote {name} are in a container registry, which has no peers; nothing was changed."
        ));
    }
    let (repo, bridged) = match page.follow(&repo) {
        Led::To(bridged) => (bridged.repo.clone(), Some(bridged)),
        _ => (repo, None),
    };
    Ok(Candidate { name: name.to_owned(), installation: installation.clone(), remote, uses, repo, bridged })
}
