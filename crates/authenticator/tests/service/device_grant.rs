//! The device grant (RFC 8628): intervals, ends, hostile answers, and the command at a machine without a browser.

use std::sync::Mutex;
use std::time::Duration;

use flatpass_authenticator::authority::address::AuthorityUrl;
use flatpass_authenticator::session::refusal::Ended;
use flatpass_authenticator::session::{Session, Sessions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::machines::USER_CODE;
use crate::program::{Home, PROGRAM, said};
use crate::stage::{Bus, Process, TestClock, environment, until};

/// How long a second of the device grant takes in these tests.
const SECOND: Duration = Duration::from_millis(20);

struct Device {
    session: std::sync::Arc<Session>,
    state: TempDir,
    shown: Mutex<Vec<String>>,
}

impl Device {
    fn new(authority: &Authority) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let mut environment = environment(state.path(), &TestClock::new());
        environment.limits.device_second = SECOND;
        let url = AuthorityUrl::parse(&authority.url).expect("valid");
        let session = Sessions::new(environment).with(&url).expect("a session");
        Self { session, state, shown: Mutex::default() }
    }

    async fn sign_in(&self) -> Result<(), Ended> {
        let show = |begun: &flatpass_authenticator::authority::device::DeviceAuthorization| {
            self.shown
                .lock()
                .expect("no panic")
                .push(format!("{} {}", begun.verification_uri, begun.user_code));
        };
        self.session.sign_in_on_another_device(show).await
    }

    fn record(&self) -> Option<String> {
        let entries = std::fs::read_dir(self.state.path().join("flatpass")).ok()?;
        let mut paths = entries.map(|entry| entry.expect("an entry").path());
        let path = paths.find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
        Some(std::fs::read_to_string(path).expect("text"))
    }
}

#[tokio::test]
async fn the_interval_is_kept_and_grows_when_the_authority_says_so_or_fails() {
    let authority = Authority::start().await;
    authority.world().machines.polls = ["authorization_pending", "slow_down", "503"].into();
    let device = Device::new(&authority);
    let begun = std::time::Instant::now();
    device.sign_in().await.expect("signed in");
    assert_eq!(*device.shown.lock().expect("no panic"), [format!("{}device {USER_CODE}", authority.url)]);
    let world = authority.world();
    let polled = &world.machines.polled;
    let gaps: Vec<Duration> = [begun]
        .iter()
        .chain(polled)
        .zip(polled)
        .map(|(before, after)| after.duration_since(*before))
        .collect();
    for (gap, least) in gaps.iter().zip([1, 1, 6, 12]) {
        assert!(*gap >= SECOND * least, "{gaps:?}");
    }
    assert_eq!(gaps.len(), 4);
    let refresh = world.refresh.first().expect("signed in");
    assert!(device.record().expect("stored").contains(refresh));
}

#[tokio::test]
async fn no_and_too_late_are_told_apart_and_the_former_sign_in_stays() {
    let authority = Authority::start().await;
    let device = Device::new(&authority);
    device.sign_in().await.expect("signed in");
    let stored = device.record();
    authority.world().machines.polls = ["access_denied"].into();
    assert_eq!(device.sign_in().await, Err(Ended::Cancelled));
    for error in ["expired_token", "invalid_grant"] {
        authority.world().machines.polls = [error].into();
        let Err(Ended::Refused(refusal)) = device.sign_in().await else { panic!("{error}") };
        assert!(refusal.to_string().contains("not used in time"), "{refusal}");
    }
    // Nobody answers, and the authority never says that it is over.
    authority.world().machines.polls = std::iter::repeat_n("authorization_pending", 100).collect();
    authority.world().machines.device_answer = vec![("expires_in", json!(5))];
    let before = authority.world().machines.polled.len();
    let Err(Ended::Refused(refusal)) = device.sign_in().await else { panic!("it never ends") };
    assert!(refusal.to_string().contains("not used in time"), "{refusal}");
    assert!(authority.world().machines.polled.len() - before <= 5);
    assert_eq!(device.record(), stored);

    // Signing in again ends the former sign-in.
    let former = authority.world().refresh.first().cloned().expect("one");
    authority.world().machines.polls.clear();
    device.sign_in().await.expect("signed in");
    assert_eq!(authority.world().revoked, [former]);
}

