//! What was seen in a registry: the tags of each repository, and what they lead to. Contents have digests and never change, so each is read
//! once.

use std::collections::{BTreeMap, BTreeSet};

use flatpass_oci::{Catalogue, Digest, Image, ImageList, MediaType, RepositoryName, Tag};
use serde::{Deserialize, Serialize};

/// What an entry of a table takes, about.
const ENTRY_BYTES: usize = 64;

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
    /// A list of images, of lists and of manifests of deltas; of these, by the manifest of the image that each leads to.
    List { media_type: MediaType, images: Vec<Digest>, deltas: BTreeMap<Digest, Digest> },
    /// Manifests of deltas, by the manifest of the image that each leads to.
    Deltas(BTreeMap<Digest, Digest>),
    /// Nothing that Flatpak could use.
    Other,
    /// The registry did not have it, or not all of it. It may come.
    Missing,
    /// It cannot be read, and perhaps Flatpak could.
    Unread,
}

impl Seen {
    /// The images, with the tags that lead to them.
    pub(super) fn catalogue(&self) -> Catalogue {
        Catalogue::new(self.repositories.values().flat_map(SeenRepository::images).collect())
    }
}

impl SeenRepository {
    /// Whether all that its tags lead to was read.
    pub(super) fn is_whole(&self) -> bool {
        let is_read = |digest: &Digest| {
            let content = self.contents.get(digest);
            content.is_some_and(|content| !matches!(content, Content::Missing | Content::Unread))
        };
        let all_listed = |content: &Content| match content {
            Content::List { images, .. } => images.iter().all(is_read),
            _ => true,
        };
        self.tags.values().all(is_read) && self.contents.values().all(all_listed)
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let tags = self.tags.keys().map(|tag| tag.as_str().len() + ENTRY_BYTES);
        tags.chain(self.contents.values().map(Content::bytes)).sum()
    }

    fn images(&self) -> Vec<Image> {
        let mut by_digest: BTreeMap<Digest, Vec<Tag>> = BTreeMap::new();
        for (tag, digest) in &self.tags {
            by_digest.entry(*digest).or_default().push(tag.clone());
        }
        let mut deltas: BTreeMap<Digest, Digest> = BTreeMap::new();
        let mut images = Vec::new();
        for (root, tags) in by_digest {
            let (mut next, mut seen) = (vec![root], BTreeSet::from([root]));
            let mut list = None;
            while let Some(digest) = next.pop() {
                match self.contents.get(&digest) {
                    Some(Content::Image(image)) => images.push(with_tags(image, &tags, list.as_ref())),
                    Some(Content::Deltas(of_images)) => deltas.extend(of_images),
                    Some(Content::List { media_type, images: listed, deltas: of_images }) => {
                        deltas.extend(of_images);
                        if digest == root {
                            let (media_type, tags) = (media_type.clone(), tags.clone());
                            list = Some(ImageList { digest, media_type, tags });
                        }
                        next.extend(listed.iter().copied().filter(|digest| seen.insert(*digest)));
                    }
                    Some(Content::Other | Content::Missing | Content::Unread) | None => {}
                }
            }
        }
        for image in &mut images {
            image.delta = deltas.get(&image.digest).copied();
        }
        images
    }
}

impl Content {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Image(image) => {
                    let all = image.labels.iter().chain(image.annotations.iter());
                    all.map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
                }
                Self::List { images, deltas, .. } => (images.len() + deltas.len()) * ENTRY_BYTES,
                Self::Deltas(_) | Self::Other | Self::Missing | Self::Unread => 0,
            }
    }
}

fn with_tags(image: &Image, tags: &[Tag], list: Option<&ImageList>) -> Image {
    let mut image = image.clone();
    image.tags = tags.to_vec();
    image.lists.extend(list.cloned());
    image
}
