//! What OAuth clients hold: authorization codes, devices (one consent, one refresh token family), refresh and access tokens.

pub(crate) mod codes;
pub(crate) mod device_codes;
pub(crate) mod devices;
pub(crate) mod tokens;
pub(crate) mod update_tokens;
