//! `remote-add --bridge`: a remote whose address is the bridge's, and a bridge that is there when Flatpak first uses
//! it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::process::Command;

use super::{Failure, surroundings};
use crate::authority::address::RepoUrl;
use crate::bridge::alongside::Alongside;
use crate::bridge::book::{Book, Bridged};
use crate::bridge::peer::{self, Listener};
use crate::bridge::session_source::SessionSource;
use crate::session::summary::{SummaryAsk, SummaryGrant};
use crate::session::{Session, Sessions};

/// The unit that holds the bridge's port.
const SOCKET_UNIT: &str = "flatpass-bridge.socket";

/// A way over the bridge to one repo.
#[derive(Debug)]
pub(super) struct Crossing {
    book: Book,
    remote: Bridged,
    address: String,
    was_known: bool,
    alongside: Option<Alongside>,
}

impl Crossing {
    /// Enters the repo into the bridge's book, and sees to it that a bridge listens: the socket unit's if systemd is
    /// there, else one in this process until [`Self::close`].
    ///
    /// # Errors A sentence with the next step, if the signed-in account may not see the index, or no bridge can
    /// listen.
    pub(super) async fn open(
        sessions: &Arc<Sessions>,
        session: &Arc<Session>,
        repo: &RepoUrl,
    ) -> Result<Self, Failure> {
        let ask = SummaryAsk { repo: repo.clone(), interactive: false, fresh: true };
        let grant = session.summary_token(&ask, &super::browser::Terminal::default()).await;
        let grant: SummaryGrant = grant.map_err(Failure::ended)?;
        if grant.token.is_none() {
            return Err(anyhow!(
                "The list of apps of {repo} is public, so there is nothing for the bridge to do. Add the remote without \
                 --bridge."
            )
            .into());
        }
        let book = sessions.environment().bridge.clone();
        let known = book.read()?.remotes;
        let mut rng = surroundings::rng()?;
        let (page, remote) = book.add(session.authority().url(), repo, &mut rng).await?;
        let port = page.port.ok_or_else(|| anyhow!("The bridge has no port."))?;
        let address = page.address(&remote).unwrap_or_default();
        let was_known = known.contains(&remote);
        let mut crossing = Self { book, remote, address, was_known, alongside: None };
        if let Err(error) = hold_port(port).await {
            tracing::debug!(%error, "systemd does not hold the bridge's port");
        }
        let source = SessionSource(Arc::clone(sessions));
        let http = sessions.environment().http.clone();
        match Alongside::start(crossing.book.clone(), http, source).await {
            Ok(alongside) => crossing.alongside = alongside,
            Err(error) => {
                crossing.close(false).await;
                return Err(error.into());
            }
        }
        Ok(crossing)
    }

    /// The remote's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the person should know about who holds the port from now on.
    pub(super) fn advice(&self) -> Option<&'static str> {
        self.alongside.as_ref().map(|_| {
            "The remote works while the bridge runs. With systemd, let it be started when it is needed:\n  \
             flatpass-authenticator install   (if no package has installed it)\n  \
             systemctl --user daemon-reload && systemctl --user enable --now flatpass-bridge.socket\n\
             Without, start it in your session: flatpass-authenticator bridge"
        })
    }

    /// Ends what only this command needed. A remote that was not `added` is not entered any more.
    pub(super) async fn close(self, added: bool) {
        if let Some(alongside) = self.alongside {
            alongside.end().await;
        }
        if !added
            && !self.was_known
            && let Err(error) = self.book.remove(&self.remote.key).await
        {
            eprintln!("The bridge still has the repository in its list: {error}");
        }
    }
}

/// Tells the socket unit which port the remotes name, and starts it now and at every login.
async fn hold_port(port: u16) -> anyhow::Result<()> {
    let config = match env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(config) => config,
        None => surroundings::home()?.join(".config"),
    };
    let folder = config.join("systemd/user").join(format!("{SOCKET_UNIT}.d"));
    fs::create_dir_all(&folder).with_context(|| format!("Cannot make {}", folder.display()))?;
    let file = folder.join("port.conf");
    let text = format!(
        "# Written by `flatpass-authenticator remote-add --bridge`: the port that your remotes name.\n[Socket]\n\
         ListenStream=\nListenStream=127.0.0.1:{port}\n"
    );
    fs::write(&file, text).with_context(|| format!("Cannot write {}", file.display()))?;
    if peer::listener(port)? == Listener::Ours {
        return Ok(());
    }
    for arguments in [&["daemon-reload"][..], &["enable", "--now", SOCKET_UNIT]] {
        let mut command = Command::new("systemctl");
        command.arg("--user").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().await.context("Cannot run systemctl")?;
        if !status.success() {
            return Err(anyhow!("systemctl --user {} failed", arguments.join(" ")));
        }
    }
    Ok(())
}

/// What a person should weigh before apps that nobody signed come from a port of this computer.
pub(super) const UNSIGNED: &str = "Warning: without signatures, whoever holds the bridge's port on this computer decides what \
     you install. Let flatpass-bridge.socket hold it.";
