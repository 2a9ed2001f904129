//! What a gate asks for files that its folder lacks: the repo that it has a copy of parts of. Only peers have one.

use std::fmt::Debug;

use flatpass_ostree::{Checksum, RepoPath};
use flatpass_token::VerifiedToken;

/// Brings files into a gate's folder. Only whole and verified files may ever appear there under their names.
pub trait Origin: Debug + Send + Sync {
    /// Brings the file at `path` into the folder. It is called on a thread that may wait.
    ///
    /// For commits and superblocks nobody knows yet who may have them: they say so themselves. `visitor` is who asks then, if
    /// they showed a good token, and it is for the origin to decide whether that is reason enough to bring the file. For anything
    /// else the gate has decided that it may go out.
    ///
    /// # Errors
    /// Why it is not there.
    fn bring(&self, path: &RepoPath, visitor: Option<&VerifiedToken>) -> Result<(), NotBrought>;

    /// That file was asked for and may go out. It is called for each request, so it must not wait for anything.
    fn used(&self, path: &RepoPath);

    /// Whether that file, which is there, was found to be what its name says since this program began. It is called for each request,
    /// so it must not wait for anything.
    fn is_sound(&self, path: &RepoPath) -> bool;

    /// Compares the file, which is there, with its name, and removes it if it is something else. Gives whether it is sound. It is
    /// called on a thread that may wait.
    fn inspect(&self, path: &RepoPath) -> bool;

    /// Whether a commit that is there goes only to who has a token for it, whatever it says of itself.
    fn withholds(&self, commit: &Checksum) -> bool;
}

/// Why an [`Origin`] did not bring a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBrought {
    /// The origin has no such file.
    Absent,
    /// Nobody can tell whether it is free, so a token for it is needed first.
    TokenNeeded,
    /// The origin cannot be reached, or does not answer in time.
    Unreachable,
    /// The account of this peer may not carry it on.
    NotExported,
    /// What the origin gave is not what the name says.
    Damaged,
    /// There is no room on the disk.
    Full,
    /// It is on its way, or too many wait for theirs.
    Pending,
}
