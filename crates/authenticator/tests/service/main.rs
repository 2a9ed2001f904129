//! The authenticator over a real bus, with a client that is as strict as libflatpak, and with authorities and remotes
//! that mean harm.

mod authority;
mod bridge;
mod bridge_hostile;
mod bridge_peers;
mod bridge_program;
mod client;
mod command;
mod device_grant;
mod hostile;
mod keyring;
mod machines;
mod oci_remotes;
mod private_remotes;
mod private_run;
mod program;
mod registries;
mod registry_rules;
mod requests;
mod sign_ins;
mod stage;
mod summary;
mod token_registry;
mod upstream;
