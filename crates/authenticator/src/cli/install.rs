//! `install`: the files that make the session bus start this program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{Failure, surroundings};

const BUS_SERVICE: &str = include_str!("../../data/org.flatpass.Authenticator.service");
const SYSTEMD_UNIT: &str = include_str!("../../data/flatpass-authenticator.service");
const BRIDGE_SOCKET: &str = include_str!("../../data/flatpass-bridge.socket");
const BRIDGE_UNIT: &str = include_str!("../../data/flatpass-bridge.service");
const UPDATE_UNIT: &str = include_str!("../../data/flatpass-update.service");
const UPDATE_TIMER: &str = include_str!("../../data/flatpass-update.timer");
const OCI_BUS_SERVICE: &str = include_str!("../../data/org.flatpak.Authenticator.Oci.service");
const OCI_SYSTEMD_UNIT: &str = include_str!("../../data/flatpass-oci-authenticator.service");
/// Where the session bus looks for the one that answers for OCI remotes.
const OCI_BUS_FILE: &str = "dbus-1/services/org.flatpak.Authenticator.Oci.service";
/// The program's place in the files as they are shipped.
const SHIPPED_PROGRAM: &str = "/usr/bin/flatpass-authenticator";

/// Make the session bus start this program when Flatpak asks for it.
///
/// A distribution's package does this already; it is for a copy that you built or downloaded. Four small files are
/// written: dbus-1/services/org.flatpass.Authenticator.service, and in systemd/user flatpass-authenticator.service,
/// flatpass-bridge.socket and flatpass-bridge.service. With --prefix, for root, also the timer for unattended updates
/// with this machine's robot: flatpass-update.timer and flatpass-update.service in lib/systemd/system.
///
/// With --for-oci this program also answers in place of Flatpak's own authenticator, for all OCI remotes that name none:
/// two more files, dbus-1/services/org.flatpak.Authenticator.Oci.service and systemd/user/flatpass-oci-authenticator.service. In your
/// own data folder they come before Flatpak's own, which stay as they are; --remove takes them away again. To have it for one
/// remote only: flatpak remote-modify --authenticator-name=org.flatpass.Authenticator REMOTE
#[derive(Debug, Args)]
pub struct Install {
    /// Write below DIR/share and DIR/lib, for all users (default: your own data folder, for you alone)
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// Also answer in place of Flatpak's own authenticator for OCI remotes
    #[arg(long)]
    for_oci: bool,
    /// Remove the files again
    #[arg(long)]
    remove: bool,
}

impl Install {
    /// Writes or removes the files.
    ///
    /// # Errors
    /// If the folders are not writable.
    pub fn run(self) -> Result<(), Failure> {
        let folder = match (&self.prefix, env::var_os("XDG_DATA_HOME").map(PathBuf::from)) {
            (Some(prefix), _) => prefix.join("share"),
            (None, Some(data)) if data.is_absolute() => data,
            (None, _) => surroundings::home()?.join(".local/share"),
        };
        let program = env::current_exe().context("Cannot find out where this program is")?;
        let Some(program) = program.to_str().filter(|path| is_plain(path)) else {
            return Err(anyhow::anyhow!(
                "This program's path has characters that a service file cannot have. Move it, then try again."
            )
            .into());
        };
        let system = self.prefix.as_ref().map(|prefix| prefix.join("lib/systemd/system"));
        let for_system = [("flatpass-update.service", UPDATE_UNIT), ("flatpass-update.timer", UPDATE_TIMER)];
        let for_system =
            system.iter().flat_map(|folder| for_system.map(|(name, text)| (folder.join(name), text)));
        let for_users = [
            ("dbus-1/services/org.flatpass.Authenticator.service", BUS_SERVICE),
            ("systemd/user/flatpass-authenticator.service", SYSTEMD_UNIT),
            ("systemd/user/flatpass-bridge.socket", BRIDGE_SOCKET),
            ("systemd/user/flatpass-bridge.service", BRIDGE_UNIT),
        ];
        let for_oci = [
            (OCI_BUS_FILE, OCI_BUS_SERVICE),
            ("systemd/user/flatpass-oci-authenticator.service", OCI_SYSTEMD_UNIT),
        ];
        let is_ours = is_ours(&folder.join(OCI_BUS_FILE))?;
        if self.for_oci && !self.remove && is_ours == Some(false) {
            return Err(anyhow::anyhow!(
                "{} belongs to Flatpak and stays as it is. Install for yourself, without --prefix, or below /usr/local.",
                folder.join(OCI_BUS_FILE).display()
            )
            .into());
        }
        let with_oci = if self.remove { is_ours == Some(true) } else { self.for_oci };
        let for_oci = for_oci.into_iter().filter(|_| with_oci);
        for (path, shipped) in for_users
            .into_iter()
            .chain(for_oci)
            .map(|(below, text)| (folder.join(below), text))
            .chain(for_system)
        {
            if self.remove {
                remove(&path)?;
            } else {
                write(&path, &shipped.replace(SHIPPED_PROGRAM, program))?;
            }
        }
        if !self.remove {
            println!("If you use systemd, run `systemctl --user daemon-reload` now, or log in again.");
        }
        Ok(())
    }
}

/// Whether a service file starts this program and not another; `None` if it is not there.
fn is_ours(path: &Path) -> anyhow::Result<Option<bool>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.contains("flatpass-authenticator"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("Cannot read {}", path.display())),
    }
}

/// Neither D-Bus nor systemd would take anything in this path for something else.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte))
}

fn write(path: &Path, body: &str) -> anyhow::Result<()> {
    let Some(folder) = path.parent() else { bail!("{} has no folder", path.display()) };
    fs::create_dir_all(folder).with_context(|| format!("Cannot make {}", folder.display()))?;
    fs::write(path, body).with_context(|| format!("Cannot write {}", path.display()))?;
    println!("Wrote {}", path.display());
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => println!("Removed {}", path.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("Cannot remove {}", path.display())),
    }
    Ok(())
}
