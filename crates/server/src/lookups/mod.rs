//! Where it is found out what tokens are that say nothing themselves, or whose keys are elsewhere. All of it is beside the request
//! path: a gate asks only about a token that it does not know.

mod desk;
mod http;
mod introspector;
mod keys;
mod metadata;
mod references;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flatpass_store::{Issuer, IssuerAudience, IssuerRule, Repo, RepoPolicy, RepoTokens, Store, StoreError};
use flatpass_token::{
    Accepts, ClaimRule, ForeignCheck, ForeignIssuer, ForeignKeys, Former, Secret, SecretHash, TokenKind,
    UnixTime, Verifier,
};
use tokio::runtime::Handle;

use self::desk::{Desk, DeskLimits};
use self::http::Http;
use self::introspector::Endpoint;
use self::keys::IssuerKeys;
use self::references::{ReferenceDesk, References};
use crate::config::{Config, LONGEST_LEEWAY_SECONDS, LONGEST_REF_TOKEN_SECONDS};
use crate::metrics::Metrics;

/// The database is on this machine; it has as many connections for reading.
const STORE: DeskLimits = DeskLimits { time: Duration::from_secs(2), at_once: 4, waiting: 128 };
const ISSUER: DeskLimits = DeskLimits { time: Duration::from_secs(5), at_once: 16, waiting: 64 };
/// A token may be made for so long after the kind was changed: what signs it had not heard of it yet.
const SLACK_SECONDS: i64 = 60;

/// All places where tokens are looked up.
#[derive(Debug)]
pub(crate) struct Lookups {
    store: Store,
    http: Http,
    references: Arc<ReferenceDesk>,
    issuers: Mutex<HashMap<String, Known>>,
    /// By repo: what it takes, and what that was made of.
    taken: Mutex<HashMap<String, (Made, Arc<ForeignIssuer>)>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// An issuer whose tokens some repo takes.
#[derive(Debug)]
struct Known {
    issuer: Issuer,
    secret: Option<SecretHash>,
    check: ForeignCheck,
    follower: Option<tokio::task::AbortHandle>,
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

/// What a repo's issuer is made of.
#[derive(Debug, PartialEq)]
struct Made {
    issuer: Issuer,
    secret: Option<SecretHash>,
    rules: Vec<IssuerRule>,
    url: String,
    is_secret: bool,
}

impl Lookups {
    /// Asks nobody yet. Must be made on the runtime that answers.
    ///
    /// # Errors
    /// What the HTTP library says.
    pub(crate) fn new(config: &Config, store: &Store) -> Result<Self, reqwest::Error> {
        let metrics = Arc::<Metrics>::default();
        let counters = metrics.lookups("store");
        let references = Desk::new("the database".to_owned(), Handle::current(), STORE, counters);
        Ok(Self {
            store: store.clone(),
            http: Http::new(&config.registries.roots)?,
            references: Arc::new(references),
            issuers: Mutex::default(),
            taken: Mutex::default(),
            metrics,
        })
    }

    /// Lets the verifier of a repo take what the repo says. `any_references`: some repo of the store has reference tokens. Then those are
    /// looked up for every repo, so that nobody can tell by the time it takes which one has them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn arm(
        &self,
        verifier: &Verifier,
        repo: &Repo,
        url: &str,
        any_references: bool,
    ) -> Result<(), StoreError> {
        let kind = match &repo.tokens {
            // flat-manager's have no word for lists, so tokens for those are signed by the store there too; and the verifier has
            // flat-manager's secrets besides.
            RepoTokens::Jwt | RepoTokens::FlatManager => TokenKind::Signed,
            RepoTokens::Opaque => TokenKind::Reference,
            RepoTokens::Issuer(name) => {
                self.issuer(name, repo, url).await?.map_or(TokenKind::None, TokenKind::Foreign)
            }
        };
        verifier.set_accepts(Accepts { kind, former: former(repo) });
        // Only the gates of OSTree repositories ask.
        self.arm_for_references(verifier, &repo.name, any_references && !repo.source.is_oci());
        Ok(())
    }

    /// The part of [`Self::arm`] that is also for where no repo is.
    pub(crate) fn arm_for_references(&self, verifier: &Verifier, repo: &str, any_references: bool) {
        let lookup = any_references.then(|| {
            let (desk, store) = (Arc::clone(&self.references), self.store.clone());
            Arc::new(References { repo: repo.to_owned(), desk, store }) as Arc<dyn flatpass_token::Lookup>
        });
        verifier.set_lookup(lookup);
    }

