//! Shows a web page to the person at the terminal.

use std::env;
use std::io::Write as _;
use std::process::Stdio;

use tokio::process::Command;
use url::Url;

use crate::session::flow::Interaction;

/// A person with a terminal, and perhaps a browser.
#[derive(Debug, Clone, Copy)]
pub struct Terminal;

impl Interaction for Terminal {
    async fn webflow(&self, url: &Url) {
        let mut out = std::io::stderr().lock();
        let _closed = if open(url) {
            writeln!(
                out,
                "Waiting for your browser. If no page opens, go to this address yourself:\n\n  {url}\n"
            )
        } else {
            writeln!(out, "Open this address in a browser on this computer:\n\n  {url}\n")
        };
    }

    async fn webflow_done(&self) {}
}

/// Starts `$BROWSER`, else the desktop's own way to open a page. Gives whether a program was started.
fn open(url: &Url) -> bool {
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
                tokio::spawn(async move { child.wait().await });
                return true;
            }
            Err(error) => tracing::debug!(program = %program.display(), %error, "cannot be started"),
        }
    }
    false
}
