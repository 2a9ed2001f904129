//! A commit with all its directories, which name everything else that it contains.

use std::collections::HashSet;

use flatpass_ostree::graph::{MAX_DIRECTORIES, MAX_DIRTREE_SIZE};
use flatpass_ostree::{Checksum, Commit, DirTree, ObjectKind, RepoPath};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::check::{Check, MAX_COMMIT, Wrong};
use crate::fetch::{Failed, Fetcher};

/// So many directories are asked for at once.
const AT_ONCE: usize = 8;

/// The path of an object.
pub(crate) const fn object(checksum: Checksum, kind: ObjectKind) -> RepoPath {
    RepoPath::Object { checksum, kind }
}

/// Brings a commit in, its directories first: where the commit is, they are, whenever the power fails.
pub(crate) async fn bring(fetcher: &Fetcher, checksum: &Checksum, token: Option<&str>) -> Result<(), Failed> {
    let path = object(*checksum, ObjectKind::Commit);
    let bytes = match fetcher.folder.read(&path, MAX_COMMIT)? {
        Some(bytes) => bytes,
        None => {
            let limit = usize::try_from(MAX_COMMIT).unwrap_or(usize::MAX);
            fetcher.bytes(&path.relative_path(), token, limit).await?
        }
    };
    Check::all(&path, &fetcher.folder, &bytes)?;
    let commit = Commit::parse(&bytes).map_err(Wrong::from)?;
    directories(fetcher, &commit, token, |_| ()).await?;
    if fetcher.folder.has(&path) {
        return Ok(());
    }
    fetcher.folder.sync()?;
    let mut incoming = fetcher.folder.begin()?;
    incoming.write(&bytes)?;
    fetcher.folder.keep(incoming, &path)?;
    fetcher.sound.note(&path);
    Ok(())
}

/// Brings all directories of a commit in, and tells their files.
pub(crate) async fn directories(
    fetcher: &Fetcher,
    commit: &Commit,
    token: Option<&str>,
    mut file: impl FnMut(Checksum),
) -> Result<(), Failed> {
    let mut seen = HashSet::from([commit.root_tree]);
    let mut metas = HashSet::from([commit.root_meta]);
    fetcher.bring(&object(commit.root_meta, ObjectKind::DirMeta), token).await?;
    let mut ahead = vec![commit.root_tree];
    let mut coming = FuturesUnordered::new();
    loop {
        while coming.len() < AT_ONCE
            && let Some(tree) = ahead.pop()
        {
            coming.push(async move {
                let path = object(tree, ObjectKind::DirTree);
                fetcher.bring(&path, token).await?;
                let bytes = fetcher.folder.read(&path, MAX_DIRTREE_SIZE)?.ok_or(Failed::Absent)?;
                Check::all(&path, &fetcher.folder, &bytes)?;
                Ok::<_, Failed>(DirTree::parse(&bytes).map_err(Wrong::from)?)
            });
        }
        let Some(directory) = coming.next().await else { return Ok(()) };
        let directory = directory?;
        for entry in directory.files {
            file(entry.checksum);
        }
        for below in directory.directories {
            if metas.insert(below.meta) {
                fetcher.bring(&object(below.meta, ObjectKind::DirMeta), token).await?;
            }
            if seen.len() < MAX_DIRECTORIES && seen.insert(below.tree) {
                ahead.push(below.tree);
            }
        }
    }
}
