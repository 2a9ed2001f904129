//! Keeps the folder within its size: what nobody used for the longest time goes first, and can come again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use flatpass_ostree::{Checksum, ObjectKind, RepoPath};

use crate::folder::Folder;
use crate::last_use::LastUse;

/// After an eviction so many sixteenths of what may be kept are kept, so that not every new file begins another.
const KEPT: u64 = 15;
/// Directories and commits count as used so many quarters of an hour (30 days) later than they were: they are small, and without them nobody
/// knows what the rest belongs to.
const KNOWLEDGE: u16 = 30 * 24 * 4;
/// Ages above this count as this.
const OLDEST: usize = u16::MAX as usize;

/// A file that may go.
struct Candidate {
    path: RepoPath,
    age: u16,
    size: u64,
}

/// Counts what is there, and removes what is least used until it is within `max_size`. Gives how many bytes went.
pub(crate) fn evict(folder: &Folder, last_use: &LastUse, max_size: u64) -> io::Result<u64> {
    // First how many bytes there are of each age, in 512 KB however many files there are; then the files of the oldest ages.
    let mut by_age = vec![0_u64; OLDEST + 1];
    let mut all = 0;
    look_through(folder, last_use, |one| {
        all += one.size;
        if let Some(bytes) = by_age.get_mut(usize::from(one.age)) {
            *bytes += one.size;
        }
        true
    })?;
    folder.set_bytes(all);
    if all <= max_size {
        return Ok(0);
    }
    let mut excess = all - max_size / 16 * KEPT;
    let mut from = OLDEST;
    let mut older = 0;
    while from > 0 && older + by_age.get(from).copied().unwrap_or_default() < excess {
        older += by_age.get(from).copied().unwrap_or_default();
        from -= 1;
    }
    let mut gone = 0;
    // All that is older goes; of that very age only as much as must.
    let mut of_that_age = excess - older;
    look_through(folder, last_use, |one| {
        let age = usize::from(one.age);
        if age < from || (age == from && of_that_age == 0) {
            return excess > 0;
        }
        if folder.remove(&one.path).is_ok() {
            gone += one.size;
            excess = excess.saturating_sub(one.size);
            if age == from {
                of_that_age = of_that_age.saturating_sub(one.size);
            }
        }
        excess > 0
    })?;
    Ok(gone)
}

/// Tells each file of the objects and deltas, until told to stop.
fn look_through(
    folder: &Folder,
    last_use: &LastUse,
    mut found: impl FnMut(Candidate) -> bool,
) -> io::Result<()> {
    let mut folders = Vec::new();
    for outer in ["deltas", "objects"] {
        names(&folder.repo().join(outer), |name, _| folders.push(format!("{outer}/{name}")))?;
    }
    while let Some(at) = folders.pop() {
        let mut go_on = true;
        let mut below = Vec::new();
        names(&folder.repo().join(&at), |name, metadata| {
            let path = format!("{at}/{name}");
            if metadata.is_dir() {
                below.push(path);
                return;
            }
            let Some(path) = RepoPath::parse(&path) else { return };
            let Some((checksum, is_knowledge)) = described(&path) else { return };
            let age = last_use.age(&checksum, metadata.mtime());
            let age = if is_knowledge { age.saturating_sub(KNOWLEDGE) } else { age };
            go_on = go_on && found(Candidate { path, age, size: metadata.len() });
        })?;
        if !go_on {
            return Ok(());
        }
        folders.extend(below);
    }
    Ok(())
}

/// Whose use counts for the file, and whether it says what others belong to.
const fn described(path: &RepoPath) -> Option<(Checksum, bool)> {
    match path {
        RepoPath::Object { checksum, kind } => Some((*checksum, !matches!(kind, ObjectKind::FileZ))),
        RepoPath::Delta { to, .. } => Some((*to, false)),
        _ => None,
    }
}

fn names(folder: &Path, mut found: impl FnMut(&str, &fs::Metadata)) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // What goes meanwhile is gone.
        if let (Some(name), Ok(metadata)) = (entry.file_name().to_str(), entry.metadata()) {
            found(name, &metadata);
        }
    }
    Ok(())
}
