//! Files that are whole or not there, whenever the power fails: written aside, synced, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts `bytes` into the file at `path`, readable by this user alone if `secret`. Afterwards it has them even if the power fails now; before, it has
/// what it had.
pub(crate) fn write(path: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let aside = folder.join(format!(".new-{}", name.display()));
    // What a crash left behind may have another mode.
    let _none = fs::remove_file(&aside);
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&aside)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        let _none = fs::remove_file(&aside);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Whether there was no room for it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
