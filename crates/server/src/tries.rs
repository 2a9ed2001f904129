//! How often somebody may try: sign-ins, sign-ups and password changes by address and by account, codes of
//! devices by address and by account, the token endpoint by address.
//!
//! Keys are counted in a fixed number of buckets that a hash with a random key chooses, so the memory is bounded whatever is sent,
//! and nobody can aim at the bucket of somebody else. Two keys in one bucket share their limit, which only makes it stricter.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use flatpass_store::AccountId;

use crate::config::Limits;

/// An account may be tried as often as so many networks together may try: one that guesses locks nobody out of their account.
const NETWORKS: u32 = 10;

/// Mails in a minute that one account, and one address, may let us send, and that one mailbox gets about sign-ups: a mailbox must not be flooded through us.
const MAILS: u32 = 3;

/// 65 536 buckets of some 50 bytes for each kind of limit.
type Bucket = u16;

/// The counters.
#[derive(Debug)]
pub(crate) struct Tries {
    hasher: RandomState,
    by_address: DefaultKeyedRateLimiter<Bucket>,
    by_account: DefaultKeyedRateLimiter<Bucket>,
    tokens_by_address: DefaultKeyedRateLimiter<Bucket>,
    anonymous: DefaultKeyedRateLimiter<Bucket>,
    codes: DefaultKeyedRateLimiter<Bucket>,
    mails: DefaultKeyedRateLimiter<Bucket>,
    registry: DefaultKeyedRateLimiter<Bucket>,
}

impl Tries {
    /// Nobody has tried yet.
    pub(crate) fn new(limits: &Limits) -> Self {
        let keyed = |count: u32| {
            RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)))
        };
        Self {
            hasher: RandomState::new(),
            by_address: keyed(limits.sign_in_per_minute),
            by_account: keyed(limits.sign_in_per_minute.saturating_mul(NETWORKS)),
            tokens_by_address: keyed(limits.token_per_minute),
            anonymous: keyed(limits.token_per_minute),
            codes: keyed(limits.sign_in_per_minute),
            mails: keyed(MAILS),
            registry: keyed(limits.token_per_minute.saturating_mul(NETWORKS)),
        }
    }

    /// Counts one try with a password, for that e-mail address as it was typed.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn sign_in(&self, address: IpAddr, email: &str) -> Result<(), u64> {
        check(&self.by_address, self.bucket(network(address)))?;
        // As the store reads it: an account has one limit, however its address is written.
        check(&self.by_account, self.bucket(email.trim().to_ascii_lowercase()))
    }

    /// Counts one look at the code that a device shows, by that account.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn device_code(&self, address: IpAddr, account: &AccountId) -> Result<(), u64> {
        check(&self.codes, self.bucket(network(address)))?;
        check(&self.codes, self.bucket(account.as_str()))
    }

    /// Counts one look at the secret in a link (an invitation, a proof of an address), by that account.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn link(&self, address: IpAddr, account: &AccountId) -> Result<(), u64> {
        check(&self.codes, self.bucket(("link", network(address))))?;
        check(&self.codes, self.bucket(("link", account.as_str())))
    }

    /// Counts one call that has reference tokens written down, from that address.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn reference(&self, address: IpAddr) -> Result<(), u64> {
        check(&self.registry, self.bucket(("reference", network(address))))
    }

    /// Counts one mail that we send because that account asked for it.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn mail(&self, address: IpAddr, account: &AccountId) -> Result<(), u64> {
        check(&self.mails, self.bucket(network(address)))?;
        check(&self.mails, self.bucket(account.as_str()))
    }

    /// Counts one mail to a mailbox that we send though nobody is signed in; that the address may try is counted before.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn mail_to(&self, mailbox: &str) -> Result<(), u64> {
        check(&self.mails, self.bucket(("mailbox", mailbox)))
    }

    /// Counts one call of the token endpoint.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn token(&self, address: IpAddr) -> Result<(), u64> {
        check(&self.tokens_by_address, self.bucket(network(address)))
    }

    /// Counts one call for tokens by somebody who does not say who they are. Flatpak makes one for each transaction.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn anonymous(&self, address: IpAddr) -> Result<(), u64> {
        check(&self.anonymous, self.bucket(network(address)))
    }

    /// Counts one call of the token realm of registries. Container tools ask once for each repository, so it may be more than other
    /// tokens.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn registry(&self, address: IpAddr) -> Result<(), u64> {
        check(&self.registry, self.bucket(network(address)))
    }

    /// Counts one call of it by that account, from wherever.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn registry_account(&self, account: &AccountId) -> Result<(), u64> {
        check(&self.registry, self.bucket(account.as_str()))
    }

    /// Counts credentials that were not good there.
    ///
    /// # Errors
    /// So many seconds must be waited.
    pub(crate) fn registry_refused(&self, address: IpAddr) -> Result<(), u64> {
        check(&self.tokens_by_address, self.bucket(("registry", network(address))))
    }

    fn bucket(&self, key: impl std::hash::Hash) -> Bucket {
        let [low, high, ..] = self.hasher.hash_one(key).to_le_bytes();
        Bucket::from_le_bytes([low, high])
    }
}

