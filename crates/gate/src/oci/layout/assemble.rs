//! Puts together what was found: which document is in which repository, which images own it, and what the tags lead to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use flatpass_oci::{
    Catalogue, Descriptor, Digest, Image, ImageList, MediaType, RepositoryName, TIMESTAMP_LABEL, Tag,
};
use flatpass_token::UnixTime;
use serde_json::json;

use super::read::{Found, Kind, blob_path};
use super::{Blob, Document, LayoutNote, Owner, Owners, Repository, naming};

/// The signature of a signature of a signature of an image still belongs to it.
const MAX_SUBJECTS: usize = 4;

/// Where a document belongs.
#[derive(Clone)]
struct Place {
    repository: RepositoryName,
    owners: Owners,
}

/// What could have one tag.
#[derive(Default)]
struct Claims {
    /// The last index that was found with images of that branch alone, and them.
    index: Option<(Digest, Vec<Digest>)>,
    /// For each ref the last image that was found.
    images: BTreeMap<String, Digest>,
}

type Assembled = (Vec<Owner>, HashMap<RepositoryName, Repository>, Arc<Catalogue>);

pub(super) fn assemble(layouts: Vec<Found>, notes: &mut Vec<LayoutNote>) -> Assembled {
    let mut all = Assembly::default();
    for layout in layouts {
        all.add(layout, notes);
    }
    all.tag();
    (all.owners, all.repositories, Arc::new(Catalogue::new(all.images.into_values().collect())))
}

#[derive(Default)]
struct Assembly {
    owners: Vec<Owner>,
    repositories: HashMap<RepositoryName, Repository>,
    images: BTreeMap<(RepositoryName, Digest), Image>,
    /// By branch.
    claims: BTreeMap<(RepositoryName, Tag), Claims>,
    /// By what an entry calls itself.
    called: BTreeMap<(RepositoryName, Tag), Digest>,
}

impl Assembly {
    fn add(&mut self, mut layout: Found, notes: &mut Vec<LayoutNote>) {
        let mut places: Vec<Option<Place>> = Vec::with_capacity(layout.documents.len());
        // Each comes after what it leads to.
        for document in &mut layout.documents {
            let digest = document.descriptor.digest;
            let place = match &mut document.kind {
                Kind::Image(image, _) => image.take().map(|image| self.own(*image)),
                Kind::Artifact(_) => None,
                Kind::Index(children, _) => {
                    let found = common_place(children, &places);
                    if let Some(place) = &found {
                        adopt(children, place, &mut places);
                        self.claim_index(digest, place);
                    }
                    found
                }
            };
            places.push(place);
        }
        place_by_subject(&layout, &mut places);
        for (document, place) in layout.documents.into_iter().zip(places) {
            let descriptor = document.descriptor;
            let Some(place) = place else {
                let why = match document.kind {
                    Kind::Index(..) => "its images are none of Flatpak's, or in several repositories",
                    _ => "it is no image of Flatpak's, and belongs to none",
                };
                notes.push(LayoutNote { what: descriptor.digest.to_string(), why: why.to_owned() });
                continue;
            };
            for tag in document.names {
                self.called.insert((place.repository.clone(), tag), descriptor.digest);
            }
            self.put(&layout.folder, &descriptor, document.content, &document.kind, place);
        }
    }

    /// A new image, which owns itself.
    fn own(&mut self, image: Image) -> Place {
        let repository = image.repository.clone();
        let made_at = image.metadata(TIMESTAMP_LABEL).and_then(|second| second.parse().ok());
        let number = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        self.owners.push(Owner {
            name: image.name().clone(),
            digest: image.digest,
            made_at: UnixTime(made_at.unwrap_or(i64::MAX)),
            token_type: image.token_type(),
        });
        if let Some(tag) = naming::tag(image.name()) {
            let claims = self.claims.entry((repository.clone(), tag)).or_default();
            claims.images.insert(image.name().as_str().to_owned(), image.digest);
        }
        self.images.entry((repository.clone(), image.digest)).or_insert(image);
        Place { repository, owners: vec![number] }
    }

