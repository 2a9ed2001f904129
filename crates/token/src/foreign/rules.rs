//! From the claims of a foreign token to what it opens here.

use serde_json::{Map, Value};

use super::claims::ForeignClaims;
use crate::Grant;

/// No claim has a longer name, or value that a rule asks for, in bytes.
const MAX_TEXT_BYTES: usize = 512;

/// What every token with a claim opens. A token that no rule is about opens nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// The claim and what it must be; `None` for every token of the issuer.
    claim: Option<Claim>,
    /// What it opens then.
    pub grant: Grant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    path: String,
    value: String,
}

/// Why there is no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRuleError {
    /// The path of the claim is empty, has an empty part, or is too long.
    #[error(
        "the path of a claim is the name of a member, or several joined by dots: groups, realm_access.roles"
    )]
    Path,
    /// The value is empty or too long.
    #[error("the value of a claim has 1 to 512 bytes")]
    Value,
}

impl ClaimRule {
    /// Every token of the issuer opens that.
    #[must_use]
    pub const fn for_everyone(grant: Grant) -> Self {
        Self { claim: None, grant }
    }

    /// A token with that claim opens it: the claim is this text, or a list with this text in it. `scope` is a list of words in one text
    /// (RFC 8693 section 4.2).
    ///
    /// The path names a member of the token's claims, or a member of an object in them with dots between: `realm_access.roles`. A member
    /// whose own name has dots in it (`https://example.org/groups`) is found by it too, and counts before one that is deeper.
    ///
    /// # Errors
    /// [`ClaimRuleError`]
    pub fn for_claim(path: &str, value: &str, grant: Grant) -> Result<Self, ClaimRuleError> {
        if path.len() > MAX_TEXT_BYTES || path.split('.').any(str::is_empty) {
            return Err(ClaimRuleError::Path);
        }
        if !(1..=MAX_TEXT_BYTES).contains(&value.len()) {
            return Err(ClaimRuleError::Value);
        }
        let claim = Claim { path: path.to_owned(), value: value.to_owned() };
        Ok(Self { claim: Some(claim), grant })
    }

    pub(super) fn holds(&self, claims: &ForeignClaims) -> bool {
        let Some(claim) = &self.claim else { return true };
        match find(claims.all(), &claim.path) {
            Some(Value::String(text)) if claim.path == "scope" => {
                text.split(' ').any(|word| word == claim.value)
            }
            Some(Value::String(text)) => *text == claim.value,
            Some(Value::Array(items)) => items.iter().any(|item| item.as_str() == Some(&claim.value)),
            _ => false,
        }
    }
}

/// The member that the path leads to; of several ways the one with the longest names.
fn find<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = object.get(path) {
        return Some(found);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let (name, rest) = (path.get(..dot)?, path.get(dot + 1..)?);
        find(object.get(name)?.as_object()?, rest)
    })
}
