//! Shows a web page to the person at the terminal.

use std::env;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Notify;
use url::Url;

use crate::session::flow::Interaction;

/// A person with a terminal, and perhaps a browser.
#[derive(Debug, Clone, Default)]
pub struct Terminal {
    failed: Arc<Notify>,
}

impl Terminal {
    /// Returns when it has turned out that the browser cannot show the page.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }
}

impl Interaction for Terminal {
    async fn webflow(&self, url: &Url) {
        let mut out = std::io::stderr().lock();
        let _closed = if open(url, Arc::clone(&self.failed)) {
            writeln!(
                out,
                "Waiting for your browser. If no page opens, go to this address yourself:\n\n  {url}\n"
            )
        } else {
            self.failed.notify_one();
            writeln!(out, "Open this address in a browser on this computer:\n\n  {url}\n")
        };
    }

    async fn webflow_done(&self) {}
}

/// Whether there is a desktop, or a program that shows pages.
#[must_use]
pub fn is_there() -> bool {
    ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Starts `$BROWSER`, else the desktop's own way to open a page. Gives whether a program was started; `failed` hears of
/// one that ends without success.
fn open(url: &Url, failed: Arc<Notify>) -> bool {
    let browser = env::var_os("BROWSER").filter(|browser| !browser.is_empty());
    let programs = browser.into_iter().chain(["xdg-open".into(), "gio".into()]);
    for program in programs {
        let mut command = Command::new(&program);
        if program == "gio" {
            command.arg("open");
        }
        command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(mut child) => {
                // A browser may stay for hours; its end is waited for so that it leaves no zombie.
                tokio::spawn(async move {
                    if !child.wait().await.is_ok_and(|status| status.success()) {
                        failed.notify_one();
                    }
                });
                return true;
            }
            Err(error) => tracing::debug!(program = %program.display(), %error, "cannot be started"),
        }
    }
    false
}
