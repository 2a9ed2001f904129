//! From a secret as somebody presented it to the hash that the database knows.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flatpass_token::SecretHash;

/// Prefixes of the secrets, so that one can be told from another when it is found somewhere (a log, a commit).
pub(crate) mod prefix {
    pub(crate) const SESSION: &str = "fps_";
    pub(crate) const CODE: &str = "fpc_";
    pub(crate) const API_TOKEN: &str = "fpa_";
    pub(crate) const REFRESH: &str = "fpr_";
    pub(crate) const ACCESS_TOKEN: &str = "fpt_";
    pub(crate) const DEVICE_CODE: &str = "fpd_";
    pub(crate) const ROBOT: &str = "fpk_";
    pub(crate) const INVITATION: &str = "fpi_";
    pub(crate) const VERIFICATION: &str = "fpv_";
    pub(crate) const WEBHOOK: &str = "fpw_";
    pub(crate) const REGISTRY_REFRESH: &str = "fpo_";
    pub(crate) const SIGN_UP: &str = "fpu_";
    pub(crate) const REFERENCE: &str = flatpass_token::REFERENCE_PREFIX;
}

/// Longer texts than this were not made by us.
const LONGEST: usize = 128;

/// The stored form of a presented secret; `None` when it cannot be one of ours. Lookups by hash leak nothing by their time: an
/// attacker cannot choose a hash that begins like a stored one.
pub(crate) fn hash_of(presented: &str, prefix: &str) -> Option<String> {
    (presented.len() <= LONGEST && presented.starts_with(prefix))
        .then(|| SecretHash::of(presented).to_string())
}

/// SHA-256 in base64url: the `S256` transform of RFC 7636.
pub(crate) fn s256(text: &str) -> String {
    BASE64.encode(digest(&SHA256, text.as_bytes()))
}

/// A value that only who has the secret can know, for the purpose `label`: nothing of it needs to be stored.
pub(crate) fn derived(secret: &str, label: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    BASE64.encode(hmac::sign(&key, label.as_bytes()))
}
