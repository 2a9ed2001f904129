//! The file in which what was seen of a registry survives a restart.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flatpass_store::Registry;
use serde::{Deserialize, Serialize};

use super::seen::Seen;

/// Another version of the format is not read.
const VERSION: u32 = 2;
/// A larger file is not ours.
const MAX_FILE_BYTES: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Kept<S> {
    version: u32,
    /// Of which registry it is.
    url: String,
    seen: S,
}

/// Where the file of the repo with that name is.
pub(super) fn file(state: &Path, repo: &str) -> PathBuf {
    state.join(format!("{repo}.registry"))
}

/// What was seen of that registry; `None` when the file is not there, or is of another one.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(file: &Path, registry: &Registry) -> io::Result<Option<Seen>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    opened.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    let kept: Kept<Seen> = serde_json::from_slice(&bytes)?;
    let mut seen = kept.seen;
    // The part of the registry that is a repo may have become smaller since.
    seen.repositories.retain(|name, _| registry.covers(name.as_str()));
    Ok((kept.version == VERSION && kept.url == registry.url).then_some(seen))
}

/// Puts it into that file, whole or not at all, whenever the power fails.
///
/// # Errors
/// What the system says.
pub(super) fn write(file: &Path, registry: &Registry, seen: &Seen) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let bytes = serde_json::to_vec(&Kept { version: VERSION, url: registry.url.clone(), seen })?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) >= MAX_FILE_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    let new = file.with_extension("registry.new");
    let _left_by_a_crash = fs::remove_file(&new);
    let mut written = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    written.write_all(&bytes)?;
    written.sync_all()?;
    fs::rename(&new, file)?;
    File::open(folder)?.sync_all()
}
