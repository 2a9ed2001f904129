//! The Flatpak images of a repo: what an index, a token server and a gate know of a registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flatpass_token::{RefName, RefNameError};
use serde::{Deserialize, Serialize};

use crate::{Digest, ImageConfig, Manifest, MediaType, Platform, RepositoryName, Tag};

/// The label or annotation with the ref: `app/org.example.App/x86_64/stable`.
pub const REF_LABEL: &str = "org.flatpak.ref";
/// The label or annotation with the token type: a GVariant of type `v` with an int32 in it, little-endian, in base64 (Flatpak's
/// `flatpak_oci_index_make_summary`). Without it Flatpak takes the image to have type 1.
pub const TOKEN_TYPE_LABEL: &str = "org.flatpak.commit-metadata.xa.token-type";

/// The label or annotation with the moment at which its commit was made, in seconds since 1970 (UTC).
pub const TIMESTAMP_LABEL: &str = "org.flatpak.timestamp";
/// The tag that clients ask for who are not told which.
pub const LATEST: &str = "latest";

/// One image with a ref of Flatpak's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The repository that it is in.
    pub repository: RepositoryName,
    /// The tags that lead to it, in order. One that is reached through an index has the index's tags.
    pub tags: Vec<Tag>,
    /// The indexes that it is reached through.
    #[serde(default)]
    pub lists: Vec<ImageList>,
    /// A manifest of deltas that lead to it from older images (Flatpak's OCI specifications, "Image Deltas").
    #[serde(default)]
    pub delta: Option<Digest>,
    /// Its manifest. In hex this is what Flatpak takes for the commit.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: MediaType,
    /// For which machine it is.
    pub platform: Platform,
    /// Labels of the configuration. Copies of an image share them: they have its icons in them.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Annotations of the manifest.
    pub annotations: Arc<BTreeMap<String, String>>,
    name: RefName,
}

/// An index with images for several machines, as a tag leads to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageList {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// The tags that lead to it, in order.
    pub tags: Vec<Tag>,
}

/// Why an image is none of Flatpak's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFlatpak {
    /// It has no ref.
    #[error("it has neither a label nor an annotation {REF_LABEL}")]
    NoRef,
    /// What it has is no ref that can be installed. So are branches of `appstream/`.
    #[error("its {REF_LABEL} is no ref: {0}")]
    Ref(#[from] RefNameError),
}

impl Image {
    /// Reads what a manifest and its configuration say.
    ///
    /// # Errors
    /// [`NoFlatpak`]
    pub fn new(
        repository: RepositoryName,
        tags: Vec<Tag>,
        digest: Digest,
        media_type: MediaType,
        manifest: &Manifest,
        config: ImageConfig,
    ) -> Result<Self, NoFlatpak> {
        let (labels, annotations) = (config.labels, manifest.annotations.clone());
        let name = RefName::parse(found(&labels, &annotations, REF_LABEL).ok_or(NoFlatpak::NoRef)?)?;
        Ok(Self {
            repository,
            tags,
            lists: Vec::new(),
            delta: None,
            digest,
            media_type,
            platform: config.platform,
            labels: Arc::new(labels),
            annotations: Arc::new(annotations),
            name,
        })
    }

    /// The ref.
    #[must_use]
    pub const fn name(&self) -> &RefName {
        &self.name
    }

    /// What a label says, or else the annotation of that name, as Flatpak reads them.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        found(&self.labels, &self.annotations, key)
    }

    /// The token type that it says; `None` when it says none, or not in a way that Flatpak understands.
    #[must_use]
    pub fn token_type(&self) -> Option<i32> {
        let variant = BASE64.decode(self.metadata(TOKEN_TYPE_LABEL)?).ok()?;
        let (value, kind) = variant.split_first_chunk::<4>()?;
        (kind == b"\0i").then(|| i32::from_le_bytes(*value))
    }

    /// The tags that lead to it without an index in between.
    pub fn direct_tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter().filter(|tag| !self.lists.iter().any(|list| list.tags.contains(tag)))
    }

    /// Whether that tag leads to it.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one.as_str() == tag)
    }

    /// Of several images with one ref the one with the highest rank counts: the one tagged `latest`, or else as the ref's branch, or else
    /// the one that was made last.
    #[must_use]
    pub fn rank(&self) -> impl Ord + use<> {
        let made = self.metadata(TIMESTAMP_LABEL).and_then(|seconds| seconds.parse::<u64>().ok());
        let is_branch = self.has_tag(self.name.branch());
        (self.has_tag(LATEST), is_branch, made, self.digest, std::cmp::Reverse(self.repository.clone()))
    }

    /// A token type as [`TOKEN_TYPE_LABEL`] has it.
    #[must_use]
    pub fn token_type_label(token_type: i32) -> String {
        let mut variant = token_type.to_le_bytes().to_vec();
        variant.extend_from_slice(b"\0i");
        BASE64.encode(variant)
    }
}

fn found<'a>(
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    key: &str,
) -> Option<&'a str> {
    labels.get(key).or_else(|| annotations.get(key)).map(String::as_str)
}

/// All Flatpak images of a repo, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Image>", into = "Vec<Image>")]
pub struct Catalogue {
    /// By repository, then by digest.
    images: Vec<Image>,
}

impl Catalogue {
    /// These images. Of two with the same repository and digest the first one counts, with the tags of both.
    #[must_use]
    pub fn new(mut images: Vec<Image>) -> Self {
        images.sort_by(|a, b| (&a.repository, a.digest).cmp(&(&b.repository, b.digest)));
        images.dedup_by(|later, earlier| {
            let same = (&later.repository, later.digest) == (&earlier.repository, earlier.digest);
            if same {
                earlier.tags.append(&mut later.tags);
                earlier.lists.append(&mut later.lists);
                earlier.delta = earlier.delta.or(later.delta);
            }
            same
        });
        for image in &mut images {
            image.tags.sort_unstable();
            image.tags.dedup();
            image.lists.sort_unstable();
            image.lists.dedup();
        }
        Self { images }
    }

    /// The images, by repository and digest.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The images of one repository: what a token to pull from it opens.
    #[must_use]
    pub fn of_repository(&self, name: &RepositoryName) -> &[Image] {
        let start = self.images.partition_point(|image| image.repository < *name);
        let end = self.images.partition_point(|image| image.repository <= *name);
        self.images.get(start..end).unwrap_or_default()
    }

    /// The image with that digest in that repository.
    #[must_use]
    pub fn find(&self, repository: &RepositoryName, digest: &Digest) -> Option<&Image> {
        self.of_repository(repository).iter().find(|image| image.digest == *digest)
    }

    /// For each ref the image that counts; see [`Image::rank`].
    #[must_use]
    pub fn by_ref(&self) -> BTreeMap<&str, &Image> {
        let mut found: BTreeMap<&str, &Image> = BTreeMap::new();
        for image in &self.images {
            let best = found.entry(image.name.as_str()).or_insert(image);
            if image.rank() > best.rank() {
                *best = image;
            }
        }
        found
    }

    /// The images that have that ref. More than one, when it is in two repositories or an old tag leads to an old build.
    pub fn of_ref<'a>(&'a self, name: &'a RefName) -> impl Iterator<Item = &'a Image> {
        self.images.iter().filter(move |image| image.name == *name)
    }
}

impl From<Vec<Image>> for Catalogue {
    fn from(images: Vec<Image>) -> Self {
        Self::new(images)
    }
}

impl From<Catalogue> for Vec<Image> {
    fn from(catalogue: Catalogue) -> Self {
        catalogue.images
    }
}
