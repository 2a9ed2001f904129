//! The edge of the program: the real clock, the system's randomness, and the environment's variables.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use flatpass_token::UnixTime;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};

use crate::authority::error::shown;
use crate::authority::http::read_roots;
use crate::credentials::{Credentials, Preference};
use crate::registry::files;
use crate::registry::rules::RegistriesConf;
use crate::session::Sessions;
use crate::session::environment::{Clock, Environment};

/// The computer's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        #[expect(clippy::disallowed_methods, reason = "the edge of the program reads the clock")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

/// Sessions as the environment's variables want them.
///
/// # Errors
/// A sentence that names the variable that is wrong.
pub fn sessions() -> anyhow::Result<Sessions> {
    Ok(Sessions::new(environment()?))
}

/// The surroundings as the environment's variables want them.
///
/// # Errors
/// A sentence that names the variable that is wrong.
pub fn environment() -> anyhow::Result<Environment> {
    let mut environment = Environment::new(SystemClock, rng()?, device_name(), credentials()?);
    environment.auth_files = files::of_environment();
    environment.registries_conf = RegistriesConf::of_environment();
    if let Some(file) = variable("FLATPASS_CA_FILE")? {
        environment.http.extra_roots = read_roots(&PathBuf::from(file))?;
    }
    Ok(environment)
}

/// Where sign-ins are kept.
///
/// # Errors
/// If there is neither `XDG_STATE_HOME` nor `HOME`, or `FLATPASS_CREDENTIALS` is not a known word.
pub fn credentials() -> anyhow::Result<Credentials> {
    let state = match env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(state) => state,
        None => home()?.join(".local/state"),
    };
    let preference: Preference = variable("FLATPASS_CREDENTIALS")?.unwrap_or_default().parse()?;
    Ok(Credentials::new(state.join("flatpass"), preference))
}

/// The person's home folder.
///
/// # Errors
/// If `HOME` is not set.
pub fn home() -> anyhow::Result<PathBuf> {
    env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .ok_or_else(|| anyhow!("HOME is not set, so there is no place for sign-ins. Set it, then try again."))
}

fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(format!("The environment's {name} cannot be read")),
    }
}

/// The name under which an account's page lists this machine.
fn device_name() -> String {
    host_name().map_or_else(|| "Flatpak".to_owned(), |host| format!("Flatpak on {host}"))
}

/// This machine's name, if it has one.
#[must_use]
pub fn host_name() -> Option<String> {
    let system = rustix::system::uname();
    let host: String = shown(&system.nodename().to_string_lossy()).chars().take(60).collect();
    (!host.is_empty()).then_some(host)
}

/// A generator that is seeded by the system.
///
/// # Errors
/// If the system has no randomness.
pub fn rng() -> anyhow::Result<StdRng> {
    StdRng::try_from_rng(&mut SysRng).context("This computer has no source of randomness")
}
