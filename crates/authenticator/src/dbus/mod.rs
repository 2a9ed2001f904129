//! The D-Bus service: `org.flatpass.Authenticator` on the session bus, and in place of Flatpak's own authenticator for
//! OCI remotes, if the person wants that, `org.flatpak.Authenticator.Oci`.
//!
//! The interfaces only translate; what they mean is in [`crate::session`].

pub mod authenticator;
pub mod handle;
mod request;
pub mod results;
pub mod service;

/// The name that remotes name as their authenticator.
pub const BUS_NAME: &str = "org.flatpass.Authenticator";
/// The name that Flatpak asks for OCI remotes that name no authenticator: its own one has it, unless we are installed for it.
pub const OCI_BUS_NAME: &str = "org.flatpak.Authenticator.Oci";
/// The object that Flatpak calls.
pub const AUTHENTICATOR_PATH: &str = "/org/freedesktop/Flatpak/Authenticator";
/// What the path of every request begins with.
pub const REQUEST_PATH_PREFIX: &str = "/org/freedesktop/Flatpak/Authenticator/request/";
/// The version of the interface: 1 has `RequestRefTokens`, 2 also `RequestSummaryToken`.
pub const INTERFACE_VERSION: u32 = 2;
