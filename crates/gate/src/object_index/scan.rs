//! Which commits a repo has: its folders below `objects`, looked at again when they changed.

use std::collections::HashSet;

use flatpass_ostree::{Checksum, ObjectKind, RepoPath};

use crate::disk::{DiskError, FolderStamp, Root};

/// What the last look at the 256 folders found.
#[derive(Debug)]
pub(super) struct Scan {
    folders: Vec<Folder>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    /// `None` when it may have changed since without its time stamp showing it.
    stamp: Option<FolderStamp>,
    commits: Vec<Checksum>,
}

impl Default for Scan {
    fn default() -> Self {
        Self { folders: vec![Folder::default(); 256] }
    }
}

impl Scan {
    /// Looks again. Gives whether any folder changed, so that there may be other commits or objects than before.
    pub(super) fn look(&mut self, root: &Root) -> Result<bool, DiskError> {
        let mut changed = false;
        for (number, folder) in self.folders.iter_mut().enumerate() {
            let path = format!("objects/{number:02x}");
            // Before its entries are read: what comes later must show.
            let stamp = root.folder_stamp(&path)?;
            if stamp.is_some() && stamp == folder.stamp {
                continue;
            }
            let is_new = stamp.is_some() || !folder.commits.is_empty();
            folder.commits.clear();
            folder.stamp = None;
            if stamp.is_some() {
                root.list_folder(&path, |name| {
                    // Objects are told from anything else by the one parser.
                    if name.ends_with(b".commit")
                        && let Ok(name) = str::from_utf8(name)
                        && let Some(RepoPath::Object { checksum, kind: ObjectKind::Commit }) =
                            RepoPath::parse(&format!("{path}/{name}"))
                    {
                        folder.commits.push(checksum);
                    }
                })?;
            }
            folder.stamp = stamp.filter(FolderStamp::is_settled);
            changed |= is_new;
        }
        Ok(changed)
    }

    /// The commits that the last look found.
    pub(super) fn commits(&self) -> HashSet<Checksum> {
        self.folders.iter().flat_map(|folder| &folder.commits).copied().collect()
    }
}
