//! The access token of a sign-in: kept in memory, refreshed by one task at a time and in one process at a time.

use std::sync::Arc;

use flatpass_token::UnixTime;
use tokio::sync::OwnedMutexGuard;

use super::Session;
use super::identity::{Identity, Robot};
use super::refusal::Refusal;
use crate::authority::error::AuthorityError;
use crate::authority::oauth::{CodeProof, TokenPair};
use crate::credentials::record::{Place, Record};
use crate::secret::SecretText;
use crate::webflow::pkce::random_text;

/// An access token with less than this left is refreshed first, in seconds.
const MARGIN_SECONDS: i64 = 60;

/// What is known of the sign-in in memory.
#[derive(Debug, Default)]
pub struct Access {
    /// The stored sign-in that `token` belongs to.
    sign_in: Option<String>,
    token: Option<(SecretText, UnixTime)>,
    /// A rotated refresh token that could not be stored yet. It is stored before it is used.
    unsaved: Option<(Record, SecretText)>,
}

impl Session {
    /// Compares what is in memory with what is stored: another process may have signed in or out. What was cached
    /// under another sign-in is forgotten. Gives whether somebody is signed in.
    pub(super) async fn notice_sign_in(&self) -> Result<bool, Refusal> {
        let mut access = self.access.lock().await;
        self.notice(&mut access).await
    }

    async fn notice(&self, access: &mut Access) -> Result<bool, Refusal> {
        let stored = match &self.identity {
            Identity::Person => {
                let record = self.environment.credentials.peek(self.authority.url()).await?;
                record.map(|record| record.sign_in)
            }
            Identity::Robot(robot) => Some(robot.id.clone()),
        };
        if stored != access.sign_in {
            *access = Access { sign_in: stored.clone(), token: None, unsaved: None };
            self.cache().clear();
        }
        Ok(stored.is_some())
    }

    /// An access token that is good for a minute yet, or `None` if nobody is signed in. `refused` is one that the
    /// authority did not accept: it is not given again.
    ///
    /// # Errors
    /// [`Refusal`], if somebody is signed in but no access token can be had.
    pub(super) async fn access(
        self: &Arc<Self>,
        interactive: bool,
        refused: Option<&SecretText>,
    ) -> Result<Option<SecretText>, Refusal> {
        let mut access = Arc::clone(&self.access).lock_owned().await;
        if !self.notice(&mut access).await? {
            return Ok(None);
        }
        let now = self.environment.now();
        if let Some((token, expires)) = &access.token
            && now.0 < expires.0 - MARGIN_SECONDS
            && refused != Some(token)
        {
            return Ok(Some(token.clone()));
        }
        if let Identity::Robot(robot) = &self.identity {
            return self.ask_as_robot(&mut access, robot).await.map(Some);
        }
        // From here to the end of storing nothing may be interrupted, whatever becomes of the client that asked.
        let session = Arc::clone(self);
        let rotating = self.in_background(async move { session.rotate(access, interactive).await });
        match rotating.await {
            Ok(result) => result,
            Err(_) => Err(Refusal::Stopping),
        }
    }

    async fn ask_as_robot(&self, access: &mut Access, robot: &Robot) -> Result<SecretText, Refusal> {
        let now = self.environment.now();
        access.token = None;
        let pair = self.authority.client_credentials(&robot.id, &robot.secret, now).await?;
        access.token = Some((pair.access.clone(), pair.access_until(now)));
        Ok(pair.access)
    }

