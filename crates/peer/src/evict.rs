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
    })?;
    folder.set_bytes(all);
    if all <= max_size {
        return Ok(0);
    }
    let excess = all - max_size / 16 * KEPT;
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
        let is_enough = age < from || (age == from && of_that_age == 0);
        if !is_enough && folder.remove(&one.path).is_ok() {
            gone += one.size;
            if age == from {
                of_that_age = of_that_age.saturating_sub(one.size);
            }
        }
    })?;
    Ok(gone)
}

/// Tells each file of the objects and deltas.
fn look_through(folder: &Folder, last_use: &LastUse, mut found: impl FnMut(Candidate)) -> io::Result<()> {
    let mut folders = Vec::new();
    for outer in ["deltas", "objects"] {
        names(&folder.repo().join(outer), |name, _| folders.push(format!("{outer}/{name}")))?;
    }
    while let Some(at) = folders.pop() {
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
            found(Candidate { path, age, size: metadata.len() });
        })?;
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

#[cfg(test)]
mod tests {
    use flatpass_gate::Clock;
    use flatpass_token::UnixTime;
    use proptest::prelude::*;

    use super::*;
    use crate::skeleton::object;

    const QUARTER_MILLIS: i64 = 15 * 60 * 1000;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 40, ..ProptestConfig::default() })]

        /// Whatever there is, and whenever it was used: afterwards it is within the size, and nothing that went was used later than
        /// something that stayed.
        #[test]
        fn what_stays_fits_and_was_used_no_earlier_than_what_went(
            files in prop::collection::vec((0_u64..50, 1_usize..400, any::<bool>()), 1..30),
            max_size in 0_u64..6000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            // Later than the files' own times, which are of the real clock.
            let real = fs::metadata(folder.path()).unwrap().mtime();
            let clock = Clock::manual(UnixTime(real + 1000 * QUARTER_MILLIS / 1000));
            let cache = Folder::open(folder.path()).unwrap();
            let last_use = LastUse::open(folder.path(), clock.clone());
            let mut used = Vec::new();
            for (number, (idle, size, is_tree)) in files.into_iter().enumerate() {
                // Apart in the first bits, so that none shares its time with another.
                let kind = if is_tree { ObjectKind::DirTree } else { ObjectKind::FileZ };
                let path = object(Checksum::from_bytes([number as u8; 32]), kind);
                let mut incoming = cache.begin().unwrap();
                incoming.write(&vec![0; size]).unwrap();
                cache.keep(incoming, &path).unwrap();
                used.push((idle, size as u64, is_tree, path));
            }
            used.sort_by_key(|(idle, ..)| std::cmp::Reverse(*idle));
            let mut before = 50;
            for (idle, _, _, path) in &used {
                clock.advance_millis((before - *idle as i64) * QUARTER_MILLIS);
                before = *idle as i64;
                last_use.note(path);
            }
            clock.advance_millis(before * QUARTER_MILLIS);
            let all: u64 = used.iter().map(|(_, size, ..)| size).sum();
            let gone = evict(&cache, &last_use, max_size).unwrap();
            let (stayed, went): (Vec<_>, Vec<_>) = used.iter().partition(|(.., path)| cache.has(path));
            let left: u64 = stayed.iter().map(|(_, size, ..)| size).sum();
            prop_assert_eq!(left + gone, all);
            prop_assert_eq!(cache.bytes(), left);
            if all <= max_size {
                prop_assert_eq!(gone, 0);
            } else {
                prop_assert!(left <= max_size / 16 * 15);
                // Directories count as used 30 days later, which is longer than anything here.
                let age = |one: &&(u64, u64, bool, RepoPath)| if one.2 { 0 } else { one.0 };
                let youngest_gone = went.iter().map(age).min().unwrap_or(u64::MAX);
                let oldest_left = stayed.iter().map(age).max().unwrap_or(0);
                prop_assert!(youngest_gone >= oldest_left, "{} went and {} stayed", youngest_gone, oldest_left);
                prop_assert_eq!(evict(&cache, &last_use, max_size).unwrap(), 0, "once is enough");
            }
        }
    }
}
