//! Proof Key for Code Exchange with S256 (RFC 7636), and the random texts of a web flow.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;

use crate::secret::SecretText;

/// A code verifier and its challenge.
#[derive(Debug)]
pub struct Pkce {
    verifier: SecretText,
    challenge: String,
}

impl Pkce {
    /// A new pair: 32 random octets, as RFC 7636 section 4.1 recommends.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_verifier(random_text(rng))
    }

    fn from_verifier(verifier: String) -> Self {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        Self { verifier: SecretText::new(verifier), challenge }
    }

    /// What is sent with the code.
    #[must_use]
    pub fn verifier(&self) -> &SecretText {
        &self.verifier
    }

    /// What is sent with the browser.
    #[must_use]
    pub fn challenge(&self) -> &str {
        &self.challenge
    }
}

/// 256 random bits as 43 characters that need no escaping in a URL.
#[must_use]
pub fn random_text<R: CryptoRng + ?Sized>(rng: &mut R) -> String {
    let mut bytes = [0_u8; 32];
    rng.fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_the_one_of_rfc_7636_appendix_b() {
        let pkce = Pkce::from_verifier("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        assert_eq!(pkce.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
