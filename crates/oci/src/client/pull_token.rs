//! Tokens with which somebody else may pull from one repository: made with an account that they never learn of.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flatpass_token::Secret;
use reqwest::header::ACCEPT;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
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
    /// [`RegistryError::NotForThisRealm`] before anything is sent; [`RegistryError::TokenIsPassword`], [`RegistryError::TokenOpensMore`],
    /// [`RegistryError::TokenRefused`], or what else can go wrong on the way.
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
        if says_more_than(token.secret.expose(), asked.repository) {
            let (host, repository) = (realm.host(), asked.repository.to_string());
            return Err(RegistryError::TokenOpensMore { host, repository });
        }
        let pass = Pass::Bearer(token.secret.clone());
        let url = self.manifest(asked.repository, asked.digest);
        match self.knock(Method::HEAD, url, &pass).await? {
            // It may have gone in between, which says nothing about the token.
            Knocked::Open | Knocked::Refuses(RegistryError::NotFound { .. }) => {
                if self.opens_other(asked, &pass).await? {
                    let (host, repository) = (realm.host(), asked.repository.to_string());
                    return Err(RegistryError::TokenOpensMore { host, repository });
                }
                Ok(token)
            }
            Knocked::Asks(_) | Knocked::Refuses(RegistryError::Refused { .. }) => {
                let (host, repository) = (self.address.host(), asked.repository.to_string());
                Err(RegistryError::TokenRefused { host, repository })
            }
            Knocked::Refuses(error) => Err(error),
        }
    }

    /// Whether what should open one repository opens another one, which is closed to everybody else.
    async fn opens_other(&self, asked: &PullTokenRequest<'_>, pass: &Pass) -> Result<bool, RegistryError> {
        let Some((repository, digest)) = asked.other.filter(|(other, _)| *other != asked.repository) else {
            return Ok(false);
        };
        let opens = |knocked| matches!(knocked, Knocked::Open);
        let url = || self.manifest(repository, digest);
        Ok(opens(self.knock(Method::HEAD, url(), pass).await?)
            && !opens(self.knock(Method::HEAD, url(), &Pass::Nothing).await?))
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
    /// A manifest in another repository, if there is one. Token servers that do not heed what they are asked for give tokens that open it, too.
    pub other: Option<(&'a RepositoryName, &'a Digest)>,
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

/// Whether a token that can be read says itself that it is for more than to pull from that repository. One that says nothing, or is in no
/// form that is known here, is not judged by it; and none is trusted because of what it says.
fn says_more_than(token: &str, repository: &RepositoryName) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        access: Vec<Access>,
    }
    #[derive(Deserialize)]
    struct Access {
        #[serde(alias = "Type")]
        r#type: String,
        #[serde(alias = "Name")]
        name: String,
        #[serde(alias = "Actions", default)]
        actions: Vec<String>,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let engine = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let payload = engine.decode(payload).unwrap_or_default();
    let Ok(claims) = serde_json::from_slice::<Claims>(&payload) else { return false };
    let is_asked_for = |access: &Access| {
        access.actions.is_empty()
            || (access.r#type == "repository"
                && access.name == repository.as_str()
                && access.actions.iter().all(|action| action == "pull"))
    };
    !claims.access.iter().all(is_asked_for)
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

    #[test]
    fn a_token_that_says_itself_that_it_is_for_more_is_found_out_and_others_are_not_judged() {
        let shop = RepositoryName::parse("shop/app").unwrap();
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let one = |kind: &str, name: &str, actions: &str| {
            format!(r#"{{"type":"{kind}","name":"{name}","actions":[{actions}],"more":1}}"#)
        };
        let asked = one("repository", "shop/app", "\"pull\"");
        for more in [
            one("repository", "shop/app", "\"pull\",\"push\""),
            one("repository", "shop/app", "\"*\""),
            one("repository", "shop/other", "\"pull\""),
            one("repository", "*", "\"pull\""),
            one("registry", "catalog", "\"*\""),
        ] {
            assert!(says_more_than(&token(&format!(r#"{{"access":[{asked},{more}]}}"#)), &shop), "{more}");
        }
        let none = one("repository", "shop/other", "");
        for good in [
            token(&format!(r#"{{"access":[{asked}]}}"#)),
            token(&format!(r#"{{"access":[{none},{asked}]}}"#)),
            token(r#"{"access":[]}"#),
            token(r#"{"access":null}"#),
            token(r#"{"access":"repository:shop/other:pull"}"#),
            token(r#"{"scope":"all"}"#),
            token("["),
            "hosted.1".to_owned(),
            "a.b".to_owned(),
            "a.!.c".to_owned(),
        ] {
            assert!(!says_more_than(&good, &shop), "{good}");
        }
    }
}
