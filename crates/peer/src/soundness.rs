//! Which files were compared with their names since the program began: a disk may have changed them since they were written.

use std::sync::atomic::{AtomicU64, Ordering};

use flatpass_ostree::RepoPath;

/// Bits of a checksum that tell files apart here.
const BITS: u32 = 24;

/// One bit for all files whose checksums begin alike: 2 MB. Where two share one, the second is served unseen; clients look
/// themselves.
#[derive(Debug)]
pub(crate) struct Soundness(Box<[AtomicU64]>);

impl Default for Soundness {
    fn default() -> Self {
        Self((0..(1 << BITS) / 64).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Soundness {
    /// Whether it was compared. What does not say itself what it should be always was.
    pub(crate) fn has(&self, path: &RepoPath) -> bool {
        place(path).is_none_or(|(word, bit)| {
            self.0.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        })
    }

    /// It was compared.
    pub(crate) fn note(&self, path: &RepoPath) {
        if let Some((word, bit)) = place(path)
            && let Some(word) = self.0.get(word)
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }
}

fn place(path: &RepoPath) -> Option<(usize, u64)> {
    let (checksum, salt) = match path {
        RepoPath::Object { checksum, kind } => (checksum, kind.extension().len()),
        RepoPath::Delta { to, file, .. } => match file {
            flatpass_ostree::DeltaFile::Superblock => (to, 101),
            flatpass_ostree::DeltaFile::Part(number) => (to, 1000 + *number as usize),
        },
        _ => return None,
    };
    let [a, b, c, ..] = *checksum.as_bytes();
    // The last byte of all bits is what another kind or part changes.
    let place = u32::from_be_bytes([0, a, b, c]) as usize ^ salt.wrapping_mul(2_654_435) & ((1 << BITS) - 1);
    Some((place / 64, 1 << (place % 64)))
}