/// Threats 5, 14 and 15. What else is refused stands beside the reader.
#[tokio::test]
async fn a_hostile_answer_is_shown_to_nobody() {
    let authority = Authority::start().await;
    let device = Device::new(&authority);
    for (name, value) in [
        ("verification_uri", json!("https://evil.example/device")),
        ("verification_uri", json!("http://shop.example/device")),
        ("user_code", json!("BC\u{1b}]0;x\u{7}")),
        ("user_code", json!("X".repeat(100_000))),
    ] {
        authority.world().machines.device_answer = vec![(name, value.clone())];
        let Err(Ended::Refused(refusal)) = device.sign_in().await else { panic!("{value}") };
        let text = refusal.to_string();
        assert!(text.len() < 400 && text.is_ascii() && !text.contains('\u{1b}'), "{text}");
    }
    assert!(device.shown.lock().expect("no panic").is_empty());
    assert!(authority.world().machines.polled.is_empty());
    // An authority that cannot do it says what to do about it.
    authority.world().machines.device_answer.clear();
    authority.world().metadata = vec![("device_authorization_endpoint", json!(null))];
    let device = Device::new(&authority);
    let Err(Ended::Refused(refusal)) = device.sign_in().await else { panic!("it cannot") };
    assert!(refusal.to_string().contains("Ask the store's operator to update"), "{refusal}");
}

#[tokio::test]
async fn a_person_without_a_browser_signs_in_on_another_device() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    authority.world().device = None;
    // By choice; because there is no desktop; because the browser fails.
    for (arguments, browser) in [(&["--no-browser"][..], Some("browser")), (&[], None), (&[], Some("fails"))]
    {
        let mut command = home.command(PROGRAM, &bus);
        command.arg("login").args(arguments).arg(&authority.url).env_remove("BROWSER");
        std::fs::write(home.path("fails"), "#!/bin/sh\nexit 3\n").expect("written");
        std::fs::set_permissions(home.path("fails"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("executable");
        if let Some(browser) = browser {
            command.env("BROWSER", home.path(browser));
        }
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("run")).await.expect("no panic");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains(&format!("  {}device\n", authority.url)), "{text}");
        assert!(text.contains(&format!("  {USER_CODE}\n")) && text.contains("You are signed in"), "{text}");
        assert!(!text.contains("devicecode") && !text.contains("\u{1b}"), "{text}");
        assert!(!home.path("shown").exists(), "no page was opened");
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_wait() {
    let (authority, bus, home) = (Authority::start().await, Bus::start(), Home::new());
    authority.world().machines.polls = std::iter::repeat_n("authorization_pending", 1000).collect();
    let log = std::fs::File::create(home.path("log")).expect("a file");
    let mut command = home.command(PROGRAM, &bus);
    command.args(["login", "--no-browser", &authority.url]).stderr(log);
    let mut running = Process(command.spawn().expect("started"));
    let shown = || std::fs::read_to_string(home.path("log")).expect("text");
    until("the code is shown", || shown().contains("Ctrl-C")).await;
    kill_process(Pid::from_child(&running.0), Signal::INT).expect("sent");
    until("it ends", || running.0.try_wait().expect("waited").is_some()).await;
    assert_eq!(running.0.wait().expect("ended").code(), Some(3));
    assert!(shown().contains("Cancelled; nothing was changed."), "{}", shown());
    assert!(authority.world().refresh.is_empty() && home.texts("state").iter().all(|text| text.is_empty()));
}
