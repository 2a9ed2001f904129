//! By what a registry lets its client in: tokens, each kept until shortly before its end.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flatpass_token::Secret;
use reqwest::RequestBuilder;
use tokio::time::Instant;

use super::address::RegistryAddress;
use super::asked::{Asked, Realm};
use super::error::RegistryError;
use super::token::{Login, RegistryToken, TokenExchange, TokenRequest};
use crate::Scope;

/// So long before its end a token is not used any more: requests take time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(10);
/// So many tokens are kept.
const MOST_TOKENS: usize = 1024;

/// Makes tokens for one who signs them itself. `None` when it cannot at this moment.
pub type SignToken = dyn Fn(&Scope) -> Option<RegistryToken> + Send + Sync;

/// By what right a client asks.
#[derive(Clone)]
pub enum Access {
    /// As anybody.
    Anonymous,
    /// With an account.
    Login {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
        /// The token servers that may have it, as `host` or `host:port`; `None` is the one that the registry names first. The
        /// registry itself may have it as long as it never named one.
        realms: Option<Vec<String>>,
    },
    /// With tokens that are made here, because the registry trusts whoever runs this program.
    Signed(Arc<SignToken>),
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Login { .. } => "Login",
            Self::Signed(_) => "Signed",
        })
    }
}

/// What goes with one request.
#[derive(Clone, Debug)]
pub(crate) enum Pass {
    Nothing,
    Bearer(Secret),
    Basic(String, Secret),
}

impl Pass {
    pub(crate) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Bearer(token) => request.bearer_auth(token.expose()),
            Self::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// What the registry asked for last.
    asked: Option<Asked>,
    /// The token server that it named first.
    first_realm: Option<Realm>,
    /// By scope, with the moment up to which each is used.
    tokens: HashMap<String, (Secret, Instant)>,
}

/// The passes of one client.
#[derive(Debug)]
pub(crate) struct Passes {
    access: Access,
    exchange: TokenExchange,
    state: Mutex<State>,
}

impl Passes {
    pub(crate) fn new(access: Access, exchange: TokenExchange) -> Self {
        Self { access, exchange, state: Mutex::default() }
    }

    /// What is known to be needed for this. Nothing, before the registry asked for something.
    pub(crate) async fn pass(
        &self,
        registry: &RegistryAddress,
        scope: &Scope,
    ) -> Result<Pass, RegistryError> {
        let asked = {
            let state = self.state();
            if let Some((token, until)) = state.tokens.get(&scope.to_string())
                && Instant::now() < *until
            {
                return Ok(Pass::Bearer(token.clone()));
            }
            state.asked.clone()
        };
        match asked {
            None => Ok(Pass::Nothing),
            Some(Asked::Basic) => self.basic(registry),
            Some(Asked::Token { realm, service }) => {
                self.token(registry, &realm, service.as_deref(), scope).await
            }
        }
    }

    /// The registry refused what `pass` gave, and asked for this.
    pub(crate) fn learn(&self, asked: Asked, scope: &Scope) {
        let mut state = self.state();
        state.tokens.remove(&scope.to_string());
        if let Asked::Token { realm, .. } = &asked {
            state.first_realm.get_or_insert_with(|| realm.clone());
        }
        state.asked = Some(asked);
    }

    pub(crate) fn first_realm(&self) -> Option<Realm> {
        self.state().first_realm.clone()
    }

    fn basic(&self, registry: &RegistryAddress) -> Result<Pass, RegistryError> {
        match &self.access {
            // The same registry, taken over, would ask for the password itself.
            Access::Login { realms, .. } if realms.is_some() || self.state().first_realm.is_some() => {
                Err(RegistryError::NoTokenServerAnyMore { host: registry.host() })
            }
            Access::Login { user, password, .. } if registry.is_secret() => {
                Ok(Pass::Basic(user.clone(), password.clone()))
            }
            Access::Login { .. } => Err(RegistryError::ClearText { host: registry.host() }),
            Access::Anonymous | Access::Signed(_) => Ok(Pass::Nothing),
        }
    }

    async fn token(
        &self,
        registry: &RegistryAddress,
        realm: &Realm,
        service: Option<&str>,
        scope: &Scope,
    ) -> Result<Pass, RegistryError> {
        let before = Instant::now();
        let token = match &self.access {
            Access::Signed(sign) => {
                if !registry.is_secret() {
                    return Err(RegistryError::ClearText { host: registry.host() });
                }
                let Some(token) = sign(scope) else { return Ok(Pass::Nothing) };
                token
            }
            Access::Anonymous | Access::Login { .. } => {
                let (login, realms) = match &self.access {
                    Access::Login { user, password, realms } => {
                        (Login::Basic { user, password }, realms.as_ref())
                    }
                    Access::Anonymous | Access::Signed(_) => (Login::Anonymous, None),
                };
                let first = self.state().first_realm.clone();
                let may_have = |realm: &Realm| match realms {
                    Some(hosts) => hosts.contains(&realm.host()),
                    // A registry that names another one later may have been taken over; and over http anybody could have named it.
                    None => registry.is_secret() && first.as_ref().is_none_or(|first| first == realm),
                };
                let scopes = std::slice::from_ref(scope);
                let asked =
                    TokenRequest { realm, service, scopes, login, offline: false, may_have: &may_have };
                self.exchange.ask(&asked).await?
            }
        };
        let mut state = self.state();
        if state.tokens.len() >= MOST_TOKENS {
            state.tokens.retain(|_, (_, until)| before < *until);
        }
        let until = before + token.expires_in.saturating_sub(MARGIN);
        if state.tokens.len() < MOST_TOKENS {
            state.tokens.insert(scope.to_string(), (token.secret.clone(), until));
        }
        Ok(Pass::Bearer(token.secret))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
