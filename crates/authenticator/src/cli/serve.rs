//! `serve`: the D-Bus service.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use zbus::connection::Builder;

use super::{Failure, surroundings};
use crate::dbus::service::{Service, ServiceError};
use crate::dbus::{BUS_NAME, OCI_BUS_NAME};

/// Answer Flatpak on the session bus (what happens without a command).
#[derive(Debug, Args)]
pub struct Serve {
    /// Take the place of an authenticator that is running
    #[arg(long)]
    pub(super) replace: bool,
    /// Answer in place of Flatpak's own authenticator for OCI remotes (org.flatpak.Authenticator.Oci)
    #[arg(long)]
    pub(super) for_oci: bool,
}

impl Serve {
    /// Serves until SIGTERM or SIGINT, or until another authenticator takes the name.
    ///
    /// # Errors
    /// If there is no session bus, or the name is taken.
    pub async fn run(self) -> Result<(), Failure> {
        let sessions = surroundings::sessions()?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let bus = Builder::session().map_err(ServiceError::from)?;
        // Not both names in one process: the bus starts one process for each, and neither must fail because of the other.
        let names = if self.for_oci { &[OCI_BUS_NAME] } else { &[BUS_NAME] };
        let mut service = Service::start_as(names, bus, sessions, self.replace).await?;
        tracing::info!("serving");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to end"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
            () = service.replaced() => tracing::info!("replaced"),
        }
        service.stop().await;
        Ok(())
    }
}
