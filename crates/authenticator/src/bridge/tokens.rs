//! Where the bridge has its summary tokens from: the authenticator, over D-Bus; and a short memory of them.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::book::Bridged;
use crate::authority::error::shown;
use crate::secret::SecretText;

/// How long a token is used without asking again: so long does it take at most until a sign-out on this computer
/// shows here.
const KEEP: Duration = Duration::from_secs(60);
/// After a repo refused a fresh token the authenticator is not asked for another one for this long.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest wait for the authenticator. Flatpak's downloader gives up a connection that is silent for longer.
const PATIENCE: Duration = Duration::from_secs(25);

/// The token type that is said of a ref for which the bridge wants a token for peers: that it needs one is known already.
pub const ANY_TYPE: i32 = 1;

/// What the authenticator gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The token; `None` if the index needs none.
    pub token: Option<SecretText>,
    /// How long it may be used.
    pub keep_for: Duration,
}

/// Why there is no token. `Display` is a sentence with the next step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoToken {
    /// A person must do something first: sign in, or be made a member.
    #[error("{0}")]
    Refused(String),
    /// It might work later.
    #[error("{0}")]
    Failed(String),
    /// There is no authenticator on the bus.
    #[error(
        "The authenticator cannot be reached ({0}). Run `flatpass-authenticator install`, or start `flatpass-authenticator serve` in your session."
    )]
    Unreachable(String),
}

/// Something that gives tokens. Nobody is ever asked anything on the way.
pub trait TokenSource: Send + Sync + 'static {
    /// A token for peers alone, for a ref of the remote: for this commit of it, if one is named.
    fn peers_token<'a>(
        &'a self,
        remote: &'a Bridged,
        name: &'a str,
        commit: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>>;

    /// A token for the remote's index. `fresh`: the repo refused the one that was given last.
    fn token<'a>(
        &'a self,
        remote: &'a Bridged,
        fresh: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>>;
}

/// A token that the bridge may use now, and whether it may be exchanged for a fresh one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usable {
    /// The token; `None` if the index needs none.
    pub token: Option<SecretText>,
    /// When it was asked for.
    since: Instant,
}

/// One remote's tokens. The lock is held while the authenticator is asked: who comes meanwhile finds the answer here.
#[derive(Debug, Default)]
struct Remembered {
    given: Option<(Usable, Instant)>,
    refreshed: Option<Instant>,
    /// The last answer that was none, and when it came.
    failed: Option<(NoToken, Instant)>,
}

impl Remembered {
    /// What others were told while a request that came at `arrived` waited for its turn.
    fn failed_since(&self, arrived: Instant) -> Option<NoToken> {
        let (error, at) = self.failed.as_ref()?;
        (*at > arrived).then(|| error.clone())
    }
}

/// Tokens of all remotes, by key.
pub struct Tokens {
    source: Arc<dyn TokenSource>,
    remotes: Mutex<HashMap<String, Arc<AsyncMutex<Remembered>>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source, remotes: Mutex::default() }
    }

    /// Forgets what belongs to remotes that are not served any more.
    pub fn keep_only(&self, remotes: &[Bridged]) {
        self.remotes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|key, _| remotes.iter().any(|remote| remote.key.expose() == key));
    }

    /// A token for the remote's index.
    ///
    /// # Errors
    /// [`NoToken`].
    pub async fn get(&self, remote: &Bridged) -> Result<Usable, NoToken> {
        let arrived = Instant::now();
        let remembered = self.remembered(remote);
        let mut remembered = remembered.lock().await;
        if let Some(error) = remembered.failed_since(arrived) {
            return Err(error);
        }
        if let Some((usable, until)) = &remembered.given
            && Instant::now() < *until
        {
            return Ok(usable.clone());
        }
        self.ask(remote, &mut remembered, false).await
    }

    /// Another token than `refused`, which the repo did not accept; `None` if there is none to be had just now.
    ///
    /// # Errors
    /// [`NoToken`].
    pub async fn exchange(&self, remote: &Bridged, refused: &Usable) -> Result<Option<Usable>, NoToken> {
        let arrived = Instant::now();
        let remembered = self.remembered(remote);
        let mut remembered = remembered.lock().await;
        if let Some(error) = remembered.failed_since(arrived) {
            return Err(error);
        }
        if let Some((usable, _)) = &remembered.given
            && usable.since > refused.since
        {
            return Ok(Some(usable.clone()));
        }
        if remembered.refreshed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(None);
        }
        remembered.refreshed = Some(Instant::now());
        self.ask(remote, &mut remembered, true).await.map(Some)
    }

    fn remembered(&self, remote: &Bridged) -> Arc<AsyncMutex<Remembered>> {
        let mut remotes = self.remotes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(remotes.entry(remote.key.expose().to_owned()).or_default())
    }

    async fn ask(
        &self,
        remote: &Bridged,
        remembered: &mut Remembered,
        fresh: bool,
    ) -> Result<Usable, NoToken> {
        remembered.given = None;
        let since = Instant::now();
        let asking = tokio::time::timeout(PATIENCE, self.source.token(remote, fresh));
        let given = asking.await.unwrap_or_else(|_| {
            let host = shown(&remote.store.host());
            Err(NoToken::Failed(format!("{host} did not give a token in time. Try again later.")))
        });
        match given {
            Ok(given) => {
                let usable = Usable { token: given.token, since };
                remembered.given = Some((usable.clone(), since + given.keep_for.min(KEEP)));
                Ok(usable)
            }
            Err(error) => {
                tracing::warn!(repo = %remote.repo, %error, "there is no token for the index");
                remembered.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::authority::address::{AuthorityUrl, RepoUrl};

    /// An authenticator that does not answer.
    struct Hanging(Arc<AtomicUsize>);

    impl TokenSource for Hanging {
        fn peers_token<'a>(
            &'a self,
            remote: &'a Bridged,
            _name: &'a str,
            _commit: Option<&'a str>,
        ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
            self.token(remote, false)
        }

        fn token<'a>(
            &'a self,
            _remote: &'a Bridged,
            _fresh: bool,
        ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_wait_once_for_an_authenticator_that_does_not_answer() {
        let asked = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::new(Arc::new(Hanging(Arc::clone(&asked))));
        let remote = Bridged {
            key: SecretText::new("k".repeat(43)),
            store: AuthorityUrl::parse("https://shop.example/").expect("valid"),
            repo: RepoUrl::parse("https://shop.example/repo/apps").expect("valid"),
            peers: None,
        };
        let began = Instant::now();
        let all = futures_util::future::join_all((0..20).map(|_| tokens.get(&remote))).await;
        assert!(all.iter().all(|answer| matches!(answer, Err(NoToken::Failed(_)))));
        assert_eq!((began.elapsed(), asked.load(Ordering::SeqCst)), (PATIENCE, 1));
        // Who comes later asks anew.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(tokens.get(&remote).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
