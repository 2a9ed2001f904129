//! Signing in at a registry ahead of time, as `podman login` does: the password is tried, and then remembered.

use flatpass_oci::client::{Asked, Login, RegistryError, TokenRequest};
use thiserror::Error;

use super::Registries;
use super::address::RegistryUrl;
use super::credential::Credential;
use super::login::secret;
use super::probe::Door;
use super::realm::{may_be_asked, may_have_credentials};
use super::refusal::RegistryRefusal;
use crate::authority::error::shown;
use crate::credentials::CredentialError;
use crate::secret::SecretText;

/// Why it is not remembered. `Display` is a sentence for a person.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The registry, or its token server.
    #[error("{0}")]
    Registry(#[from] RegistryRefusal),
    /// It does not want to know who asks.
    #[error("The registry {host} asks nobody who they are, so there is nothing to sign in to.")]
    NotNeeded {
        /// The registry.
        host: String,
    },
    /// Wrong user or password.
    #[error("{realm} does not accept that: {words}")]
    Wrong {
        /// The token server.
        realm: String,
        /// Its words.
        words: String,
    },
    /// It cannot be stored.
    #[error("{0}")]
    Store(#[from] CredentialError),
}

impl From<RegistryError> for SignInError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error.into())
    }
}

impl Registries {
    /// Tries a credential at the registry's token server, and remembers it: a refresh token in a password's place, if the token
    /// server gives one. Gives whether it is in the keyring.
    ///
    /// # Errors
    /// [`SignInError`]; what was remembered before is then as it was.
    pub async fn sign_in(
        &self,
        registry: &RegistryUrl,
        credential: &Credential,
    ) -> Result<bool, SignInError> {
        let clients = self.clients()?;
        let host = registry.host();
        let rules = self.environment.registries_conf.read().map_err(RegistryRefusal::Rules)?;
        rules.allow(registry, None)?;
        if !registry.is_guarded() {
            return Err(RegistryRefusal::Insecure { host }.into());
        }
        let (realm, service) = match clients.probe.look_at_base(registry).await? {
            Door::Asks(Asked::Token { realm, service }) => (realm, service),
            Door::Asks(Asked::Basic) => return Err(RegistryRefusal::BasicOnly { host }.into()),
            Door::Open => return Err(SignInError::NotNeeded { host }),
            Door::Absent | Door::Refuses { .. } => {
                let words = "it is not a container registry, or refuses everybody".to_owned();
                return Err(RegistryError::Status { host, status: 404, words }.into());
            }
        };
        may_be_asked(registry, &realm)?;
        if !may_have_credentials(registry, &realm) {
            return Err(RegistryRefusal::RealmElsewhere { host, realm: realm.host() }.into());
        }
        let (user, password) = match credential {
            Credential::Password { user, password } => (Some(user.as_str()), secret(password)),
            Credential::IdentityToken(token) => (None, secret(token)),
        };
        let asked = TokenRequest {
            realm: &realm,
            service: service.as_deref(),
            scopes: &[],
            login: match user {
                Some(user) => Login::Basic { user, password: &password },
                None => Login::Refresh(&password),
            },
            offline: true,
            may_have: &|realm| may_have_credentials(registry, realm),
        };
        let answer = clients.exchange.ask(&asked).await.map_err(|error| match error {
            RegistryError::Refused { words, .. } => {
                SignInError::Wrong { realm: realm.host(), words: shown(&words) }
            }
            other => other.into(),
        })?;
        let mut kept = credential.clone();
        if let Some(refresh) = &answer.refresh {
            let again = TokenRequest { login: Login::Refresh(refresh), offline: false, ..asked };
            // A refresh token that the token server does not take itself is of no use.
            if let Ok(again) = clients.exchange.ask(&again).await {
                let next = again.refresh.as_ref().unwrap_or(refresh);
                let next = Credential::identity_token(SecretText::new(next.expose().to_owned()));
                kept = next.unwrap_or(kept);
            }
        }
        Ok(self.remembered().store(registry, &kept, self.environment.now()).await?)
    }
}
