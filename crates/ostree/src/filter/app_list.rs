//! flatpak's list of apps, the commit of `appstream/ARCH` or `appstream2/ARCH`, with only some of the apps in it.
//!
//! It is a new commit: another `appstream.xml` (or `.gz`), the directories around it, and of the icons those that are still
//! referred to, which are the operator's own objects.

use std::collections::HashSet;
use std::sync::Arc;

use flate2::read::{DeflateDecoder, GzDecoder};

use super::components::{Components, read_components};
use crate::compression::{deflate_stored, gzip_of, unpack};
use crate::variant::{check_normal, elements, members, string, write};
use crate::{Checksum, ObjectKind, ReadError};

const COMMIT: &str = "(a{sv}aya(say)sstayay)";
const TREE: &str = "(a(say)a(sayay))";
const FILE: &str = "(say)";
const FOLDER: &str = "(sayay)";
/// `OSTREE_FILE_HEADER_GVARIANT_FORMAT`, a part of what a file's checksum is of: owner, mode, device, link, attributes.
const HEADER: &str = "(uuuusa(ayay))";
/// `OSTREE_ZLIB_FILE_HEADER_GVARIANT_FORMAT`: the same after the size, in front of the file in an archive.
const ARCHIVE_HEADER: &str = "(tuuuusa(ayay))";
/// Folders nest at most this deep; icons lie two deep.
const MAX_DEPTH: usize = 8;
/// The most that a list of apps has, uncompressed. The largest public one has about 40 MB.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// A list of apps taken apart, once, to be put together for many.
#[derive(Debug)]
pub struct AppListSource {
    metadata: Box<[u8]>,
    subject: Box<[u8]>,
    body: Box<[u8]>,
    timestamp: Box<[u8]>,
    root_meta: Checksum,
    /// `appstream.xml` or `appstream.xml.gz`.
    file_name: Box<str>,
    file_header: Box<[u8]>,
    components: Arc<Components>,
    folders: Vec<Folder>,
}

/// A directory with files that are not read.
#[derive(Debug)]
struct Folder {
    name: Box<str>,
    meta: Checksum,
    files: Vec<(Box<str>, Checksum)>,
    folders: Vec<Folder>,
}

/// A list of apps that was put together.
#[derive(Debug)]
pub struct AppList {
    /// The commit.
    pub commit: Checksum,
    /// The objects that are new, with their files' contents, the commit among them.
    pub made: Vec<(Checksum, ObjectKind, Vec<u8>)>,
    /// The objects of the operator's list that it refers to.
    pub kept: HashSet<(Checksum, ObjectKind)>,
}

/// Why a list of apps cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum AppListError {
    /// An object is not there, or cannot be read.
    #[error("the object {checksum} is not there")]
    Missing {
        /// The object.
        checksum: Checksum,
    },
    /// An object is not what it should be.
    #[error("the object {checksum} is damaged: {cause}")]
    Damaged {
        /// The object.
        checksum: Checksum,
        /// What is wrong with it.
        cause: ReadError,
    },
    /// There is no `appstream.xml`, or it is none.
    #[error("the list of apps of {commit} is not one that can be read: {why}")]
    NoList {
        /// The commit.
        commit: Checksum,
        /// What is wrong.
        why: &'static str,
    },
}

type Load<'a> = &'a dyn Fn(&Checksum, ObjectKind) -> Option<Vec<u8>>;

