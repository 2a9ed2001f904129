//! Signing in at a terminal: in the browser, or on another device.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::browser::{self, Terminal};
use super::device_code;
use crate::session::refusal::Ended;
use crate::session::{Session, Sessions};

/// Time for what must not be interrupted.
const SETTLE: Duration = Duration::from_secs(35);

/// How to sign in.
#[derive(Debug, Clone, Copy, Args)]
pub struct HowToSignIn {
    /// Sign in on another device: shows a code for it (what happens by itself where there is no browser)
    #[arg(long)]
    no_browser: bool,
}

impl HowToSignIn {
    /// Signs in, whoever is signed in now. Ctrl-C gives up.
    ///
    /// # Errors
    /// [`Ended`]; the former sign-in, if there is one, then stays.
    pub async fn sign_in(self, sessions: &Sessions, session: &Arc<Session>) -> Result<(), Ended> {
        let ended = tokio::select! {
            ended = self.walk(sessions, session) => ended,
            _ = tokio::signal::ctrl_c() => Err(Ended::Cancelled),
        };
        sessions.settle(SETTLE).await;
        ended
    }

    async fn walk(self, sessions: &Sessions, session: &Arc<Session>) -> Result<(), Ended> {
        let metadata = session.authority().metadata(sessions.environment().now()).await?;
        let has_grant = metadata.device_authorization_endpoint.is_some();
        if !self.no_browser && (browser::is_there() || !has_grant) {
            let terminal = Terminal::default();
            tokio::select! {
                ended = session.sign_in(&terminal) => return ended,
                () = terminal.failed(), if has_grant => {
                    let _closed = writeln!(std::io::stderr(), "The browser could not show the page.\n");
                }
            }
        }
        let host = session.authority().url().host();
        Box::pin(session.sign_in_on_another_device(|begun| device_code::show(&host, begun))).await
    }
}
