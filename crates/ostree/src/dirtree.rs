//! Directories: `objects/xx/HEX.dirtree`.

use gvariant::aligned_bytes::AsAligned;
use gvariant::{Marker, Structure, gv};

use crate::variant::check_normal;
use crate::{Checksum, ReadError};

/// `OSTREE_TREE_GVARIANT_FORMAT` in libostree: files with their content, directories with their content and metadata.
const DIRTREE: &str = "(a(say)a(sayay))";

/// The entries of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirTree {
    /// The files and symbolic links in it.
    pub files: Vec<FileEntry>,
    /// The directories in it.
    pub directories: Vec<DirectoryEntry>,
}

/// A file or symbolic link in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its `filez` object.
    pub checksum: Checksum,
}

/// A directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name in the directory.
    pub name: String,
    /// Its `dirtree` object.
    pub tree: Checksum,
    /// Its `dirmeta` object.
    pub meta: Checksum,
}

impl DirTree {
    /// Reads a dirtree object's content. Whether that content is the one that its name promises is for the caller to ask
    /// [`Checksum::of`].
    ///
    /// # Errors
    /// [`ReadError::NotNormal`], [`ReadError::BadChecksum`], or [`ReadError::BadFileName`] for a name that no entry of a directory
    /// can have (`ot_util_filename_validate` in libostree).
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let bytes = check_normal(bytes, DIRTREE)?;
        let (files, directories) = gv!("(a(say)a(sayay))").cast(bytes.as_aligned()).to_tuple();
        let files = files.iter().map(|file| {
            let (name, checksum) = file.to_tuple();
            Ok(FileEntry { name: entry_name(name.to_str())?, checksum: Checksum::read(checksum, "a file")? })
        });
        let directories = directories.iter().map(|directory| {
            let (name, tree, meta) = directory.to_tuple();
            Ok(DirectoryEntry {
                name: entry_name(name.to_str())?,
                tree: Checksum::read(tree, "a directory's content")?,
                meta: Checksum::read(meta, "a directory's metadata")?,
            })
        });
        Ok(Self {
            files: files.collect::<Result<_, _>>()?,
            directories: directories.collect::<Result<_, _>>()?,
        })
    }
}

fn entry_name(name: &str) -> Result<String, ReadError> {
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(ReadError::BadFileName { name: name.to_owned() });
    }
    Ok(name.to_owned())
}
