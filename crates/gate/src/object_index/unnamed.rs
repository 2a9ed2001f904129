//! Files without a name, and views of them.
//!
//! A view of a file (`mmap`) breaks the program when somebody cuts the file short under it. A file that has no name in any folder
//! cannot be opened by anybody else, and this program closes its own descriptor before it looks.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// An empty file for writing and reading, in that folder but without a name.
pub(crate) fn create(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE | OFlags::EXCL;
    match openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => create_and_unlink(folder),
        other => Ok(File::from(other?)),
    }
}

/// For file systems where a file cannot be born without a name: it loses it before anything is in it.
fn create_and_unlink(folder: &Path) -> io::Result<File> {
    let path = folder.join(".unnamed");
    let _left_by_a_crash = unlinkat(CWD, &path, AtFlags::empty());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let file = openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
    unlinkat(CWD, &path, AtFlags::empty())?;
    Ok(File::from(file))
}

/// A view of a whole file that [`create`] made.
#[derive(Debug)]
pub(crate) struct View(Mmap);

impl View {
    /// Takes the file, so that nobody writes to it any more.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "the file has no name and this was its only descriptor: it stays as it is while it is looked at"
        )]
        // SAFETY: as said; the kernel keeps the file for the view alone.
        let view = unsafe { Mmap::map(&file) }?;
        drop(file);
        // Lookups hit anywhere: reading ahead would fill the memory with what nobody asked for.
        let _only_advice = view.advise(memmap2::Advice::Random);
        Ok(Self(view))
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
