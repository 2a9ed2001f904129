//! PKCE with `S256` (RFC 7636). `plain` does not exist here.

/// A challenge: the SHA-256 of a verifier, 43 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeChallenge(String);

/// Why the PKCE parameters of an authorization request were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PkceError {
    /// No challenge.
    #[error("code_challenge is missing: this server needs PKCE with S256")]
    Missing,
    /// No method means `plain` (RFC 7636 section 4.3), and that protects nothing.
    #[error("code_challenge_method must be S256")]
    Method,
    /// Not 43 characters of base64url.
    #[error("code_challenge must be the base64url of a SHA-256, 43 characters")]
    Challenge,
}

impl CodeChallenge {
    /// Reads the parameters `code_challenge` and `code_challenge_method`.
    ///
    /// # Errors
    /// See [`PkceError`].
    pub(crate) fn read(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::Missing)?;
        if method != Some("S256") {
            return Err(PkceError::Method);
        }
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if challenge.len() != 43 || !challenge.bytes().all(is_letter) {
            return Err(PkceError::Challenge);
        }
        Ok(Self(challenge.to_owned()))
    }

    /// The challenge as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `text` can be a verifier (RFC 7636 section 4.1): 43 to 128 unreserved characters.
pub(crate) fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7636 appendix B.
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn only_s256_with_a_real_challenge_is_taken() {
        assert!(CodeChallenge::read(Some(CHALLENGE), Some("S256")).is_ok());
        assert_eq!(CodeChallenge::read(None, None), Err(PkceError::Missing));
        assert_eq!(CodeChallenge::read(None, Some("S256")), Err(PkceError::Missing));
        for method in [None, Some("plain"), Some("s256"), Some("S512")] {
            assert_eq!(CodeChallenge::read(Some(CHALLENGE), method), Err(PkceError::Method), "{method:?}");
        }
        for bad in ["x", &format!("{CHALLENGE}="), &CHALLENGE.replace('-', "+"), &format!("{CHALLENGE}A")] {
            assert_eq!(CodeChallenge::read(Some(bad), Some("S256")), Err(PkceError::Challenge), "{bad}");
        }
    }

    #[test]
    fn verifiers_have_43_to_128_unreserved_characters() {
        assert!(is_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(is_verifier(&"~".repeat(128)));
        assert!(!is_verifier(&"a".repeat(42)));
        assert!(!is_verifier(&"a".repeat(129)));
        assert!(!is_verifier(&format!("{} ", "a".repeat(50))));
    }
}
