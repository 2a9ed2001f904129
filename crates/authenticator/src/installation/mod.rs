//! A Flatpak installation's configuration, as far as the secrets of remotes are concerned.
//!
//! Flatpak writes `repo/config` as a whole, by renaming a new file over it and without a lock (measured with 1.14), and
//! gives it the mode 0644 each time. So does [`LockedInstallation::edit`], but it changes nothing except one value, and
//! takes up what another program wrote in between.

pub mod keyfile;
pub mod readers;

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FlockOperation, RenameFlags, Timespec, Timestamps, UTIME_NOW, accessat, flock,
    renameat_with, utimensat,
};
use thiserror::Error;

use self::keyfile::{EditError, Remote};
use crate::secret::SecretText;

/// The name of the new configuration file until it takes the old one's place.
const NEW_CONFIG: &str = "config.flatpass-new";
/// How often another program's change is taken up before giving up.
const MAX_TRIES: usize = 10;

/// Whose installation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One user's.
    User,
    /// The computer's.
    System,
}

impl Scope {
    /// Flatpak's option for it.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::User => "--user",
            Self::System => "--system",
        }
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// Why an installation's configuration could not be read or changed. `Display` is a sentence for a person.
#[derive(Debug, Error)]
pub enum InstallationError {
    /// A file.
    #[error("Cannot use {path} ({cause}).")]
    File {
        /// Its path.
        path: String,
        /// The system's words.
        cause: io::Error,
    },
    /// The user may not change it.
    #[error("You may not change {path}. Run this as root, for example with sudo.")]
    NotWritable {
        /// Its path.
        path: String,
    },
    /// There is no such folder.
    #[error("There is no Flatpak installation at {path}.")]
    NoInstallation {
        /// Its path.
        path: String,
    },
    /// The remote cannot be changed there.
    #[error("{path} was not changed: {cause}.")]
    Edit {
        /// Its path.
        path: String,
        /// Why.
        cause: EditError,
    },
    /// Other programs change it all the time.
    #[error("{path} is being changed by other programs. Try again in a moment.")]
    Busy {
        /// Its path.
        path: String,
    },
}

/// A Flatpak installation.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Whose it is.
    pub scope: Scope,
    base: PathBuf,
}

impl Installation {
    /// The installation of this scope, where Flatpak looks for it: `FLATPAK_USER_DIR` or `flatpak` in the user's data
    /// folder, `FLATPAK_SYSTEM_DIR` or `/var/lib/flatpak`. `None` without a home folder.
    #[must_use]
    pub fn of(scope: Scope) -> Option<Self> {
        let path =
            |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty());
        let base = match scope {
            Scope::System => path("FLATPAK_SYSTEM_DIR").unwrap_or_else(|| PathBuf::from("/var/lib/flatpak")),
            Scope::User => path("FLATPAK_USER_DIR")
                .or_else(|| path("XDG_DATA_HOME").map(|data| data.join("flatpak")))
                .or_else(|| path("HOME").map(|home| home.join(".local/share/flatpak")))?,
        };
        Some(Self { scope, base })
    }

    /// The file that remotes stand in.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.base.join("repo/config")
    }

    /// What the configuration says about a remote; `None` if there is no such remote or no installation yet.
    ///
    /// # Errors
    /// [`InstallationError::File`].
    pub fn remote(&self, name: &str) -> Result<Option<Remote>, InstallationError> {
        match fs::read(self.config()) {
            Ok(text) => Ok(keyfile::remote(&text, name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(&self.config(), error)),
        }
    }

    /// The names of all remotes; none if there is no installation yet.
    ///
    /// # Errors
    /// [`InstallationError::File`].
    pub fn remotes(&self) -> Result<Vec<String>, InstallationError> {
        match fs::read(self.config()) {
            Ok(text) => Ok(keyfile::names(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(file_error(&self.config(), error)),
        }
    }

    /// The folder of the lists of servers that have a remote's objects.
    #[must_use]
    pub fn mirror_lists(&self) -> PathBuf {
        self.base.join("flatpass-peers")
    }

    /// Opens the configuration for changing it: one `flatpass-authenticator` at a time.
    ///
    /// # Errors
    /// [`InstallationError::NotWritable`], [`InstallationError::NoInstallation`], [`InstallationError::File`].
    pub fn lock(&self) -> Result<LockedInstallation<'_>, InstallationError> {
        let folder_path = self.base.join("repo");
        let folder = File::open(&folder_path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                InstallationError::NoInstallation { path: self.base.display().to_string() }
            }
            _ => file_error(&folder_path, error),
        })?;
        accessat(CWD, &folder_path, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|_| InstallationError::NotWritable { path: self.config().display().to_string() })?;
        flock(&folder, FlockOperation::LockExclusive)
            .map_err(|error| file_error(&folder_path, error.into()))?;
        Ok(LockedInstallation { installation: self, folder })
    }
}

