//! The claims of somebody else's token, which are whatever its issuer makes them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{UnixTime, VerifyError};

/// A JSON object in which no member stands twice, at whatever depth: two readers could take two different ones.
#[derive(Clone, Debug)]
pub(crate) struct ForeignClaims(Map<String, Value>);

/// What the header says that the token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenTypeHeader {
    /// `at+jwt`: an access token (RFC 9068).
    AccessToken,
    /// Nothing, or only that it is a JWT.
    Jwt,
}

impl TokenTypeHeader {
    pub(super) fn read(typ: Option<&str>) -> Result<Self, VerifyError> {
        let Some(name) = typ else { return Ok(Self::Jwt) };
        let (prefix, rest) = name.split_at_checked("application/".len()).unwrap_or_default();
        let name = if prefix.eq_ignore_ascii_case("application/") { rest } else { name };
        match name.to_ascii_lowercase().as_str() {
            "at+jwt" => Ok(Self::AccessToken),
            "jwt" => Ok(Self::Jwt),
            _ => Err(VerifyError::Type),
        }
    }
}

/// Claims that stand only in what is no access token: in ID tokens (OpenID Connect Core 2 and 3.3.2.11), and in logout tokens and
/// other security events (RFC 8417).
const OF_OTHER_TOKENS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

impl ForeignClaims {
    /// # Errors
    /// [`VerifyError::Claims`] when it is no JSON object, or has a member twice.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, VerifyError> {
        match serde_json::from_slice(json) {
            Ok(Strict(Value::Object(claims))) => Ok(Self(claims)),
            _ => Err(VerifyError::Claims),
        }
    }

    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A `NumericDate`, whose fraction is cut off (RFC 7519 section 2).
    pub(super) fn time(&self, name: &str) -> Result<Option<UnixTime>, VerifyError> {
        /// Some 30 million years: far beyond it a fraction number counts no seconds any more.
        const MOST: f64 = 1e15;
        let Some(value) = self.0.get(name) else { return Ok(None) };
        if let Some(seconds) = value.as_i64() {
            return Ok(Some(UnixTime(seconds)));
        }
        match value.as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is cut off on purpose, and within the bounds"
            )]
            Some(seconds) if seconds.abs() < MOST => Ok(Some(UnixTime(seconds as i64))),
            _ => Err(VerifyError::Claims),
        }
    }

    /// Whether `aud` is that, or has it among others.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    /// Who the token is for: the person, or the program that has it for itself.
    pub(super) fn subject(&self) -> Option<&str> {
        ["sub", "client_id", "azp"]
            .into_iter()
            .find_map(|name| self.text(name))
            .filter(|name| !name.is_empty())
    }

    /// Refuses what says that it is something else than an access token for whoever bears it.
    pub(super) fn must_be_of_an_access_token(&self, header: TokenTypeHeader) -> Result<(), VerifyError> {
        self.must_be_for_bearers()?;
        if header == TokenTypeHeader::AccessToken {
            return Ok(());
        }
        // Keycloak says it in a claim `typ`, Cognito in one named `token_use`.
        let typ = |word: &str| ["bearer", "at+jwt"].iter().any(|good| word.eq_ignore_ascii_case(good));
        let used = |word: &str| ["access", "access_token"].iter().any(|good| word.eq_ignore_ascii_case(good));
        if !self.says("typ", typ) || !self.says("token_use", used) || self.names_any(&OF_OTHER_TOKENS) {
            return Err(VerifyError::IdToken);
        }
        Ok(())
    }

    /// The same for what an issuer said of a token.
    pub(super) fn must_be_introspected_access_token(&self) -> Result<(), VerifyError> {
        self.must_be_for_bearers()?;
        let good = ["bearer", "access_token", "urn:ietf:params:oauth:token-type:access_token"];
        let kind = |word: &str| good.iter().any(|good| word.eq_ignore_ascii_case(good));
        if !self.says("token_type", kind) {
            return Err(VerifyError::Type);
        }
        self.must_be_of_an_access_token(TokenTypeHeader::Jwt)
    }

    /// A token that is bound to a key (RFC 7800) is good only for who shows the key, which nobody can here.
    fn must_be_for_bearers(&self) -> Result<(), VerifyError> {
        if self.has("cnf") { Err(VerifyError::Bound) } else { Ok(()) }
    }

    /// Whether a claim, if it is there, is a text that is good.
    fn says(&self, name: &str, is_good: impl Fn(&str) -> bool) -> bool {
        self.0.get(name).is_none_or(|value| value.as_str().is_some_and(&is_good))
    }

    fn names_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

/// JSON in which no member of an object stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without doubled members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if all.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(all))
    }
}
