//! One login at a registry's token server, and whether the token that comes of it opens the image.

use flatpass_oci::Scope;
use flatpass_oci::client::{Login, Realm, RegistryError, RegistryToken, TokenRequest};
use flatpass_token::{Secret, UnixTime};

use super::Registries;
use super::address::RegistryUrl;
use super::attempts::Attempts;
use super::credential::Credential;
use super::probe::Door;
use super::realm::may_have_credentials;
use super::refusal::RegistryRefusal;
use super::walk::AskedImage;
use crate::authority::error::shown;
use crate::credentials::CredentialError;
use crate::secret::SecretText;

/// Where credentials are from that were just typed.
pub(super) const TYPED: &str = "what you typed";
/// Where they are from if they were typed once.
pub(super) const REMEMBERED: &str = "your sign-in at the registry";

/// A repository that is closed to nobody and to all credentials that are stored for it.
pub(super) struct Closed<'a> {
    pub(super) image: &'a AskedImage,
    pub(super) realm: Realm,
    pub(super) service: Option<String>,
    /// The last credentials that were tried, and what became of them.
    pub(super) tried: Option<Tried>,
}

/// What became of credentials.
pub(super) enum Tried {
    /// They are not right.
    Wrong {
        /// Where they are from.
        origin: String,
        /// The token server's words.
        words: String,
    },
    /// They are right, and open something else.
    TooLittle {
        /// Whose they are, as a sentence begins.
        account: String,
    },
    /// What is remembered cannot be read.
    Unreadable(CredentialError),
}

impl Registries {
    /// Logs in with credentials that may have been tried for another repository of this request. Those that are not
    /// known yet are tried by one task at a time.
    pub(super) async fn try_login(
        &self,
        registry: &RegistryUrl,
        closed: &mut Closed<'_>,
        login: (&Credential, &str),
        attempts: &Attempts,
    ) -> Result<Option<String>, RegistryRefusal> {
        let (credential, origin) = login;
        let mut known = attempts.known().await;
        match known.of(&closed.realm, credential) {
            Some(Some(words)) => {
                closed.tried = Some(Tried::Wrong { origin: origin.to_owned(), words: words.to_owned() });
                return Ok(None);
            }
            Some(None) => {
                drop(known);
                return self.log_in(registry, closed, Some(login)).await;
            }
            None => {}
        }
        let token = self.log_in(registry, closed, Some(login)).await?;
        let words = match &closed.tried {
            Some(Tried::Wrong { words, .. }) if token.is_none() => Some(words.clone()),
            _ => None,
        };
        known.note(&closed.realm, credential, words);
        Ok(token)
    }

    /// Asks the token server as somebody (`None`: as nobody), and then the registry whether the token is enough: token
    /// servers give tokens that open nothing, too.
    pub(super) async fn log_in(
        &self,
        registry: &RegistryUrl,
        closed: &mut Closed<'_>,
        login: Option<(&Credential, &str)>,
    ) -> Result<Option<String>, RegistryRefusal> {
        let clients = self.clients()?;
        let image = closed.image;
        let (account, secret) = match login {
            None => (None, None),
            Some((Credential::Password { user, password }, _)) => {
                (Some(user.as_str()), Some(secret(password)))
            }
            Some((Credential::IdentityToken(token), _)) => (None, Some(secret(token))),
        };
        let asked = TokenRequest {
            realm: &closed.realm,
            service: closed.service.as_deref(),
            scopes: &[Scope::pull(image.repository.clone())],
            login: match (account, &secret) {
                (_, None) => Login::Anonymous,
                (Some(user), Some(password)) => Login::Basic { user, password },
                (None, Some(token)) => Login::Refresh(token),
            },
            offline: false,
            may_have: &|realm| may_have_credentials(registry, realm),
        };
        let now = self.environment.now();
        let answer = match login {
            Some((Credential::IdentityToken(_), REMEMBERED)) => {
                self.refresh(registry, &closed.realm, closed.service.as_deref(), asked.scopes).await
            }
            _ => clients.exchange.ask(&asked).await,
        };
        let words = match answer {
            Ok(answer) => return self.check(registry, closed, login, account, &answer, now).await,
            Err(RegistryError::Refused { words, .. }) => words,
            Err(RegistryError::NotFound { .. }) => "it has no token for that".to_owned(),
            // Some token servers have no better word for nobody, or for a way of asking that they do not know.
            Err(RegistryError::Status { status: 400..=499, words, .. }) => words,
            Err(error) => return Err(error.into()),
        };
        if let Some((_, origin)) = login {
            closed.tried = Some(Tried::Wrong { origin: origin.to_owned(), words });
        }
        Ok(None)
    }

