//! Manifests, image indexes and image configurations (OCI image-spec 1.1; Docker's schema 2 has the same members).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The largest manifest, index or configuration that is read, in bytes: what the distribution-spec asks registries to take at least.
pub const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// The most manifests in an index, and layers in a manifest.
const MAX_DESCRIPTORS: usize = 10_000;

/// What kind a document or blob is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Box<str>);

impl MediaType {
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// `application/vnd.oci.image.index.v1+json`
    pub const INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// `application/vnd.docker.distribution.manifest.v2+json`
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    pub const DOCKER_INDEX: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// All of the above, as an `Accept` field wants them.
    pub const ACCEPT: &'static str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
        application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

    /// Takes a media type without its parameters. `None` for what is none (RFC 6838, 4.2).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is_name = |name: &str| {
            (1..=127).contains(&name.len())
                && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let (kind, rest) = essence.split_once('/')?;
        (is_name(kind) && is_name(rest)).then(|| Self(essence.to_ascii_lowercase().into()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A manifest of one image.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(&*self.0, Self::MANIFEST | Self::DOCKER_MANIFEST)
    }

    /// A list of manifests.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(&*self.0, Self::INDEX | Self::DOCKER_INDEX)
    }
}

/// Which machine an image is for, in Go's words: `amd64`, `arm64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture.
    pub architecture: String,
    /// The operating system.
    pub os: String,
}

/// Points to a content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: MediaType,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact the manifest is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

/// A manifest of one image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u8,
    /// What it says it is. A manifest of the image-spec need not say it.
    #[serde(default)]
    pub media_type: Option<MediaType>,
    /// What kind of artifact it is, if not an image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one belongs to ("referrers").
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Said of it.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    schema_version: u8,
    /// What it says it is.
    #[serde(default)]
    pub media_type: Option<MediaType>,
    /// What kind of artifact it is, if not one.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one belongs to.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Said of it.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Of one image.
    Manifest(Manifest),
    /// Of several.
    Index(ImageIndex),
}

/// What is read of an image's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// For which machine it is.
    pub platform: Platform,
    /// What is said of it. Flatpak has its metadata here.
    pub labels: BTreeMap<String, String>,
}

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Larger than anybody's.
    #[error("it has more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge,
    /// More parts than anybody's.
    #[error("it has more than {MAX_DESCRIPTORS} parts")]
    TooMany,
    /// Not the JSON that it should be.
    #[error("it is not what the image-spec says: {0}")]
    Json(String),
    /// Of an old or coming version.
    #[error("its schemaVersion is {0}, not 2")]
    Version(u8),
    /// Neither a manifest nor an index, or it says that it is another thing than it came as.
    #[error("its media type is {0}, which is no image and no index")]
    MediaType(String),
}

impl Document {
    /// Reads a manifest or index that came with that media type (`Content-Type`, or the descriptor's). What it says itself must be the same.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn read(bytes: &[u8], media_type: &MediaType) -> Result<Self, ManifestError> {
        let (document, said) = if media_type.is_manifest() {
            let manifest = Manifest::read(bytes)?;
            let said = manifest.media_type.clone();
            (Self::Manifest(manifest), said)
        } else if media_type.is_index() {
            let index = ImageIndex::read(bytes)?;
            let said = index.media_type.clone();
            (Self::Index(index), said)
        } else {
            return Err(ManifestError::MediaType(shown(media_type.as_str())));
        };
        match said {
            Some(said) if said != *media_type => Err(ManifestError::MediaType(shown(said.as_str()))),
            _ => Ok(document),
        }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = from_json(bytes)?;
        check(manifest.schema_version, manifest.layers.len())?;
        Ok(manifest)
    }

    /// Everything that it points to and that a client may pull with it.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

impl ImageIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        let index: Self = from_json(bytes)?;
        check(index.schema_version, index.manifests.len())?;
        Ok(index)
    }
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            architecture: String,
            #[serde(default)]
            os: String,
            #[serde(default)]
            config: Option<Inner>,
        }
        #[derive(Default, Deserialize)]
        struct Inner {
            #[serde(default, rename = "Labels", deserialize_with = "null_is_empty")]
            labels: BTreeMap<String, String>,
        }
        let wire: Wire = from_json(bytes)?;
        let platform = Platform { architecture: wire.architecture, os: wire.os };
        Ok(Self { platform, labels: wire.config.unwrap_or_default().labels })
    }
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ManifestError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        return Err(ManifestError::TooLarge);
    }
    serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(shown(&error.to_string())))
}

fn check(version: u8, parts: usize) -> Result<(), ManifestError> {
    match version {
        2 if parts > MAX_DESCRIPTORS => Err(ManifestError::TooMany),
        2 => Ok(()),
        other => Err(ManifestError::Version(other)),
    }
}

/// What somebody sent, shortened for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

/// Go writes `null` for an empty map.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
