//! Tokens from sessions of this very process: for a bridge that runs inside a command.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::book::Bridged;
use super::tokens::{ANY_TYPE, Given, NoToken, TokenSource};
use crate::authority::ref_tokens::Purpose;
use crate::secret::SecretText;
use crate::session::Sessions;
use crate::session::ask::{Ask, AskedRef};
use crate::session::cache::UsedAt;
use crate::session::flow::Interaction;
use crate::session::refusal::{Ended, Refusal};
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

/// In the words of the bridge.
fn no_token(ended: &Ended) -> NoToken {
    match ended {
        Ended::Refused(refusal) if refusal.code().is_some() => NoToken::Refused(refusal.to_string()),
        Ended::Refused(refusal) => NoToken::Failed(refusal.to_string()),
        Ended::Cancelled => NoToken::Refused("The sign-in was cancelled.".to_owned()),
    }
}

impl TokenSource for SessionSource {
    fn peers_token<'a>(
        &'a self,
        remote: &'a Bridged,
        name: &'a str,
        commit: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        Box::pin(async move {
            let asked = async {
                let refs = vec![AskedRef::new(name, commit.unwrap_or_default(), ANY_TYPE)?];
                let used_at = UsedAt { repo: remote.repo.clone(), registry: None };
                let ask = Ask { used_at, refs, purpose: Purpose::Peers, interactive: false };
                self.0.with(&remote.store).map_err(Refusal::from)?.tokens(&ask, &Nobody).await
            };
            let tokens = asked.await.map_err(|ended| no_token(&ended))?;
            let token = tokens.into_keys().find(|token| !token.is_empty()).map(SecretText::new);
            Ok(Given { token, keep_for: Duration::ZERO })
        })
    }

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
                Err(ended) => Err(no_token(&ended)),
            }
        })
    }
}
