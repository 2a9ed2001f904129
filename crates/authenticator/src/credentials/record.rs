//! What is kept of a sign-in at an authority.

use flatpass_token::UnixTime;
use serde::{Deserialize, Serialize};

use super::shelf::Kept;
use crate::secret::SecretText;

/// Where the refresh token is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Place {
    /// In the Secret Service, under the authority's address.
    SecretService,
    /// Here.
    File {
        /// The token.
        refresh_token: SecretText,
    },
}

/// One sign-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The authority's base URL, with its final slash.
    pub authority: String,
    /// A random id that is new with each sign-in and stays when the token is rotated: what was cached under another
    /// id belongs to another sign-in, perhaps to another account.
    pub sign_in: String,
    /// When the person signed in.
    pub signed_in_at: UnixTime,
    /// When the token was last replaced.
    pub refreshed_at: UnixTime,
    /// Whether remotes have secrets that were made with this sign-in: they end when the authority ends it.
    #[serde(default)]
    pub has_secrets: bool,
    /// Where the token is.
    pub place: Place,
}

impl Kept for Record {
    const PREFIX: &'static str = "authority-";

    fn about(&self) -> &str {
        &self.authority
    }
}
