//! The authority's summary-token endpoint: one token for the index of a private repo.

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::address::{AuthorityUrl, RepoUrl};
use super::error::AuthorityError;
use super::http::Http;
use super::metadata::Metadata;
use crate::secret::SecretText;

/// A token for a repo's index.
#[derive(Debug, Clone)]
pub struct SummaryToken {
    /// The token, a `b64token`; `None` if the index is public and needs none.
    pub token: Option<SecretText>,
    /// How long it is good for, in seconds from the answer.
    pub expires_in: i64,
}

#[derive(Serialize)]
struct Request<'a> {
    repo_url: &'a str,
}

#[derive(Deserialize)]
struct Document {
    token: SecretText,
    #[serde(default)]
    expires_in: i64,
}

/// Asks for a summary token, as the signed-in account or as nobody.
///
/// # Errors
/// [`AuthorityError::UnknownRepo`] if the repo's address is not one of the authority's;
/// [`AuthorityError::NotAMember`] if the account may not see the repo, or there is none;
/// [`AuthorityError::InvalidAccessToken`] if `access` is absent or not accepted;
/// [`AuthorityError::NotOffered`] if the authority has no such endpoint. All transport errors.
pub async fn ask(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    access: Option<&SecretText>,
    repo: &RepoUrl,
) -> Result<SummaryToken, AuthorityError> {
    let Some(endpoint) = metadata.summary_tokens_endpoint.clone() else {
        return Err(AuthorityError::NotOffered { host: url.host(), what: "keep a list of apps private" });
    };
    let mut request = http.client().post(endpoint).json(&Request { repo_url: repo.as_str() });
    if let Some(access) = access {
        request = request.bearer_auth(access.expose());
    }
    let answer = http.send(request).await?;
    match answer.status {
        StatusCode::OK if answer.is_json => read(url, &answer.body),
        StatusCode::OK => Err(AuthorityError::Malformed {
            host: url.host(),
            what: "its summary token is not JSON".to_owned(),
        }),
        StatusCode::UNAUTHORIZED => {
            Err(AuthorityError::InvalidAccessToken { host: url.host(), url: url.to_string() })
        }
        StatusCode::FORBIDDEN if answer.is_problem("not-a-member") => {
            let detail = answer.detail().unwrap_or_else(|| {
                format!("Your account at {} has no access to this repository.", url.host())
            });
            Err(AuthorityError::NotAMember { detail })
        }
        StatusCode::NOT_FOUND if answer.is_problem("unknown-repo") => {
            Err(AuthorityError::UnknownRepo { host: url.host(), repo: repo.to_string() })
        }
        _ => Err(http.refusal(&answer)),
    }
}

fn read(url: &AuthorityUrl, body: &[u8]) -> Result<SummaryToken, AuthorityError> {
    let malformed = |what: &str| AuthorityError::Malformed { host: url.host(), what: what.to_owned() };
    // serde's message is not shown: it could quote a token.
    let document: Document =
        serde_json::from_slice(body).map_err(|_| malformed("its summary token is not right"))?;
    if document.token.expose().is_empty() {
        return Ok(SummaryToken { token: None, expires_in: document.expires_in.max(0) });
    }
    if !document.token.is_bearer_token() {
        return Err(malformed("a summary token has characters that no token has"));
    }
    if document.expires_in <= 0 {
        return Err(malformed("a summary token has expired before it was sent"));
    }
    Ok(SummaryToken { token: Some(document.token), expires_in: document.expires_in })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_a_line_break_or_without_a_life_is_refused_and_not_quoted() {
        let url = AuthorityUrl::parse("https://shop.example/").expect("valid");
        let open = read(&url, br#"{"repo":"apps","token":""}"#).expect("valid");
        assert!(open.token.is_none());
        let good = read(&url, br#"{"repo":"apps","token":"a.b","expires_in":60}"#).expect("valid");
        assert_eq!((good.token.expect("one").expose(), good.expires_in), ("a.b", 60));
        for body in [
            &br#"{"token":"a\r\nX: secret","expires_in":60}"#[..],
            br#"{"token":"secret","expires_in":0}"#,
            br#"{"token":"secret"}"#,
            br#"{"token":["secret"],"expires_in":60}"#,
            b"{}",
            b"<html>",
        ] {
            let error = read(&url, body).expect_err("not right");
            assert!(
                matches!(error, AuthorityError::Malformed { .. }) && !error.to_string().contains("secret")
            );
        }
    }
}
