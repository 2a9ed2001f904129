//! What was seen in a registry: the tags of each repository, and what they lead to. Contents have digests and never change, so each is read
//! once.

use std::collections::BTreeMap;

use flatpass_oci::{Catalogue, Digest, Image, ImageList, MediaType, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

/// All repositories of a repo.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) repositories: BTreeMap<RepositoryName, SeenRepository>,
}

/// One repository.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SeenRepository {
    pub(super) tags: BTreeMap<Tag, Digest>,
    /// What the tags lead to, and what that leads to.
    pub(super) contents: BTreeMap<Digest, Content>,
}

/// What a manifest or an index is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Content {
    /// An image of Flatpak's. Its tags are not in here.
    Image(Box<Image>),
    /// A list of images.
    List { media_type: MediaType, images: Vec<Digest> },
    /// Manifests of deltas, by the manifest of the image that each leads to.
    Deltas(BTreeMap<Digest, Digest>),
    /// Nothing that Flatpak could use.
    Other,
    /// The registry did not have it, or not all of it. It may come.
    Missing,
}

impl Seen {
    /// The images, with the tags that lead to them.
    pub(super) fn catalogue(&self) -> Catalogue {
        Catalogue::new(self.repositories.values().flat_map(SeenRepository::images).collect())
    }
}

impl SeenRepository {
    fn images(&self) -> Vec<Image> {
        let mut by_digest: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for (tag, digest) in &self.tags {
            by_digest.entry(*digest).or_default().push(tag.clone());
        }
        let mut deltas: BTreeMap<Digest, Digest> = BTreeMap::new();
        let mut images = Vec::new();
        for (digest, tags) in by_digest {
            match self.contents.get(&digest) {
                Some(Content::Image(image)) => images.push(with_tags(image, tags)),
                Some(Content::Deltas(of_images)) => deltas.extend(of_images),
                Some(Content::List { media_type, images: listed }) => {
                    let list = ImageList { digest, media_type: media_type.clone(), tags };
                    let found = listed.iter().filter_map(|digest| match self.contents.get(digest) {
                        Some(Content::Image(image)) => Some(image),
                        _ => None,
                    });
                    images.extend(found.map(|image| {
                        let mut image = with_tags(image, list.tags.clone());
                        image.lists.push(list.clone());
                        image
                    }));
                }
                Some(Content::Other | Content::Missing) | None => {}
            }
        }
        for image in &mut images {
            image.delta = deltas.get(&image.digest).copied();
        }
        images
    }
}

fn with_tags(image: &Image, tags: Vec<Tag>) -> Image {
    let mut image = image.clone();
    image.tags = tags;
    image
}
