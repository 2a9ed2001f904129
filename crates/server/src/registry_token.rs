//! Tokens for registries that trust the store (Docker registry token specification).

use flatpass_oci::{Access, RegistryClaims};
use flatpass_token::{Secret, SignError, SigningKey, UnixTime};
use rand::CryptoRng;

/// The longest token: nginx and others refuse header lines of more than 8 KiB.
pub const MAX_REGISTRY_TOKEN_BYTES: usize = flatpass_token::MAX_TOKEN_BYTES;

/// What a token for a registry says beside what it opens.
#[derive(Clone, Copy, Debug)]
pub struct RegistryTokenFor<'a> {
    /// The token server, as the registry's settings have it.
    pub issuer: &'a str,
    /// The registry, as its settings have it.
    pub service: &'a str,
    /// Whose it is; empty for nobody's.
    pub subject: &'a str,
    /// How long it is good, in seconds from now.
    pub seconds: i64,
}

impl RegistryTokenFor<'_> {
    /// Makes it, for this and nothing else.
    ///
    /// # Errors
    /// [`SignError::TooLong`] when it opens so much that registries would not take it.
    pub fn sign<R: CryptoRng + ?Sized>(
        &self,
        key: &SigningKey,
        access: Vec<Access>,
        now: UnixTime,
        rng: &mut R,
    ) -> Result<String, SignError> {
        let claims = RegistryClaims {
            iss: self.issuer.to_owned(),
            sub: self.subject.to_owned(),
            aud: self.service.to_owned(),
            exp: now.plus_seconds(self.seconds),
            nbf: now,
            iat: now,
            jti: Secret::generate("", rng).expose().to_owned(),
            access,
        };
        key.sign_jwt(&claims, MAX_REGISTRY_TOKEN_BYTES)
    }
}
