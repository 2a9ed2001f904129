//! Ref tokens and summary tokens in memory, until shortly before they expire.

use std::collections::HashMap;

use flatpass_token::UnixTime;

use crate::authority::address::RepoUrl;
use crate::authority::ref_tokens::RefTokens;
use crate::authority::summary_tokens::SummaryToken;
use crate::registry::address::RegistryUrl;
use crate::secret::SecretText;
use crate::session::expiring::{Expiring, kept_until};
use crate::session::summary::SummaryGrant;

/// The most refs that are remembered for one authority.
const MAX_ENTRIES: usize = 8192;
/// The most repos whose summary token is remembered for one authority.
const MAX_SUMMARIES: usize = 256;
/// How long the token of a ref is given out again, in seconds: long enough for all that one command asks for, and short enough that
/// who lost a right hears the store's sentence. Flatpak shows nothing of ours when the gate refuses a token.
const KEPT_SECONDS: i64 = 120;
/// How long "needs no token" is remembered, in seconds.
const OPEN_SECONDS: i64 = 300;
/// A token is not given out any more when it has less than this left, in seconds: a download takes time.
const MARGIN_SECONDS: i64 = 300;
/// What a token must have left, in seconds, to be used when no other can be had.
const LAST_SECONDS: i64 = 30;

/// Where tokens are used. What the authority said about one registry is no answer for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsedAt {
    /// The repo, without user and password.
    pub repo: RepoUrl,
    /// The registry that its images are in, if it is an OCI repo.
    pub registry: Option<RegistryUrl>,
}

/// Tokens of one sign-in at one authority, by repo and ref.
#[derive(Debug)]
pub struct TokenCache {
    tokens: Expiring<(UsedAt, String)>,
    /// The same tokens until they expire: they are of use where the store cannot be asked.
    last: Expiring<(UsedAt, String)>,
    summaries: HashMap<RepoUrl, Summary>,
}

impl Default for TokenCache {
    fn default() -> Self {
        Self {
            tokens: Expiring::new(MAX_ENTRIES),
            last: Expiring::new(MAX_ENTRIES),
            summaries: HashMap::new(),
        }
    }
}

/// The answer for a repo's index.
#[derive(Debug)]
struct Summary {
    token: Option<SecretText>,
    asked: UnixTime,
    until: UnixTime,
}

impl TokenCache {
    /// The token for a ref (empty: it needs none), if one is known that is good for some time yet.
    #[must_use]
    pub fn get(&self, used_at: &UsedAt, name: &str, now: UnixTime) -> Option<&str> {
        self.tokens.get(&(used_at.clone(), name.to_owned()), now)
    }

    /// The token for a ref that the store gave last, as long as it is not about to expire: for when the store cannot be asked.
    #[must_use]
    pub fn last(&self, used_at: &UsedAt, name: &str, now: UnixTime) -> Option<&str> {
        self.last.get(&(used_at.clone(), name.to_owned()), now)
    }

    /// Remembers an answer to a question that was asked at `asked`, by the `key` of each ref.
    pub fn put(
        &mut self,
        used_at: &UsedAt,
        answer: &RefTokens,
        key: impl Fn(&str) -> String,
        asked: UnixTime,
    ) {
        let new: usize =
            answer.open.len() + answer.granted.iter().map(|granted| granted.refs.len()).sum::<usize>();
        self.tokens.make_room(new, asked);
        self.last.make_room(new, asked);
        // A token for older commits would be given out for the newest one too, and refused there.
        for granted in answer.granted.iter().filter(|granted| !granted.limited) {
            let until =
                kept_until(asked, granted.expires_in, MARGIN_SECONDS).min(asked.plus_seconds(KEPT_SECONDS));
            let last_until = asked.plus_seconds(granted.expires_in.saturating_sub(LAST_SECONDS));
            for name in &granted.refs {
                self.tokens.put((used_at.clone(), key(name)), granted.token.expose(), until);
                self.last.put((used_at.clone(), key(name)), granted.token.expose(), last_until);
            }
        }
        for name in &answer.open {
            let until = UnixTime(asked.0.saturating_add(OPEN_SECONDS));
            self.tokens.put((used_at.clone(), key(name)), "", until);
            self.last.put((used_at.clone(), key(name)), "", until);
        }
    }

    /// Forgets one ref.
    pub fn forget(&mut self, used_at: &UsedAt, name: &str) {
        let key = (used_at.clone(), name.to_owned());
        self.tokens.forget(&key);
        self.last.forget(&key);
    }

