//! The file in which a table survives a restart. It is never looked up in place: what is answered from is a copy without a
//! name, made while the checksum was checked, so that damage of the file and whoever cuts it short do no harm.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::table::{Table, TableError, copy_checked};
use super::unnamed::{self, View};

/// The table in that file; `None` when there is no file.
pub(super) fn load(file: &Path, origin: &[u8]) -> Result<Option<Table>, TableError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let named = match File::options().read(true).custom_flags(flags).open(file) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let about = named.metadata()?;
    if !about.is_file() {
        return Err(TableError::OtherFormat);
    }
    let mut copy = unnamed::create(folder_of(file))?;
    copy_checked(named, about.len(), &mut copy)?;
    copy.seek(SeekFrom::Start(0))?;
    let table = Table::open(View::of(copy)?)?;
    if table.origin() != origin {
        return Err(TableError::OtherRepo);
    }
    let classes = table.classes().len();
    if table.commits().all(|(_, made)| (made.class as usize) < classes) {
        Ok(Some(table))
    } else {
        Err(TableError::Damaged)
    }
}

/// Puts the table into that file, whole or not at all, whenever the power fails.
pub(super) fn save(table: &Table, file: &Path) -> io::Result<()> {
    let new = new_name(file);
    match fs::remove_file(&new) {
        // Left by a crash.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    written.write_all(table.as_bytes())?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    File::open(folder_of(file))?.sync_all()
}

/// Makes the folder of the file, for this user alone.
pub(super) fn make_folder(file: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder_of(file))
}

pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn new_name(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    file.with_file_name(name)
}
