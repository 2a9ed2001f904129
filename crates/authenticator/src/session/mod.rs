//! What this user has with one authority: a sign-in, tokens in memory, and at most one web flow under way.

pub mod access;
pub mod ask;
mod bridged;
pub mod cache;
pub mod device_grant;
pub mod device_secret;
pub mod environment;
pub(crate) mod expiring;
pub mod flow;
pub mod identity;
pub mod refusal;
pub mod summary;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::access::Access;
use self::cache::TokenCache;
use self::environment::Environment;
use self::flow::{Flow, Interaction, Offered};
use self::identity::Identity;
use self::refusal::{Ended, Refusal};
use crate::authority::Authority;
use crate::authority::address::AuthorityUrl;
use crate::authority::error::AuthorityError;
use crate::registry::Registries;
use crate::webflow::page::Page;
use crate::webflow::{Returned, Wanted, WebFlow, WebFlowError};

/// The most authorities that are kept in memory.
const MAX_SESSIONS: usize = 64;

/// All authorities that were spoken to.
#[derive(Debug)]
pub struct Sessions {
    environment: Arc<Environment>,
    registries: Registries,
    open: Mutex<HashMap<AuthorityUrl, Arc<Session>>>,
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let environment = Arc::new(environment);
        let registries = Registries::new(Arc::clone(&environment));
        Self { environment, registries, open: Mutex::new(HashMap::new()) }
    }

    /// The registries that were spoken to with no store in between.
    #[must_use]
    pub fn registries(&self) -> &Registries {
        &self.registries
    }

    /// The surroundings.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The session with the authority at `url`.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] if this machine cannot make secure connections.
    pub fn with(&self, url: &AuthorityUrl) -> Result<Arc<Session>, AuthorityError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = open.get(url) {
            return Ok(Arc::clone(session));
        }
        if open.len() >= MAX_SESSIONS {
            open.retain(|_, session| Arc::strong_count(session) > 1);
        }
        let session = Arc::new(Session {
            authority: Authority::new(url.clone(), &self.environment.http)?,
            identity: Identity::at(url, &self.environment.robots),
            environment: Arc::clone(&self.environment),
            access: Arc::default(),
            cache: Mutex::default(),
            asking: AsyncMutex::new(()),
            flow: AsyncMutex::new(None),
            background: Mutex::default(),
        });
        open.insert(url.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Waits, for at most `limit`, until what must not be interrupted is done: before the process ends.
    pub async fn settle(&self, limit: Duration) {
        let sessions: Vec<Arc<Session>> =
            self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let all = async {
            for session in sessions {
                session.settle().await;
            }
        };
        let _late = tokio::time::timeout(limit, all).await;
    }
}

/// One authority.
#[derive(Debug)]
pub struct Session {
    environment: Arc<Environment>,
    authority: Authority,
    identity: Identity,
    access: Arc<AsyncMutex<Access>>,
    cache: Mutex<TokenCache>,
    asking: AsyncMutex<()>,
    flow: AsyncMutex<Option<Arc<Flow>>>,
    background: Mutex<JoinSet<()>>,
}

impl Session {
    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Signs in, whoever is signed in now.
    ///
    /// # Errors
    /// [`Ended`]; the former sign-in, if there is one, then stays.
    pub async fn sign_in(self: &Arc<Self>, client: &impl Interaction) -> Result<(), Ended> {
        Box::pin(self.web_flow(None, Offered::new(), client)).await?;
        Ok(())
    }

    /// Takes part in the web flow under way, or begins one that offers `wanted`. Gives what the flow's pages offered.
    async fn web_flow(
        self: &Arc<Self>,
        wanted: Option<Wanted>,
        offering: Offered,
        client: &impl Interaction,
    ) -> Result<Offered, Ended> {
        let seat = {
            let mut current = self.flow.lock().await;
            match current.as_ref().and_then(Flow::join) {
                Some(seat) => seat,
                None => {
                    let metadata = self.authority.metadata(self.environment.now()).await?;
                    let mut rng = self.environment.rng();
                    let device = &self.environment.device_name;
                    let web = WebFlow::begin(&metadata, device, wanted.as_ref(), &mut rng).await?;
                    let (flow, seat) = Flow::begin(web.url().clone(), offering);
                    let driver = drive(Arc::clone(self), Arc::clone(&flow), web);
                    drop(self.in_background(driver));
                    *current = Some(flow);
                    seat
                }
            }
        };
        let flow = Arc::clone(seat.flow());
        seat.take_part(client, self.environment.limits.offer_after).await?;
        Ok(flow.offered().clone())
    }

    /// Whether a person can be shown a web page for this authority.
    fn is_attended(&self) -> bool {
        self.environment.attended && self.identity == Identity::Person
    }

    fn cache(&self) -> MutexGuard<'_, TokenCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something to its end even if nobody waits for it any more.
    fn in_background<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        while background.try_join_next().is_some() {}
        background.spawn(async move {
            let _nobody_waits = sender.send(work.await);
        });
        receiver
    }

    async fn settle(&self) {
        let mut background =
            std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        while background.join_next().await.is_some() {}
    }
}

/// Ends the flow whatever happens to its driver: clients wait for it.
struct EndOnDrop(Arc<Flow>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Err(Ended::Refused(Refusal::Stopping)));
    }
}

/// Waits for the browser, and turns what it brings into a sign-in.
async fn drive(session: Arc<Session>, flow: Arc<Flow>, mut web: WebFlow) {
    let flow = EndOnDrop(flow);
    let limit = session.environment.limits.webflow;
    let returned = tokio::select! {
        returned = web.returned() => returned,
        () = flow.0.abandoned() => return,
        () = tokio::time::sleep(limit) => {
            let host = session.authority.url().host();
            flow.0.end(Err(Refusal::WebFlowTimedOut { host }.into()));
            return;
        }
    };
    let former = finish(&session, &flow.0, returned).await;
    web.finish().await;
    if let Some(former) = former
        && let Err(error) = session.authority.revoke(&former, session.environment.now()).await
    {
        tracing::warn!(%error, "the former sign-in could not be revoked");
    }
}

/// Exchanges the code, shows the last page, ends the flow. Gives the refresh token that was replaced.
async fn finish(session: &Session, flow: &Flow, returned: Returned) -> Option<crate::secret::SecretText> {
    let adopted = match returned.proof {
        Ok(proof) => Box::pin(session.exchange(&proof)).await.map_err(Ended::Refused),
        Err(WebFlowError::Denied) => Err(Ended::Cancelled),
        Err(error) => Err(error.into()),
    };
    let page = match &adopted {
        Ok(_) => Page::Done,
        Err(Ended::Cancelled) => Page::Cancelled,
        Err(Ended::Refused(refusal)) => Page::Failed(refusal.to_string()),
    };
    returned.browser.show(page);
    let (outcome, former) = match adopted {
        Ok(former) => (Ok(()), former),
        Err(ended) => (Err(ended), None),
    };
    flow.end(outcome);
    former
}
