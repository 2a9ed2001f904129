//! `run`: a command with a private bus and the machine's robot.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

use crate::authority::Authority;
use crate::client::{Ask, Client, PAID};
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, Process, until};

/// A machine with a robot, and no session bus.
struct Machine {
    authority: Authority,
    home: Home,
    no_bus: Bus,
}

impl Machine {
    async fn new() -> Self {
        let machine = Self { authority: Authority::start().await, home: Home::new(), no_bus: Bus::none() };
        {
            let mut world = machine.authority.world();
            world.machines.robots.insert("acc_1".to_owned(), "fpk_S3cret".to_owned());
            world.owned.insert(PAID.to_owned());
        }
        machine.write_robot(&machine.authority.url, 0o600);
        machine
    }

    fn write_robot(&self, store: &str, mode: u32) -> PathBuf {
        let path = self.home.path("robot.toml");
        let text = format!("store = \"{store}\"\nclient_id = \"acc_1\"\nclient_secret = \"fpk_S3cret\"\n");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        path
    }

    fn command(&self, script: &str) -> std::process::Command {
        let mut command = self.home.command(PROGRAM, &self.no_bus);
        command
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("CREDENTIALS_DIRECTORY", "/nonexistent")
            .args(["--verbose", "run", "--robot"])
            .arg(self.home.path("robot.toml"))
            .args(["--", "/bin/sh", "-c", script]);
        command
    }

    /// A command that goes on until it is told to end; gives the bus's address.
    async fn started(&self) -> (Process, String) {
        let script = format!(
            "trap 'exit 42' TERM; env > {0}.new; mv {0}.new {0}; while kill -0 $PPID 2>/dev/null; do sleep 0.02; done",
            self.home.path("environment").display()
        );
        let log = std::fs::File::create(self.home.path("log")).expect("a file");
        let mut command = self.command(&script);
        command.stderr(log);
        let process = Process(command.spawn().expect("started"));
        let path = self.home.path("environment");
        until("the command runs", || path.exists()).await;
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::remove_file(&path).expect("removed");
        let address = text.lines().find_map(|line| line.strip_prefix("DBUS_SESSION_BUS_ADDRESS="));
        assert!(!text.contains("S3cret") && !text.contains("CREDENTIALS_DIRECTORY"), "{text}");
        (process, address.expect("a bus").to_owned())
    }

    async fn output(&self, script: &str) -> std::process::Output {
        let mut command = self.command(script);
        tokio::task::spawn_blocking(move || command.output().expect("run")).await.expect("no panic")
    }

    /// What is left in the run-time folder.
    fn left(&self) -> usize {
        std::fs::read_dir(self.home.path("run")).expect("a folder").count()
    }
}

async fn client(address: &str) -> Client {
    let connection = zbus::connection::Builder::address(address).expect("an address").build().await;
    Client::new(connection.expect("a bus")).await
}

