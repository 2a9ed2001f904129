//! Files of a repo: opened below its root and nowhere else, read without making the runtime wait.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, openat, openat2, stat, statat,
};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use crate::moment::{Moment, kernel_now};

/// A file changed this recently may change once more without its time stamps showing it: the kernel's stamp clock
/// ticks every 10 ms at the slowest.
const SETTLED_MILLIS: i64 = 30;
/// The root folder itself may be exchanged for another; it is looked at this often.
const ROOT_CHECK_MILLIS: u64 = 1000;
/// Room for the names of a folder that the kernel gives at once.
const LIST_BYTES: usize = 64 << 10;
/// How often a file that changes while it is read is read again.
const READ_ATTEMPTS: usize = 5;

/// Whether an operation may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Only what the kernel has in memory; else [`DiskError::WouldWait`].
    Cached,
    /// The caller is on a thread that may wait.
    Wait,
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("the disk would have to be waited for")]
    WouldWait,
    #[error("the file keeps changing")]
    Changing,
    #[error("the file has {0} bytes, more than such a file can have")]
    TooLarge(u64),
    #[error(transparent)]
    System(#[from] Errno),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    /// `None` for what is not a regular file.
    fn of(stat: &Stat) -> Option<Self> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        Some(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).ok()?,
            modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
            changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
        })
    }

    /// Of what is no file, but has a size.
    pub(crate) const fn of_size(size: u64) -> Self {
        Self { device: 0, inode: 0, size, modified: (0, 0), changed: (0, 0) }
    }

    /// Whether the open file is in this state now.
    pub(crate) fn is_that_of(&self, fd: &OwnedFd) -> Result<bool, DiskError> {
        Ok(Self::of(&fstat(fd)?).as_ref() == Some(self))
    }

    /// When it was last written or renamed.
    pub(crate) fn latest_change(&self) -> Moment {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        Moment::from_millis(seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000))
    }

    /// Whether another change to the file would show in its time stamps.
    pub(crate) fn is_settled(&self) -> bool {
        kernel_now().millis().saturating_sub(self.latest_change().millis()) > SETTLED_MILLIS
    }
}

/// What tells one state of a folder's list of names from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderStamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl FolderStamp {
    /// Whether a name that comes or goes from now on would show in the time stamp.
    pub(crate) fn is_settled(&self) -> bool {
        let (seconds, nanoseconds) = self.modified;
        let modified = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
        kernel_now().millis().saturating_sub(modified) > SETTLED_MILLIS
    }
}

/// The root folder of a repo.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    folder: ArcSwap<Folder>,
    checked: AtomicI64,
    /// Whether the kernel has `openat2`; some sandboxes do not let it through.
    has_openat2: AtomicBool,
}

#[derive(Debug)]
struct Folder {
    fd: OwnedFd,
    device: u64,
    inode: u64,
}

