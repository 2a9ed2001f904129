//! Identifiers: a prefix that says what it is, and 26 random base32 characters (130 bits).

use crate::Random;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LENGTH: usize = 26;

/// Gives `prefix` followed by 26 random characters.
pub(crate) fn random(prefix: &str, rng: Random<'_>) -> String {
    let mut bytes = [0u8; LENGTH];
    rng.fill_bytes(&mut bytes);
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    prefix.chars().chain(letters).collect()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(crate) fn random(rng: Random<'_>) -> Self {
                Self(random($prefix, rng))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )*};
}

ids! {
    /// An account: `acc_…`. It is the `sub` of the tokens that the account gets.
    AccountId = "acc_";
    /// A browser session: `ses_…`.
    SessionId = "ses_";
    /// A device, which is one OAuth grant and one refresh token family: `dev_…`.
    GrantId = "dev_";
    /// An access token for HTTP Basic: `tok_…`.
    AccessTokenId = "tok_";
    /// An entitlement: `ent_…`.
    EntitlementId = "ent_";
    /// A group of accounts: `grp_…`.
    GroupId = "grp_";
    /// The time that one account is in one group: `mem_…`.
    MembershipId = "mem_";
    /// An invitation into a group: `inv_…`.
    InvitationId = "inv_";
    /// A plan: `pln_…`.
    PlanId = "pln_";
    /// An item of a plan: `itm_…`.
    PlanItemId = "itm_";
    /// An order: `ord_…`.
    OrderId = "ord_";
}