    async fn rotate(
        self: Arc<Self>,
        mut access: OwnedMutexGuard<Access>,
        interactive: bool,
    ) -> Result<Option<SecretText>, Refusal> {
        let url = self.authority.url();
        let locked = self.environment.credentials.lock(url).await?;
        // Another process may have signed in or out while we waited for the lock.
        if !self.notice(&mut access).await? {
            return Ok(None);
        }
        if let Some((record, refresh)) = &access.unsaved {
            locked.store(record.clone(), refresh, interactive).await?;
            access.unsaved = None;
        }
        let Some((mut record, refresh)) = locked.load(interactive).await? else {
            *access = Access::default();
            self.cache().clear();
            return Ok(None);
        };
        let now = self.environment.now();
        match self.authority.refresh(&refresh, now).await {
            Ok(pair) => {
                let (token, expires) = (pair.access.clone(), pair.access_until(now));
                if let Some(rotated) = pair.refresh {
                    record.refreshed_at = now;
                    if let Err(error) = locked.store(record.clone(), &rotated, interactive).await {
                        access.unsaved = Some((record, rotated));
                        access.token = None;
                        return Err(error.into());
                    }
                }
                access.token = Some((token.clone(), expires));
                Ok(Some(token))
            }
            Err(AuthorityError::InvalidGrant { .. }) => {
                tracing::info!(authority = %url, "the sign-in has ended");
                locked.delete(interactive).await?;
                *access = Access::default();
                self.cache().clear();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Turns an authorization code into the stored sign-in. Gives the former refresh token, which is to be revoked.
    ///
    /// # Errors
    /// [`Refusal`]; the former sign-in is then still the stored one.
    pub(super) async fn exchange(&self, proof: &CodeProof) -> Result<Option<SecretText>, Refusal> {
        let now = self.environment.now();
        let pair = self.authority.exchange_code(proof, now).await?;
        self.adopt(pair, now).await
    }

    /// Stores what a sign-in gave at `now`. Gives the former refresh token, which is to be revoked.
    ///
    /// # Errors
    /// [`Refusal`]; the former sign-in is then still the stored one.
    pub(super) async fn adopt(&self, pair: TokenPair, now: UnixTime) -> Result<Option<SecretText>, Refusal> {
        let (token, expires) = (pair.access.clone(), pair.access_until(now));
        let refresh = pair.refresh.ok_or_else(|| AuthorityError::Malformed {
            host: self.authority.url().host(),
            what: "it gave no refresh token".to_owned(),
        })?;
        let mut access = self.access.lock().await;
        let locked = self.environment.credentials.lock(self.authority.url()).await?;
        let former = locked.load(true).await.unwrap_or_default();
        let record = Record {
            authority: self.authority.url().to_string(),
            sign_in: random_text(&mut self.environment.rng()),
            signed_in_at: now,
            refreshed_at: now,
            has_secrets: false,
            place: Place::SecretService,
        };
        let record = locked.store(record, &refresh, true).await?;
        *access = Access { sign_in: Some(record.sign_in), token: Some((token, expires)), unsaved: None };
        self.cache().clear();
        // What ends a sign-in ends the secrets of remotes that were made with it: then it stays, on the account's page.
        Ok(former.filter(|(record, _)| !record.has_secrets).map(|(_, refresh)| refresh))
    }

    /// Signs out: forgets the sign-in, then tells the authority. Gives whether there was one, and what kept the
    /// authority from hearing of it.
    ///
    /// # Errors
    /// [`Refusal`] if the stored sign-in cannot be removed.
    pub async fn sign_out(&self) -> Result<Option<Result<(), AuthorityError>>, Refusal> {
        let mut access = self.access.lock().await;
        let locked = self.environment.credentials.lock(self.authority.url()).await?;
        if self.environment.credentials.peek(self.authority.url()).await?.is_none() {
            return Ok(None);
        }
        let stored = locked.load(true).await;
        locked.delete(true).await?;
        *access = Access::default();
        self.cache().clear();
        Ok(Some(match stored {
            Ok(Some((_, refresh))) => self.authority.revoke(&refresh, self.environment.now()).await,
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the sign-in could not be read");
                Err(AuthorityError::InvalidGrant {
                    host: self.authority.url().host(),
                    url: self.authority.url().to_string(),
                })
            }
        }))
    }
}
