//! Registries' tokens in memory, until shortly before they end.

use std::collections::HashMap;
use std::time::Duration;

use flatpass_oci::RepositoryName;
use flatpass_token::UnixTime;

use super::address::RegistryUrl;

/// The most repositories that are remembered.
const MAX_ENTRIES: usize = 4096;
/// How long "needs no token" is remembered, in seconds.
const OPEN_SECONDS: i64 = 60;
/// The longest that a token is given out again, in seconds: so long does it take at most until a sign-out shows.
const KEPT_SECONDS: i64 = 600;
/// A token is not given out any more when it has less than this left, in seconds. Of short-lived ones a fifth is kept
/// back.
const MARGIN_SECONDS: i64 = 60;

/// Tokens by repository. The empty one is for repositories that need none.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<(RegistryUrl, RepositoryName), Entry>,
}

struct Entry {
    token: String,
    until: UnixTime,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("until", &self.until.0).finish_non_exhaustive()
    }
}

impl Cache {
    /// The token, if one is known that is good for some time yet.
    #[must_use]
    pub fn get(&self, registry: &RegistryUrl, repository: &RepositoryName, now: UnixTime) -> Option<&str> {
        let entry = self.entries.get(&(registry.clone(), repository.clone()))?;
        (now.0 < entry.until.0).then_some(entry.token.as_str())
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
        self.entries.retain(|_, entry| asked.0 < entry.until.0);
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.clear();
        }
        let seconds = expires_in.map_or(OPEN_SECONDS, |life| {
            let life = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            (life - MARGIN_SECONDS.min(life / 5)).min(KEPT_SECONDS)
        });
        let entry = Entry { token: token.to_owned(), until: asked.plus_seconds(seconds) };
        self.entries.insert((registry.clone(), repository.clone()), entry);
    }

    /// Forgets a repository's token.
    pub fn forget(&mut self, registry: &RegistryUrl, repository: &RepositoryName) {
        self.entries.remove(&(registry.clone(), repository.clone()));
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
