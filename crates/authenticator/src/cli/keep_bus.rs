//! `keep-bus`, which `run` starts: see [`crate::private_bus`].

use std::env;
use std::path::PathBuf;

use clap::Args;

use super::{Failure, surroundings};
use crate::private_bus::keeper;

/// Keep a private bus until standard input ends.
#[derive(Debug, Args)]
pub struct KeepBus {}

impl KeepBus {
    /// Keeps the bus.
    ///
    /// # Errors
    /// If there is no dbus-daemon or no place for the bus.
    pub async fn run(self) -> Result<(), Failure> {
        let runtime_folder = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Ok(keeper::keep(&mut surroundings::rng()?, runtime_folder).await?)
    }
}
