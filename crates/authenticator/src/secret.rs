//! A secret that came from outside: an access, refresh or ref token, or an authorization code.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The longest token that is taken, in bytes: longer ones would not fit into an HTTP header of common servers.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// A token or code. `Debug` does not show it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Keeps `text` as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that sends or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it can stand in an `Authorization: Bearer` header: the `b64token` of RFC 6750 section 2.1, and not
    /// longer than [`MAX_TOKEN_BYTES`].
    #[must_use]
    pub fn is_bearer_token(&self) -> bool {
        let body = self.0.trim_end_matches('=');
        !body.is_empty()
            && self.0.len() <= MAX_TOKEN_BYTES
            && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let secret = SecretText::new("eyJhbGciOi".to_owned());
        assert!(!format!("{secret:?}").contains("eyJ"));
    }

    #[test]
    fn only_what_fits_into_a_header_is_a_bearer_token() {
        let is_token = |text: &str| SecretText::new(text.to_owned()).is_bearer_token();
        assert!(is_token("eyJ.abc-_~+/=="));
        for bad in ["", "=", "a b", "a\r\nX: y", "a=b", "\u{e9}"] {
            assert!(!is_token(bad), "{bad:?}");
        }
        assert!(!is_token(&"a".repeat(MAX_TOKEN_BYTES + 1)));
    }
}