    fn claim_index(&mut self, digest: Digest, place: &Place) {
        let owners = || place.owners.iter().filter_map(|number| self.owners.get(*number as usize));
        let mut tags: Vec<_> = owners().map(|owner| naming::tag(&owner.name)).collect();
        let images = owners().map(|owner| owner.digest).collect();
        tags.dedup();
        if let [Some(tag)] = tags.as_slice() {
            let claims = self.claims.entry((place.repository.clone(), tag.clone())).or_default();
            claims.index = Some((digest, images));
        }
    }

    fn put(&mut self, folder: &str, descriptor: &Descriptor, content: Bytes, kind: &Kind, place: Place) {
        let repository = self.repositories.entry(place.repository).or_default();
        let manifest = match kind {
            Kind::Image(_, manifest) | Kind::Artifact(manifest) => Some(manifest),
            Kind::Index(..) => None,
        };
        for blob in manifest.iter().flat_map(|manifest| manifest.blobs()) {
            let path = blob_path(folder, &blob.digest).into();
            let known = repository.blobs.entry(blob.digest).or_insert(Blob { path, owners: Owners::new() });
            extend(&mut known.owners, &place.owners);
        }
        if let Some(subject) = subject(kind) {
            repository.referrers.entry(subject.digest).or_default().push(referrer(descriptor, kind));
        }
        let document = repository
            .manifests
            .entry(descriptor.digest)
            .or_insert_with(|| Document::new(descriptor.media_type.clone(), content));
        extend(&mut document.owners, &place.owners);
    }

    /// Decides what each tag leads to.
    fn tag(&mut self) {
        for ((name, tag), claims) in std::mem::take(&mut self.claims) {
            let (target, images) = match claims.index {
                Some(index) => index,
                None => self.target_of(&name, claims.images.into_values()),
            };
            let Some(repository) = self.repositories.get_mut(&name) else { continue };
            let instead = preferred(&name, &images, &self.images);
            let index =
                repository.manifests.get_mut(&target).filter(|document| document.media_type.is_index());
            let list = index.map(|index| {
                index.instead = instead;
                let tags = vec![tag.clone()];
                ImageList { digest: target, media_type: index.media_type.clone(), tags }
            });
            repository.tags.insert(tag.clone(), target);
            for digest in images {
                if let Some(image) = self.images.get_mut(&(name.clone(), digest)) {
                    image.tags.push(tag.clone());
                    image.lists.extend(list.clone());
                }
            }
        }
        for ((name, tag), target) in std::mem::take(&mut self.called) {
            let Some(repository) = self.repositories.get_mut(&name) else { continue };
            if repository.tags.contains_key(&tag) {
                continue;
            }
            repository.tags.insert(tag.clone(), target);
            if let Some(image) = self.images.get_mut(&(name, target)) {
                image.tags.push(tag);
            }
        }
    }

