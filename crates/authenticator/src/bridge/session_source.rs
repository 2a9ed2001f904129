//! Summary tokens from sessions of this very process: for a bridge that runs inside a command.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::book::Bridged;
use super::tokens::{Given, NoToken, TokenSource};
use crate::session::Sessions;
use crate::session::flow::Interaction;
use crate::session::refusal::Ended;
use crate::session::summary::{SummaryAsk, SummaryGrant};

/// Nobody is there to be shown a page.
struct Nobody;

impl Interaction for Nobody {
    async fn webflow(&self, _url: &Url) {}

    async fn webflow_done(&self) {}
}

/// The sessions of this process.
#[derive(Debug, Clone)]
pub struct SessionSource(pub Arc<Sessions>);

impl SessionSource {
    async fn ask(&self, remote: &Bridged, fresh: bool) -> Result<SummaryGrant, Ended> {
        let ask = SummaryAsk { repo: remote.repo.clone(), interactive: false, fresh };
        self.0.with(&remote.store)?.summary_token(&ask, &Nobody).await
    }
}

impl TokenSource for SessionSource {
    fn token<'a>(
        &'a self,
        remote: &'a Bridged,
        fresh: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        Box::pin(async move {
            match self.ask(remote, fresh).await {
                Ok(grant) => {
                    let keep_for = Duration::from_secs(u64::try_from(grant.keep_for).unwrap_or_default());
                    Ok(Given { token: grant.token, keep_for })
                }
                Err(Ended::Refused(refusal)) if refusal.code().is_some() => {
                    Err(NoToken::Refused(refusal.to_string()))
                }
                Err(Ended::Refused(refusal)) => Err(NoToken::Failed(refusal.to_string())),
                Err(Ended::Cancelled) => Err(NoToken::Refused("The sign-in was cancelled.".to_owned())),
            }
        })
    }
}
