//! The D-Bus service: `org.flatpass.Authenticator` on the session bus.
//!
//! The interfaces only translate; what they mean is in [`crate::session`].

pub mod authenticator;
pub mod handle;
mod request;
pub mod results;
pub mod service;

/// The name that remotes name as their authenticator.
pub const BUS_NAME: &str = "org.flatpass.Authenticator";
/// The object that Flatpak calls.
pub const AUTHENTICATOR_PATH: &str = "/org/freedesktop/Flatpak/Authenticator";
/// What the path of every request begins with.
pub const REQUEST_PATH_PREFIX: &str = "/org/freedesktop/Flatpak/Authenticator/request/";
/// The version of the interface: 1 has `RequestRefTokens`, 2 also `RequestSummaryToken`.
pub const INTERFACE_VERSION: u32 = 2;
