//! A message bus of one's own, for machines and moments without a session bus.
//!
//! The bus is `dbus-daemon` in a folder of mode 0700. A small process of ours, the *keeper*, stands between: it starts
//! the daemon, and ends it and removes the folder when its standard input ends, which happens however the process
//! that wanted the bus ends, SIGKILL included.

pub mod keeper;

use std::io;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The hidden command that is the keeper.
pub const KEEPER_COMMAND: &str = "keep-bus";
/// Time for the daemon to start, and for the keeper to end.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest address that is read, in bytes.
const MAX_ADDRESS_BYTES: u64 = 4096;

/// Why there is no bus.
#[derive(Debug, Error)]
pub enum PrivateBusError {
    /// The keeper cannot be started.
    #[error("Cannot start the keeper of a private bus: {0}.")]
    Keeper(#[from] io::Error),
    /// The keeper gave no address: it has said why.
    #[error("There is no private bus; the reason stands above.")]
    NoAddress,
}

/// A running bus. It ends when this is dropped.
#[derive(Debug)]
pub struct PrivateBus {
    address: String,
    keeper: Child,
}

impl PrivateBus {
    /// Starts a bus.
    ///
    /// # Errors
    /// [`PrivateBusError`].
    pub async fn start() -> Result<Self, PrivateBusError> {
        // The link leads to this program even when the file was replaced by an update meanwhile.
        let mut keeper = Command::new("/proc/self/exe")
            .arg(KEEPER_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // The terminal's Ctrl-C is not for the bus.
            .process_group(0)
            .spawn()?;
        let out = keeper.stdout.take().ok_or(PrivateBusError::NoAddress)?;
        let mut line = String::new();
        let mut reader = BufReader::new(out.take(MAX_ADDRESS_BYTES));
        let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
        let address = line.trim().to_owned();
        if !matches!(read, Ok(Ok(_))) || address.is_empty() {
            return Err(PrivateBusError::NoAddress);
        }
        Ok(Self { address, keeper })
    }

    /// The bus's address, as `DBUS_SESSION_BUS_ADDRESS` wants it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the bus, and waits until nothing is left of it.
    pub async fn end(mut self) {
        drop(self.keeper.stdin.take());
        match tokio::time::timeout(PATIENCE, self.keeper.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            other => tracing::warn!(?other, "the private bus may not have ended"),
        }
    }
}
