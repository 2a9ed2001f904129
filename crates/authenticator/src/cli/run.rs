//! `run`: a command with a private bus and an authenticator on it, for machines without a session bus.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use zbus::connection::Builder;

use super::{Failure, surroundings};
use crate::bridge::alongside::Alongside;
use crate::bridge::session_source::SessionSource;
use crate::dbus::service::{Service, ServiceError};
use crate::dbus::{BUS_NAME, OCI_BUS_NAME};
use crate::private_bus::PrivateBus;
use crate::robot_file::{self, Origin};
use crate::session::Sessions;
use crate::session::identity::Robot;

/// Exit codes before there is a command, as env(1) and timeout(1) have them.
const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What the command must not inherit: another bus, and where this program's secrets are.
const REMOVED: [&str; 6] = [
    "DBUS_SESSION_BUS_PID",
    "DBUS_SESSION_BUS_WINDOWID",
    "DBUS_STARTER_ADDRESS",
    "DBUS_STARTER_BUS_TYPE",
    "CREDENTIALS_DIRECTORY",
    "FLATPASS_CREDENTIALS",
];

/// Run a command with a private bus and an authenticator on it.
///
/// This is for servers, kiosks, `sudo flatpak update` and updates at night, where no session bus is. The authenticator
/// speaks as this machine's robot: an account that the store's operator made for it. No page is ever opened.
///
/// The robot's credentials are in a file that only its owner can read (mode 0600), in TOML or JSON:
///
///   store = "https://shop.example/"
///   client_id = "acc_…"
///   client_secret = "fpk_…"
///
/// It is looked for at $CREDENTIALS_DIRECTORY/flatpass-robot (systemd's LoadCredential=) and /etc/flatpass/robot.toml.
/// If there is none, or for other stores than the robot's, your own sign-ins are used. Remotes that were added with
/// `remote-add --bridge` by the same user work as well: a bridge runs as long as the command, if none does already.
///
/// Signals are passed on to the command, and its exit code is this command's: 128 and the signal's number if a signal
/// ended it, 127 if it was not found, 126 if it cannot be run, 125 if this program failed before.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Run {
    /// The robot's credentials; may be given more than once, for different stores
    #[arg(long, value_name = "FILE")]
    robot: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure::Exit`] with the command's exit code, if that is not 0.
    pub async fn run(self) -> Result<(), Failure> {
        // From here on no signal ends this program: the command decides.
        let mut forwarding = Forwarding::new()?;
        let prepared = async {
            let mut environment = surroundings::environment()?;
            environment.robots = self.robots()?;
            environment.attended = false;
            let bus = PrivateBus::start().await?;
            let address = Builder::address(bus.address()).map_err(ServiceError::from)?;
            let (book, http) = (environment.bridge.clone(), environment.http.clone());
            let service = Service::start_as(
                // Nobody else is on this bus, so OCI remotes without an authenticator are ours to answer too.
                &[BUS_NAME, OCI_BUS_NAME],
                address,
                Sessions::new(environment),
                false,
            )
            .await?;
            // Remotes with the bridge work too, without another process.
            let bridge = Alongside::start(book, http, SessionSource(Arc::clone(service.sessions()))).await;
            let bridge = bridge.unwrap_or_else(|error| {
                eprintln!("Remotes with the bridge will not work: {error}");
                None
            });
            anyhow::Ok((bus, service, bridge))
        };
        let (bus, service, bridge) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                eprintln!("{error:#}");
                return Err(Failure::Exit(FAILED));
            }
        };
        let ended = match self.command(&bus).spawn() {
            Ok(mut child) => forwarding.until_end(&mut child).await.map(exit_code),
            Err(error) => Ok(self.cannot_start(&error)),
        };
        if let Some(bridge) = bridge {
            bridge.end().await;
        }
        service.stop().await;
        bus.end().await;
        match ended? {
            0 => Ok(()),
            code => Err(Failure::Exit(code)),
        }
    }

    fn robots(&self) -> anyhow::Result<Vec<Robot>> {
        let mut robots: Vec<Robot> = Vec::new();
        for path in &self.robot {
            let robot = robot_file::read(path, Origin::Disk)?;
            if robots.iter().any(|other| other.store == robot.store) {
                return Err(anyhow!("Two robots for {}. Name one.", robot.store));
            }
            robots.push(robot);
        }
        if robots.is_empty() {
            let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let place = robot_file::default_places(credentials).into_iter().find(|(path, _)| path.exists());
            match place {
                Some((path, origin)) => robots.push(robot_file::read(&path, origin)?),
                None => tracing::debug!("there is no robot; this user's own sign-ins are used"),
            }
        }
        Ok(robots)
    }

    fn command(&self, bus: &PrivateBus) -> Command {
        let (program, arguments) = self.command.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
        let mut command = Command::new(program.cloned().unwrap_or_default());
        command.args(arguments).env("DBUS_SESSION_BUS_ADDRESS", bus.address());
        for name in REMOVED {
            command.env_remove(name);
        }
        command
    }

    fn cannot_start(&self, error: &io::Error) -> u8 {
        let program = self.command.first().cloned().unwrap_or_default();
        eprintln!("Cannot run {}: {error}", program.display());
        if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// The signals that are passed on.
struct Forwarding {
    terminate: Signals,
    hang_up: Signals,
    interrupt: Signals,
    quit: Signals,
    user1: Signals,
    user2: Signals,
}

impl Forwarding {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the command's end and passes on the signals that come meanwhile.
    async fn until_end(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            let received = tokio::select! {
                status = child.wait() => return status,
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.hang_up.recv() => Signal::HUP,
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.quit.recv() => Signal::QUIT,
                _ = self.user1.recv() => Signal::USR1,
                _ = self.user2.recv() => Signal::USR2,
            };
            // What is typed at the terminal has reached the command already, which is in the same process group.
            if matches!(received, Signal::INT | Signal::QUIT) && is_in_foreground() {
                continue;
            }
            let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid
                && let Err(error) = kill_process(pid, received)
            {
                tracing::debug!(%error, "a signal was not passed on");
            }
        }
    }
}

/// Whether this process group is the one that the terminal's keys speak to.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}