impl AppListSource {
    /// Reads the commit and what is below it. `load` gives the content of an object's file. What one of the `others` has read already, which
    /// have the same text in another form, is not read and kept twice.
    ///
    /// # Errors
    /// [`AppListError`]
    pub fn read<'a>(
        commit: &Checksum,
        load: Load<'_>,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Result<Self, AppListError> {
        let bytes = read_object(commit, ObjectKind::Commit, load)?;
        let damaged = |cause| AppListError::Damaged { checksum: *commit, cause };
        check_normal(&bytes, COMMIT).map_err(damaged)?;
        let parts =
            members(COMMIT, &bytes).ok_or_else(|| damaged(ReadError::NotNormal { type_string: COMMIT }))?;
        let [metadata, _parent, _related, subject, body, timestamp, tree, meta] = parts;
        let root = Checksum::read(tree, "the root directory's content").map_err(damaged)?;
        let root_meta = Checksum::read(meta, "the root directory's metadata").map_err(damaged)?;
        let root = Folder::read(String::new(), &root, root_meta, load, 0)?;
        let no_list = |why| AppListError::NoList { commit: *commit, why };
        let (name, file) = root
            .files
            .iter()
            .find(|(name, _)| matches!(&**name, "appstream.xml" | "appstream.xml.gz"))
            .ok_or_else(|| no_list("it has no appstream.xml"))?;
        let (file_header, content) = read_file(file, load)?;
        let text = if name.ends_with(".gz") {
            let unpacked = unpack(GzDecoder::new(&*content), MAX_LIST_BYTES);
            unpacked.map_err(|cause| AppListError::Damaged { checksum: *file, cause })?
        } else {
            content
        };
        let known = others.into_iter().find(|other| other.components.text() == text);
        let components = match known {
            Some(known) => Arc::clone(&known.components),
            None => Arc::new(read_components(text).ok_or_else(|| no_list("it is not well-formed"))?),
        };
        Ok(Self {
            metadata: binding(metadata)
                .ok_or_else(|| damaged(ReadError::NotNormal { type_string: COMMIT }))?,
            subject: subject.into(),
            body: body.into(),
            timestamp: timestamp.into(),
            root_meta,
            file_name: name.clone(),
            file_header: file_header.into(),
            components,
            folders: root.folders,
        })
    }

    /// Puts a list together of the apps whose refs all `stay`.
    #[must_use]
    pub fn with_refs(&self, stays: impl Fn(&str) -> bool) -> AppList {
        let chosen = self.components.with_refs(stays);
        let icons = &chosen.icons;
        let mut list = AppList { commit: Checksum::of(&[]), made: Vec::new(), kept: HashSet::new() };
        let file = if self.file_name.ends_with(".gz") {
            let content = gzip_of(&chosen.packed, &chosen.text);
            list.put_file(&self.file_header, &content, |head| deflate_stored(&content, head))
        } else {
            list.put_file(&self.file_header, &chosen.text, |head| [head, chosen.packed].concat())
        };
        let files = [(self.file_name.clone(), file)];
        let folders: Vec<_> = self.folders.iter().filter_map(|folder| folder.put(icons, &mut list)).collect();
        let tree = list.put_tree(&files, &folders);
        list.kept.insert((self.root_meta, ObjectKind::DirMeta));
        let commit = write::tuple(
            COMMIT,
            &[
                &self.metadata,
                &[],
                &[],
                &self.subject,
                &self.body,
                &self.timestamp,
                tree.as_bytes(),
                self.root_meta.as_bytes(),
            ],
        );
        list.commit = list.put(ObjectKind::Commit, commit);
        list
    }
}

impl Folder {
    fn read(
        name: String,
        tree: &Checksum,
        meta: Checksum,
        load: Load<'_>,
        depth: usize,
    ) -> Result<Self, AppListError> {
        let damaged = |cause| AppListError::Damaged { checksum: *tree, cause };
        let not_normal = || damaged(ReadError::NotNormal { type_string: TREE });
        if depth > MAX_DEPTH {
            return Err(not_normal());
        }
        let bytes = read_object(tree, ObjectKind::DirTree, load)?;
        check_normal(&bytes, TREE).map_err(damaged)?;
        let [files, folders] = members(TREE, &bytes).ok_or_else(not_normal)?;
        let file = |entry: &[u8]| {
            let [name, checksum] = members(FILE, entry).ok_or_else(not_normal)?;
            let checksum = Checksum::read(checksum, "a file").map_err(damaged)?;
            Ok((string(name).ok_or_else(not_normal)?.into(), checksum))
        };
        let folder = |entry: &[u8]| {
            let [name, tree, meta] = members(FOLDER, entry).ok_or_else(not_normal)?;
            let tree = Checksum::read(tree, "a directory's content").map_err(damaged)?;
            let meta = Checksum::read(meta, "a directory's metadata").map_err(damaged)?;
            Self::read(string(name).ok_or_else(not_normal)?.to_owned(), &tree, meta, load, depth + 1)
        };
        let files = elements("a(say)", files).ok_or_else(not_normal)?.into_iter().map(file);
        let folders = elements("a(sayay)", folders).ok_or_else(not_normal)?.into_iter().map(folder);
        Ok(Self {
            name: name.into(),
            meta,
            files: files.collect::<Result<_, _>>()?,
            folders: folders.collect::<Result<_, _>>()?,
        })
    }

