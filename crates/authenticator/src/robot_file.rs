//! A robot's credentials in a file of mode 0600, or among systemd's credentials (systemd.exec(5), LoadCredential=).

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::Deserialize;
use thiserror::Error;

use crate::authority::address::{AuthorityUrl, AuthorityUrlError};
use crate::secret::SecretText;
use crate::session::identity::Robot;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The longest account id, in bytes.
const MAX_ID_BYTES: usize = 200;

/// Why a file gives no robot. `Display` is a sentence for a person, without anything from the file.
#[derive(Debug, Error)]
pub enum RobotFileError {
    /// It cannot be read.
    #[error("Cannot read the robot's credentials in {path}: {cause}.")]
    Unreadable {
        /// Its path.
        path: String,
        /// The system's words.
        cause: io::Error,
    },
    /// Others could read it, or have written it.
    #[error("{path} holds a secret, but {fault}. Run `{mend}`, then try again.")]
    Exposed {
        /// Its path.
        path: String,
        /// What is wrong.
        fault: &'static str,
        /// What mends it.
        mend: String,
    },
    /// It is not what it should be.
    #[error(
        "{path} is not a robot's credentials: {what}. It has three lines like these: store = \"https://shop.example/\", client_id = \"acc_\u{2026}\", client_secret = \"fpk_\u{2026}\"."
    )]
    Malformed {
        /// Its path.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// The store's address.
    #[error("The store in {path} is not right: {cause}.")]
    Store {
        /// The file's path.
        path: String,
        /// What is wrong.
        cause: AuthorityUrlError,
    },
}

/// Where the file comes from, which decides who may be its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A person put it there: it is the user's own or root's, and nobody else may read it.
    Disk,
    /// systemd put it there, below `$CREDENTIALS_DIRECTORY`: it is root's, and an access control list that shows as the
    /// group's permission lets the service's user read it.
    Systemd,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    store: String,
    client_id: String,
    client_secret: SecretText,
}

/// Reads a robot from a TOML or JSON file.
///
/// # Errors
/// [`RobotFileError`].
pub fn read(path: &Path, origin: Origin) -> Result<Robot, RobotFileError> {
    let name = || path.display().to_string();
    let unreadable = |cause| RobotFileError::Unreadable { path: name(), cause };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if let Some((fault, mend)) = exposure(&metadata, geteuid().as_raw(), origin) {
        return Err(RobotFileError::Exposed { path: name(), fault, mend: format!("{mend} {}", name()) });
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let text = SecretText::new(text);
    parse(path, text.expose())
}

/// What is wrong with the file's owner or mode, and the command that mends it.
fn exposure(file: &Metadata, me: u32, origin: Origin) -> Option<(&'static str, &'static str)> {
    let others = if origin == Origin::Systemd { 0o007 } else { 0o077 };
    if !file.is_file() {
        Some(("it is not a regular file", "rm"))
    } else if file.uid() != me && file.uid() != 0 {
        Some(("it belongs to another user", "chown $(id -u)"))
    } else if file.mode() & others != 0 {
        Some(("other users can read or change it", "chmod 600"))
    } else {
        None
    }
}

fn parse(path: &Path, text: &str) -> Result<Robot, RobotFileError> {
    let malformed = |what: String| RobotFileError::Malformed { path: path.display().to_string(), what };
    // The parsers' messages are not shown: they quote the file.
    let document: Document = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| malformed(format!("see line {}", error.line())))?
    } else {
        toml::from_str(text)
            .map_err(|error| malformed(see_line(text, error.span().map(|span| span.start))))?
    };
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !graphic(&document.client_id) || document.client_id.len() > MAX_ID_BYTES {
        return Err(malformed("client_id is not an account's id".to_owned()));
    }
    if !graphic(document.client_secret.expose()) {
        return Err(malformed("client_secret is not a secret".to_owned()));
    }
    let store = AuthorityUrl::parse(&document.store)
        .map_err(|cause| RobotFileError::Store { path: path.display().to_string(), cause })?;
    Ok(Robot { store, id: document.client_id, secret: document.client_secret })
}

fn see_line(text: &str, at: Option<usize>) -> String {
    let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
    format!("see line {}", before.matches('\n').count() + 1)
}

/// Where a robot's file is looked for if none is named: systemd's credential `flatpass-robot`, then
/// `/etc/flatpass/robot.toml`.
#[must_use]
pub fn default_places(credentials_directory: Option<PathBuf>) -> Vec<(PathBuf, Origin)> {
    let credential = credentials_directory.map(|folder| (folder.join("flatpass-robot"), Origin::Systemd));
    credential.into_iter().chain([(PathBuf::from("/etc/flatpass/robot.toml"), Origin::Disk)]).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOML: &str = "# this machine\nstore = \"https://shop.example\"\nclient_id = \"acc_1\"\nclient_secret = \"fpk_S3cret\"\n";

    #[test]
    fn toml_and_json_are_read_and_errors_do_not_quote_the_file() {
        let path = Path::new("robot.toml");
        let robot = parse(path, TOML).expect("valid");
        assert_eq!((robot.store.as_str(), robot.id.as_str()), ("https://shop.example/", "acc_1"));
        let json =
            r#" {"store": "https://shop.example/", "client_id": "acc_1", "client_secret": "fpk_S3cret"}"#;
        assert_eq!(parse(path, json).expect("valid"), robot);
        assert!(!format!("{robot:?}").contains("S3cret"));
        for bad in [
            String::new(),
            TOML.replace("\"fpk_S3cret\"", "fpk_S3cret"),
            TOML.replace("client_secret", "client_secert"),
            TOML.replace("fpk_S3cret", "fpk_S3cret\\nx"),
            TOML.replace("https://", "http://"),
            format!("{TOML}more = \"S3cret\"\n"),
            json.replace("}", ""),
        ] {
            let error = parse(path, &bad).expect_err(&bad);
            assert!(!format!("{error} {error:?}").contains("S3cret"), "{error:?}");
        }
    }

    /// Threats 14 and 16.
    #[test]
    fn a_file_that_others_can_read_or_that_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("robot.toml");
        write(&path, TOML).expect("written");
        for (mode, on_disk, from_systemd) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o644, false, false),
            (0o620, false, true),
        ] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("set");
            assert_eq!(read(&path, Origin::Disk).is_ok(), on_disk, "{mode:o}");
            assert_eq!(read(&path, Origin::Systemd).is_ok(), from_systemd, "{mode:o}");
        }
        let metadata = path.metadata().expect("there");
        let me = metadata.uid();
        assert!(me == 0 || exposure(&metadata, me + 1, Origin::Disk).is_some());
        assert!(read(folder.path(), Origin::Disk).is_err());
        let error = read(&folder.path().join("none"), Origin::Disk).expect_err("none");
        assert!(error.to_string().contains("Cannot read"), "{error}");
    }
}
