//! The authenticator over a real bus, with a client that is as strict as libflatpak, and with authorities and remotes
//! that mean harm.

mod authority;
mod bridge;
mod bridge_hostile;
mod bridge_program;
mod client;
mod command;

mod hostile;
mod keyring;
mod program;
mod requests;
mod sign_ins;
mod stage;
mod summary;
mod upstream;
