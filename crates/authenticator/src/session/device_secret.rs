//! A secret of this device for one private repo, made in the name of the sign-in.

use std::sync::Arc;

use super::Session;
use super::identity::Identity;
use super::refusal::Refusal;
use crate::authority::access_tokens::MadeSecret;
use crate::authority::address::RepoUrl;
use crate::authority::error::AuthorityError;
use crate::secret::SecretText;

impl Session {
    /// An access token for the authority's own API, if somebody is signed in.
    ///
    /// # Errors
    /// [`Refusal`], if somebody is signed in but no access token can be had.
    pub async fn api_access(self: &Arc<Self>) -> Result<Option<SecretText>, Refusal> {
        self.access(true, None).await
    }

    /// Makes a secret for `repo` that the account's page calls `name`.
    ///
    /// # Errors
    /// [`Refusal::SignInFirst`] if nobody is signed in, and what the authority says.
    pub async fn make_device_secret(
        self: &Arc<Self>,
        repo: &RepoUrl,
        name: &str,
    ) -> Result<MadeSecret, Refusal> {
        let sign_in_first = || Refusal::SignInFirst { url: self.authority.url().to_string() };
        let access = self.access(true, None).await?.ok_or_else(sign_in_first)?;
        if self.identity == Identity::Person {
            self.environment.credentials.lock(self.authority.url()).await?.note_secrets().await?;
        }
        let now = self.environment.now();
        match self.authority.make_device_secret(&access, repo, name, now).await {
            Err(AuthorityError::InvalidAccessToken { .. }) => {
                let access = self.access(true, Some(&access)).await?.ok_or_else(sign_in_first)?;
                Ok(self.authority.make_device_secret(&access, repo, name, now).await?)
            }
            answer => Ok(answer?),
        }
    }
}
