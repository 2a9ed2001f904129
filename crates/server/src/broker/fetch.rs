//! The walk to a registry and its token server.

use flatpass_oci::client::{
    Asked, Door, HttpLimits, PullTokenRequest, PullTokens, RegistryAddress, RegistryError,
};
use flatpass_oci::{Digest, RepositoryName};
use flatpass_store::{Registry, RegistryRobot, Store};
use flatpass_token::Secret;
use std::time::Duration;

use super::NoToken;
use crate::config::Config;

/// One call may take so long. There are up to four on the way to a token.
const CALL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);

/// Who goes there.
#[derive(Debug)]
pub(super) struct Fetcher {
    store: Store,
    repo: String,
    host: String,
    user: String,
    password: Secret,
    tokens: PullTokens,
}

/// A manifest, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
}

/// What they come back with.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The registry gives the image to everybody.
    NotNeeded,
    Token {
        secret: Secret,
        life: Duration,
    },
}

impl Fetcher {
    pub(super) fn new(
        store: Store,
        config: &Config,
        repo: &str,
        registry: &Registry,
        robot: &RegistryRobot,
    ) -> Result<Self, RegistryError> {
        let address = RegistryAddress::parse(&registry.url)?;
        let extra_roots = config.registries.roots.clone();
        let limits = HttpLimits { connect: CONNECT, total: CALL, extra_roots };
        Ok(Self {
            store,
            repo: repo.to_owned(),
            host: address.host(),
            user: robot.user.clone(),
            password: Secret::from(robot.password.to_string()),
            tokens: PullTokens::new(address, &limits)?,
        })
    }

    /// Fetches a token for one repository. It must not open the other one.
    pub(super) async fn fetch(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        other: Option<&Manifest>,
    ) -> Result<Fetched, NoToken> {
        let (realm, service) = match self.tokens.door(repository, digest).await? {
            Door::Open => return Ok(Fetched::NotNeeded),
            Door::Asks(Asked::Basic) => {
                return Err(RegistryError::PasswordsOnly { host: self.host.clone() }.into());
            }
            Door::Asks(Asked::Token { realm, service }) => (realm, service),
        };
        // A registry that names another token server later may have been taken over.
        let realm_host = self.store.bind_registry_robot(&self.repo, &realm.host()).await?;
        let request = PullTokenRequest {
            realm: &realm,
            realm_host: &realm_host,
            service: service.as_deref(),
            repository,
            digest,
            other: other.map(|other| (&other.repository, &other.digest)),
            user: &self.user,
            password: &self.password,
        };
        let token = self.tokens.fetch(&request).await?;
        Ok(Fetched::Token { secret: token.secret, life: token.expires_in })
    }
}
