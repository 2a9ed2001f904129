//! When objects were last used, coarsely and in little memory: what is evicted first is decided by it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use flatpass_gate::Clock;
use flatpass_ostree::{Checksum, RepoPath};

use crate::durable;

/// Bits of a checksum that tell objects apart here.
const BITS: u32 = 21;
/// Times count in quarters of an hour; they come round after two years.
const QUARTER: i64 = 15 * 60;

/// One number of two bytes for all objects whose checksums begin alike: 4 MB, however many objects there are. Where two share one, both
/// count as used when one was.
#[derive(Debug)]
pub(crate) struct LastUse {
    quarters: Box<[AtomicU16]>,
    file: PathBuf,
    clock: Clock,
}

impl LastUse {
    /// Takes up what an earlier run wrote down. Without it nothing was ever used.
    pub(crate) fn open(folder: &Path, clock: Clock) -> Self {
        let file = folder.join("last-use");
        let bytes = std::fs::read(&file).unwrap_or_default();
        let mut pairs = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let whole = bytes.len() == 2 << BITS;
        let quarters =
            (0..1 << BITS).map(|_| AtomicU16::new(pairs.next().filter(|_| whole).unwrap_or(0))).collect();
        Self { quarters, file, clock }
    }

    /// That file is used now.
    pub(crate) fn note(&self, path: &RepoPath) {
        if let RepoPath::Object { checksum, .. } | RepoPath::Delta { to: checksum, .. } = path
            && let Some(place) = self.quarters.get(place(checksum))
        {
            place.store(self.quarter_now(), Ordering::Relaxed);
        }
    }

    /// For how many quarters of an hour nobody used the object, which was written `written` seconds after 1970.
    pub(crate) fn age(&self, checksum: &Checksum, written: i64) -> u16 {
        let now = self.quarter_now();
        let used = self.quarters.get(place(checksum)).map_or(0, |place| place.load(Ordering::Relaxed));
        let written = now.wrapping_sub(quarter(written));
        if used == 0 { written } else { now.wrapping_sub(used).min(written) }
    }

    /// Writes it down for the next run.
    pub(crate) fn save(&self) -> io::Result<()> {
        let bytes: Vec<u8> =
            self.quarters.iter().flat_map(|place| place.load(Ordering::Relaxed).to_le_bytes()).collect();
        durable::write(&self.file, &bytes, false)
    }

    fn quarter_now(&self) -> u16 {
        quarter(self.clock.now().unix().0)
    }
}

/// 0 is for "never".
fn quarter(seconds: i64) -> u16 {
    let quarter = seconds.div_euclid(QUARTER).rem_euclid(1 << 16);
    u16::try_from(quarter).unwrap_or(1).max(1)
}

fn place(checksum: &Checksum) -> usize {
    let [a, b, c, ..] = *checksum.as_bytes();
    (u32::from_be_bytes([0, a, b, c]) >> (24 - BITS)) as usize
}