    /// The one image, or an index of one for each platform, made for the occasion.
    fn target_of(
        &mut self,
        name: &RepositoryName,
        claiming: impl Iterator<Item = Digest>,
    ) -> (Digest, Vec<Digest>) {
        let mut platforms = Vec::new();
        let mut chosen: Vec<&Image> = Vec::new();
        // In the order of their refs: of two for one platform the first counts.
        for digest in claiming {
            let Some(image) = self.images.get(&(name.clone(), digest)) else { continue };
            if !platforms.contains(&&image.platform) {
                platforms.push(&image.platform);
                chosen.push(image);
            }
        }
        let digests: Vec<_> = chosen.iter().map(|image| image.digest).collect();
        if let [only] = digests.as_slice() {
            return (*only, digests);
        }
        let Some(repository) = self.repositories.get_mut(name) else { return (Digest::of(b""), digests) };
        let (mut owners, mut entries) = (Owners::new(), Vec::new());
        for image in chosen {
            let Some(document) = repository.manifests.get(&image.digest) else { continue };
            extend(&mut owners, &document.owners);
            entries.push(json!({
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": document.content.len(),
                "platform": image.platform,
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::INDEX, "manifests": entries });
        let content = Bytes::from(index.to_string());
        let digest = Digest::of(&content);
        if let Some(media_type) = MediaType::parse(MediaType::INDEX) {
            let document = Document { owners, ..Document::new(media_type, content) };
            repository.manifests.insert(digest, document);
        }
        (digest, digests)
    }
}

/// The one repository of all images that an index leads to, and them. `None` if there are none, or more repositories.
fn common_place(children: &[usize], places: &[Option<Place>]) -> Option<Place> {
    let mut found = children.iter().filter_map(|child| places.get(*child)?.as_ref());
    let mut common = found.next()?.clone();
    for place in found {
        if place.repository != common.repository {
            return None;
        }
        extend(&mut common.owners, &place.owners);
    }
    Some(common)
}

/// What an index lists besides images, such as attestations, belongs where it belongs.
fn adopt(children: &[usize], place: &Place, places: &mut [Option<Place>]) {
    for child in children {
        if let Some(free @ None) = places.get_mut(*child) {
            *free = Some(place.clone());
        }
    }
}

/// An artifact, or an index of none but artifacts, belongs to its subject, and so to whom that belongs.
fn place_by_subject(layout: &Found, places: &mut [Option<Place>]) {
    let numbers: HashMap<_, _> = layout
        .documents
        .iter()
        .enumerate()
        .map(|(number, document)| (document.descriptor.digest, number))
        .collect();
    for _ in 0..MAX_SUBJECTS {
        for (number, document) in layout.documents.iter().enumerate() {
            let subject = subject(&document.kind).and_then(|subject| numbers.get(&subject.digest));
            let found = subject.and_then(|subject| places.get(*subject)?.clone());
            if let (Some(free @ None), Some(found)) = (places.get_mut(number), found) {
                *free = Some(found.clone());
                if let Kind::Index(children, _) = &document.kind {
                    adopt(children, &found, places);
                }
            }
        }
    }
}

/// What a document refers to.
fn subject(kind: &Kind) -> Option<&Descriptor> {
    match kind {
        Kind::Image(_, manifest) | Kind::Artifact(manifest) => manifest.subject.as_ref(),
        Kind::Index(_, index) => index.subject.as_ref(),
    }
}

/// How a document stands in the list of its subject's referrers.
fn referrer(descriptor: &Descriptor, kind: &Kind) -> Descriptor {
    let (artifact_type, annotations) = match kind {
        Kind::Image(_, manifest) | Kind::Artifact(manifest) => {
            let of_config = || Some(manifest.config.media_type.as_str().to_owned());
            (manifest.artifact_type.clone().or_else(of_config), &manifest.annotations)
        }
        Kind::Index(_, index) => (index.artifact_type.clone(), &index.annotations),
    };
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest,
        size: descriptor.size,
        annotations: annotations.clone(),
        platform: None,
        artifact_type,
    }
}

/// Of the images of an index the one that a client gets that takes no index.
fn preferred(
    name: &RepositoryName,
    digests: &[Digest],
    images: &BTreeMap<(RepositoryName, Digest), Image>,
) -> Option<Digest> {
    let is_common = |digest: &&Digest| {
        images
            .get(&(name.clone(), **digest))
            .is_some_and(|image| image.platform.architecture == "amd64" && image.platform.os == "linux")
    };
    digests.iter().find(is_common).or_else(|| digests.first()).copied()
}

fn extend(owners: &mut Owners, more: &Owners) {
    for number in more {
        if !owners.contains(number) {
            owners.push(*number);
        }
    }
}
