//! Reads layouts from the disk. What is in them is somebody's word: sizes, numbers and nesting are bounded, and each content is compared
//! with its digest.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use flatpass_oci::{
    Descriptor, Digest, Document as Read, Image, ImageConfig, ImageIndex, MAX_DOCUMENT_BYTES, Manifest,
    RepositoryName, Tag,
};
use serde::Deserialize;

use super::assemble::assemble;
use super::stamps::{Stamps, folders};
use super::{Layout, LayoutError, LayoutNote, naming};
use crate::disk::{Disk, DiskError, Root, read_whole};

/// `oci-layout` is one line.
const MAX_MARKER_BYTES: usize = 4 << 10;
/// An index in an index in an index is more than any tool makes.
const MAX_DEPTH: usize = 4;
/// So many manifests, indexes and configurations are read from all layouts of a repo together, and so many bytes.
const MAX_DOCUMENTS: usize = 50_000;
const MAX_BYTES: usize = 512 << 20;

/// What was found in one layout.
pub(super) struct Found {
    /// Its folder, as in [`Stamps`].
    pub(super) folder: String,
    /// The repository of all its images; `None` where each is in that of its ref.
    pub(super) repository: Option<RepositoryName>,
    /// Manifests and indexes, each after what it leads to.
    pub(super) documents: Vec<FoundDocument>,
}

/// A manifest or an index.
pub(super) struct FoundDocument {
    pub(super) descriptor: Descriptor,
    /// What the entries that lead to it call it.
    pub(super) names: Vec<Tag>,
    pub(super) content: Bytes,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    /// One of Flatpak's, until it is taken out to be put where it belongs.
    Image(Option<Box<Image>>, Box<Manifest>),
    /// What is none of Flatpak's by itself, but may belong to one that is.
    Artifact(Box<Manifest>),
    /// An index, without its manifests: the numbers of the documents that it leads to.
    Index(Vec<usize>, Box<ImageIndex>),
}

/// The name of an entry of an index: from `flatpak build-bundle` the ref, from others a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

pub(super) fn read(path: &Path, namespace: &str) -> Result<Layout, LayoutError> {
    RepositoryName::parse(namespace).map_err(|error| LayoutError::Name(namespace.to_owned(), error))?;
    let unreadable =
        |reason: &dyn ToString| LayoutError::Unreadable { path: path.to_owned(), reason: reason.to_string() };
    let root = Root::open(path).map_err(|error| unreadable(&std::io::Error::from(error)))?;
    let folders = folders(&root).map_err(|error| unreadable(&error))?;
    let stamps = Stamps::take(&root, &folders).map_err(|error| unreadable(&error))?;
    let mut reader = Reader {
        root: &root,
        namespace,
        notes: Vec::new(),
        documents_left: MAX_DOCUMENTS,
        bytes_left: MAX_BYTES,
        is_incomplete: false,
    };
    let mut found = Vec::new();
    match folders.as_slice() {
        [] => return Err(LayoutError::NoLayout(path.to_owned())),
        [only] if only.is_empty() => {
            let layout = reader
                .layout(only, None)
                .map_err(|why| LayoutError::Unreadable { path: path.join("index.json"), reason: why.0 })?;
            found.push(layout);
        }
        folders => {
            for folder in folders {
                let called = folder.trim_end_matches('/');
                let Some(repository) = naming::repository_of_folder(namespace, called) else {
                    reader.note(&called, "the folder's name is none of a repository");
                    continue;
                };
                match reader.layout(folder, Some(repository)) {
                    Ok(layout) => found.push(layout),
                    Err(why) => reader.note(&called, why.0),
                }
            }
        }
    }
    let stamps = if reader.is_incomplete { stamps.with_blobs(&root) } else { stamps };
    let mut notes = reader.notes;
    let (owners, repositories, catalogue) = assemble(found, &mut notes);
    Ok(Layout { path: path.to_owned(), stamps, catalogue, notes, owners, repositories })
}

/// Why something is left out, for the operator.
struct Why(String);

impl<E: std::error::Error> From<E> for Why {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

struct Reader<'a> {
    root: &'a Root,
    namespace: &'a str,
    notes: Vec<LayoutNote>,
    documents_left: usize,
    bytes_left: usize,
    /// Something is missing that may come yet.
    is_incomplete: bool,
}

/// The documents of one layout, while it is read.
struct Walk {
    found: Found,
    /// What has been looked at: its number, or `None` if it cannot be used or is just being looked at.
    seen: HashMap<Digest, Option<usize>>,
}

