//! Registries' tokens in memory, until shortly before they end.

use std::time::Duration;

use flatpass_oci::RepositoryName;
use flatpass_token::UnixTime;

use super::address::RegistryUrl;
use crate::session::expiring::{Expiring, kept_until};

/// The most repositories that are remembered.
const MAX_ENTRIES: usize = 4096;
/// How long "needs no token" is remembered, in seconds.
const OPEN_SECONDS: i64 = 60;
/// The longest that a token is given out again, in seconds: so long does it take at most until a sign-out shows.
const KEPT_SECONDS: i64 = 600;
/// A token is not given out any more when it has less than this left, in seconds.
const MARGIN_SECONDS: i64 = 60;

/// Tokens by repository. The empty one is for repositories that need none.
#[derive(Debug)]
pub struct Cache {
    tokens: Expiring<(RegistryUrl, RepositoryName)>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { tokens: Expiring::new(MAX_ENTRIES) }
    }
}

impl Cache {
    /// The token, if one is known that is good for some time yet.
    #[must_use]
    pub fn get(&self, registry: &RegistryUrl, repository: &RepositoryName, now: UnixTime) -> Option<&str> {
        self.tokens.get(&(registry.clone(), repository.clone()), now)
    }

    /// Remembers a token that was asked for at `asked`; without `expires_in`, that none is needed.
    pub fn put(
        &mut self,
        registry: &RegistryUrl,
        repository: &RepositoryName,
        token: &str,
        expires_in: Option<Duration>,
        asked: UnixTime,
    ) {
        self.tokens.make_room(1, asked);
        let until = match expires_in {
            None => asked.plus_seconds(OPEN_SECONDS),
            Some(life) => {
                let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
                kept_until(asked, life, MARGIN_SECONDS).min(asked.plus_seconds(KEPT_SECONDS))
            }
        };
        self.tokens.put((registry.clone(), repository.clone()), token, until);
    }

    /// Forgets a repository's token.
    pub fn forget(&mut self, registry: &RegistryUrl, repository: &RepositoryName) {
        self.tokens.forget(&(registry.clone(), repository.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_again_until_shortly_before_it_ends_and_for_its_own_registry_only() {
        let registry = RegistryUrl::parse("https://registry.example/").expect("valid");
        let other = RegistryUrl::parse("https://other.example/").expect("valid");
        let name = RepositoryName::parse("shop/app").expect("valid");
        let mut cache = Cache::default();
        cache.put(&registry, &name, "t", Some(Duration::from_secs(300)), UnixTime(1000));
        assert_eq!(cache.get(&registry, &name, UnixTime(1239)), Some("t"));
        assert_eq!(cache.get(&registry, &name, UnixTime(1240)), None);
        assert_eq!(cache.get(&other, &name, UnixTime(1000)), None);
        cache.put(&registry, &name, "t", Some(Duration::from_secs(86_400)), UnixTime(1000));
        assert_eq!(cache.get(&registry, &name, UnixTime(1600)), None);
        cache.put(&registry, &name, "", None, UnixTime(1000));
        assert_eq!(cache.get(&registry, &name, UnixTime(1059)), Some(""));
        cache.forget(&registry, &name);
        assert_eq!(cache.get(&registry, &name, UnixTime(1000)), None);
    }
}