#[tokio::test]
async fn a_command_gets_a_bus_with_an_authenticator_that_speaks_as_the_robot() {
    let machine = Machine::new().await;
    let (mut process, address) = machine.started().await;
    let folder =
        machine.home.path("run").read_dir().expect("a folder").next().expect("the bus's").expect("an entry");
    assert_eq!(folder.metadata().expect("there").permissions().mode() & 0o7777, 0o700, "threat 16");
    let client = client(&address).await;
    let ask = Ask::paid(&machine.authority.url);
    assert_eq!(client.ask(&ask).await.code, 0);
    assert_eq!(machine.authority.world().machines.robot_access.len(), 1);
    assert!(machine.home.texts("state").is_empty(), "a robot stores nothing");

    // The access token is refused: there is no refresh token, so the robot asks again.
    machine.authority.world().access.clear();
    let other = "runtime/org.test.Paid.Locale/x86_64/stable";
    assert_eq!(client.ask(&ask.clone().refs(&[other], 2)).await.code, 0);
    assert_eq!(machine.authority.world().machines.robot_access.len(), 2);

    // No page is ever opened, whatever the client would like.
    let response = client.ask(&ask.clone().refs(&["app/org.test.Dear/x86_64/stable"], 2)).await;
    assert_eq!((response.code, response.error_code), (2, Some(24)));
    assert!(response.message.contains("machine's account, acc_1"), "{}", response.message);
    let stranger = Authority::start().await;
    let response = client.ask(&Ask::paid(&stranger.url)).await;
    assert!(response.message.contains("flatpass-authenticator login"), "{}", response.message);
    assert_eq!(stranger.calls("/oauth/token"), 0, "the robot is for its own store");

    // A secret that is over.
    machine.authority.world().machines.robots.clear();
    machine.authority.world().access.clear();
    let response = client.ask(&ask.refs(&["app/org.test.More/x86_64/stable"], 2)).await;
    assert!(response.message.contains("Get a new one from the store"), "{}", response.message);

    // SIGTERM goes to the command, its exit code comes back, and nothing is left.
    kill_process(Pid::from_child(&process.0), Signal::TERM).expect("sent");
    until("it ends", || process.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(process.0.wait().expect("ended").code(), Some(42));
    assert_eq!(machine.left(), 0);
    let log = std::fs::read_to_string(machine.home.path("log")).expect("a log");
    let world = machine.authority.world();
    for secret in world.machines.robot_access.iter().map(String::as_str).chain(["S3cret"]) {
        assert!(!log.contains(secret), "threat 14: {log}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_run_that_was_killed() {
    let machine = Machine::new().await;
    let (process, address) = machine.started().await;
    let client = client(&address).await;
    assert_eq!(machine.left(), 1);
    drop(process);
    until("the bus is gone", || machine.left() == 0).await;
    let gone = zbus::connection::Builder::address(address.as_str()).expect("an address").build().await;
    assert!(gone.is_err());
    drop(client);
}

#[tokio::test]
async fn exit_codes_are_the_commands_own() {
    let machine = Machine::new().await;
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 128 + 9)] {
        let output = machine.output(script).await;
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
    let mut command = machine.home.command(PROGRAM, &machine.no_bus);
    let output =
        command.args(["run", "--robot"]).arg(machine.home.path("robot.toml")).arg("/nonexistent").output();
    assert_eq!(output.expect("run").status.code(), Some(127));
    // Without dbus-daemon there is no bus, and no command.
    let script = format!("touch {}", machine.home.path("ran").display());
    let mut command = machine.command(&script);
    let output = command.env("PATH", "/nonexistent").output().expect("run");
    assert_eq!(output.status.code(), Some(125));
    assert!(said(&output).contains("Install it") && !machine.home.path("ran").exists(), "{}", said(&output));
    assert_eq!(machine.left(), 0);
}

/// Threat 14.
#[tokio::test]
async fn a_robot_that_others_could_read_is_not_used() {
    let machine = Machine::new().await;
    let script = format!("touch {}", machine.home.path("ran").display());
    for mode in [0o640, 0o604, 0o666] {
        machine.write_robot(&machine.authority.url, mode);
        let output = machine.output(&script).await;
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
        assert!(
            said(&output).contains("chmod 600") && !said(&output).contains("S3cret"),
            "{}",
            said(&output)
        );
    }
    machine.write_robot("http://shop.example/", 0o600);
    let output = machine.output(&script).await;
    assert!(said(&output).contains("https") && output.status.code() == Some(125), "{}", said(&output));
    assert!(!machine.home.path("ran").exists());
}

/// systemd is not there to start it, so what the unit says is done by hand: its command line, and a folder of credentials.
/// What its sandboxing settings do is not tested here beyond systemd's own check of the file.
#[tokio::test]
async fn the_units_for_updates_at_night_hold_what_they_promise() {
    let machine = Machine::new().await;
    let prefix = machine.home.path("usr");
    let mut install = machine.home.command(PROGRAM, &machine.no_bus);
    let installed = install.args(["install", "--prefix"]).arg(&prefix).output().expect("run");
    assert!(installed.status.success(), "{}", said(&installed));
    let units = prefix.join("lib/systemd/system");
    let (service, timer) = (units.join("flatpass-update.service"), units.join("flatpass-update.timer"));
    if let Ok(judged) = machine
        .home
        .command("systemd-analyze", &machine.no_bus)
        .arg("verify")
        .args([&service, &timer])
        .output()
    {
        assert!(judged.status.success() && said(&judged).is_empty(), "{}", said(&judged));
    }

    let text = std::fs::read_to_string(&service).expect("text");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).expect(key).to_owned();
    let (name, source) =
        value("LoadCredential=").split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("two");
    assert_eq!(source, value("ConditionPathExists="), "no robot, no update");
    let credentials = machine.home.path("credentials");
    std::fs::create_dir(&credentials).expect("a folder");
    let robot = machine.write_robot(&machine.authority.url, 0o600);
    std::fs::rename(&robot, credentials.join(name)).expect("moved");
    std::fs::set_permissions(credentials.join("flatpass-robot"), PermissionsExt::from_mode(0o440))
        .expect("as systemd");
    let line = value("ExecStart=");
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some(PROGRAM));
    let mut command = machine.home.command(PROGRAM, &machine.no_bus);
    command
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .env("FLATPAK_SYSTEM_DIR", machine.home.path("system"))
        .args(words);
    let output = tokio::task::spawn_blocking(move || command.output().expect("run")).await.expect("no panic");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("Nothing to do"), "it is flatpak's: {}", said(&output));
    assert_eq!(machine.left(), 0);
}
