//! Tokens with which somebody else may pull from one repository: made with an account that they never learn of.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flatpass_token::Secret;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use url::Url;

use super::access::Pass;
use super::address::RegistryAddress;
use super::asked::{Asked, Realm};
use super::error::RegistryError;
use super::http::{Http, HttpLimits, refusal, send};
use super::knock::Door;
use super::token::{Login, RegistryToken, TokenExchange, TokenRequest};
use crate::{Digest, MediaType, Reference, RepositoryName, Scope};

/// A shorter password is looked for in a token only together with its account's name: it could stand there by chance.
const TELLING_BYTES: usize = 8;

/// Makes them, for one registry. It remembers nothing.
#[derive(Clone, Debug)]
pub struct PullTokens {
    http: Http,
    exchange: TokenExchange,
    address: RegistryAddress,
}

impl PullTokens {
    /// For the registry at that address. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Setup`]
    pub fn new(address: RegistryAddress, limits: &HttpLimits) -> Result<Self, RegistryError> {
        let http = Http::new(limits)?;
        Ok(Self { exchange: TokenExchange::with(http.clone()), http, address })
    }

    /// What the registry asks of somebody without credentials who wants that manifest. Some registries let everybody in at `/v2/` and
    /// ask only here, so here it begins; others hide what is not everybody's, and then it is `/v2/` that counts.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub async fn door(&self, repository: &RepositoryName, digest: &Digest) -> Result<Door, RegistryError> {
        let first = self.knock(Method::HEAD, self.manifest(repository, digest), &Pass::Nothing).await?;
        match first {
            Knocked::Open => Ok(Door::Open),
            Knocked::Asks(asked) => Ok(Door::Asks(asked)),
            Knocked::Refuses(error @ (RegistryError::NotFound { .. } | RegistryError::Refused { .. })) => {
                match self.knock(Method::GET, self.address.door(), &Pass::Nothing).await? {
                    Knocked::Asks(asked) => Ok(Door::Asks(asked)),
                    Knocked::Open => Err(error),
                    Knocked::Refuses(error) => Err(error),
                }
            }
            Knocked::Refuses(error) => Err(error),
        }
    }

    /// Fetches a token to pull from that repository and for nothing more, and shows it to the registry.
    ///
    /// # Errors
    /// [`RegistryError::NotForThisRealm`] before anything is sent; [`RegistryError::TokenIsPassword`], [`RegistryError::TokenRefused`],
    /// or what else can go wrong on the way.
    pub async fn fetch(&self, asked: &PullTokenRequest<'_>) -> Result<RegistryToken, RegistryError> {
        if !self.address.is_secret() {
            return Err(RegistryError::ClearText { host: self.address.host() });
        }
        let scopes = [Scope::pull(asked.repository.clone())];
        let login = Login::Basic { user: asked.user, password: asked.password };
        let (realm, service) = (asked.realm, asked.service);
        let may_have = |realm: &Realm| realm.host() == asked.realm_host;
        let request =
            TokenRequest { realm, service, scopes: &scopes, login, offline: false, may_have: &may_have };
        let token = self.exchange.ask(&request).await?;
        if gives_away(token.secret.expose(), asked.user, asked.password.expose()) {
            return Err(RegistryError::TokenIsPassword { host: realm.host() });
        }
        let pass = Pass::Bearer(token.secret.clone());
        let url = self.manifest(asked.repository, asked.digest);
        match self.knock(Method::HEAD, url, &pass).await? {
            // It may have gone in between, which says nothing about the token.
            Knocked::Open | Knocked::Refuses(RegistryError::NotFound { .. }) => Ok(token),
            Knocked::Asks(_) | Knocked::Refuses(RegistryError::Refused { .. }) => {
                let (host, repository) = (self.address.host(), asked.repository.to_string());
                Err(RegistryError::TokenRefused { host, repository })
            }
            Knocked::Refuses(error) => Err(error),
        }
    }

    fn manifest(&self, repository: &RepositoryName, digest: &Digest) -> Url {
        self.address.manifest(repository, &Reference::Digest(*digest))
    }

    async fn knock(&self, method: Method, url: Url, pass: &Pass) -> Result<Knocked, RegistryError> {
        let request = self.http.for_url(&url).request(method, url.clone()).header(ACCEPT, MediaType::ACCEPT);
        let response = send(pass.on(request), &url).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Ok(Knocked::Asks(Asked::by(&self.address, response.headers())?)),
            status if status.is_success() => Ok(Knocked::Open),
            status if status.is_redirection() => Err(RegistryError::Redirect { host: self.address.host() }),
            _ => Ok(Knocked::Refuses(refusal(response, "such manifest").await)),
        }
    }
}

/// What a token is wanted for, and by what right.
#[derive(Clone, Copy, Debug)]
pub struct PullTokenRequest<'a> {
    /// The token server that the registry names.
    pub realm: &'a Realm,
    /// The one that the password is for, as `host` or `host:port`.
    pub realm_host: &'a str,
    /// For which registry, in the token server's words.
    pub service: Option<&'a str>,
    /// From where.
    pub repository: &'a RepositoryName,
    /// A manifest that is there.
    pub digest: &'a Digest,
    /// The account at the registry.
    pub user: &'a str,
    /// Its password.
    pub password: &'a Secret,
}

enum Knocked {
    Open,
    Asks(Asked),
    Refuses(RegistryError),
}

/// Whether a token has the password in it, as some registries' do that only write it in base64. Beyond that a token is not looked into.
fn gives_away(token: &str, user: &str, password: &str) -> bool {
    let both = Secret::from(format!("{user}:{password}"));
    let needle = if password.len() < TELLING_BYTES { both.expose() } else { password };
    let has = |bytes: &[u8]| {
        bytes == password.as_bytes() || bytes.windows(needle.len()).any(|part| part == needle.as_bytes())
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engines =
        [&alphabet::STANDARD, &alphabet::URL_SAFE].map(|letters| GeneralPurpose::new(letters, config));
    let decoded_has =
        |part: &str| engines.iter().any(|engine| engine.decode(part).is_ok_and(|bytes| has(&bytes)));
    has(token.as_bytes()) || decoded_has(token) || token.split(['.', ':']).any(decoded_has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    #[test]
    fn a_token_that_is_the_password_in_another_writing_is_found_out() {
        let (user, password) = ("shop+robot", "ghp_0123456789?>~");
        let both = format!("{user}:{password}");
        for token in [
            password.to_owned(),
            format!("v1.{password}"),
            STANDARD.encode(password),
            URL_SAFE_NO_PAD.encode(password),
            STANDARD.encode(&both),
            format!("x.{}.y", URL_SAFE_NO_PAD.encode(format!("{{\"secret\":\"{password}\"}}"))),
        ] {
            assert!(gives_away(&token, user, password), "{token}");
        }
        for token in ["eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln", "djE6c2hvcCtyb2JvdA==", "shop+robot", ""] {
            assert!(!gives_away(token, user, password), "{token}");
        }
        assert!(!gives_away("tok-abc", "a", "b"), "a short one stands there by chance");
        assert!(gives_away("YTpi", "a", "b") && gives_away("b", "a", "b"));
    }
}
