//! Checks that a blob's content is what its name says, once for each state of its file, before the first byte is served.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flatpass_oci::Digest;

use crate::disk::{Disk, DiskError, Version};
use crate::resource::Resource;

/// So many files are read at the same time to be checked: each keeps a core busy.
const MAX_RUNNING: usize = 2;
/// So many requests wait for a check, each on a thread; others are told to come again.
const MAX_WAITING: usize = 32;
/// And so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why it is not known whether a blob is sound.
#[derive(Debug)]
pub(super) enum Unchecked {
    /// It is being checked, or others are; ask again in a moment.
    Busy,
    Disk(DiskError),
}

/// The checks of one gate.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What was found of that state of the file.
    known: HashMap<Digest, (Version, bool)>,
    running: HashSet<Digest>,
    waiting: usize,
}

impl Inspector {
    /// Whether the file's content has that digest. The first question about a large file takes as long as reading it does.
    pub(super) fn is_sound(&self, file: &Resource, digest: &Digest, disk: Disk) -> Result<bool, Unchecked> {
        if let Some(sound) = file.sound.get() {
            return Ok(*sound);
        }
        let sound = self.find_out(file, digest, disk)?;
        Ok(*file.sound.get_or_init(|| sound))
    }

    /// Forgets all blobs but these.
    pub(super) fn keep(&self, is_kept: impl Fn(&Digest) -> bool) {
        self.lock().known.retain(|digest, _| is_kept(digest));
    }

    fn find_out(&self, file: &Resource, digest: &Digest, disk: Disk) -> Result<bool, Unchecked> {
        if file.memory().is_some() {
            return Ok(file.digest().map_err(Unchecked::Disk)? == *digest);
        }
        let mut state = self.lock();
        loop {
            match state.known.get(digest) {
                Some((version, sound)) if version == file.version() => return Ok(*sound),
                _ if disk == Disk::Cached => return Err(Unchecked::Disk(DiskError::WouldWait)),
                _ if state.running.len() < MAX_RUNNING && !state.running.contains(digest) => break,
                _ if state.waiting >= MAX_WAITING => return Err(Unchecked::Busy),
                _ => {}
            }
            state.waiting += 1;
            let (woken, timeout) =
                self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.waiting -= 1;
            if timeout.timed_out() {
                return Err(Unchecked::Busy);
            }
        }
        state.running.insert(*digest);
        drop(state);
        let found = file.digest();
        let mut state = self.lock();
        state.running.remove(digest);
        let sound = found.map(|found| found == *digest);
        if let Ok(sound) = sound {
            state.known.insert(*digest, (*file.version(), sound));
        }
        drop(state);
        self.changed.notify_all();
        sound.map_err(Unchecked::Disk)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
