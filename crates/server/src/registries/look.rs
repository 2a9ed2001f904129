//! One look at a registry: which tags there are, and what those lead to that was not seen before.

use std::collections::{BTreeMap, BTreeSet};

use flatpass_oci::client::{Fetched, RegistryClient, RegistryError};
use flatpass_oci::{
    Digest, Document, Image, ImageConfig, ImageIndex, Manifest, Reference, RepositoryName, Tag,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::seen::{Content, SeenRepository};

/// Requests to one registry at the same time, for one repository.
const AT_ONCE: usize = 4;
/// An index with more manifests is not read. Flatpak has an image for each of a handful of machines, and deltas from a handful of versions.
const MOST_LISTED: usize = 1000;
/// Indexes in indexes are followed so far.
const DEEPEST: usize = 4;
/// The most manifests and indexes of a repository.
const MOST_CONTENTS: usize = 20_000;
/// The most bytes that are kept of a repository.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes of labels and annotations of an image. Its icons are the most of it.
const MOST_OF_IMAGE: usize = 512 * 1024;
/// What the configuration of an image is.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The annotation that says which image a manifest of deltas leads to.
const DELTA_TARGET: &str = "io.github.containers.delta.target";

/// What a look at a repository brings.
#[derive(Debug)]
pub(super) struct Looked {
    /// The repository as it is now; `None` when there is no such repository any more.
    pub(super) found: Option<SeenRepository>,
    /// Of what could not be read, one.
    pub(super) trouble: Option<RegistryError>,
}

/// The repository as it is now. What was seen `before` is not read again. A content that cannot be read is missing, and the others are there.
///
/// # Errors
/// [`RegistryError`] when the registry does not say what there is; then all of the repository stays as it was.
pub(super) async fn look(
    client: &RegistryClient,
    name: &RepositoryName,
    before: Option<&SeenRepository>,
) -> Result<Looked, RegistryError> {
    let tags = match client.tags(name).await {
        Ok(tags) => tags,
        Err(RegistryError::NotFound { .. }) => return Ok(Looked { found: None, trouble: None }),
        Err(error) => return Err(error),
    };
    let resolved: Vec<(Tag, Option<Digest>)> = stream::iter(tags)
        .map(async |tag| match client.resolve(name, &tag).await {
            Ok(digest) => Ok((tag, Some(digest))),
            // It went in between.
            Err(RegistryError::NotFound { .. }) => Ok((tag, None)),
            Err(error) => Err(error),
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let tags: BTreeMap<Tag, Digest> =
        resolved.into_iter().filter_map(|(tag, digest)| Some((tag, digest?))).collect();
    let known = |digest: &Digest| {
        let found = before.and_then(|before| before.contents.get(digest));
        found.filter(|content| **content != Content::Missing).cloned()
    };
    let read = async |digest: Digest| match known(&digest) {
        Some(content) => Ok((digest, content, None)),
        None => match content(client, name, digest).await {
            Ok(content) => Ok((digest, content, None)),
            Err(error) if error.is_about_the_content() => Ok((digest, Content::Missing, Some(error))),
            Err(error) => Err(error),
        },
    };
    let (mut contents, mut bytes, mut trouble) = (BTreeMap::new(), 0, None);
    let mut next: BTreeSet<Digest> = tags.values().copied().collect();
    for _ in 0..DEEPEST {
        let mut listed = BTreeSet::new();
        let mut reads = std::pin::pin!(stream::iter(next).map(&read).buffered(AT_ONCE));
        while let Some((digest, content, why)) = reads.try_next().await? {
            trouble = trouble.or(why);
            bytes += content.bytes();
            if bytes > MOST_BYTES || contents.len() >= MOST_CONTENTS {
                let (host, what) = (client.address().host(), "contents in a repository");
                let trouble = Some(RegistryError::TooMany { host, what, limit: MOST_CONTENTS });
                return Ok(Looked { found: Some(SeenRepository { tags, contents }), trouble });
            }
            if let Content::List { images, .. } = &content {
                listed.extend(images.iter().copied());
            }
            contents.insert(digest, content);
        }
        next = listed.into_iter().filter(|digest| !contents.contains_key(digest)).collect();
    }
    Ok(Looked { found: Some(SeenRepository { tags, contents }), trouble })
}

/// Reads what has that digest. What has it and cannot be read will never be readable; a registry that sends something else may yet send it.
async fn content(
    client: &RegistryClient,
    name: &RepositoryName,
    digest: Digest,
) -> Result<Content, RegistryError> {
    let unread = |why: &dyn std::fmt::Display| {
        tracing::warn!(repository = %name, %digest, %why, "what cannot be used");
        Ok(Content::Unread)
    };
    let fetched = match client.manifest(name, &Reference::Digest(digest)).await {
        Ok(fetched) => fetched,
        Err(error @ RegistryError::Document { .. }) => return unread(&error),
        Err(RegistryError::NotFound { .. }) => return Ok(Content::Missing),
        Err(error) => return Err(error),
    };
    let Fetched { digest, media_type, document } = fetched;
    let manifest = match document {
        Document::Index(index) if index.manifests.len() > MOST_LISTED => {
            return unread(&format_args!("it lists more than {MOST_LISTED} manifests"));
        }
        Document::Index(index) => {
            let images = index.manifests.iter().map(|entry| entry.digest).collect();
            return Ok(Content::List { media_type, images, deltas: deltas_of_index(&index) });
        }
        Document::Manifest(manifest) => manifest,
    };
    let config = match client.blob(name, &manifest.config).await {
        Ok(bytes) => ImageConfig::read(&bytes),
        Err(RegistryError::NotFound { .. }) => return Ok(Content::Missing),
        Err(error @ RegistryError::TooLarge { limit, .. }) if says_more(&manifest, limit) => {
            return unread(&error);
        }
        Err(error) => return Err(error),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) if IMAGE_CONFIGS.contains(&manifest.config.media_type.as_str()) => return unread(&error),
        // Of an artifact of another kind.
        Err(_) => return Ok(of_deltas(digest, &manifest).unwrap_or(Content::Other)),
    };
    let Ok(image) = Image::new(name.clone(), Vec::new(), digest, media_type, &manifest, config) else {
        return Ok(of_deltas(digest, &manifest).unwrap_or(Content::Other));
    };
    let image = Content::Image(Box::new(image));
    if image.bytes() > MOST_OF_IMAGE {
        return unread(&format_args!("its labels and annotations have more than {MOST_OF_IMAGE} bytes"));
    }
    Ok(image)
}

/// Whether the manifest itself, which nobody can change, says that its configuration is that large.
fn says_more(manifest: &Manifest, limit: usize) -> bool {
    usize::try_from(manifest.config.size).map_or(true, |size| size > limit)
}

/// The manifest of deltas for an image, if it is one.
fn of_deltas(digest: Digest, manifest: &Manifest) -> Option<Content> {
    let target = Digest::parse(manifest.annotations.get(DELTA_TARGET)?).ok()?;
    Some(Content::Deltas(BTreeMap::from([(target, digest)])))
}

fn deltas_of_index(index: &ImageIndex) -> BTreeMap<Digest, Digest> {
    let targets = index.manifests.iter().filter_map(|entry| {
        let target = entry.annotations.get(DELTA_TARGET)?;
        Some((Digest::parse(target).ok()?, entry.digest))
    });
    targets.collect()
}