    /// The summary token of a repo, if one is known that is good for some time yet.
    #[must_use]
    pub fn summary(&self, repo: &RepoUrl, now: UnixTime) -> Option<SummaryGrant> {
        let known = self.summaries.get(repo).filter(|known| now.0 < known.until.0)?;
        Some(SummaryGrant::new(known.token.clone(), known.until, now))
    }

    /// Remembers an answer to a question that was asked at `asked`, and gives what the client gets.
    pub fn put_summary(&mut self, repo: &RepoUrl, answer: &SummaryToken, asked: UnixTime) -> SummaryGrant {
        self.summaries.retain(|_, known| asked.0 < known.until.0);
        if self.summaries.len() >= MAX_SUMMARIES {
            self.summaries.clear();
        }
        let until = match answer.token {
            Some(_) => kept_until(asked, answer.expires_in, MARGIN_SECONDS),
            None => UnixTime(asked.0.saturating_add(OPEN_SECONDS)),
        };
        let known = Summary { token: answer.token.clone(), asked, until };
        self.summaries.insert(repo.clone(), known);
        SummaryGrant::new(answer.token.clone(), until, asked)
    }

    /// Forgets the summary token of a repo, unless it was asked for after `since`.
    pub fn forget_summary(&mut self, repo: &RepoUrl, since: UnixTime) {
        if self.summaries.get(repo).is_some_and(|known| known.asked.0 <= since.0) {
            self.summaries.remove(repo);
        }
    }

    /// Forgets everything: the account has changed.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.last.clear();
        self.summaries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::ref_tokens::GrantedToken;
    use crate::secret::SecretText;

    #[test]
    fn a_token_is_given_out_again_for_a_moment_and_never_when_it_is_about_to_expire() {
        let at = |url: &str, registry: Option<&str>| UsedAt {
            repo: RepoUrl::parse(url).expect("valid"),
            registry: registry.map(|url| RegistryUrl::parse(url).expect("valid")),
        };
        let repo = at("https://shop.example/repo/apps", None);
        let other = at("https://shop.example/repo/other", None);
        let registry = at("https://shop.example/repo/apps", Some("https://registry.example/"));
        let mut cache = TokenCache::default();
        let answer = RefTokens {
            granted: vec![GrantedToken {
                token: SecretText::new("t".to_owned()),
                expires_in: 3600,
                refs: vec!["app/a/x/s".to_owned()],
                limited: false,
            }],
            open: vec!["app/b/x/s".to_owned()],
            ..RefTokens::default()
        };
        cache.put(&repo, &answer, str::to_owned, UnixTime(1000));
        assert_eq!(cache.get(&repo, "app/a/x/s", UnixTime(1000)), Some("t"));
        assert_eq!(cache.get(&repo, "app/a/x/s", UnixTime(1000 + KEPT_SECONDS - 1)), Some("t"));
        assert_eq!(cache.get(&repo, "app/a/x/s", UnixTime(1000 + KEPT_SECONDS)), None);
        assert_eq!(
            cache.last(&repo, "app/a/x/s", UnixTime(1000 + KEPT_SECONDS)),
            Some("t"),
            "there is no other"
        );
        assert_eq!(
            cache.last(&repo, "app/a/x/s", UnixTime(1000 + 3600 - LAST_SECONDS)),
            None,
            "it ends in a moment"
        );
        assert_eq!(cache.get(&other, "app/a/x/s", UnixTime(1000)), None, "a token is for one repo");
        assert_eq!(cache.get(&registry, "app/a/x/s", UnixTime(1000)), None, "and is used at one registry");
        let mut of_older = RefTokens { granted: answer.granted.clone(), ..RefTokens::default() };
        of_older.granted[0].limited = true;
        of_older.granted[0].refs = vec!["app/c/x/s".to_owned()];
        cache.put(&repo, &of_older, str::to_owned, UnixTime(1000));
        assert_eq!(cache.get(&repo, "app/c/x/s", UnixTime(1000)), None);
        assert_eq!(cache.get(&repo, "app/b/x/s", UnixTime(1299)), Some(""));
        assert_eq!(cache.get(&repo, "app/b/x/s", UnixTime(1300)), None);
        cache.clear();
        assert_eq!(cache.get(&repo, "app/a/x/s", UnixTime(1000)), None);
    }
}
