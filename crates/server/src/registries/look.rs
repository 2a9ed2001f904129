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
/// Of an index so many manifests are looked at. Flatpak has an image for each of a handful of machines.
const MOST_LISTED: usize = 64;
/// The tag that leads to all deltas of a repository (Flatpak's OCI specifications, "Image Deltas").
const DELTA_INDEX: &str = "_deltaindex";
/// What tags of single manifests of deltas begin with, in the old version of that.
const DELTA_TAG: &str = "deltas-";
/// The annotation that says which image a manifest of deltas leads to.
const DELTA_TARGET: &str = "io.github.containers.delta.target";

/// The repository as it is now. What was seen `before` is not read again. `None` when there is no such repository any more.
///
/// # Errors
/// [`RegistryError`] when something could not be seen; then all of the repository stays as it was.
pub(super) async fn look(
    client: &RegistryClient,
    name: &RepositoryName,
    before: Option<&SeenRepository>,
) -> Result<Option<SeenRepository>, RegistryError> {
    let tags = match client.tags(name).await {
        Ok(tags) => tags,
        Err(RegistryError::NotFound { .. }) => return Ok(None),
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
    let mut contents: BTreeMap<Digest, Content> = BTreeMap::new();
    let roots: BTreeSet<_> = tags.iter().map(|(tag, digest)| (*digest, is_of_deltas(tag))).collect();
    let read: Vec<(Digest, Content)> = stream::iter(roots)
        .map(async |(digest, deltas)| match known(&digest) {
            Some(content) => Ok((digest, content)),
            None => Ok((digest, content(client, name, digest, deltas).await?)),
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    contents.extend(read);
    let listed: BTreeSet<Digest> = contents
        .values()
        .flat_map(|content| match content {
            Content::List { images, .. } => images.as_slice(),
            _ => &[],
        })
        .filter(|digest| !contents.contains_key(digest))
        .copied()
        .collect();
    let read: Vec<(Digest, Content)> = stream::iter(listed)
        .map(async |digest| match known(&digest) {
            Some(content) => Ok((digest, content)),
            None => Ok((digest, content(client, name, digest, false).await?)),
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    contents.extend(read);
    Ok(Some(SeenRepository { tags, contents }))
}

fn is_of_deltas(tag: &Tag) -> bool {
    tag.as_str() == DELTA_INDEX || tag.as_str().starts_with(DELTA_TAG)
}

/// Reads what has that digest. What has it and cannot be read will never be readable; a registry that sends something else may yet send it.
async fn content(
    client: &RegistryClient,
    name: &RepositoryName,
    digest: Digest,
    deltas: bool,
) -> Result<Content, RegistryError> {
    let fetched = match client.manifest(name, &Reference::Digest(digest)).await {
        Ok(fetched) => fetched,
        Err(error @ (RegistryError::Document { .. } | RegistryError::TooLarge { .. })) => {
            tracing::warn!(repository = %name, %digest, %error, "a manifest that cannot be used");
            return Ok(Content::Other);
        }
        Err(RegistryError::NotFound { .. }) => return Ok(Content::Missing),
        Err(error) => return Err(error),
    };
    let Fetched { digest, media_type, document } = fetched;
    match document {
        Document::Manifest(manifest) if deltas => Ok(deltas_of_manifest(digest, &manifest)),
        Document::Index(index) if deltas => Ok(deltas_of_index(&index)),
        Document::Index(index) => {
            let images = index.manifests.iter().filter(|entry| entry.media_type.is_manifest());
            let images = images.map(|entry| entry.digest).take(MOST_LISTED).collect();
            Ok(Content::List { media_type, images })
        }
        Document::Manifest(manifest) => {
            let config = match client.blob(name, &manifest.config).await {
                Ok(bytes) => ImageConfig::read(&bytes),
                Err(RegistryError::NotFound { .. }) => return Ok(Content::Missing),
                Err(error @ RegistryError::TooLarge { .. }) => {
                    tracing::warn!(repository = %name, %digest, %error, "an image whose configuration is too large");
                    return Ok(Content::Other);
                }
                Err(error) => return Err(error),
            };
            let image = config.ok().and_then(|config| {
                Image::new(name.clone(), Vec::new(), digest, media_type, &manifest, config).ok()
            });
            Ok(image.map_or(Content::Other, |image| Content::Image(Box::new(image))))
        }
    }
}

fn deltas_of_manifest(digest: Digest, manifest: &Manifest) -> Content {
    let target = manifest.annotations.get(DELTA_TARGET).and_then(|target| Digest::parse(target).ok());
    Content::Deltas(target.map(|target| (target, digest)).into_iter().collect())
}

fn deltas_of_index(index: &ImageIndex) -> Content {
    let targets = index.manifests.iter().filter_map(|entry| {
        let target = entry.annotations.get(DELTA_TARGET)?;
        Some((Digest::parse(target).ok()?, entry.digest))
    });
    Content::Deltas(targets.collect())
}
