//! What a registry knows somebody by.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::secret::SecretText;

/// The longest user name or password, in bytes. Passwords may be tokens of other programs, which are long.
const MAX_BYTES: usize = 16 * 1024;
/// As helpers and files name the user of an identity token.
const TOKEN_USER: &str = "<token>";

/// A user with a password, or a token that stands for both. `Debug` shows neither password nor token.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// For HTTP Basic at the token server.
    Password {
        /// The user's name. It has no colon.
        user: String,
        /// The password, which may be a robot's or an access token.
        password: SecretText,
    },
    /// A refresh token, for OAuth 2 at the token server.
    IdentityToken(SecretText),
}

impl Credential {
    /// A user with a password. `None` if HTTP Basic has no way to say it (RFC 7617 section 2). Passwords with control
    /// characters pass: there are registries whose password is a whole JSON file.
    #[must_use]
    pub fn password(user: &str, password: SecretText) -> Option<Self> {
        if user == TOKEN_USER {
            return Self::identity_token(password);
        }
        let fits = user.len() <= MAX_BYTES && password.expose().len() <= MAX_BYTES;
        let is_one = fits && !user.is_empty() && !user.contains(':') && !user.chars().any(char::is_control);
        is_one.then(|| Self::Password { user: user.to_owned(), password })
    }

    /// A refresh token. `None` if it is not one that can be sent.
    #[must_use]
    pub fn identity_token(token: SecretText) -> Option<Self> {
        let text = token.expose();
        let is_one =
            !text.is_empty() && text.len() <= MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_one.then_some(Self::IdentityToken(token))
    }

    /// Reads `auth` of a credentials file or a remote: the base64 of `USER:PASSWORD`.
    #[must_use]
    pub fn from_auth(text: &str) -> Option<Self> {
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(text.trim()).ok()?;
        let text = SecretText::new(String::from_utf8(decoded).ok()?);
        let (user, password) = text.expose().split_once(':')?;
        // Docker pads what it writes.
        Self::password(user, SecretText::new(password.trim_end_matches('\0').to_owned()))
    }

    /// The user's name, as it may be shown.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } => Some(user),
            Self::IdentityToken(_) => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auth_is_user_and_password_in_base64() {
        let read = |text: &str| Credential::from_auth(text);
        let password =
            |user: &str, password: &str| Credential::password(user, SecretText::new(password.to_owned()));
        assert_eq!(read("dXNlcjpwYTpzcw=="), password("user", "pa:ss"));
        assert_eq!(read("dXNlcjpwYTpzcw"), password("user", "pa:ss"));
        assert_eq!(read("dXNlcjpwdwAA"), password("user", "pw"));
        assert!(password("_json_key", "{\n \"a\": 1\n}").is_some());
        assert!(matches!(password("<token>", "eyJ"), Some(Credential::IdentityToken(_))));
        for bad in ["", "dXNlcg==", "OnB3", "not base64", "dXMKZXI6cHc="] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(!format!("{:?}", password("user", "s3cret")).contains("s3cret"));
    }
}
