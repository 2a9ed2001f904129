//! Asks registries and their token servers (OCI distribution-spec 1.1, Docker registry token specification).
//!
//! [`TokenExchange`] makes a token of credentials and remembers nothing: it is for those who hold the credentials. [`RegistryClient`] lists
//! and reads one registry with such tokens. Neither follows a redirect with credentials to another origin, sends them where a network could
//! read them, or reads more than a bounded number of bytes; what has a digest is verified by it.

mod access;
mod address;
mod asked;
mod error;
mod http;
mod knock;
mod pull_token;
mod registry;
mod secure;
mod token;

pub use access::{Access, SignToken};
pub use address::RegistryAddress;
pub use asked::{Asked, Realm};
pub use error::RegistryError;
pub use http::HttpLimits;
pub use knock::{Door, knock};
pub use pull_token::{PullTokenRequest, PullTokens};
pub use registry::{Fetched, MAX_REPOSITORIES, MAX_TAGS, RegistryClient};
pub use token::{Login, RegistryToken, TokenExchange, TokenRequest};
