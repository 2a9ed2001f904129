//! An OCI image layout (OCI image-spec 1.1, "Image Layout"), as it was at one moment: what is in it, under which names, and who owns what.

mod assemble;
mod naming;
mod read;
mod stamps;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flatpass_oci::{Catalogue, Descriptor, Digest, MediaType, NameError, RepositoryName, Tag};
use flatpass_token::{RefName, UnixTime};

use self::stamps::Stamps;
use crate::prepared::Prepared;
use crate::resource::Caching;

/// A layout as it was at one moment.
///
/// Only Flatpak's images are in it, and what belongs to them: indexes that lead to them, and artifacts such as signatures whose `subject`
/// they are. Everything that was read was compared with its digest.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    stamps: Stamps,
    catalogue: Arc<Catalogue>,
    notes: Vec<LayoutNote>,
    /// The images, which decide who may have what.
    pub(super) owners: Vec<Owner>,
    pub(super) repositories: HashMap<RepositoryName, Repository>,
}

/// Why a layout cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder, or a file in it, cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It has no `oci-layout`, nor has any folder in it.
    #[error(
        "{} is no OCI image layout: neither it nor a folder in it has a file oci-layout; make one with flatpak build-bundle --oci",
        .0.display()
    )]
    NoLayout(PathBuf),
    /// The repo's name cannot begin the name of a repository.
    #[error("an OCI repo cannot be called {0:?}: {1}")]
    Name(String, NameError),
}

/// Something that is in a layout, and is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutNote {
    /// What: a digest, a ref or a folder.
    pub what: String,
    /// Why it is not served.
    pub why: String,
}

/// An image, as the one that may be had or not.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) name: RefName,
    pub(super) digest: Digest,
    /// When the app was built, as the image says itself. Without that it is later than all that a token may be limited to.
    pub(super) made_at: UnixTime,
    /// `None` for an image that says none.
    pub(super) token_type: Option<i32>,
}

/// Numbers of [`Layout::owners`]: who may have one of them may have what they own.
pub(super) type Owners = Vec<u32>;

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) tags: BTreeMap<Tag, Digest>,
    pub(super) manifests: HashMap<Digest, Document>,
    pub(super) blobs: HashMap<Digest, Blob>,
    /// By subject.
    pub(super) referrers: HashMap<Digest, Vec<Descriptor>>,
}

/// A manifest or an index.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) media_type: MediaType,
    content: Bytes,
    pub(super) owners: Owners,
    /// Of an index: the manifest for clients that take none.
    pub(super) instead: Option<Digest>,
    prepared: [OnceLock<Prepared>; 3],
}

/// A configuration or a layer.
#[derive(Debug)]
pub(super) struct Blob {
    /// The file, from the layout's root.
    pub(super) path: Box<str>,
    pub(super) owners: Owners,
}

impl Layout {
    /// Reads the layout at `path`, or the layouts in the folders of `path`, each of which is a repository. All names of repositories begin with
    /// `namespace` and a slash. It waits for the disk.
    ///
    /// What cannot be read is left out, and is in [`Layout::notes`].
    ///
    /// # Errors
    /// [`LayoutError`]
    pub fn read(path: &Path, namespace: &str) -> Result<Self, LayoutError> {
        read::read(path, namespace)
    }

    /// Whether something has changed on the disk since this was read. It costs a look at each `index.json`.
    pub fn is_stale(&self) -> bool {
        !self.stamps.hold(&self.path)
    }

    /// The images.
    pub const fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What is not served, and why: for the operator.
    pub fn notes(&self) -> &[LayoutNote] {
        &self.notes
    }
}

impl Document {
    fn new(media_type: MediaType, content: Bytes) -> Self {
        let prepared = [const { OnceLock::new() }; 3];
        Self { media_type, content, owners: Owners::new(), instead: None, prepared }
    }

    /// The answer's content, with the head for that kind of caching.
    pub(super) fn prepared(&self, digest: &Digest, caching: Caching) -> &Prepared {
        let [immutable, mutable, gated] = &self.prepared;
        let slot = match caching {
            Caching::Immutable => immutable,
            Caching::Mutable => mutable,
            Caching::Gated => gated,
        };
        slot.get_or_init(|| {
            let name = digest.to_string();
            let vary = (caching == Caching::Gated).then(|| ("Vary", "Authorization".to_owned()));
            let cache_control = ("Cache-Control", caching.cache_control().to_owned());
            let fields = [cache_control, ("Docker-Content-Digest", name.clone())].into_iter().chain(vary);
            Prepared::new(self.content.clone(), self.media_type.as_str(), &name, fields)
        })
    }
}
