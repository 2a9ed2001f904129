//! All layouts of a server, mounted at `/v2`: the endpoints of the OCI distribution-spec 1.1 for pulling.

use std::collections::HashMap;
use std::sync::Arc;

use flatpass_token::{UnverifiedToken, Verifier};

use super::gate::LayoutGate;
use super::path::{ImagePath, PathError};
use super::refusal::{Asked, Refusal, answer};
use crate::answer::{Answer, HeadWriter};
use crate::credentials::{self, Unknown};
use crate::disk::Disk;
use crate::gate::WouldWait;
use crate::moment::Moment;
use crate::mounts::Mounted;
use crate::request::{Method, Request};

/// What the registry says of itself.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The token server's URL, the realm of challenges.
    pub token_url: String,
    /// What it calls this registry.
    pub service: String,
    /// Where a person signs in.
    pub sign_in_url: String,
    /// Whether a repo could have that name.
    pub is_name: fn(&str) -> bool,
    /// Checks tokens that are for no repo, with which a client may ask whether it is signed in at all.
    pub login: Arc<Verifier>,
    /// Knows the keys that the repos' verifiers know, and an audience that no repo has, so it finds no token good.
    pub unmounted: Arc<Verifier>,
}

/// The layouts of a server, by the first part of their repositories' names.
#[derive(Debug)]
pub struct Registry {
    config: RegistryConfig,
    layouts: HashMap<Box<str>, Arc<LayoutGate>>,
}

impl Registry {
    /// With these layouts.
    pub fn new(config: RegistryConfig, layouts: impl IntoIterator<Item = Arc<LayoutGate>>) -> Self {
        let layouts = layouts.into_iter().map(|gate| (gate.name().into(), gate)).collect();
        Self { config, layouts }
    }

    /// The layouts' gates, in no order.
    pub fn layouts(&self) -> impl Iterator<Item = &Arc<LayoutGate>> {
        self.layouts.values()
    }

    fn answer_with(&self, request: &Request<'_>, now: Moment, disk: Disk) -> Result<Answer, WouldWait> {
        let path = ImagePath::parse(request.path);
        let name =
            request.path.split_once('/').map(|(name, _)| name).filter(|name| (self.config.is_name)(name));
        let gate = name.and_then(|name| self.layouts.get(name));
        let found = match (name, gate) {
            (Some(_), Some(gate)) => gate.answer(&path, request, now, disk),
            (Some(_), None) => Err(self.unmounted(request, now)),
            (None, _) if request.path.is_empty() => self.ping(request, now),
            (None, _) if request.method == Method::Other => Err(Refusal::Method),
            (None, _) => Err(Refusal::Path(path.as_ref().err().copied().unwrap_or(PathError::Endpoint))),
        };
        match found {
            Ok(answer) => Ok(answer),
            Err(Refusal::WouldWait) if disk == Disk::Cached => Err(WouldWait),
            Err(refusal) => {
                let private = match gate {
                    Some(gate) => gate.is_private(),
                    None => name.is_some(),
                };
                let asked = Asked { path: &path, method: request.method, private };
                Ok(answer(&self.config, &asked, refusal))
            }
        }
    }

    /// `/v2/` itself: whether the client is signed in. Everybody is asked to, for only then do clients ask for tokens later.
    fn ping(&self, request: &Request<'_>, now: Moment) -> Result<Answer, Refusal> {
        let answer = || {
            HeadWriter::new(200)
                .field("Cache-Control", "private, no-store")
                .field("Docker-Distribution-API-Version", "registry/2.0")
                .field("Vary", "Authorization")
                .answer(request.method, "application/json", "{}")
        };
        let known = |verifier: &Verifier| credentials::verify(&request.headers, verifier, now.unix(), |_| ());
        if request.method == Method::Other {
            return Err(Refusal::Method);
        }
        let mut unknown = match known(&self.config.login) {
            Ok(_) => return Ok(answer()),
            Err(Unknown::NoCredentials) => return Err(Refusal::Unknown(Unknown::NoCredentials)),
            Err(unknown) => unknown,
        };
        // A token is for one of the repos, which it names; the secret of an access token does not.
        let audience = audience(request);
        let candidates = self.layouts.values().map(|gate| gate.verifier());
        for verifier in candidates
            .filter(|verifier| audience.as_ref().is_none_or(|audience| *audience == verifier.audience()))
        {
            match known(verifier) {
                Ok(_) => return Ok(answer()),
                Err(more) => unknown = more,
            }
        }
        Err(Refusal::Unknown(unknown))
    }

    /// What a private repo would say.
    fn unmounted(&self, request: &Request<'_>, now: Moment) -> Refusal {
        let found = credentials::verify(&request.headers, &self.config.unmounted, now.unix(), |_| ());
        found.err().map_or(Refusal::OutOfScope, Refusal::Unknown)
    }
}

/// What a bearer token says that it is for, unverified. `None` for credentials of other kinds.
fn audience(request: &Request<'_>) -> Option<String> {
    let (scheme, token) = request.headers.authorization.text()?.trim().split_once(' ')?;
    let token =
        UnverifiedToken::parse(token.trim_start()).ok().filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    Some(token.claims().ok()?.aud)
}

impl Mounted for Registry {
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        self.answer_with(request, now, Disk::Cached)
    }

    fn answer(&self, request: &Request<'_>, now: Moment) -> Answer {
        self.answer_with(request, now, Disk::Wait).unwrap_or_else(|WouldWait| {
            let path = ImagePath::parse(request.path);
            let asked = Asked { path: &path, method: request.method, private: true };
            answer(&self.config, &asked, Refusal::Unreadable)
        })
    }
}
