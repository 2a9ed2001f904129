//! The authority's ref-token endpoint: many refs at once, and for each denied one why and what to do.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::address::{AuthorityUrl, RepoUrl};
use super::error::{AuthorityError, shown};
use super::http::Http;
use super::metadata::Metadata;
use crate::registry::address::RegistryUrl;
use crate::secret::SecretText;

/// The most refs that one call may ask for.
pub const MAX_REFS: usize = 1000;

/// A ref that a token is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedRef {
    /// The ref as Flatpak writes it.
    #[serde(rename = "ref")]
    pub name: String,
    /// The commit that will be pulled, if Flatpak knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The commit's token type, if Flatpak knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<i32>,
}

/// Why a ref was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nobody is signed in, and somebody must be.
    SignInRequired,
    /// The account has not bought it.
    PurchaseRequired,
    /// The account has older commits of it, and no right to this one.
    UpgradeRequired,
    /// The repo has no such ref (or this account may not know).
    NotFound,
    /// The account is closed.
    AccountDisabled,
    /// A reason of a later version of the authority.
    #[serde(other)]
    Other,
}

/// Where tokens are going to be shown: what they are asked `for`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To the repo itself.
    #[default]
    Origin,
    /// To peers alone: the repo itself refuses them.
    Peers,
    /// To the repo and to a peer: they name the commits that they open, and live for minutes.
    Mirrors,
}

impl Purpose {
    fn is_origin(&self) -> bool {
        *self == Self::Origin
    }
}

/// A ref that gets no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedRef {
    /// The ref.
    pub name: String,
    /// Why.
    pub reason: Reason,
    /// The id of the app that it belongs to: what a person would buy.
    pub app: Option<String>,
    /// The authority's sentence, fit to be shown.
    pub message: Option<String>,
    /// A page of the same authority about it.
    pub url: Option<String>,
}

/// A token with the refs it is for.
#[derive(Debug, Clone)]
pub struct GrantedToken {
    /// The token: a `b64token`.
    pub token: SecretText,
    /// How long it is good for, in seconds from the answer.
    pub expires_in: i64,
    /// The refs, all of them wanted ones.
    pub refs: Vec<String>,
    /// It is for older commits only: good for what it was asked for, and not to be remembered.
    pub limited: bool,
}

/// What the authority answered, reduced to the refs that were asked for.
#[derive(Debug, Default)]
pub struct RefTokens {
    /// Tokens.
    pub granted: Vec<GrantedToken>,
    /// Refs that need no token.
    pub open: Vec<String>,
    /// Refs that get none.
    pub denied: Vec<DeniedRef>,
    /// The registry that the tokens are for, if it is an OCI repo.
    pub registry: Option<RegistryUrl>,
}

#[derive(Serialize)]
struct Request<'a> {
    repo_url: &'a str,
    refs: &'a [WantedRef],
    #[serde(rename = "for", skip_serializing_if = "Purpose::is_origin")]
    purpose: Purpose,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    tokens: Vec<TokenItem>,
    #[serde(default)]
    open: Vec<String>,
    #[serde(default)]
    denied: Vec<DeniedItem>,
    registry: Option<String>,
}

#[derive(Deserialize)]
struct TokenItem {
    token: SecretText,
    expires_in: i64,
    refs: Vec<String>,
    #[serde(default)]
    limited: bool,
}

#[derive(Deserialize)]
struct DeniedItem {
    #[serde(rename = "ref")]
    name: String,
    reason: Reason,
    app: Option<String>,
    message: Option<String>,
    url: Option<String>,
}

/// Asks for tokens for at most [`MAX_REFS`] refs of one repo, as the signed-in account or as nobody.
///
/// # Errors
/// [`AuthorityError::UnknownRepo`] if the repo is not one of the authority's: then no token of any kind may be
/// used with it. [`AuthorityError::InvalidAccessToken`] if `access` is not accepted. All transport errors.
pub async fn ask(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    access: Option<&SecretText>,
    repo: &RepoUrl,
    refs: &[WantedRef],
    purpose: Purpose,
) -> Result<RefTokens, AuthorityError> {
    let mut request = http.client().post(metadata.ref_tokens_endpoint.clone()).json(&Request {
        repo_url: repo.as_str(),
        refs,
        purpose,
    });
    if let Some(access) = access {
        request = request.bearer_auth(access.expose());
    }
    let answer = http.send(request).await?;
    match answer.status {
        StatusCode::OK if answer.is_json => read(url, refs, &answer.body),
        StatusCode::OK => Err(AuthorityError::Malformed {
            host: url.host(),
            what: "its ref tokens are not JSON".to_owned(),
        }),
        StatusCode::UNAUTHORIZED => {
            Err(AuthorityError::InvalidAccessToken { host: url.host(), url: url.to_string() })
        }
        StatusCode::NOT_FOUND if answer.is_problem("unknown-repo") => {
            Err(AuthorityError::UnknownRepo { host: url.host(), repo: repo.to_string() })
        }
        _ => Err(http.refusal(&answer)),
    }
}