    /// Puts the directory with only the icons that are referred to; `None` when there are none.
    fn put(&self, icons: &HashSet<&str>, list: &mut AppList) -> Option<(Box<str>, Checksum, Checksum)> {
        let files: Vec<_> = self.files.iter().filter(|(name, _)| icons.contains(&**name)).cloned().collect();
        let folders: Vec<_> = self.folders.iter().filter_map(|folder| folder.put(icons, list)).collect();
        if files.is_empty() && folders.is_empty() {
            return None;
        }
        list.kept.extend(files.iter().map(|(_, checksum)| (*checksum, ObjectKind::FileZ)));
        list.kept.insert((self.meta, ObjectKind::DirMeta));
        Some((self.name.clone(), list.put_tree(&files, &folders), self.meta))
    }
}

impl AppList {
    fn put(&mut self, kind: ObjectKind, content: Vec<u8>) -> Checksum {
        let checksum = Checksum::of(&content);
        self.made.push((checksum, kind, content));
        checksum
    }

    fn put_tree(
        &mut self,
        files: &[(Box<str>, Checksum)],
        folders: &[(Box<str>, Checksum, Checksum)],
    ) -> Checksum {
        let files = files
            .iter()
            .map(|(name, checksum)| write::tuple(FILE, &[&write::text(name), checksum.as_bytes()]));
        let folders = folders.iter().map(|(name, tree, meta)| {
            write::tuple(FOLDER, &[&write::text(name), tree.as_bytes(), meta.as_bytes()])
        });
        let tree = write::tuple(TREE, &[&write::array(FILE, files), &write::array(FOLDER, folders)]);
        self.put(ObjectKind::DirTree, tree)
    }

    /// A regular file with that header (see [`HEADER`]). `pack` puts the deflate of the content behind the header of the archive.
    fn put_file(&mut self, header: &[u8], content: &[u8], pack: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Checksum {
        let size = (content.len() as u64).to_be_bytes();
        let fields: Option<[&[u8]; 6]> = members(HEADER, header);
        let [uid, gid, mode, device, link, attributes] = fields.unwrap_or_default();
        let archived = write::tuple(ARCHIVE_HEADER, &[&size, uid, gid, mode, device, link, attributes]);
        let checksum = file_checksum(header, content);
        self.made.push((checksum, ObjectKind::FileZ, pack(framed(&archived))));
        checksum
    }
}

fn read_object(checksum: &Checksum, kind: ObjectKind, load: Load<'_>) -> Result<Vec<u8>, AppListError> {
    let bytes = load(checksum, kind).ok_or(AppListError::Missing { checksum: *checksum })?;
    let found = Checksum::of(&bytes);
    if found == *checksum {
        return Ok(bytes);
    }
    let cause = ReadError::Mismatch { expected: *checksum, found };
    Err(AppListError::Damaged { checksum: *checksum, cause })
}

/// The header (see [`HEADER`]) and the content of a file in an archive.
fn read_file(checksum: &Checksum, load: Load<'_>) -> Result<(Vec<u8>, Vec<u8>), AppListError> {
    let bytes = load(checksum, ObjectKind::FileZ).ok_or(AppListError::Missing { checksum: *checksum })?;
    let damaged = |cause| AppListError::Damaged { checksum: *checksum, cause };
    let not_normal = || damaged(ReadError::NotNormal { type_string: ARCHIVE_HEADER });
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(not_normal)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| not_normal())?;
    let rest = rest.get(4..).ok_or_else(not_normal)?;
    let (header, packed) = rest.split_at_checked(length).ok_or_else(not_normal)?;
    check_normal(header, ARCHIVE_HEADER).map_err(damaged)?;
    let [_size, fields @ ..]: [&[u8]; 7] = members(ARCHIVE_HEADER, header).ok_or_else(not_normal)?;
    let header = write::tuple(HEADER, &fields);
    let content = unpack(DeflateDecoder::new(packed), MAX_LIST_BYTES).map_err(damaged)?;
    let found = file_checksum(&header, &content);
    if found != *checksum {
        return Err(damaged(ReadError::Mismatch { expected: *checksum, found }));
    }
    Ok((header, content))
}

/// A header as it stands in front of a file: its length, four zero bytes, itself.
fn framed(header: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[0; 4], header].concat()
}

fn file_checksum(header: &[u8], content: &[u8]) -> Checksum {
    Checksum::of_parts([&framed(header), content])
}

/// Of a commit's metadata, what it is bound to.
fn binding(metadata: &[u8]) -> Option<Box<[u8]>> {
    let bound = |entry: &&[u8]| {
        let key = members("{sv}", entry).and_then(|[key, _]| string(key));
        matches!(key, Some("ostree.ref-binding" | "ostree.collection-binding"))
    };
    Some(write::array("{sv}", elements("a{sv}", metadata)?.into_iter().filter(bound)).into())
}
