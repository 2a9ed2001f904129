//! Credential helpers: programs `docker-credential-NAME` that keep credentials for others (Docker's protocol: the
//! server on standard input, JSON on standard output).

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::credential::Credential;
use crate::secret::SecretText;

/// Time for a helper, which may ask its person for a password.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// A helper, and what it will be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Helper {
    program: String,
    server: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: SecretText,
}

impl Helper {
    /// The helper of this name for a server. `None` if the name could lead out of the search path, or be read as an
    /// option.
    #[must_use]
    pub fn new(name: &str, server: &str) -> Option<Self> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_part);
        is_name.then(|| Self { program: format!("docker-credential-{name}"), server: server.to_owned() })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The server that it is asked for.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Asks it. `None` if it has nothing for the server; what goes wrong is in the log, without a word of the
    /// helper's, which could be a secret.
    pub async fn get(&self) -> Option<Credential> {
        match tokio::time::timeout(PATIENCE, self.ask()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(program = self.program, %error, "a credential helper cannot be used");
                None
            }
            Err(_) => {
                tracing::warn!(program = self.program, "a credential helper did not answer in time");
                None
            }
        }
    }

    async fn ask(&self) -> std::io::Result<Option<Credential>> {
        let mut child = Command::new(&self.program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input may answer all the same.
            let _closed = stdin.write_all(self.server.as_bytes()).await;
        }
        let mut body = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut body).await?;
        }
        if !child.wait().await?.success() {
            tracing::debug!(
                program = self.program,
                server = self.server,
                "the credential helper has nothing"
            );
            return Ok(None);
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, "its answer is not understood")
        })?;
        Ok(Credential::password(&answer.user, answer.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helpers_name_stays_in_the_search_path() {
        assert!(Helper::new("secretservice", "registry.example").is_some());
        for bad in ["", "../evil", "a/b", "a b", "a;b", "\u{e9}", &"a".repeat(65)] {
            assert_eq!(Helper::new(bad, "registry.example"), None, "{bad}");
        }
    }
}
