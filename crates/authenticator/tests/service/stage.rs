//! A private bus, a client that does what libflatpak does, and an authority that can be told to misbehave.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flatpass_authenticator::credentials::{Credentials, Preference};
use flatpass_authenticator::dbus::service::Service;
use flatpass_authenticator::session::Sessions;
use flatpass_authenticator::session::environment::{Clock, Environment};
use flatpass_token::UnixTime;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use zbus::connection::Builder;

use crate::program::Home;

/// The longest that anything in these tests takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that the test moves.
#[derive(Debug, Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000)))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A session bus of the test's own.
pub(crate) struct Bus {
    pub(crate) address: String,
    _folder: TempDir,
    _daemon: Option<Process>,
}

impl Bus {
    pub(crate) fn start() -> Self {
        Self::with(|command| command, "/nonexistent")
    }

    /// No bus at all.
    pub(crate) fn none() -> Self {
        Self { address: String::new(), _folder: tempfile::tempdir().expect("a folder"), _daemon: None }
    }

    /// A bus that starts the services which are installed in a person's home.
    pub(crate) fn start_in(home: &Home) -> Self {
        let services = home.path("data/dbus-1/services");
        std::fs::create_dir_all(&services).expect("a folder");
        let surroundings = Self::none();
        Self::with(
            |command| {
                let mut inside = home.command(command.get_program(), &surroundings);
                inside.args(command.get_args());
                inside
            },
            services.to_str().expect("text"),
        )
    }

    fn with(change: impl FnOnce(Command) -> Command, services: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("bus.conf");
        std::fs::write(
            &config,
            format!(
                r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir={0}</listen><servicedir>{1}</servicedir><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#,
                folder.path().display(),
                services
            ),
        )
        .expect("written");
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--print-address").arg(format!("--config-file={}", config.display()));
        let mut daemon = change(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().expect("piped")).read_line(&mut address).expect("an address");
        Self { address: address.trim().to_owned(), _folder: folder, _daemon: Some(Process(daemon)) }
    }

    pub(crate) async fn connect(&self) -> zbus::Connection {
        self.builder().build().await.expect("connected")
    }

    pub(crate) fn builder(&self) -> Builder<'_> {
        Builder::address(self.address.as_str()).expect("an address")
    }
}

/// Surroundings whose sign-ins are in `state`.
pub(crate) fn environment(state: &Path, clock: &TestClock) -> Environment {
    let credentials = Credentials::new(state.join("flatpass"), Preference::File);
    let mut environment =
        Environment::new(clock.clone(), StdRng::seed_from_u64(7), "Flatpak on test".to_owned(), credentials);
    environment.http.connect = Duration::from_secs(2);
    environment.http.total = Duration::from_secs(2);
    environment
}

/// A bus, the service on it, and its state folder.
pub(crate) struct Stage {
    pub(crate) bus: Bus,
    pub(crate) state: TempDir,
    pub(crate) clock: TestClock,
    pub(crate) service: Option<Service>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Environment)) -> Self {
        let bus = Bus::start();
        let state = tempfile::tempdir().expect("a folder");
        let clock = TestClock::new();
        let mut environment = environment(state.path(), &clock);
        change(&mut environment);
        let service =
            Service::start(bus.builder(), Sessions::new(environment), false).await.expect("started");
        Self { bus, state, clock, service: Some(service) }
    }

    pub(crate) async fn client(&self) -> crate::client::Client {
        crate::client::Client::new(self.bus.connect().await).await
    }

    /// The files of the state folder that hold sign-ins.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.state.path().join("flatpass")) else { return Vec::new() };
        entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect()
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}
