//! One exchange with a registry's token server (Docker registry token specification): who I am and what I am about to do, for a token.

use std::time::Duration;

use flatpass_token::Secret;
use reqwest::RequestBuilder;
use serde::Deserialize;

use super::asked::Realm;
use super::error::{RegistryError, shown};
use super::http::{Http, HttpLimits, body, refusal, send};
use crate::Scope;

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The longest token or refresh token.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// How long a token is good when its server does not say it.
const USUAL: Duration = Duration::from_secs(60);
/// A longer life than this is not believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Who asks for a token.
#[derive(Clone, Copy, Debug)]
pub enum Login<'a> {
    /// Nobody.
    Anonymous,
    /// An account with its password.
    Basic {
        /// Its name.
        user: &'a str,
        /// Its password.
        password: &'a Secret,
    },
    /// Whoever got this refresh token.
    Refresh(&'a Secret),
}

/// What to ask for.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Where.
    pub realm: &'a Realm,
    /// For which registry, in the token server's words.
    pub service: Option<&'a str>,
    /// For what.
    pub scopes: &'a [Scope],
    /// By whom.
    pub login: Login<'a>,
    /// Whether a refresh token is wanted too.
    pub offline: bool,
    /// Whether that token server may have the credentials. It is asked for every login but an anonymous one: a registry may name any
    /// token server, and must not get other people's passwords by that.
    pub may_have: &'a (dyn Fn(&Realm) -> bool + Sync),
}

/// A token. What is in it is between the registry and its token server.
#[derive(Clone, Debug)]
pub struct RegistryToken {
    /// The bearer token.
    pub secret: Secret,
    /// How long it is good, from before it was asked for.
    pub expires_in: Duration,
    /// What gets the next one without a password.
    pub refresh: Option<Secret>,
}

/// Asks token servers. It remembers nothing.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    http: Http,
}

impl TokenExchange {
    /// With these limits.
    ///
    /// # Errors
    /// [`RegistryError::Setup`]
    pub fn new(limits: &HttpLimits) -> Result<Self, RegistryError> {
        Ok(Self { http: Http::new(limits)? })
    }

    pub(crate) const fn with(http: Http) -> Self {
        Self { http }
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] for wrong credentials, in the token server's words; [`RegistryError::NotForThisRealm`] before anything
    /// is sent; or what else can go wrong on the way. Redirects are not followed.
    pub async fn ask(&self, asked: &TokenRequest<'_>) -> Result<RegistryToken, RegistryError> {
        let host = asked.realm.host();
        if !matches!(asked.login, Login::Anonymous) && !(asked.may_have)(asked.realm) {
            return Err(RegistryError::NotForThisRealm { realm: host });
        }
        let request = match asked.login {
            Login::Anonymous => self.get(asked),
            Login::Basic { user, password } => self.get(asked).basic_auth(user, Some(password.expose())),
            Login::Refresh(secret) => self.post(asked, secret),
        };
        let response = send(request, asked.realm.url()).await?;
        if response.status().is_redirection() {
            return Err(RegistryError::Redirect { host });
        }
        let answer = if response.status().is_success() {
            read(&body(response, MAX_ANSWER_BYTES).await?, host)
        } else {
            Err(refusal(response, "token server there").await)
        };
        answer.map_err(|error| match asked.login {
            Login::Anonymous => error,
            Login::Basic { user, password } => error.without_login(user, password),
            Login::Refresh(secret) => error.without(secret.expose()),
        })
    }

    fn get(&self, asked: &TokenRequest<'_>) -> RequestBuilder {
        let mut url = asked.realm.url().clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = asked.service {
                query.append_pair("service", service);
            }
            for scope in asked.scopes {
                query.append_pair("scope", &scope.to_string());
            }
            if let Login::Basic { user, .. } = asked.login {
                query.append_pair("account", user);
            }
            if asked.offline {
                query.append_pair("offline_token", "true").append_pair("client_id", "flatpass");
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        self.http.for_url(&url).get(url)
    }

    fn post(&self, asked: &TokenRequest<'_>, refresh: &Secret) -> RequestBuilder {
        let scopes: Vec<_> = asked.scopes.iter().map(Scope::to_string).collect();
        let scopes = scopes.join(" ");
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("client_id", "flatpass"),
            ("scope", &scopes),
            ("refresh_token", refresh.expose()),
        ];
        if let Some(service) = asked.service {
            form.push(("service", service));
        }
        let url = asked.realm.url();
        self.http.for_url(url).post(url.clone()).form(&form)
    }
}

fn read(answer: &[u8], host: String) -> Result<RegistryToken, RegistryError> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
        refresh_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| RegistryError::Json { host: host.clone(), why: shown(&error.to_string()) })?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let secret = token.filter(|token| is_sendable(token)).ok_or(RegistryError::NoToken { host })?;
    Ok(RegistryToken {
        secret: secret.into(),
        expires_in: answer.expires_in.map_or(USUAL, Duration::from_secs).min(LONGEST),
        refresh: answer.refresh_token.filter(|token| is_sendable(token)).map(Secret::from),
    })
}

/// Whether it fits into a header field. More than that is not for us to know of a token.
fn is_sendable(token: &str) -> bool {
    (1..=MAX_TOKEN_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}
