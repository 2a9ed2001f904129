//! A real mail server, which shows what it took.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A mail server, gone with the test.
pub(crate) struct Post {
    server: Child,
    lines: UnboundedReceiver<String>,
    port: u16,
}

impl Post {
    pub(crate) fn open() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/authority/mail_server.py");
        // Debian's, which sees Debian's aiosmtpd.
        let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
        let mut server = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut read = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = read
            .next()
            .expect("python3-aiosmtpd is missing: run ./test, or install it")
            .unwrap()
            .parse()
            .unwrap();
        let (show, lines) = unbounded_channel();
        std::thread::spawn(move || read.map_while(Result::ok).try_for_each(|line| show.send(line)));
        Self { server, lines, port }
    }

    /// The next mail, which may be on its way.
    pub(crate) async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.recv());
        serde_json::from_str(&line.await.expect("no mail within ten seconds").unwrap()).unwrap()
    }

    /// Ends the server and says whether no mail came that was not looked at.
    pub(crate) async fn is_empty(&mut self) -> bool {
        self.server.kill().unwrap();
        self.lines.recv().await.is_none()
    }

    pub(crate) fn config(&self) -> String {
        format!("[mail]\nsmtp = \"smtp://127.0.0.1:{}\"\nfrom = \"The shop <shop@example.org>\"\n", self.port)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
