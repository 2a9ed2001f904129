//! Container registries: tokens by the registry's own challenge, with no store at all.
//!
//! A request walks in a straight line: [`remote`] decides whose way it is, a store's or the registry's own; [`walk`]
//! goes the latter. It looks at the manifest ([`probe`]), asks the token server that the registry names if it
//! may ([`realm`]), as nobody, with what is stored for the registry ([`files`], [`helper`], [`remembered`]), or with what a
//! person types ([`prompt`]); and keeps the token for a while ([`cache`]).
//!
//! What it promises:
//! - credentials go to the token server of the host and port that they are stored for, whatever an index says;
//! - a token is asked for one repository and for pulling alone;
//! - what is answered opens the image: a token that does not is not given to Flatpak, whose own words would be worse.
//!
//! Flatpak pulls from the registry that the index names and from no mirror of it, so the token must be good there, and a mirror that an index
//! names is a registry like any other, with credentials of its own. What [`rules`] says of that address is kept to.

pub mod address;
mod attempts;
pub mod cache;
pub mod credential;
pub mod files;
pub mod helper;
mod login;
pub mod probe;
pub mod prompt;
pub mod realm;
pub mod refusal;
pub mod remembered;
pub mod remote;
pub mod rules;
pub mod sign_in;
pub mod walk;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use flatpass_oci::client::{HttpLimits, RegistryError, TokenExchange};

use self::cache::Cache;
use self::probe::Probe;
use self::remembered::Remembered;
use crate::session::environment::Environment;

/// All registries that were spoken to.
#[derive(Debug)]
pub struct Registries {
    environment: Arc<Environment>,
    clients: OnceLock<Clients>,
    cache: Mutex<Cache>,
}

#[derive(Debug)]
struct Clients {
    probe: Probe,
    exchange: TokenExchange,
}

impl Registries {
    /// None yet.
    #[must_use]
    pub fn new(environment: Arc<Environment>) -> Self {
        Self { environment, clients: OnceLock::new(), cache: Mutex::default() }
    }

    /// What is remembered for registries.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered::new(&self.environment.credentials)
    }

    fn clients(&self) -> Result<&Clients, RegistryError> {
        if let Some(clients) = self.clients.get() {
            return Ok(clients);
        }
        let http = &self.environment.http;
        let limits =
            HttpLimits { connect: http.connect, total: http.total, extra_roots: http.extra_roots.clone() };
        let clients = Clients { probe: Probe::new(http)?, exchange: TokenExchange::new(&limits)? };
        Ok(self.clients.get_or_init(|| clients))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
