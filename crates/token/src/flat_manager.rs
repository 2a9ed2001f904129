//! Tokens as flat-manager makes and takes them: HS256 with a secret that its configuration has.
//!
//! flat-manager's own check lets a token through that has no `prefixes`, whatever else it says, and looks at neither `scope` nor `repos`
//! nor `nbf`. So what is made here always has a prefix, one that is the beginning of no id; and what is checked here must say all
//! that flat-manager's own maker of tokens writes down.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::grant::flatpak_grants;
use crate::shared_secret::check;
use crate::verified::{Content, Proof};
use crate::{Grant, SharedSecret, SignError, UnixTime, UnverifiedToken, Verb, VerifyError};

/// A prefix that is never empty and matches no app: `!` stands in no id.
pub const NO_PREFIX: &str = "!none";
/// What a token must be for.
const DOWNLOAD: &str = "download";

/// The secrets of a repo that flat-manager publishes to, and the repo's name there. While a secret is exchanged there are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatManagerKeys {
    repo: Arc<str>,
    secrets: Vec<Arc<SharedSecret>>,
    is_secret: bool,
}

impl FlatManagerKeys {
    /// Takes tokens for the repo that flat-manager calls so, signed with one of these secrets.
    #[must_use]
    pub fn new(
        repo: impl Into<Arc<str>>,
        secrets: impl IntoIterator<Item = impl Into<Arc<SharedSecret>>>,
    ) -> Self {
        Self { repo: repo.into(), secrets: secrets.into_iter().map(Into::into).collect(), is_secret: false }
    }

    /// That these tokens are taken is known to nobody but those who have one: others are told what they would be told where there
    /// is no such repo.
    #[must_use]
    pub fn secretly(self) -> Self {
        Self { is_secret: true, ..self }
    }

    pub(crate) const fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Checks all but times, which go on.
    pub(crate) fn verify(&self, token: &UnverifiedToken<'_>) -> Result<Content, VerifyError> {
        let (secret, payload) = check(token, &self.secrets)?;
        let wire: Wire = serde_json::from_slice(&payload).map_err(|_| VerifyError::Claims)?;
        if wire.jti.is_some() {
            return Err(VerifyError::OnlyOnline);
        }
        if !wire.scope.iter().any(|scope| scope == DOWNLOAD) {
            return Err(VerifyError::Scope);
        }
        // An empty name is flat-manager's word for every repo that has the secret.
        if !wire.repos.iter().any(|repo| repo.is_empty() || **repo == *self.repo) {
            return Err(VerifyError::Audience);
        }
        let proof = Proof::Shared {
            secret: Arc::clone(secret),
            repo: Arc::clone(&self.repo),
            // Of a token that does not say when it was made, everything that was taken back since may be in it.
            issued_at: wire.iat.unwrap_or(UnixTime(i64::MIN)),
            not_before: wire.nbf,
        };
        Ok(Content {
            id: Box::default(),
            subject: wire.sub.as_str().into(),
            session: wire.sid.as_deref().map(Into::into),
            expires_at: Some(wire.exp),
            grants: wire.grants().into(),
            proof,
        })
    }

    pub(crate) fn holds(&self, secret: &SharedSecret, repo: &str) -> bool {
        *self.repo == *repo && self.secrets.iter().any(|known| **known == *secret)
    }
}

/// The claims of a download token that flat-manager takes, and what a gate of ours wants to know besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatManagerClaims {
    /// The account. It must not be `build` or begin with `build/`: that is for those who publish.
    pub sub: String,
    /// The device that asked.
    pub sid: Option<String>,
    /// When it was made.
    pub iat: UnixTime,
    /// From when on it is refused.
    pub exp: UnixTime,
    /// The repo's name in flat-manager's configuration.
    pub repo: String,
    /// The ids that it opens, each exactly; extensions are named too.
    pub apps: Vec<String>,
    /// Which branches, architectures and commits of them, for gates: flat-manager knows ids only.
    pub details: Vec<Grant>,
}

impl FlatManagerClaims {
    /// Signs them.
    ///
    /// # Errors
    /// As those of [`SharedSecret::sign`]; also for claims that would be a publisher's.
    pub fn sign(&self, secret: &SharedSecret) -> Result<String, SignError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            sub: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            sid: Option<&'a str>,
            iat: UnixTime,
            exp: UnixTime,
            scope: [&'static str; 1],
            prefixes: [&'static str; 1],
            apps: &'a [String],
            repos: [&'a str; 1],
            authorization_details: &'a [Grant],
        }
        // An empty name would be every repo.
        if self.sub == "build" || self.sub.starts_with("build/") || self.repo.is_empty() {
            return Err(SignError::Signature);
        }
        secret.sign(&Claims {
            sub: &self.sub,
            sid: self.sid.as_deref(),
            iat: self.iat,
            exp: self.exp,
            scope: [DOWNLOAD],
            prefixes: [NO_PREFIX],
            apps: &self.apps,
            repos: [&self.repo],
            authorization_details: &self.details,
        })
    }
}

/// As it comes from outside. An absent list is an empty one, and opens nothing.
#[derive(Deserialize)]
struct Wire {
    sub: String,
    exp: UnixTime,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<UnixTime>,
    #[serde(default, deserialize_with = "present")]
    iat: Option<UnixTime>,
    // flat-manager's own maker of tokens writes `null` for one without.
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    sid: Option<String>,
    #[serde(default)]
    scope: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    apps: Vec<String>,
    #[serde(default)]
    repos: Vec<String>,
    /// Absent in most tokens, and then every branch is meant.
    #[serde(default, deserialize_with = "present")]
    branches: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present_grants")]
    authorization_details: Option<Vec<Grant>>,
}

impl Wire {
    fn grants(self) -> Vec<Grant> {
        if let Some(details) = self.authorization_details {
            // They narrow what flat-manager would open, and add nothing.
            let narrow = |mut grant: Grant| {
                grant.prefixes = Vec::new();
                grant.ids.retain(|id| self.apps.contains(id));
                grant
            };
            return details.into_iter().map(narrow).collect();
        }
        let any = || vec!["*".to_owned()];
        let branches = match self.branches {
            None => any(),
            Some(named) if named.iter().any(String::is_empty) => any(),
            Some(named) => literal(named),
        };
        vec![Grant {
            actions: vec![Verb::Download],
            ids: self.apps,
            prefixes: literal(self.prefixes),
            branches,
            arches: any(),
            ..Grant::default()
        }]
    }
}

/// Without what means more here than there: `*`, and an empty prefix, which would open everything that is ever published.
fn literal(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| !name.is_empty() && name != "*").collect()
}

/// What stands there must be of its type: `null` would lift a limit.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn present_grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Grant>>, D::Error> {
    flatpak_grants(deserializer).map(Some)
}
