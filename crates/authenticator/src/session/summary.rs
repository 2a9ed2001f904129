//! A request for a summary token: a token for the index of a private repo.

use std::sync::Arc;

use flatpass_token::UnixTime;

use super::Session;
use super::flow::{Interaction, Offered};
use super::refusal::{Ended, Refusal};
use crate::authority::address::RepoUrl;
use crate::authority::error::AuthorityError;
use crate::authority::summary_tokens::SummaryToken;
use crate::secret::SecretText;

/// A whole request.
#[derive(Debug, Clone)]
pub struct SummaryAsk {
    /// The repo, without user and password.
    pub repo: RepoUrl,
    /// Whether a person may be shown a web page.
    pub interactive: bool,
    /// The repo refused the token that the client had: one from memory would be refused again.
    pub fresh: bool,
}

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryGrant {
    /// The token; `None` if the index is public.
    pub token: Option<SecretText>,
    /// How long the client may keep it, in seconds.
    pub keep_for: i64,
}

impl SummaryGrant {
    /// What is left of a token that is remembered until `until`.
    #[must_use]
    pub fn new(token: Option<SecretText>, until: UnixTime, now: UnixTime) -> Self {
        Self { token, keep_for: until.0.saturating_sub(now.0).max(0) }
    }
}

impl Session {
    /// Gives a token for the repo's index, with a sign-in on the way if nobody is signed in and somebody may be
    /// asked.
    ///
    /// # Errors [`Ended`].
    pub async fn summary_token(
        self: &Arc<Self>,
        ask: &SummaryAsk,
        client: &impl Interaction,
    ) -> Result<SummaryGrant, Ended> {
        match self.look_up_summary(ask).await {
            Err(Ended::Refused(Refusal::SignInFirst { .. })) if ask.interactive && self.is_attended() => {
                Box::pin(self.web_flow(None, Offered::new(), client)).await?;
                // Only once: a store that is not content with a fresh sign-in will not be with the next.
                self.look_up_summary(ask).await
            }
            answer => answer,
        }
    }

    /// Answers from memory, or asks the authority. One question at a time: who asks for the same at the same time
    /// finds the answer in memory.
    async fn look_up_summary(self: &Arc<Self>, ask: &SummaryAsk) -> Result<SummaryGrant, Ended> {
        let arrived = self.environment.now();
        let _turn = self.asking.lock().await;
        self.notice_sign_in().await?;
        let now = self.environment.now();
        {
            let mut cache = self.cache();
            if ask.fresh {
                // What came in while we waited for our turn is fresh enough.
                cache.forget_summary(&ask.repo, arrived);
            }
            if let Some(grant) = cache.summary(&ask.repo, now) {
                return Ok(grant);
            }
        }
        let answer = self.ask_for_summary(ask).await?;
        Ok(self.cache().put_summary(&ask.repo, &answer, now))
    }

    async fn ask_for_summary(self: &Arc<Self>, ask: &SummaryAsk) -> Result<SummaryToken, Ended> {
        let mut access = self.access(ask.interactive, None).await?;
        let mut tried_again = false;
        loop {
            let now = self.environment.now();
            match self.authority.summary_token(access.as_ref(), &ask.repo, now).await {
                Err(AuthorityError::InvalidAccessToken { .. }) if access.is_none() => {
                    return Err(Refusal::SignInFirst { url: self.authority.url().to_string() }.into());
                }
                Err(AuthorityError::InvalidAccessToken { .. }) if !tried_again => {
                    tried_again = true;
                    access = self.access(ask.interactive, access.as_ref()).await?;
                }
                answer => return Ok(answer?),
            }
        }
    }
}
