//! Password hashing: argon2id, a few at a time, away from the threads that serve requests.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{Random, StoreError, StoreOptions};

/// What one password hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCost {
    /// argon2id with 19 MiB, two passes, one lane: the first choice of the OWASP Password Storage Cheat Sheet.
    Owasp,
    /// Next to nothing, for tests that make many accounts. Never for real ones.
    Test,
}

impl PasswordCost {
    /// Memory in KiB, passes, lanes.
    fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::Owasp => (19 * 1024, 2, 1),
            Self::Test => (8, 1, 1),
        }
    }
}

/// The hasher of one store, with its limits.
#[derive(Debug)]
pub(crate) struct Passwords {
    cost: PasswordCost,
    /// A hash in the same form and of the same cost that no password has, for accounts that do not exist.
    absent: String,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let (memory, passes, lanes) = options.password_cost.numbers();
        let absent = format!(
            "$argon2id$v=19$m={memory},t={passes},p={lanes}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        );
        let parallel = options.password_parallel.max(1);
        Self {
            cost: options.password_cost,
            absent,
            running: Arc::new(Semaphore::new(parallel)),
            admitted: Arc::new(Semaphore::new(parallel + options.password_waiting)),
        }
    }

    /// Gives the PHC string of `password` with a new salt.
    pub(crate) async fn hash(&self, password: &str, rng: Random<'_>) -> Result<String, StoreError> {
        let mut salt = [0u8; 16];
        rng.fill_bytes(&mut salt);
        let (memory, passes, lanes) = self.cost.numbers();
        let password = Zeroizing::new(password.to_owned());
        self.run(move || {
            let params = Params::new(memory, passes, lanes, None).ok()?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            Some(argon2.hash_password_with_salt(password.as_bytes(), &salt).ok()?.to_string())
        })
        .await?
        .ok_or(StoreError::Corrupt("password parameters"))
    }

    /// Whether `password` is the one of `stored`. With no stored hash the same work is done and the answer is no.
    pub(crate) async fn check(&self, password: &str, stored: Option<String>) -> Result<bool, StoreError> {
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.absent.clone());
        let password = Zeroizing::new(password.to_owned());
        let matches = self
            .run(move || {
                let hash = PasswordHash::new(&stored).ok()?;
                // The cost is read from the stored string, so accounts keep working when the default rises.
                Some(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?
            .ok_or(StoreError::Corrupt("accounts.password_hash"))?;
        Ok(matches && exists)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| StoreError::Busy)?;
        // The permits go with the work: a request that is dropped meanwhile must not admit another one too early.
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop((running, admitted));
            result
        })
        .await
        .map_err(|_| StoreError::Busy)
    }
}
