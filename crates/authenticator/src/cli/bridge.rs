//! `bridge`: the loopback service for private repositories, and the list of what it serves.

use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use listenfd::ListenFd;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, surroundings};
use crate::authority::address::RepoUrl;
use crate::bridge::book::{Led, Page};
use crate::bridge::dbus_source::DbusSource;
use crate::bridge::lies::{Lie, Lies};
use crate::bridge::peer::{self, Listener};
use crate::bridge::{Bridge, Limits, serve};

/// How long a bridge that systemd started waits for the next client.
const IDLE_SECONDS: u64 = 300;

/// Let Flatpak use private repositories with no secret in its configuration.
///
/// The bridge listens on this computer only, for you only, and fetches the list of apps with your sign-in. Add a
/// remote that goes through it with `remote-add --bridge`. With systemd it is started when it is needed, once
/// `systemctl --user enable --now flatpass-bridge.socket` was run; else start it with this command and leave it
/// running.
#[derive(Debug, Args)]
pub struct BridgeCommand {
    #[command(subcommand)]
    action: Option<Action>,
    /// End when nobody has been there for so long (default: 300 if systemd started it, else never)
    #[arg(long, value_name = "SECONDS")]
    idle_exit: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Action {
    Status(Status),
    Remove(Remove),
}

/// Show what the bridge serves, and whether it can be reached.
#[derive(Debug, Args)]
struct Status {
    /// Print JSON: {"port","listener":"ours"|"foreign"|"nobody"|null,"remotes":[{"address","repo","store","peers"}],"liars":[{"peer","file"}]}
    #[arg(long)]
    json: bool,
}

/// Stop serving a repository. The remote stays in Flatpak, and does not work any more.
#[derive(Debug, Args)]
struct Remove {
    /// The repository's own address, or that of the bridge
    #[arg(value_name = "URL")]
    address: String,
}

impl BridgeCommand {
    /// Serves until SIGTERM or SIGINT, or does what the subcommand says.
    ///
    /// # Errors
    /// A sentence with the next step.
    pub async fn run(self) -> Result<(), Failure> {
        match self.action {
            None => Box::pin(run(self.idle_exit)).await,
            Some(Action::Status(command)) => command.run(),
            Some(Action::Remove(command)) => command.run().await,
        }
    }
}

async fn run(idle_exit: Option<u64>) -> Result<(), Failure> {
    let sessions = surroundings::sessions()?;
    let environment = sessions.environment();
    let page = environment.bridge.read()?;
    let mut limits = Limits::default();
    let given = ListenFd::from_env()
        .take_tcp_listener(0)
        .context("The socket that was handed over cannot be used")?;
    let listener = match given {
        Some(listener) => {
            limits.idle = Some(Duration::from_secs(idle_exit.unwrap_or(IDLE_SECONDS)));
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        }
        None => {
            limits.idle = idle_exit.map(Duration::from_secs);
            bind(&page).await?
        }
    };
    let port = listener.local_addr()?.port();
    if page.port != Some(port) {
        tracing::warn!(port, remotes = ?page.port, "your remotes name another port; see `bridge status`");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tracing::info!(port, remotes = page.remotes.len(), "the bridge serves");
    let bridge = Bridge { book: environment.bridge.clone(), http: environment.http.clone(), limits };
    serve(listener, bridge, DbusSource::session(), stop).await?;
    tracing::info!("the bridge ends");
    Ok(())
}

/// Listens on the port that the remotes name.
///
/// # Errors
/// A sentence that says whose the port is, if it is taken.
pub(super) async fn bind(page: &Page) -> anyhow::Result<TcpListener> {
    let Some(port) = page.port else {
        return Err(anyhow!(
            "The bridge has no remote yet. Add one with `flatpass-authenticator remote-add --bridge STORE/REPO`."
        ));
    };
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(match peer::listener(port) {
            Ok(Listener::Ours) => anyhow!(
                "Port {port} is held by a program of yours already: a bridge that runs, or flatpass-bridge.socket. See \
                 `flatpass-authenticator bridge status`."
            ),
            _ => anyhow!(
                "Port {port}, which your remotes name, is held by another user's program. Until it ends, your remotes \
                 get no tokens. Find it with `ss -ltnp sport = :{port}` as root; or remove the remotes, run \
                 `flatpass-authenticator bridge remove` for each, and add them again: that chooses another port."
            ),
        }),
        Err(error) => Err(error).with_context(|| format!("Cannot listen on port {port} of this computer")),
    }
}

impl Status {
    fn run(self) -> Result<(), Failure> {
        let environment = surroundings::environment()?;
        let page = environment.bridge.read()?;
        let listener = page.port.map(peer::listener).transpose().context("Cannot read /proc/net/tcp")?;
        let liars = Lies::beside(&environment.bridge).read();
        if self.json {
            println!("{}", as_json(&page, listener, &liars));
        } else {
            print!("{}", as_text(&page, listener));
            for lie in &liars {
                println!("The peer {} sent wrong bytes for {}; they were not used.", lie.peer, lie.file);
            }
        }
        Ok(())
    }
}

fn as_json(page: &Page, listener: Option<Listener>, liars: &[Lie]) -> serde_json::Value {
    let remotes: Vec<_> = page
        .remotes
        .iter()
        .map(|remote| {
            json!({
                "address": page.address(remote),
                "repo": remote.repo.as_str(),
                "store": remote.store.as_str(),
                "peers": remote.peers.is_some(),
            })
        })
        .collect();
    let listener = listener.map(|listener| match listener {
        Listener::Ours => "ours",
        Listener::Foreign => "foreign",
        Listener::Nobody => "nobody",
    });
    json!({ "port": page.port, "listener": listener, "remotes": remotes, "liars": liars })
}

fn as_text(page: &Page, listener: Option<Listener>) -> String {
    let (Some(port), Some(listener)) = (page.port, listener) else {
        return "The bridge has no remote yet. Add one with `flatpass-authenticator remote-add --bridge STORE/REPO`.\n"
            .to_owned();
    };
    let state = match listener {
        Listener::Ours => "the bridge (or its socket) listens",
        Listener::Nobody => {
            "nobody listens: run `systemctl --user enable --now flatpass-bridge.socket`, or `flatpass-authenticator bridge`"
        }
        Listener::Foreign => "ANOTHER USER'S PROGRAM listens: your remotes get no tokens until it ends",
    };
    let head = format!("Port {port} of 127.0.0.1: {state}\n");
    page.remotes.iter().fold(head, |mut text, remote| {
        let address = page.address(remote).unwrap_or_default();
        let peers = if remote.peers.is_some() { ", with peers" } else { "" };
        let _infallible = writeln!(text, "{}\n  reached as {address}{peers}", remote.repo);
        text
    })
}

impl Remove {
    async fn run(self) -> Result<(), Failure> {
        let sessions = surroundings::sessions()?;
        let book = &sessions.environment().bridge;
        let page = book.read()?;
        let given =
            RepoUrl::parse(&self.address).map_err(|error| anyhow!("The address is not right: {error}."))?;
        let remote = match page.follow(&given) {
            Led::To(remote) => Some(remote),
            _ => page.remotes.iter().find(|remote| remote.repo == given).cloned(),
        };
        let Some(remote) = remote else {
            return Err(anyhow!(
                "The bridge does not serve {given}. See `flatpass-authenticator bridge status`."
            )
            .into());
        };
        book.remove(&remote.key).await?;
        println!("The bridge does not serve {} any more.", remote.repo);
        Ok(())
    }
}
