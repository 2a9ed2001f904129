//! Tokens by which a peer fetches what its account may carry on. It never shows the store a token that a client gave it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use flatpass_ostree::Checksum;
use flatpass_token::{RefName, Secret};
use serde::Deserialize;
use serde_json::json;

use crate::PeerError;
use crate::fetch::Failed;
use crate::robot::Robot;
use crate::trust::StoreInfo;
use crate::wire::Wire;

/// A token that ends sooner is not begun with.
const EARLY: Duration = Duration::from_secs(30);
/// So many are remembered.
const MOST: usize = 512;
/// The store takes so many refs at once; a commit has one, or a few.
const MOST_REFS: usize = 16;

/// The tokens that the store gave lately, by commit.
#[derive(Debug, Default)]
pub(crate) struct ExportTokens {
    by_commit: Mutex<HashMap<Checksum, (Secret, Instant)>>,
}

#[derive(Deserialize)]
struct Answer {
    tokens: Vec<Issued>,
    open: Vec<String>,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Listing {
    token: String,
}

impl ExportTokens {
    /// A token for that commit, which is one of one of these refs. `None` when it needs none.
    ///
    /// # Errors
    /// [`Failed::Refused`] when the account may not carry it on, and [`Failed::Unreachable`].
    pub(crate) async fn of(
        &self,
        wire: &Wire,
        robot: Option<&Robot>,
        info: &StoreInfo,
        commit: &Checksum,
        names: &[RefName],
    ) -> Result<Option<Secret>, Failed> {
        if let Some(token) = self.find(commit) {
            return Ok(Some(token));
        }
        let robot = robot.ok_or(Failed::Refused)?;
        let refs: Vec<_> = names
            .iter()
            .filter(|name| info.may_export(name))
            .take(MOST_REFS)
            .map(|name| json!({ "ref": name.as_str(), "commit": commit.to_hex() }))
            .collect();
        if refs.is_empty() {
            return Err(Failed::Refused);
        }
        let body = json!({ "repo_url": info.repo_url, "refs": refs, "for": "export" });
        let answer: Answer = with_access(wire, robot, info, &body, &info.ref_tokens_endpoint).await?;
        match answer.tokens.into_iter().next() {
            Some(issued) => {
                let token = Secret::from(issued.token);
                let until = Instant::now() + Duration::from_secs(issued.expires_in.min(1 << 20));
                self.remember(*commit, token.clone(), until);
                Ok(Some(token))
            }
            None if answer.open.is_empty() => Err(Failed::Refused),
            None => Ok(None),
        }
    }

    /// A token for the list of a private repo; `None` when it needs none.
    pub(crate) async fn of_list(
        wire: &Wire,
        robot: Option<&Robot>,
        info: &StoreInfo,
    ) -> Result<Option<Secret>, Failed> {
        if info.policy != flatpass_gate::Policy::Private {
            return Ok(None);
        }
        let robot = robot.ok_or(Failed::Refused)?;
        let body = json!({ "repo_url": info.repo_url });
        let answer: Listing = with_access(wire, robot, info, &body, &info.summary_tokens_endpoint).await?;
        Ok(Some(Secret::from(answer.token)))
    }

    fn find(&self, commit: &Checksum) -> Option<Secret> {
        let tokens = self.by_commit.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = tokens.get(commit)?;
        (Instant::now() + EARLY < *until).then(|| token.clone())
    }

    fn remember(&self, commit: Checksum, token: Secret, until: Instant) {
        let mut tokens = self.by_commit.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST {
            let now = Instant::now();
            tokens.retain(|_, (_, until)| *until > now);
            if tokens.len() >= MOST {
                tokens.clear();
            }
        }
        tokens.insert(commit, (token, until));
    }

    /// The store did not take it.
    pub(crate) fn forget(&self, commit: &Checksum) {
        self.by_commit.lock().unwrap_or_else(PoisonError::into_inner).remove(commit);
    }
}

/// Asks with the robot's access token, and with a new one if that has ended at the store.
async fn with_access<T: serde::de::DeserializeOwned>(
    wire: &Wire,
    robot: &Robot,
    info: &StoreInfo,
    body: &serde_json::Value,
    endpoint: &url::Url,
) -> Result<T, Failed> {
    for is_last in [false, true] {
        let access = robot.access(wire, &info.token_endpoint).await.map_err(failed)?;
        match wire.post(endpoint.clone(), access.expose(), body).await {
            Err(PeerError::Refused(_)) if !is_last => robot.forget_access().await,
            other => return other.map_err(failed),
        }
    }
    Err(Failed::Refused)
}

fn failed(error: PeerError) -> Failed {
    match error {
        PeerError::Refused(words) => {
            tracing::warn!(words, "the store refuses this peer's account");
            Failed::Refused
        }
        other => Failed::Unreachable(other.to_string()),
    }
}
