//! Indexes below a path with a secret in it: `/i/SECRET/NAME/index/static`. Flatpak sends no credentials for the index of a registry, so for
//! clients as they are the secret is a part of the remote's URL.

use std::collections::HashMap;
use std::sync::Arc;

use super::gate::{Credentials, IndexGate};
use crate::answer::Answer;
use crate::credentials;
use crate::disk::Disk;
use crate::gate::WouldWait;
use crate::moment::Moment;
use crate::mounts::Mounted;
use crate::refusal::connection_error;
use crate::request::{Method, Request};
use crate::unmounted::Unmounted;

/// Answers below the prefix of secret paths.
#[derive(Debug)]
pub struct SecretPaths {
    indexes: HashMap<Box<str>, Arc<IndexGate>>,
    unmounted: Unmounted,
}

impl SecretPaths {
    /// For these indexes. Of others, and of repos that are no registries, `unmounted` says what it says of repos that are not there.
    pub fn new(indexes: impl IntoIterator<Item = Arc<IndexGate>>, unmounted: Unmounted) -> Self {
        let indexes = indexes.into_iter().map(|gate| (gate.name().into(), gate)).collect();
        Self { indexes, unmounted }
    }

    /// The indexes' gates, in no order.
    pub fn indexes(&self) -> impl Iterator<Item = &Arc<IndexGate>> {
        self.indexes.values()
    }

    fn answer_with(&self, request: &Request<'_>, now: Moment, disk: Disk) -> Result<Answer, WouldWait> {
        let parts = request.path.split_once('/').and_then(|(secret, rest)| {
            let (name, rest) = rest.split_once('/')?;
            (!secret.is_empty() && (self.unmounted.is_name)(name)).then_some((secret, name, rest))
        });
        let Some((secret, name, rest)) = parts else {
            let nothing = connection_error(404, "There is no such file", "There is nothing here.");
            return Ok(if request.method == Method::Head { nothing.without_body() } else { nothing });
        };
        let below = Request { path: rest, ..*request };
        match self.indexes.get(name) {
            Some(gate) => gate.answer_for(Credentials::Secret(secret), &below, now, disk),
            None => {
                let verified =
                    credentials::verify_secret(secret, &self.unmounted.verifier, now.unix(), |_| ());
                Ok(self.unmounted.answer_to(name, verified, request.method))
            }
        }
    }
}

impl Mounted for SecretPaths {
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        self.answer_with(request, now, Disk::Cached)
    }

    fn answer(&self, request: &Request<'_>, now: Moment) -> Answer {
        self.answer_with(request, now, Disk::Wait).unwrap_or_else(|WouldWait| {
            connection_error(503, "This cannot be answered now", "Try again later.")
        })
    }
}
