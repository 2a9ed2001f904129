//! Signing in on another device: the device grant from its code to the stored sign-in (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Session;
use super::refusal::{Ended, Refusal};
use crate::authority::device::{DeviceAuthorization, Poll};
use crate::authority::error::AuthorityError;
use crate::authority::oauth::TokenPair;

/// What is added to the interval when the authority asks for more time, in seconds (RFC 8628 section 3.5).
const SLOW_DOWN: u32 = 5;
/// The longest interval after network failures, in seconds.
const MAX_INTERVAL: u32 = 60;

impl Session {
    /// Signs in, whoever is signed in now, on another device. `show` tells the person what to do there.
    ///
    /// # Errors
    /// [`Ended`]; the former sign-in, if there is one, then stays.
    pub async fn sign_in_on_another_device(
        self: &Arc<Self>,
        show: impl FnOnce(&DeviceAuthorization),
    ) -> Result<(), Ended> {
        let device_name = &self.environment.device_name;
        let begun = self.authority.device_authorization(device_name, self.environment.now()).await?;
        show(&begun);
        let pair = self.answered(&begun).await?;
        // The tokens are the authority's word that it is signed in: they are stored whatever becomes of who waits.
        let session = Arc::clone(self);
        let storing = self.in_background(async move {
            let former = session.adopt(pair, session.environment.now()).await?;
            if let Some(former) = former
                && let Err(error) = session.authority.revoke(&former, session.environment.now()).await
            {
                tracing::warn!(%error, "the former sign-in could not be revoked");
            }
            Ok(())
        });
        storing.await.unwrap_or(Err(Refusal::Stopping)).map_err(Ended::Refused)
    }

    /// Asks until the person has answered on the other device.
    async fn answered(&self, begun: &DeviceAuthorization) -> Result<TokenPair, Ended> {
        let seconds = |count: u32| self.environment.limits.device_second * count;
        let life = u32::try_from(begun.expires_in).unwrap_or(u32::MAX);
        let end = Instant::now() + seconds(life);
        let expired = || Ended::Refused(Refusal::CodeExpired { url: self.authority.url().to_string() });
        let mut interval = u32::try_from(begun.interval).unwrap_or(SLOW_DOWN);
        loop {
            let next = Instant::now() + seconds(interval).max(Duration::from_millis(1));
            if next >= end {
                sleep_until(end).await;
                return Err(expired());
            }
            sleep_until(next).await;
            match self.authority.device_poll(&begun.device_code, self.environment.now()).await {
                Ok(Poll::Done(pair)) => return Ok(pair),
                Ok(Poll::Pending) => {}
                Ok(Poll::SlowDown) => interval = interval.saturating_add(SLOW_DOWN),
                Ok(Poll::Denied) => return Err(Ended::Cancelled),
                Ok(Poll::Expired) | Err(AuthorityError::InvalidGrant { .. }) => return Err(expired()),
                // A connection that fails is tried again, more and more seldom (RFC 8628 section 3.5).
                Err(
                    error @ (AuthorityError::Unreachable { .. }
                    | AuthorityError::Timeout { .. }
                    | AuthorityError::Fault { .. }
                    | AuthorityError::TooManyRequests { .. }),
                ) => {
                    tracing::debug!(%error, "asking again later");
                    interval = interval.saturating_mul(2).min(MAX_INTERVAL);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