    /// Forgets repos and issuers that are there no more.
    pub(crate) fn keep(&self, is_repo: impl Fn(&str) -> bool) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|repo, _| is_repo(repo));
        let used: Vec<_> = taken.values().map(|(made, _)| made.issuer.name.clone()).collect();
        drop(taken);
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        issuers.retain(|name, _| used.contains(name));
    }

    /// The issuer as the repo takes its tokens; the very one of before if nothing about it changed, since tokens that were checked by
    /// it are checked anew by another. `None`, which opens nothing, for one that cannot be used.
    async fn issuer(
        &self,
        name: &str,
        repo: &Repo,
        url: &str,
    ) -> Result<Option<Arc<ForeignIssuer>>, StoreError> {
        let Some(issuer) = self.store.issuer(name).await? else {
            tracing::error!(
                repo = repo.name,
                issuer = name,
                "the repo takes the tokens of an issuer that is not there"
            );
            return Ok(None);
        };
        let secret = match self.store.issuer_secret(name).await {
            Ok(secret) => secret,
            Err(StoreError::Seal(error)) => {
                tracing::error!(issuer = name, %error, "its secret cannot be opened; set it anew with flatpass issuer set");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let rules = self.store.issuer_rules(name).await?;
        let rules = rules.into_iter().filter(|rule| rule.repo.as_ref().is_none_or(|only| *only == repo.name));
        let made = Made {
            issuer,
            secret: secret.as_ref().map(Secret::hash),
            rules: rules.collect(),
            url: url.to_owned(),
            is_secret: repo.policy == RepoPolicy::Private,
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, same)) = taken.get(&repo.name).filter(|(before, _)| *before == made) {
            return Ok(Some(Arc::clone(same)));
        }
        let grants =
            made.rules.iter().flat_map(|rule| rule.grants().into_iter().map(move |grant| (rule, grant)));
        let rules = grants.filter_map(|(rule, grant)| {
            let read = match &rule.claim {
                None => Ok(ClaimRule::for_everyone(grant)),
                Some(claim) => ClaimRule::for_claim(&claim.path, &claim.value, grant),
            };
            read.inspect_err(
                |error| tracing::error!(issuer = name, rule = rule.id, %error, "a rule is not used"),
            )
            .ok()
        });
        let foreign = Arc::new(ForeignIssuer {
            name: name.to_owned(),
            issuer: made.issuer.url.clone(),
            audience: match &made.issuer.audience {
                IssuerAudience::OfRepo => Some(made.url.clone()),
                IssuerAudience::Is(audience) => Some(audience.clone()),
                IssuerAudience::Any => None,
            },
            rules: rules.collect(),
            check: self.check(&made.issuer, secret),
            is_secret: made.is_secret,
        });
        taken.insert(repo.name.clone(), (made, Arc::clone(&foreign)));
        Ok(Some(foreign))
    }

    /// How the tokens of an issuer are checked: the same for all repos, and as before if nothing changed.
    fn check(&self, issuer: &Issuer, secret: Option<Secret>) -> ForeignCheck {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = secret.as_ref().map(Secret::hash);
        if let Some(known) = issuers.get(&issuer.name)
            && known.issuer == *issuer
            && known.secret == hash
        {
            return known.check.clone();
        }
        let source = format!("issuer:{}", issuer.name);
        let counters = self.metrics.lookups(&source);
        let (who, http) = (format!("the issuer {}", issuer.name), self.http.clone());
        let (check, follower) = match issuer.introspection.clone().zip(secret) {
            Some((at, secret)) => {
                let desk = Arc::new(Desk::new(who, Handle::current(), ISSUER, counters));
                (ForeignCheck::Introspection(Arc::new(Endpoint { at, secret, http, desk })), None)
            }
            None => {
                let desk = Arc::new(Desk::new(who, Handle::current(), ISSUER, counters));
                let source = Arc::new(IssuerKeys::new(issuer.clone(), http, desk));
                let keys = Arc::new(ForeignKeys::new(Arc::default(), Arc::clone(&source) as _));
                source.are_used_in(&keys);
                let follower = tokio::spawn(source.follow());
                (ForeignCheck::Keys(keys), Some(follower.abort_handle()))
            }
        };
        let known = Known { issuer: issuer.clone(), secret: hash, check: check.clone(), follower };
        issuers.insert(issuer.name.clone(), known);
        check
    }
}

/// What this store made for the repo before its tokens were of the kind that they are, as long as any of it can live.
fn former(repo: &Repo) -> Option<Former> {
    let former = repo.former_tokens.as_ref()?;
    let kind = match former.tokens {
        RepoTokens::Jwt => TokenKind::Signed,
        RepoTokens::Opaque => TokenKind::Reference,
        RepoTokens::FlatManager | RepoTokens::Issuer(_) => return None,
    };
    let made_until = former.until.plus_seconds(SLACK_SECONDS);
    let longest = LONGEST_REF_TOKEN_SECONDS + LONGEST_LEEWAY_SECONDS;
    Some(Former { kind, made_until, good_until: made_until.plus_seconds(longest) })
}

/// Whether there may be a reference token in force for the repo.
pub(crate) fn has_references(repo: &Repo, now: UnixTime) -> bool {
    repo.tokens == RepoTokens::Opaque
        || former(repo)
            .is_some_and(|former| matches!(former.kind, TokenKind::Reference) && now < former.good_until)
}

/// Asks an issuer what a server would ask it: for its keys, or about a token that nobody made. Gives what was found, a line each.
///
/// # Errors
/// Why it cannot be used, in a sentence's words.
pub async fn ask_issuer(
    config: &Config,
    issuer: &Issuer,
    secret: Option<&Secret>,
) -> Result<Vec<String>, String> {
    let http = Http::new(&config.registries.roots).map_err(|error| error.to_string())?;
    let words = |trouble: desk::Trouble| match trouble {
        desk::Trouble::Outage(why) | desk::Trouble::Question(why) => why,
    };
    match issuer.introspection.as_ref().zip(secret) {
        Some((at, secret)) => {
            let nobodys = Secret::from("nobody-made-this-token".to_owned());
            let answer = introspector::ask(&http, at, secret, &nobodys).await.map_err(words)?;
            if answer.is_active() {
                return Err("it says that a token which nobody made is in force".to_owned());
            }
            Ok(vec![format!("  {} knows this store as {}", at.url, at.client_id)])
        }
        None => {
            let (address, set) = keys::fetch(&http, issuer, None).await.map_err(words)?;
            let used = set.keys().map(|key| format!("  key {}", key.kid().unwrap_or("without id")));
            let refused = set
                .refused()
                .iter()
                .map(|one| format!("  not used: key {} of the set, because {}", one.index, one.why));
            Ok(std::iter::once(format!("  keys at {address}")).chain(used).chain(refused).collect())
        }
    }
}