/// Keeps of the answer what was asked for. A ref is in at most one of the three lists; an ill-formed token is an error.
fn read(url: &AuthorityUrl, wanted: &[WantedRef], body: &[u8]) -> Result<RefTokens, AuthorityError> {
    let malformed = |what: String| AuthorityError::Malformed { host: url.host(), what };
    let document: Document = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("its ref tokens are not right: {error}")))?;
    let mut missing: BTreeMap<&str, ()> = wanted.iter().map(|item| (item.name.as_str(), ())).collect();
    let registry = match document.registry.as_deref().map(RegistryUrl::parse) {
        None => None,
        Some(Ok(registry)) => Some(registry),
        Some(Err(error)) => return Err(malformed(error.to_string())),
    };
    let mut answer = RefTokens { registry, ..RefTokens::default() };
    for item in document.tokens {
        let refs: Vec<String> =
            item.refs.into_iter().filter(|name| missing.remove(name.as_str()).is_some()).collect();
        if refs.is_empty() {
            continue;
        }
        if !item.token.is_bearer_token() {
            return Err(malformed("a ref token has characters that no token has".to_owned()));
        }
        if item.expires_in <= 0 {
            return Err(malformed("a ref token has expired before it was sent".to_owned()));
        }
        let TokenItem { token, expires_in, limited, .. } = item;
        answer.granted.push(GrantedToken { token, expires_in, refs, limited });
    }
    answer.open = document.open.into_iter().filter(|name| missing.remove(name.as_str()).is_some()).collect();
    for item in document.denied {
        if missing.remove(item.name.as_str()).is_none() {
            continue;
        }
        let page = item.url.and_then(|text| url::Url::parse(&text).ok());
        answer.denied.push(DeniedRef {
            name: item.name,
            reason: item.reason,
            app: item.app.map(|app| shown(&app)),
            message: item.message.map(|text| shown(&text)).filter(|text| !text.is_empty()),
            url: page.filter(|page| url.is_same_origin(page)).map(String::from),
        });
    }
    if let Some((name, ())) = missing.first_key_value() {
        return Err(malformed(format!("it says nothing about {}", shown(name))));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str]) -> Vec<WantedRef> {
        names
            .iter()
            .map(|name| WantedRef { name: (*name).to_owned(), commit: None, token_type: None })
            .collect()
    }

    fn authority() -> AuthorityUrl {
        AuthorityUrl::parse("https://shop.example/").expect("valid")
    }

    #[test]
    fn only_refs_that_were_asked_for_are_taken_from_the_answer() {
        let body = br#"{"repo":"apps","tokens":[{"token":"a.b","expires_in":60,"refs":["app/a/x/s","app/other/x/s"]},
            {"token":"c.d","expires_in":60,"refs":["app/a/x/s"]}],"open":["app/b/x/s","app/a/x/s"],
            "denied":[{"ref":"app/c/x/s","reason":"tomorrow","message":"Not\u001b[2J today.","url":"https://evil.example/"}]}"#;
        let answer =
            read(&authority(), &wanted(&["app/a/x/s", "app/b/x/s", "app/c/x/s"]), body).expect("valid");
        assert_eq!(answer.granted.len(), 1);
        assert_eq!(answer.granted[0].refs, ["app/a/x/s"]);
        assert_eq!(answer.open, ["app/b/x/s"]);
        let denied = &answer.denied[0];
        assert_eq!(denied.reason, Reason::Other);
        assert_eq!(denied.message.as_deref(), Some("Not[2J today."));
        assert_eq!(denied.url, None);
    }

    #[test]
    fn an_answer_that_forgets_a_ref_or_sends_a_token_with_a_line_break_is_refused() {
        for body in [
            &br#"{"tokens":[],"open":[],"denied":[]}"#[..],
            br#"{"tokens":[{"token":"a\r\nX: y","expires_in":60,"refs":["app/a/x/s"]}]}"#,
            br#"{"tokens":[{"token":"","expires_in":60,"refs":["app/a/x/s"]}]}"#,
            br#"{"tokens":[{"token":"a","expires_in":0,"refs":["app/a/x/s"]}]}"#,
            b"<html>",
        ] {
            let answer = read(&authority(), &wanted(&["app/a/x/s"]), body);
            assert!(matches!(answer, Err(AuthorityError::Malformed { .. })), "{body:?}");
        }
    }
}
