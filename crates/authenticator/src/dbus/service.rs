//! The service as a whole: on the bus, until it is told to end or replaced.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use thiserror::Error;
use tokio::sync::watch;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, RequestNameFlags, RequestNameReply};

use super::authenticator::{Authenticator, Slots};
use super::{AUTHENTICATOR_PATH, BUS_NAME};
use crate::session::Sessions;

/// Time for the last signals and what must not be interrupted.
const STOP_TIME: Duration = Duration::from_secs(10);

/// Why the service could not start.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// No session bus.
    #[error(
        "Cannot use the session bus ({0}). Run this inside a desktop session, or under dbus-run-session."
    )]
    Bus(#[from] zbus::Error),
    /// Another authenticator has the name.
    #[error(
        "Another authenticator is running. Stop it, or take its place with `flatpass-authenticator serve --replace`."
    )]
    NameTaken,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    connection: Connection,
    sessions: Arc<Sessions>,
    slots: Slots,
    stop: watch::Sender<bool>,
    lost: zbus::fdo::NameLostStream,
    names: &'static [&'static str],
}

impl Service {
    /// Starts the service on a bus. `replace` takes the name from another authenticator that allows it.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start(bus: Builder<'_>, sessions: Sessions, replace: bool) -> Result<Self, ServiceError> {
        Self::start_as(&[BUS_NAME], bus, sessions, replace).await
    }

    /// The same under these names, all of them or none.
    ///
    /// # Errors
    /// [`ServiceError`].
    pub async fn start_as(
        names: &'static [&'static str],
        bus: Builder<'_>,
        sessions: Sessions,
        replace: bool,
    ) -> Result<Self, ServiceError> {
        let sessions = Arc::new(sessions);
        let (stop, stopping) = watch::channel(false);
        let (object, slots) = Authenticator::new(Arc::clone(&sessions), stopping);
        // The object is there before the name, so no call comes too early.
        let connection = bus.serve_at(AUTHENTICATOR_PATH, object)?.build().await?;
        let lost = DBusProxy::new(&connection).await?.receive_name_lost().await?;
        let mut flags = RequestNameFlags::AllowReplacement | RequestNameFlags::DoNotQueue;
        if replace {
            flags |= RequestNameFlags::ReplaceExisting;
        }
        for name in names {
            match connection.request_name_with_flags(*name, flags).await {
                Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => {}
                Ok(_) | Err(zbus::Error::NameTaken) => return Err(ServiceError::NameTaken),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { connection, sessions, slots, stop, lost, names })
    }

    /// What it answers from.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Returns when another authenticator has taken a name, or the bus is gone.
    pub async fn replaced(&mut self) {
        while let Some(signal) = self.lost.next().await {
            if signal.args().is_ok_and(|args| self.names.contains(&args.name().as_str())) {
                return;
            }
        }
    }

    /// Ends the service: gives up the name, answers every request under way, and finishes what must not be
    /// interrupted.
    pub async fn stop(self) {
        for name in self.names {
            if let Err(error) = self.connection.release_name(*name).await {
                tracing::debug!(%error, name, "the name was gone already");
            }
        }
        self.stop.send_replace(true);
        let _late = tokio::time::timeout(STOP_TIME, self.slots.all_free()).await;
        self.sessions.settle(STOP_TIME).await;
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the bus was gone already");
        }
    }
}
