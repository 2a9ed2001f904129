//! What an issuer says of a token (RFC 7662 section 2.2).

use serde_json::Value;

use super::claims::ForeignClaims;

/// An answer of more bytes is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// An answer that can be read. Whether what it says is good is decided for each repo.
#[derive(Debug)]
pub struct Introspection {
    /// `None` for a token that is not in force.
    claims: Option<ForeignClaims>,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntrospectionError {
    /// It has more than 64 KiB.
    #[error("the answer has more than 64 KiB")]
    TooLarge,
    /// It is not a JSON object, or has a member twice.
    #[error("the answer is not a JSON object without doubled members")]
    Malformed,
    /// `active` is missing, or something else than true or false.
    #[error("the answer does not say whether the token is active")]
    NoVerdict,
}

impl Introspection {
    /// The longest answer that is read, in bytes.
    pub const MAX_BYTES: usize = MAX_ANSWER_BYTES;

    /// Reads an answer.
    ///
    /// # Errors
    /// [`IntrospectionError`]
    pub fn parse(json: &[u8]) -> Result<Self, IntrospectionError> {
        if json.len() > MAX_ANSWER_BYTES {
            return Err(IntrospectionError::TooLarge);
        }
        let claims = ForeignClaims::parse(json).map_err(|_| IntrospectionError::Malformed)?;
        match claims.all().get("active") {
            Some(Value::Bool(true)) => Ok(Self { claims: Some(claims) }),
            Some(Value::Bool(false)) => Ok(Self { claims: None }),
            _ => Err(IntrospectionError::NoVerdict),
        }
    }

    /// Whether the issuer says that the token is in force.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.claims.is_some()
    }

    pub(super) const fn claims(&self) -> Option<&ForeignClaims> {
        self.claims.as_ref()
    }
}
