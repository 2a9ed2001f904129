//! The authority's metadata (RFC 8414), and what must be true of it before anything is sent.

use serde::Deserialize;
use url::Url;

use super::address::AuthorityUrl;
use super::error::{AuthorityError, shown};

/// Where the authority's endpoints are. All of them have the same origin as the authority itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer identifier, exactly as the authority writes it: `iss` of authorization answers (RFC 9207) equals it.
    pub issuer: String,
    /// Where the person's browser goes.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Url,
    /// Where tokens are revoked (RFC 7009), if the authority can do it.
    pub revocation_endpoint: Option<Url>,
    /// Where ref tokens are asked for.
    pub ref_tokens_endpoint: Url,
    /// Where summary tokens are asked for, if the authority has private repos.
    pub summary_tokens_endpoint: Option<Url>,
    /// Where the device grant begins (RFC 8628), if the authority can do it.
    pub device_authorization_endpoint: Option<Url>,
    /// Where the secrets of devices are made, if the authority can do it.
    pub access_tokens_endpoint: Option<Url>,
    /// Whether every authorization answer has an `iss` (RFC 9207 section 3).
    pub answers_have_iss: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    flatpass_ref_tokens_endpoint: Option<String>,
    flatpass_summary_tokens_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    flatpass_access_tokens_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Reads and checks the metadata document that was fetched for `url`.
    ///
    /// # Errors
    /// [`AuthorityError::Malformed`] if a member is missing or PKCE with S256 is not offered,
    /// [`AuthorityError::WrongIssuer`] (RFC 8414 section 3.3), [`AuthorityError::ForeignEndpoint`].
    pub fn read(url: &AuthorityUrl, body: &[u8]) -> Result<Self, AuthorityError> {
        let malformed = |what: &str| AuthorityError::Malformed { host: url.host(), what: what.to_owned() };
        let document: Document = serde_json::from_slice(body)
            .map_err(|error| malformed(&format!("its metadata is not right: {error}")))?;
        if document.issuer.trim_end_matches('/') != url.without_slash() {
            return Err(AuthorityError::WrongIssuer {
                url: url.to_string(),
                issuer: shown(&document.issuer),
            });
        }
        if let Some(methods) = &document.code_challenge_methods_supported
            && !methods.iter().any(|method| method == "S256")
        {
            return Err(malformed("it does not offer PKCE with S256"));
        }
        let endpoint = |name: &'static str, value: Option<&String>| -> Result<Url, AuthorityError> {
            let value = value.ok_or_else(|| malformed(&format!("its metadata has no {name}")))?;
            let endpoint = Url::parse(value).map_err(|_| malformed(&format!("{name} is not a URL")))?;
            let plain = endpoint.username().is_empty() && endpoint.password().is_none();
            if !url.is_same_origin(&endpoint) || !plain {
                return Err(AuthorityError::ForeignEndpoint { host: url.host(), endpoint: name });
            }
            Ok(endpoint)
        };
        let optional = |name: &'static str, value: Option<&String>| {
            value.map(|value| endpoint(name, Some(value))).transpose()
        };
        Ok(Self {
            authorization_endpoint: endpoint(
                "authorization_endpoint",
                document.authorization_endpoint.as_ref(),
            )?,
            token_endpoint: endpoint("token_endpoint", document.token_endpoint.as_ref())?,
            revocation_endpoint: optional("revocation_endpoint", document.revocation_endpoint.as_ref())?,
            ref_tokens_endpoint: endpoint(
                "flatpass_ref_tokens_endpoint",
                document.flatpass_ref_tokens_endpoint.as_ref(),
            )?,
            summary_tokens_endpoint: optional(
                "flatpass_summary_tokens_endpoint",
                document.flatpass_summary_tokens_endpoint.as_ref(),
            )?,
            device_authorization_endpoint: optional(
                "device_authorization_endpoint",
                document.device_authorization_endpoint.as_ref(),
            )?,
            access_tokens_endpoint: optional(
                "flatpass_access_tokens_endpoint",
                document.flatpass_access_tokens_endpoint.as_ref(),
            )?,
            answers_have_iss: document.authorization_response_iss_parameter_supported,
            issuer: document.issuer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(issuer: &str, host: &str) -> Vec<u8> {
        format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"{host}/oauth/authorize",
            "token_endpoint":"{host}/oauth/token","revocation_endpoint":"{host}/oauth/revoke",
            "flatpass_ref_tokens_endpoint":"{host}/api/v1/ref-tokens",
            "flatpass_summary_tokens_endpoint":"https://shop.example/api/v1/summary-tokens",
            "code_challenge_methods_supported":["S256"],
            "authorization_response_iss_parameter_supported":true}}"#
        )
        .into_bytes()
    }

    #[test]
    fn metadata_of_another_issuer_or_with_endpoints_elsewhere_is_refused() {
        let url = AuthorityUrl::parse("https://shop.example/").expect("valid");
        let good = Metadata::read(&url, &document("https://shop.example", "https://shop.example"));
        assert!(good.expect("valid").answers_have_iss);
        for issuer in ["https://evil.example", "https://shop.example.evil.example", "http://shop.example", ""]
        {
            let answer = Metadata::read(&url, &document(issuer, "https://shop.example"));
            assert!(matches!(answer, Err(AuthorityError::WrongIssuer { .. })), "{issuer}");
        }
        for host in ["https://evil.example", "http://shop.example", "https://shop.example:444"] {
            let answer = Metadata::read(&url, &document("https://shop.example", host));
            assert!(matches!(answer, Err(AuthorityError::ForeignEndpoint { .. })), "{host}");
        }
        let elsewhere = String::from_utf8(document("https://shop.example", "https://shop.example"))
            .expect("text")
            .replace(
                "https://shop.example/api/v1/summary-tokens",
                "https://evil.example/api/v1/summary-tokens",
            );
        let answer = Metadata::read(&url, elsewhere.as_bytes());
        assert!(matches!(answer, Err(AuthorityError::ForeignEndpoint { .. })), "{answer:?}");
        for name in ["device_authorization_endpoint", "flatpass_access_tokens_endpoint"] {
            let mut document: serde_json::Value =
                serde_json::from_slice(&document("https://shop.example", "https://shop.example"))
                    .expect("JSON");
            document[name] = "https://evil.example/x".into();
            let answer = Metadata::read(&url, document.to_string().as_bytes());
            assert!(matches!(answer, Err(AuthorityError::ForeignEndpoint { .. })), "{name}");
        }
    }

    #[test]
    fn metadata_without_pkce_or_with_missing_members_is_refused() {
        let url = AuthorityUrl::parse("https://shop.example/").expect("valid");
        let plain =
            String::from_utf8(document("https://shop.example", "https://shop.example")).expect("text");
        for broken in [
            plain.replace("S256", "plain"),
            plain.replace("flatpass_ref_tokens_endpoint", "x"),
            plain.replace("\"token_endpoint\"", "\"x\""),
            "[]".to_owned(),
            String::new(),
        ] {
            assert!(matches!(Metadata::read(&url, broken.as_bytes()), Err(AuthorityError::Malformed { .. })));
        }
    }
}
