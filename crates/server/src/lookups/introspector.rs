//! Asking an issuer what a token is (RFC 7662).

use std::sync::Arc;

use flatpass_store::IntrospectionAt;
use flatpass_token::{Introspection, Introspector, LookupError, Secret, SecretHash, UnixTime};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::desk::{Desk, Trouble};
use super::http::{Http, fetch, is_safe};

/// For so long an answer is believed: a token that is revoked at the issuer opens things for no longer.
const FRESH_SECONDS: i64 = 30;

/// One issuer's endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) at: IntrospectionAt,
    pub(super) secret: Secret,
    pub(super) http: Http,
    pub(super) desk: Arc<Desk<Arc<Introspection>>>,
}

impl Introspector for Endpoint {
    fn introspect(&self, token: &str, _: UnixTime) -> Result<Arc<Introspection>, LookupError> {
        if !is_bearer(token) {
            // What cannot be a token is not worth a question, and might trouble whoever is asked.
            let inactive = Introspection::parse(br#"{"active":false}"#);
            return inactive.map(Arc::new).map_err(|_| LookupError::Unreachable);
        }
        self.desk.ask(SecretHash::of(token), || {
            let (at, http) = (self.at.clone(), self.http.clone());
            let (secret, token) = (self.secret.clone(), Secret::from(token.to_owned()));
            async move { ask(&http, &at, &secret, &token).await.map(Arc::new) }
        })
    }

    fn fresh_seconds(&self) -> i64 {
        FRESH_SECONDS
    }
}

/// RFC 6750 section 2.1.
fn is_bearer(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

pub(super) async fn ask(
    http: &Http,
    at: &IntrospectionAt,
    secret: &Secret,
    token: &Secret,
) -> Result<Introspection, Trouble> {
    let url = Url::parse(&at.url).ok().filter(is_safe);
    let url = url.ok_or_else(|| Trouble::Outage(format!("{} cannot be asked", at.url)))?;
    // RFC 6749 section 2.3.1: both are form-encoded before they become Basic.
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let request = http
        .for_url(&url)
        .post(url.clone())
        .basic_auth(encoded(&at.client_id), Some(encoded(secret.expose())))
        .header(reqwest::header::ACCEPT, "application/json")
        .form(&[("token", token.expose()), ("token_type_hint", "access_token")]);
    let json = fetch(request, &url, Introspection::MAX_BYTES).await?;
    let host = url.host_str().unwrap_or_default();
    Introspection::parse(&json).map_err(|error| Trouble::Outage(format!("{host}: {error}")))
}
