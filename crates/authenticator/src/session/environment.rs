//! What a session needs from outside: time, randomness, limits, and where sign-ins are kept.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flatpass_token::UnixTime;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::identity::Robot;
use crate::authority::http::HttpConfig;
use crate::bridge::book::Book;
use crate::credentials::Credentials;
use crate::registry::files::AuthFile;
use crate::registry::rules::RegistriesConf;

/// Something that tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixTime;
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A web flow, from its address being shown to the browser's return.
    pub webflow: Duration,
    /// How long a client whose sign-in is under way in another client's browser waits before it shows the address
    /// as well: the other prompt may be forgotten.
    pub offer_after: Duration,
    /// What the device grant's intervals and lifetimes count as a second.
    pub device_second: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            webflow: Duration::from_secs(15 * 60),
            offer_after: Duration::from_secs(3 * 60),
            device_second: Duration::from_secs(1),
        }
    }
}

/// The surroundings of all sessions of one process.
pub struct Environment {
    clock: Box<dyn Clock>,
    rng: Mutex<StdRng>,
    /// The name under which an account's page lists this machine.
    pub device_name: String,
    /// Limits and trusted roots for HTTP.
    pub http: HttpConfig,
    /// How long things may take.
    pub limits: Limits,
    /// Where sign-ins are kept.
    pub credentials: Credentials,
    /// Which addresses are the bridge's.
    pub bridge: Book,
    /// The robots that speak for this machine, each at its own authority.
    pub robots: Vec<Robot>,
    /// Whether there is somebody who can be shown a web page.
    pub attended: bool,
    /// Where other programs keep credentials for registries, in the order in which they are looked at.
    pub auth_files: Vec<AuthFile>,
    /// Where it is said of registries what container tools may do.
    pub registries_conf: RegistriesConf,
}

impl Environment {
    /// Surroundings with this clock and generator, and the usual limits.
    #[must_use]
    pub fn new(clock: impl Clock, rng: StdRng, device_name: String, credentials: Credentials) -> Self {
        Self {
            clock: Box::new(clock),
            rng: Mutex::new(rng),
            device_name,
            http: HttpConfig::default(),
            limits: Limits::default(),
            bridge: Book::new(credentials.folder().to_owned()),
            credentials,
            robots: Vec::new(),
            attended: true,
            auth_files: Vec::new(),
            registries_conf: RegistriesConf::default(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// A generator of one's own, seeded from the process's.
    #[must_use]
    pub fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("device_name", &self.device_name).finish_non_exhaustive()
    }
}