/// An installation that no other `flatpass-authenticator` changes now. (Flatpak itself takes no lock.)
#[derive(Debug)]
pub struct LockedInstallation<'a> {
    installation: &'a Installation,
    folder: File,
}

impl LockedInstallation<'_> {
    /// Gives a remote another URL in place of `from`, and changes nothing else. When this returns, the change is on
    /// the disk; a crash leaves either the old file or the new one.
    ///
    /// # Errors
    /// [`InstallationError`]; the configuration is then as it was.
    pub fn change_url(&self, name: &str, from: &str, to: &SecretText) -> Result<(), InstallationError> {
        self.change(name, from, to, || {})
    }

    /// `before_swap` is called where another program could come in between.
    fn change(
        &self,
        name: &str,
        from: &str,
        to: &SecretText,
        before_swap: impl FnMut(),
    ) -> Result<(), InstallationError> {
        let edit = |text: &[u8]| keyfile::with_url(text, name, from, to.expose());
        self.edit_text(edit, |text| has_url(text, name, to), before_swap)
    }

    /// Makes any one change. `is_done` says of a text in which `edit` finds something else than it expects that the change is in it.
    /// When this returns, the change is on the disk; a crash leaves either the old file or the new one.
    ///
    /// # Errors
    /// [`InstallationError`]; the configuration is then as it was.
    pub fn edit(
        &self,
        edit: impl Fn(&[u8]) -> Result<Vec<u8>, EditError>,
        is_done: impl Fn(&[u8]) -> bool,
    ) -> Result<(), InstallationError> {
        self.edit_text(edit, is_done, || {})
    }

    fn edit_text(
        &self,
        edit: impl Fn(&[u8]) -> Result<Vec<u8>, EditError>,
        is_done: impl Fn(&[u8]) -> bool,
        mut before_swap: impl FnMut(),
    ) -> Result<(), InstallationError> {
        let config = self.installation.config();
        let new = config.with_file_name(NEW_CONFIG);
        let failed = |error: io::Error| file_error(&config, error);
        let read = || fs::read(&config).map_err(failed);
        let mut expected = read()?;
        let mut base = expected.clone();
        for _ in 0..MAX_TRIES {
            let (text, edit_error) = match edit(&base) {
                Ok(text) => (text, None),
                // It wrote what it wrote on top of our change.
                Err(EditError::Changed | EditError::Taken(_) | EditError::NotThere) if is_done(&base) => {
                    (base, None)
                }
                // What another program wrote goes back to where it was.
                Err(cause) if base != expected => (base, Some(cause)),
                Err(cause) => {
                    let _none = fs::remove_file(&new);
                    return Err(InstallationError::Edit { path: config.display().to_string(), cause });
                }
            };
            write_new(&new, &text, &config).map_err(failed)?;
            let present = read()?;
            if present != expected {
                (base, expected) = (present.clone(), present);
                continue;
            }
            before_swap();
            let replaced = self.swap(&new, &config).map_err(failed)?;
            if replaced.as_ref().is_none_or(|replaced| *replaced == expected) {
                if let Some(cause) = edit_error {
                    return Err(InstallationError::Edit { path: config.display().to_string(), cause });
                }
                self.notify();
                return Ok(());
            }
            // Another program wrote the file in the moment before. Its content came out in exchange; edit that.
            expected = text;
            base = replaced.unwrap_or_default();
        }
        write_new(&new, &base, &config).and_then(|()| self.swap(&new, &config)).map_err(failed)?;
        Err(InstallationError::Busy { path: config.display().to_string() })
    }

    /// Puts `new` in the place of `config`. Gives what `config` was at that moment, where the file system can tell.
    fn swap(&self, new: &Path, config: &Path) -> io::Result<Option<Vec<u8>>> {
        let replaced = match renameat_with(CWD, new, CWD, config, RenameFlags::EXCHANGE) {
            Ok(()) => {
                let replaced = fs::read(new)?;
                fs::remove_file(new)?;
                Some(replaced)
            }
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
                fs::rename(new, config)?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        self.folder.sync_all()?;
        Ok(replaced)
    }

    /// Tells programs that show remotes, as Flatpak does.
    fn notify(&self) {
        let changed = self.installation.base.join(".changed");
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        if let Err(error) = utimensat(CWD, &changed, &times, AtFlags::empty()) {
            tracing::debug!(%error, "nobody was told of the change");
        }
    }
}

/// Writes the file that will take `config`'s place, with the same mode and owner.
fn write_new(new: &Path, text: &[u8], config: &Path) -> io::Result<()> {
    // What a crash left there is replaced; the lock makes this process the only writer.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let old = fs::symlink_metadata(config)?;
    if !old.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(text)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    file.sync_all()
}

fn has_url(text: &[u8], name: &str, url: &SecretText) -> bool {
    keyfile::remote(text, name).is_some_and(|remote| remote.url == url.expose())
}

fn file_error(path: &Path, cause: io::Error) -> InstallationError {
    InstallationError::File { path: path.display().to_string(), cause }
}

#[cfg(test)]
mod tests;