    /// Shows the registry a token that its token server gave.
    async fn check(
        &self,
        registry: &RegistryUrl,
        closed: &mut Closed<'_>,
        login: Option<(&Credential, &str)>,
        account: Option<&str>,
        answer: &RegistryToken,
        now: UnixTime,
    ) -> Result<Option<String>, RegistryRefusal> {
        let image = closed.image;
        let token = SecretText::new(answer.secret.expose().to_owned());
        if !token.is_bearer_token() {
            return Err(RegistryError::NoToken { host: closed.realm.host() }.into());
        }
        let probe = &self.clients()?.probe;
        match probe.look(registry, &image.repository, &image.digest, Some(&token)).await? {
            Door::Open => {
                let life = Some(answer.expires_in);
                self.cache().put(registry, &image.repository, token.expose(), life, now);
                Ok(Some(token.expose().to_owned()))
            }
            Door::Asks(_) | Door::Refuses { .. } => {
                if login.is_some() {
                    let account = match account {
                        Some(user) => format!("The account {}", shown(user)),
                        None => "Your account".to_owned(),
                    };
                    closed.tried = Some(Tried::TooLittle { account });
                }
                Ok(None)
            }
            other @ Door::Absent => Err(no(registry, image, &other)),
        }
    }

    /// Shows the registry a token that stands in a file for it. It is not kept: how long it is good is not known.
    pub(super) async fn is_enough(
        &self,
        registry: &RegistryUrl,
        closed: &mut Closed<'_>,
        token: &SecretText,
        path: &str,
    ) -> Result<bool, RegistryRefusal> {
        let image = closed.image;
        let probe = &self.clients()?.probe;
        match probe.look(registry, &image.repository, &image.digest, Some(token)).await? {
            Door::Open => Ok(true),
            Door::Asks(_) | Door::Refuses { .. } => {
                let account = format!("The owner of the token in {}", shown(path));
                closed.tried = Some(Tried::TooLittle { account });
                Ok(false)
            }
            other @ Door::Absent => Err(no(registry, image, &other)),
        }
    }

    /// Uses the refresh token that is remembered. A token server may give another one with each use, and want that one the
    /// next time; so one task of one process does it at a time, and to its end, whatever becomes of the client.
    async fn refresh(
        &self,
        registry: &RegistryUrl,
        realm: &Realm,
        service: Option<&str>,
        scopes: &[Scope],
    ) -> Result<RegistryToken, RegistryError> {
        let exchange = self.clients()?.exchange.clone();
        let (remembered, now) = (self.remembered(), self.environment.now());
        let (registry, realm) = (registry.clone(), realm.clone());
        let (service, scopes) = (service.map(str::to_owned), scopes.to_vec());
        let gone =
            |host: String, words: &str| RegistryError::Refused { host, status: 401, words: words.to_owned() };
        let host = realm.host();
        let refreshing = tokio::spawn(async move {
            let lost = |words: &str| gone(realm.host(), words);
            let lock = remembered.lock(&registry).await.map_err(|error| lost(&error.to_string()))?;
            let newest = remembered.load(&registry, false).await.map_err(|error| lost(&error.to_string()))?;
            let Some(Credential::IdentityToken(token)) = newest else {
                return Err(lost("it was forgotten meanwhile"));
            };
            let asked = TokenRequest {
                realm: &realm,
                service: service.as_deref(),
                scopes: &scopes,
                login: Login::Refresh(&secret(&token)),
                offline: false,
                may_have: &|realm| may_have_credentials(&registry, realm),
            };
            let answer = exchange.ask(&asked).await?;
            let next = answer.refresh.as_ref().map(|next| SecretText::new(next.expose().to_owned()));
            if let Some(next) = next.and_then(Credential::identity_token)
                && let Err(error) = remembered.store_locked(&registry, &next, now, &lock).await
            {
                tracing::warn!(%error, "the next refresh token of a registry is not remembered");
            }
            Ok(answer)
        });
        refreshing.await.unwrap_or_else(|_| Err(RegistryError::Timeout { host }))
    }
}

pub(super) fn secret(text: &SecretText) -> Secret {
    Secret::from(text.expose().to_owned())
}

/// A door that no credentials open.
pub(super) fn no(registry: &RegistryUrl, image: &AskedImage, door: &Door) -> RegistryRefusal {
    let (host, name) = (registry.host(), image.name.clone());
    match door {
        Door::Refuses { status } => {
            RegistryRefusal::Refused { host, name, words: format!("it answers with HTTP status {status}.") }
        }
        _ => RegistryRefusal::Absent { host, name },
    }
}
