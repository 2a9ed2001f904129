//! The object graph: all that a commit is made of.

use std::collections::HashSet;

use thiserror::Error;

use crate::{Checksum, Commit, DirTree, ObjectKind, ReadError};

/// Directories nest at most this deep, `OSTREE_MAX_RECURSION` in libostree.
pub const MAX_DEPTH: usize = 256;
/// The largest dirtree that is worth reading, `OSTREE_MAX_METADATA_SIZE` in libostree.
pub const MAX_DIRTREE_SIZE: u64 = 128 << 20;
/// A walk reads at most so many directories; the largest runtimes have some ten thousand.
pub const MAX_DIRECTORIES: usize = 1 << 24;

/// A walk over the objects of commits. Each directory is read once, however often commits and other directories contain it.
///
/// It follows only content that has the checksum it is known by, so what it finds really belongs to the commits.
#[derive(Debug, Default)]
pub struct Walk {
    seen: HashSet<Checksum>,
}

/// Why a part of a commit cannot be walked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Gap {
    /// The repository does not have the directory's object.
    #[error("the directory {0} is missing")]
    Missing(Checksum),
    /// The object is damaged.
    #[error("the directory {tree} is damaged: {cause}")]
    Damaged {
        /// The directory's object.
        tree: Checksum,
        /// What is wrong with it.
        cause: ReadError,
    },
    /// Directories nest deeper than [`MAX_DEPTH`].
    #[error("the directory {0} lies more than {MAX_DEPTH} deep")]
    TooDeep(Checksum),
    /// The walk came to more than [`MAX_DIRECTORIES`].
    #[error("there are more than {MAX_DIRECTORIES} directories")]
    TooMany,
}

/// What a reader of dirtree objects says when it has none of that name, or cannot give it.
#[derive(Debug)]
pub enum Unread<E> {
    /// The object is not there.
    Absent,
    /// It has more than [`MAX_DIRTREE_SIZE`] bytes.
    TooLarge,
    /// It may be there, but it cannot be read now.
    Failed(E),
}

impl Walk {
    /// A walk that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes through a commit and tells `found` each of its dirtree, dirmeta and filez objects; those of directories that an earlier
    /// commit of this walk contained are not told again, all others maybe more than once. `read` gives a dirtree's content. Gives
    /// the gaps: what lies behind one is not found, everything else is. Gaps below directories that an earlier commit contained
    /// were told then.
    ///
    /// # Errors
    /// The first [`Unread::Failed`] of `read`. What was told until then is not all.
    pub fn commit<E>(
        &mut self,
        commit: &Commit,
        mut read: impl FnMut(&Checksum) -> Result<Vec<u8>, Unread<E>>,
        mut found: impl FnMut(ObjectKind, Checksum),
    ) -> Result<Vec<Gap>, E> {
        let mut gaps = Vec::new();
        found(ObjectKind::DirMeta, commit.root_meta);
        let mut ahead = vec![(commit.root_tree, 1)];
        while let Some((tree, depth)) = ahead.pop() {
            if self.seen.contains(&tree) {
                continue;
            }
            if depth > MAX_DEPTH {
                gaps.push(Gap::TooDeep(tree));
                continue;
            }
            if self.seen.len() >= MAX_DIRECTORIES {
                gaps.push(Gap::TooMany);
                break;
            }
            let damaged = |cause| Gap::Damaged { tree, cause };
            let bytes = match read(&tree) {
                Ok(bytes) => bytes,
                Err(Unread::Failed(error)) => return Err(error),
                Err(Unread::Absent) => {
                    gaps.push(Gap::Missing(tree));
                    continue;
                }
                Err(Unread::TooLarge) => {
                    gaps.push(damaged(ReadError::TooLarge { limit: MAX_DIRTREE_SIZE }));
                    continue;
                }
            };
            let content = Checksum::of(&bytes);
            let directory = if content == tree {
                DirTree::parse(&bytes)
            } else {
                Err(ReadError::Mismatch { expected: tree, found: content })
            };
            match directory {
                Ok(directory) => {
                    // Only now: a gap is one for the next commit too.
                    self.seen.insert(tree);
                    found(ObjectKind::DirTree, tree);
                    for file in directory.files {
                        found(ObjectKind::FileZ, file.checksum);
                    }
                    for below in directory.directories {
                        found(ObjectKind::DirMeta, below.meta);
                        ahead.push((below.tree, depth + 1));
                    }
                }
                Err(cause) => gaps.push(damaged(cause)),
            }
        }
        Ok(gaps)
    }
}