impl Reader<'_> {
    fn layout(&mut self, folder: &str, repository: Option<RepositoryName>) -> Result<Found, Why> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let marker = self.file(&format!("{folder}oci-layout"), MAX_MARKER_BYTES)?;
        let marker: Marker = serde_json::from_slice(&marker)?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(Why(format!("its version is {:?}, not 1", shown(&marker.image_layout_version))));
        }
        let index = ImageIndex::read(&self.file(&format!("{folder}index.json"), MAX_DOCUMENT_BYTES)?)?;
        let found = Found { folder: folder.to_owned(), repository, documents: Vec::new() };
        let mut walk = Walk { found, seen: HashMap::new() };
        for descriptor in &index.manifests {
            self.visit(&mut walk, descriptor, 0);
        }
        Ok(walk.found)
    }

    /// Reads what a descriptor leads to, unless it was read before. Gives its number.
    fn visit(&mut self, walk: &mut Walk, descriptor: &Descriptor, depth: usize) -> Option<usize> {
        if let Some(seen) = walk.seen.get(&descriptor.digest) {
            // A later entry of the same image may give it one more name.
            let document = walk.found.documents.get_mut((*seen)?)?;
            document.names.extend(name_of(descriptor));
            return *seen;
        }
        walk.seen.insert(descriptor.digest, None);
        match self.document(walk, descriptor, depth) {
            Ok((content, kind)) => {
                let number = walk.found.documents.len();
                let names = name_of(descriptor).into_iter().collect();
                let descriptor = descriptor.clone();
                walk.seen.insert(descriptor.digest, Some(number));
                walk.found.documents.push(FoundDocument { descriptor, names, content, kind });
                Some(number)
            }
            Err(why) => {
                self.note(&descriptor.digest, why.0);
                None
            }
        }
    }

    fn document(
        &mut self,
        walk: &mut Walk,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(Bytes, Kind), Why> {
        if depth >= MAX_DEPTH {
            return Err(Why(format!("it is an index within {MAX_DEPTH} others")));
        }
        let content = self.blob(&walk.found.folder, descriptor)?;
        let manifest = match Read::read(&content, &descriptor.media_type)? {
            Read::Manifest(manifest) => manifest,
            Read::Index(mut index) => {
                let children = std::mem::take(&mut index.manifests);
                let children = children.iter().filter_map(|child| self.visit(walk, child, depth + 1));
                return Ok((content.into(), Kind::Index(children.collect(), Box::new(index))));
            }
        };
        for blob in manifest.blobs() {
            self.look_for(&walk.found.folder, blob)?;
        }
        let config = self.blob(&walk.found.folder, &manifest.config)?;
        // The configuration of an artifact may be anything.
        let image = ImageConfig::read(&config).ok().and_then(|config| {
            let (digest, media_type) = (descriptor.digest, descriptor.media_type.clone());
            // Which repository it is in is found out by its ref.
            let anywhere = RepositoryName::parse(self.namespace).ok()?;
            Image::new(anywhere, Vec::new(), digest, media_type, &manifest, config).ok()
        });
        let manifest = Box::new(manifest);
        let kind = match image {
            Some(mut image) => {
                image.repository = match &walk.found.repository {
                    Some(repository) => repository.clone(),
                    None => naming::repository(self.namespace, image.name())?,
                };
                Kind::Image(Some(Box::new(image)), manifest)
            }
            None => Kind::Artifact(manifest),
        };
        Ok((content.into(), kind))
    }

    /// The content of a document, as its descriptor says it is.
    fn blob(&mut self, folder: &str, descriptor: &Descriptor) -> Result<Vec<u8>, Why> {
        if descriptor.size > MAX_DOCUMENT_BYTES as u64 {
            return Err(Why(format!("it has {} bytes, more than {MAX_DOCUMENT_BYTES}", descriptor.size)));
        }
        self.documents_left = self.documents_left.checked_sub(1).ok_or_else(|| {
            Why(format!("there are more than {MAX_DOCUMENTS} manifests, indexes and configurations"))
        })?;
        let content = self.file(&blob_path(folder, &descriptor.digest), MAX_DOCUMENT_BYTES)?;
        self.bytes_left = self.bytes_left.checked_sub(content.len()).ok_or_else(|| {
            Why(format!("all manifests, indexes and configurations have more than {MAX_BYTES} bytes"))
        })?;
        if content.len() as u64 != descriptor.size || Digest::of(&content) != descriptor.digest {
            return Err(Why(format!(
                "the content of {} is another one than its name says",
                descriptor.digest
            )));
        }
        Ok(content)
    }

    /// Makes sure that a blob is there. Its content is looked at when somebody wants it.
    fn look_for(&mut self, folder: &str, descriptor: &Descriptor) -> Result<(), Why> {
        match self.root.version(&blob_path(folder, &descriptor.digest))? {
            Some(version) if version.size == descriptor.size => Ok(()),
            Some(version) => {
                self.is_incomplete = true;
                Err(Why(format!(
                    "its part {} has {} bytes, not {}",
                    descriptor.digest, version.size, descriptor.size
                )))
            }
            None => {
                self.is_incomplete = true;
                Err(Why(format!("its part {} is not there", descriptor.digest)))
            }
        }
    }

    fn file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, Why> {
        let read = self.root.open_file(path, Disk::Wait).and_then(|found| match found {
            None => Ok(None),
            Some((fd, version)) => read_whole(&fd, version, limit as u64, Disk::Wait).map(Some),
        });
        match read {
            Ok(Some((content, _))) => Ok(content),
            Ok(None) => {
                self.is_incomplete = true;
                Err(Why(format!("{path} is not there")))
            }
            Err(error @ DiskError::Changing) => {
                self.is_incomplete = true;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, what: &impl ToString, why: impl Into<String>) {
        self.notes.push(LayoutNote { what: what.to_string(), why: why.into() });
    }
}

fn name_of(entry: &Descriptor) -> Option<Tag> {
    Tag::parse(entry.annotations.get(REF_NAME)?).ok()
}

pub(super) fn blob_path(folder: &str, digest: &Digest) -> String {
    format!("{folder}blobs/sha256/{}", digest.hex())
}

/// What a file says, shortened for a message.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
