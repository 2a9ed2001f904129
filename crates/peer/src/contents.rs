//! What a peer has: for `flatpass peer status`.

use std::fs;
use std::path::Path;

use flatpass_ostree::repo::Repo;
use flatpass_ostree::{ObjectKind, RepoPath};

use crate::PeerError;

/// What is in a peer's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Objects and files of deltas.
    pub files: u64,
    /// What they take.
    pub bytes: u64,
    /// The commits, each with the first ref that it was made for.
    pub commits: Vec<(String, String)>,
}

/// Looks through the folder. With millions of files it takes a while.
///
/// # Errors
/// [`PeerError::File`]
pub fn contents(folder: &Path) -> Result<Contents, PeerError> {
    let root = folder.join("repo");
    let mut contents = Contents::default();
    let repo = Repo::open(&root).ok();
    let mut folders =
        vec![(root.join("objects"), "objects".to_owned()), (root.join("deltas"), "deltas".to_owned())];
    while let Some((path, relative)) = folders.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(PeerError::File { path, cause }),
        };
        for entry in entries.flatten() {
            let name = format!("{relative}/{}", entry.file_name().display());
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push((entry.path(), name));
                continue;
            }
            contents.files += 1;
            contents.bytes += metadata.len();
            if let Some(RepoPath::Object { checksum, kind: ObjectKind::Commit }) = RepoPath::parse(&name) {
                let commit = repo.as_ref().and_then(|repo| repo.commit(&checksum).ok().flatten());
                let refs = commit.map(|commit| commit.refs).unwrap_or_default();
                contents.commits.push((refs.into_iter().next().unwrap_or_default(), checksum.to_hex()));
            }
        }
    }
    contents.commits.sort();
    Ok(contents)
}
