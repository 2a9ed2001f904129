//! What a peer believes: the store's public keys and the rules of its repo, as they were when the store was last reached. `trust.json`.

use std::path::Path;

use flatpass_gate::{Policy, Rules};
use flatpass_token::{Grant, KeySet, RefName, UnixTime, Verb};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{PeerError, durable};

const FILE: &str = "trust.json";
/// Tokens of this kind can be checked with nothing but a public key.
const SIGNED: &str = "jwt";

/// What `GET /api/v1/peers/REPO` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The repo's name.
    pub repo: String,
    /// Its URL, which is the audience of its tokens.
    pub repo_url: String,
    /// What the store calls itself.
    #[serde(default)]
    pub store_name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_uri: Url,
    /// Where robots get access tokens.
    pub token_endpoint: Url,
    /// Where ref tokens come from.
    pub ref_tokens_endpoint: Url,
    /// Where tokens for a private list come from.
    pub summary_tokens_endpoint: Url,
    /// Where a person signs in.
    pub sign_in_url: String,
    /// What the types of problems begin with.
    pub problem_url: String,
    /// The kind of the repo's tokens: `jwt`, or another that only the store can check.
    pub tokens: String,
    /// How much of the repo is guarded.
    pub policy: Policy,
    /// Token types that need no token.
    pub open_token_types: Vec<i32>,
    /// Apps that need a token whatever their token type.
    pub guarded_ids: Vec<String>,
    /// What the peer's account may carry on.
    #[serde(default)]
    pub export: Vec<Grant>,
    /// The store's clock.
    pub now: UnixTime,
}

impl StoreInfo {
    /// Whether a peer can guard this repo.
    ///
    /// # Errors
    /// [`PeerError::OnlyOnline`], or [`PeerError::Answer`] when an address in it is not of the store or could be read on its way.
    pub(crate) fn check(&self, store: &Url) -> Result<(), PeerError> {
        if self.tokens != SIGNED {
            return Err(PeerError::OnlyOnline { repo: self.repo.clone(), kind: self.tokens.clone() });
        }
        let answer = |what: String| PeerError::Answer { host: crate::wire::shown(store), what };
        let repo = Url::parse(&self.repo_url).map_err(|_| answer("the repo's URL is none".to_owned()))?;
        for url in [
            &self.jwks_uri,
            &self.token_endpoint,
            &self.ref_tokens_endpoint,
            &self.summary_tokens_endpoint,
            &repo,
        ] {
            // The store's name for itself may be another than this peer's for it only if that is the operator's doing: never.
            if url.origin() != store.origin() {
                return Err(answer(format!(
                    "{url} is not at {store}; use the URL that the store has for itself"
                )));
            }
        }
        Ok(())
    }

    /// What of the repo needs a token.
    pub(crate) fn rules(&self) -> Rules {
        Rules::new(self.policy)
            .with_open_token_types(self.open_token_types.clone())
            .with_guarded_ids(self.guarded_ids.iter().cloned())
    }

    /// Whether the peer's account may carry that ref on.
    pub(crate) fn may_export(&self, name: &RefName) -> bool {
        self.export.iter().any(|grant| grant.covers(Verb::Export, name))
    }
}

/// What a peer believes, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// The repo.
    pub info: StoreInfo,
    /// The store's public keys, a JWK set.
    pub jwks: String,
    /// When the store last said so, by this peer's clock.
    pub seen_at: UnixTime,
}

impl Trust {
    /// Reads it from the peer's folder.
    ///
    /// # Errors
    /// [`PeerError::File`] or [`PeerError::Settings`]
    pub fn load(folder: &Path) -> Result<Self, PeerError> {
        let path = folder.join(FILE);
        let text = std::fs::read(&path).map_err(|cause| PeerError::File { path: path.clone(), cause })?;
        serde_json::from_slice(&text).map_err(|error| PeerError::Settings { path, what: error.to_string() })
    }

    /// Writes it into the peer's folder.
    ///
    /// # Errors
    /// [`PeerError::File`]
    pub fn save(&self, folder: &Path) -> Result<(), PeerError> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        durable::write(&path, &text, false).map_err(|cause| PeerError::File { path, cause })
    }

    /// The store's public keys.
    ///
    /// # Errors
    /// [`PeerError::Answer`] when it is no set of good keys, or an empty one.
    pub fn keys(&self) -> Result<KeySet, PeerError> {
        let wrong = |what: String| PeerError::Answer { host: self.info.issuer.clone(), what };
        let keys = KeySet::from_jwks_json(&self.jwks).map_err(|error| wrong(error.to_string()))?;
        if keys.is_empty() { Err(wrong("it has no public key".to_owned())) } else { Ok(keys) }
    }

    /// From when on no token is taken, if the store is not reached for so many days.
    #[must_use]
    pub fn ends_at(&self, days: u32) -> UnixTime {
        self.seen_at.plus_seconds(i64::from(days) * 24 * 60 * 60)
    }
}
