//! The OAuth 2.1 endpoints: one file for each.

pub(crate) mod authorize;
pub(crate) mod device;
pub(crate) mod device_authorization;
pub(crate) mod introspect;
pub(crate) mod metadata;
mod pkce;
mod redirect;
pub(crate) mod registry_token;
pub(crate) mod revoke;
pub(crate) mod token;

pub(crate) use redirect::{LoopbackUri, with_query};

/// The one built-in public client: the authenticator.
pub(crate) const AUTHENTICATOR: &str = "flatpass-authenticator";
/// Whoever speaks the REST API of upstream's sample authenticator.
pub(crate) const SAMPLE: &str = "flatpak-sample-authenticator";
/// The one scope: ask for tokens of one's own apps.
pub(crate) const SCOPE: &str = "ref-tokens";
/// The grant of a device without a browser (RFC 8628, 3.4).
pub(crate) const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