impl Root {
    /// Opens the folder at `path`, which may itself be reached through symbolic links: it is the operator's.
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let folder = Folder::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            folder: ArcSwap::from_pointee(folder),
            checked: AtomicI64::new(kernel_now().millis()),
            has_openat2: AtomicBool::new(true),
        })
    }

    /// Follows the operator who puts another folder in the place of this one. Costs one system call a second.
    pub(crate) fn follow(&self, now: Moment) {
        let checked = Moment::from_millis(self.checked.load(Ordering::Relaxed));
        if now.distance_millis(checked) < ROOT_CHECK_MILLIS {
            return;
        }
        self.checked.store(now.millis(), Ordering::Relaxed);
        let Ok(found) = stat(&self.path) else { return };
        let current = self.folder.load();
        if (found.st_dev, found.st_ino) != (current.device, current.inode)
            && let Ok(folder) = Folder::open(&self.path)
        {
            self.folder.store(Arc::new(folder));
        }
    }

    /// Looks at the file at `relative` (canonical, never a client's text) as it is now. `None` when there is no
    /// regular file.
    ///
    /// Links in the middle of the path are followed here, so this serves only to compare with the version of
    /// a file that [`Root::open_file`] opened: what is the same inode was reached without links.
    pub(crate) fn version(&self, relative: &str) -> Result<Option<Version>, DiskError> {
        match statat(&self.folder.load().fd, relative, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Version::of(&stat)),
            Err(error) if is_absence(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at the folder at `relative` as it is now. `None` when there is none. Links in the middle are followed, as by
    /// [`Root::version`].
    pub(crate) fn folder_stamp(&self, relative: &str) -> Result<Option<FolderStamp>, DiskError> {
        match statat(&self.folder.load().fd, relative, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Ok(Some(FolderStamp {
                    device: stat.st_dev,
                    inode: stat.st_ino,
                    modified: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()),
                }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_absence(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the names in the folder at `relative`, which is reached without links; none when there is no such folder. Waits for the
    /// disk.
    pub(crate) fn list_folder(&self, relative: &str, mut found: impl FnMut(&[u8])) -> Result<(), DiskError> {
        let folder = match self.open_beneath(relative, OFlags::DIRECTORY, Disk::Wait) {
            Ok(folder) => folder,
            Err(DiskError::System(error)) if is_absence(error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut buffer = Vec::with_capacity(LIST_BYTES);
        let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            found(entry?.file_name().to_bytes());
        }
        Ok(())
    }

    /// Identifies the folder that is served now: device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        let folder = self.folder.load();
        (folder.device, folder.inode)
    }

    /// Opens the regular file at `relative` (canonical, never a client's text) for reading. No component of the path
    /// may be a symbolic link. `None` when there is no such file.
    pub(crate) fn open_file(
        &self,
        relative: &str,
        disk: Disk,
    ) -> Result<Option<(OwnedFd, Version)>, DiskError> {
        let fd = match self.open_beneath(relative, OFlags::empty(), disk) {
            Ok(fd) => fd,
            Err(DiskError::System(error)) if is_absence(error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let version = Version::of(&fstat(&fd)?);
        Ok(version.map(|version| (fd, version)))
    }

    fn open_beneath(&self, relative: &str, more: OFlags, disk: Disk) -> Result<OwnedFd, DiskError> {
        // A pipe in the repo must not make the open wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
        let folder = self.folder.load();
        if self.has_openat2.load(Ordering::Relaxed) {
            let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            if disk == Disk::Cached {
                resolve |= ResolveFlags::CACHED;
            }
            match openat2(&folder.fd, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if disk == Disk::Cached => return Err(DiskError::WouldWait),
                // EINVAL: a kernel from before RESOLVE_CACHED.
                Err(Errno::INVAL) if disk == Disk::Cached => return Err(DiskError::WouldWait),
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                other => return Ok(other?),
            }
        }
        if disk == Disk::Cached {
            return Err(DiskError::WouldWait);
        }
        open_step_by_step(&folder.fd, relative, flags)
    }
}

impl Folder {
    fn open(path: &Path) -> Result<Self, Errno> {
        let fd = openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Self { fd, device: stat.st_dev, inode: stat.st_ino })
    }
}

/// What `openat2` does, for kernels and sandboxes without it: each component on its own, none through a link.
fn open_step_by_step(root: &OwnedFd, relative: &str, flags: OFlags) -> Result<OwnedFd, DiskError> {
    if relative == "." {
        return Ok(openat(root, relative, flags, Mode::empty())?);
    }
    let (folders, name) = relative.rsplit_once('/').map_or((None, relative), |(a, b)| (Some(a), b));
    let mut at: Option<OwnedFd> = None;
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')).chain([name]) {
        if matches!(folder, "" | "." | "..") {
            return Err(Errno::NOENT.into());
        }
    }
    for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
        let parent = at.as_ref().unwrap_or(root);
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(openat(parent, folder, step, Mode::empty())?);
    }
    Ok(openat(at.as_ref().unwrap_or(root), name, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Errors that mean "there is no such file", links and ways out of the root included.
fn is_absence(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO
    )
}

/// Reads a whole file of at most `limit` bytes, as it is in one moment: what changes meanwhile is read again.
pub(crate) fn read_whole(
    fd: &OwnedFd,
    version: Version,
    limit: u64,
    disk: Disk,
) -> Result<(Vec<u8>, Version), DiskError> {
    let mut version = version;
    for _ in 0..READ_ATTEMPTS {
        if version.size > limit {
            return Err(DiskError::TooLarge(version.size));
        }
        let mut content = vec![0; usize::try_from(version.size).map_err(|_| Errno::FBIG)?];
        let complete = fill(fd, &mut content, 0, disk)? == content.len();
        let after = Version::of(&fstat(fd)?).ok_or(Errno::BADF)?;
        if complete && after == version {
            return Ok((content, version));
        }
        version = after;
    }
    Err(DiskError::Changing)
}

/// Reads until `buffer` is full or the file ends; gives the number of bytes.
pub(crate) fn fill(fd: impl AsFd, buffer: &mut [u8], offset: u64, disk: Disk) -> Result<usize, DiskError> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(done as u64);
        let read = match disk {
            Disk::Wait => pread(&fd, rest, at),
            Disk::Cached => preadv2(&fd, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT),
        };
        match read {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            // Not in memory, or a file system that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) if disk == Disk::Cached => {
                return Err(DiskError::WouldWait);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
