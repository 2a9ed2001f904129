//! The authority of Flatpass with its pages, and the gates that it mounts: what `flatpass serve` runs.
//!
//! A request for bytes goes from [`serve`] straight to the gate. Everything else goes through the router in `app`.

mod api;
mod app;
mod broker;
mod catalogues;
mod client_certificate;
pub mod config;
mod indexes;
mod layouts;
mod lookups;
mod mail;
mod membership;
mod metrics;
mod oauth;
pub mod openpgp;
mod pages;
mod pass_through;
mod payment;
mod problem;
mod pulls;
mod registries;
mod registry_token;
mod revocations;
mod serve;
mod snapshot;
mod tries;
mod visitor;
mod web;

pub use app::App;
pub use lookups::ask_issuer;
pub use registry_token::{MAX_REGISTRY_TOKEN_BYTES, RegistryTokenFor};
pub use revocations::Refused;
pub use serve::{ServeError, open_store, serve, serve_on};
