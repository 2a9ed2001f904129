//! What a container tool asks for: by `GET` with Basic or as nobody, or by `POST` (Docker registry token authentication, and the OAuth 2
//! variant of it).

use axum::http::{HeaderMap, header};
use flatpass_oci::{MAX_SCOPES, Scope, ScopeError};
use flatpass_token::Secret;

use super::refusal::Refusal;
use crate::api;
use crate::web::fields::Fields;

/// The longest name of a service, client or account, in bytes.
const LONGEST: usize = 255;

/// A request for a token.
#[derive(Debug)]
pub(super) struct Asked {
    /// The registry that the token is for.
    pub(super) service: String,
    /// What it is for.
    pub(super) scopes: Vec<Scope>,
    /// By what right.
    pub(super) by: By,
    /// A refresh token is wanted too.
    pub(super) offline: bool,
    /// What asks, as it says itself; empty if it does not.
    pub(super) client: String,
    /// The words of the OAuth 2 variant are wanted.
    pub(super) with_scope: bool,
}

/// By what right.
#[derive(Debug)]
pub(super) enum By {
    /// As nobody.
    Nothing,
    /// With what stands in the password's place.
    Secret(Secret),
    /// With a refresh token.
    Refresh(Secret),
}

impl Asked {
    /// Reads the query of a `GET`.
    pub(super) fn get(query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let (fields, scopes) = Fields::parse_repeating(query.as_bytes(), "scope")?;
        let by = basic(headers)?;
        let offline = matches!(fields.get("offline_token"), Some("true" | "1"));
        Self::read(&fields, &scopes, by, offline, false)
    }

    /// Reads the form of a `POST`.
    pub(super) fn post(form: &[u8], headers: &HeaderMap) -> Result<Self, Refusal> {
        let (fields, scopes) = Fields::parse_repeating(form, "scope")?;
        if headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::Request(
                "Send credentials in the form and no Authorization header.".to_owned(),
            ));
        }
        let field = |name: &'static str| {
            let secret = fields.get(name).map(|value| Secret::from(value.to_owned()));
            secret.ok_or_else(|| Refusal::Request(format!("The field {name} is missing.")))
        };
        let by = match fields.get("grant_type") {
            Some("password") => By::Secret(field("password")?),
            Some("refresh_token") => By::Refresh(field("refresh_token")?),
            _ => {
                let message = "The field grant_type must be password or refresh_token.";
                return Err(Refusal::Request(message.to_owned()));
            }
        };
        let offline = fields.get("access_type") == Some("offline");
        Self::read(&fields, &scopes, by, offline, true)
    }

    fn read(
        fields: &Fields,
        scopes: &[String],
        by: By,
        offline: bool,
        with_scope: bool,
    ) -> Result<Self, Refusal> {
        for name in ["service", "client_id", "account", "username"] {
            let text = fields.text(name);
            if text.len() > LONGEST || text.chars().any(char::is_control) {
                return Err(Refusal::Request(format!(
                    "The field {name} is longer than {LONGEST} bytes, or has control characters."
                )));
            }
        }
        let service = fields.get("service").ok_or_else(|| {
            Refusal::Request(
                "The field service is missing: it names the registry that the token is for.".to_owned(),
            )
        })?;
        let mut read = Vec::new();
        for text in scopes {
            read.extend(Scope::parse_list(text)?);
            if read.len() > MAX_SCOPES {
                return Err(ScopeError::TooMany.into());
            }
        }
        Ok(Self {
            service: service.to_owned(),
            scopes: read,
            by,
            offline,
            client: fields.text("client_id").to_owned(),
            with_scope,
        })
    }
}

/// What stands in the password's place of HTTP Basic. The user name does not matter: secrets say whose they are.
fn basic(headers: &HeaderMap) -> Result<By, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(By::Nothing) };
    if values.next().is_some() {
        return Err(Refusal::Request("Send one Authorization header.".to_owned()));
    }
    let (scheme, credentials) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::Credentials)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::Request("Send HTTP Basic, or no Authorization header.".to_owned()));
    }
    let (_, password) = api::basic(credentials.trim()).ok_or(Refusal::Credentials)?;
    Ok(By::Secret(password))
}