fn check(limiter: &DefaultKeyedRateLimiter<Bucket>, bucket: Bucket) -> Result<(), u64> {
    limiter
        .check_key(&bucket)
        .map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()).as_secs() + 1)
}

/// Who has one IPv6 address has the 2^64 beside it too, so the network counts.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(count: u32) -> Tries {
        Tries::new(&Limits { sign_in_per_minute: count, token_per_minute: count, ..Limits::default() })
    }

    #[test]
    fn an_account_has_one_limit_from_everywhere_and_however_it_is_written() {
        let tries = tries(2);
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        for written in ["ada@example.org", " ADA@Example.org "] {
            assert_eq!(tries.sign_in(from(1), written), Ok(()));
        }
        assert!(tries.sign_in(from(1), "Ada@example.ORG").is_err(), "one network may try twice");
        assert_eq!(tries.sign_in(from(2), "ada@example.org"), Ok(()), "and locks nobody else out");
        for network in 3..20 {
            assert_eq!(tries.sign_in(from(network), "ada@example.org"), Ok(()));
        }
        let wait = tries.sign_in(from(20), "Ada@example.ORG").unwrap_err();
        assert!((1..=31).contains(&wait), "{wait}");
        assert_eq!(tries.sign_in(from(20), "bob@example.org"), Ok(()), "others are not hindered");
    }

    #[test]
    fn an_address_has_one_limit_and_an_ipv6_network_counts_as_one() {
        let tries = tries(2);
        let [a, b, c, other]: [IpAddr; 4] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:1::", "2001:db8:0:1::1"]
                .map(|text| text.parse().unwrap());
        assert_eq!(tries.sign_in(a, "a@example.org"), Ok(()));
        assert_eq!(tries.sign_in(b, "b@example.org"), Ok(()));
        assert!(tries.sign_in(c, "c@example.org").is_err());
        assert_eq!(tries.sign_in(other, "d@example.org"), Ok(()));
        assert_eq!(tries.token(a), Ok(()), "the token endpoint is counted by itself");
    }

    #[test]
    fn codes_are_counted_by_account_and_by_address() {
        let tries = tries(2);
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let [ada, eve] = ["acc_ada", "acc_eve"].map(AccountId::from);
        for address in [1, 2] {
            assert_eq!(tries.device_code(from(address), &ada), Ok(()));
        }
        assert!(tries.device_code(from(3), &ada).is_err(), "one account, from wherever");
        assert_eq!(tries.device_code(from(1), &eve), Ok(()));
        assert!(
            tries.device_code(from(1), &AccountId::from("acc_bob")).is_err(),
            "one address, with any account"
        );
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_than_there_are_buckets() {
        let tries = tries(1);
        for number in 0..200_000_u32 {
            let _ = tries.token(IpAddr::from(number.to_be_bytes()));
        }
        assert!(tries.tokens_by_address.len() <= 1 << 16);
    }
}
