//! What Flatpak reads to know what a registry has: `/index/static` and `/index/dynamic` (Flatpak's OCI specifications, "Registry Index
//! Protocol and File Format"; `flatpak_oci_index_make_summary` and `flatpak_oci_index_make_appstream` read it).
//!
//! An [`Index`] is made once for each state of a [`Catalogue`]: each image is JSON already, with its icons taken out. An answer is put together
//! from that.

mod icons;
mod query;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use self::icons::{IconLabel, address, look};
use self::query::is_one_of;
pub use self::query::{IndexQuery, MAX_QUERY_BYTES, QueryError};
use crate::{Catalogue, Digest, Image, ImageList, LATEST, REF_LABEL, TOKEN_TYPE_LABEL, Tag};

/// The label with the address of an image's deltas, relative to the registry.
const DELTA_LABEL: &str = "io.github.containers.DeltaUrl";
/// Annotations that Flatpak looks for among the labels only.
const READ_FROM_LABELS: [&str; 3] = ["org.flatpak.", "org.freedesktop.appstream.", "io.github.containers."];

/// All Flatpak images of a registry, ready to be put into answers.
#[derive(Debug)]
pub struct Index {
    /// As JSON.
    registry: String,
    catalogue: Arc<Catalogue>,
    /// For each image of the catalogue.
    entries: Vec<Entry>,
    icons: HashMap<Digest, Icon>,
}

#[derive(Debug)]
struct Entry {
    labels_added: BTreeMap<&'static str, String>,
    /// The members of the image's object but for `Tags`, without braces.
    json: Box<str>,
}

/// An icon, and the images that have it.
#[derive(Debug)]
struct Icon {
    content: Arc<[u8]>,
    images: Vec<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WireImage<'a> {
    digest: &'a Digest,
    media_type: &'a str,
    #[serde(rename = "OS")]
    os: &'a str,
    architecture: &'a str,
    annotations: BTreeMap<&'a str, &'a str>,
    labels: BTreeMap<&'a str, &'a str>,
}

impl Index {
    /// The index of that catalogue, whose images are at the registry with this address (absolute, with a slash at the end, or relative
    /// to the index). `token_type` says which token type each image has for clients, whatever its label says.
    pub fn new(catalogue: Arc<Catalogue>, registry: &str, token_type: impl Fn(&Image) -> i32) -> Self {
        let mut icons: HashMap<Digest, Icon> = HashMap::new();
        let mut entries = Vec::with_capacity(catalogue.images().len());
        for (number, image) in catalogue.images().iter().enumerate() {
            entries.push(Entry::new(image, token_type(image), |digest, icon| {
                let icon =
                    icons.entry(digest).or_insert_with(|| Icon { content: icon.into(), images: Vec::new() });
                if icon.images.last() != Some(&number) {
                    icon.images.push(number);
                }
            }));
        }
        Self { registry: json(registry), catalogue, entries, icons }
    }

    /// The images it is made of.
    #[must_use]
    pub const fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The answer to a query: the JSON document with those of the images that `may_list` lets through, by their place in
    /// [`Catalogue::images`].
    #[must_use]
    pub fn answer(&self, query: &IndexQuery, may_list: impl Fn(usize, &Image) -> bool) -> Vec<u8> {
        let mut answer = String::with_capacity(256);
        answer.push_str("{\"Registry\":");
        answer.push_str(&self.registry);
        answer.push_str(",\"Results\":[");
        let chosen = self.choose(query, may_list);
        let repositories = chosen.chunk_by(|one, other| one.image.repository == other.image.repository);
        for (number, images) in repositories.enumerate() {
            if number > 0 {
                answer.push(',');
            }
            write_repository(&mut answer, images);
        }
        answer.push_str("]}");
        answer.into_bytes()
    }

    /// The icon with that digest, if some image that has it may be listed.
    #[must_use]
    pub fn icon(&self, digest: &Digest, may_list: impl Fn(usize, &Image) -> bool) -> Option<&Arc<[u8]>> {
        let icon = self.icons.get(digest)?;
        let listed = |number: &usize| {
            self.catalogue.images().get(*number).is_some_and(|image| may_list(*number, image))
        };
        icon.images.iter().any(listed).then_some(&icon.content)
    }

    /// The images that are asked for, by repository.
    ///
    /// A client that is told nothing else asks for the tag `latest`. In a repository that has no such tag it gets all that count
    /// there, so that tags may be named after versions or branches. When a tag is asked for, no two images of the answer have one
    /// ref: the client would take either of them.
    fn choose(&self, query: &IndexQuery, may_list: impl Fn(usize, &Image) -> bool) -> Vec<Chosen<'_>> {
        let images = self.catalogue.images();
        let asks_for_latest = query.tags.iter().any(|tag| tag == LATEST);
        let with_latest: HashSet<_> = if asks_for_latest {
            images.iter().filter(|image| image.has_tag(LATEST)).map(|image| &image.repository).collect()
        } else {
            HashSet::new()
        };
        // Whether whatever tag there is will do for the images of that repository.
        let any_tag = |image: &Image| {
            query.tags.is_empty() || (asks_for_latest && !with_latest.contains(&image.repository))
        };
        let is_asked_for = |tag: &Tag| query.tags.iter().any(|asked| asked == tag.as_str());
        let chosen = self.entries.iter().zip(images).enumerate().filter(|(number, (entry, image))| {
            is_one_of(&query.repositories, image.repository.as_str())
                && is_one_of(&query.systems, &image.platform.os)
                && is_one_of(&query.architectures, &image.platform.architecture)
                && (any_tag(image) || image.tags.iter().any(is_asked_for))
                && query.labels.iter().all(|label| label.is_met(entry.label(image, &label.name)))
                && query
                    .annotations
                    .iter()
                    .all(|one| one.is_met(image.annotations.get(&one.name).map(String::as_str)))
                && may_list(*number, image)
        });
        let chosen = chosen.map(|(_, (entry, image))| {
            let leads_here = |tag: &Tag| any_tag(image) || is_asked_for(tag);
            let mut lists: Vec<_> =
                image.lists.iter().filter(|list| list.tags.iter().any(leads_here)).collect();
            let directly = image.direct_tags().any(leads_here) || lists.is_empty();
            if !query.tags.is_empty() {
                lists.truncate(usize::from(!directly));
            }
            Chosen { entry, image, directly, lists }
        });
        let mut chosen: Vec<_> = chosen.collect();
        if !query.tags.is_empty() {
            let mut best: HashMap<&str, &Image> = HashMap::new();
            for Chosen { image, .. } in &chosen {
                let known = best.entry(image.name().as_str()).or_insert(image);
                if image.rank() > known.rank() {
                    *known = image;
                }
            }
            let is_best = |image: &Image| {
                best.get(image.name().as_str()).is_some_and(|best| std::ptr::eq(*best, image))
            };
            chosen.retain(|chosen| is_best(chosen.image));
        }
        chosen
    }
}

/// An image of an answer, and where it stands there. Where a tag is asked for it stands in one place only.
struct Chosen<'a> {
    entry: &'a Entry,
    image: &'a Image,
    /// Among the images that are tagged themselves.
    directly: bool,
    /// In these lists.
    lists: Vec<&'a ImageList>,
}

fn write_repository(answer: &mut String, images: &[Chosen<'_>]) {
    let Some(Chosen { image: first, .. }) = images.first() else { return };
    answer.push_str("{\"Name\":");
    answer.push_str(&json(first.repository.as_str()));
    answer.push_str(",\"Images\":[");
    let mut comma = Comma::new();
    for Chosen { entry, image, .. } in images.iter().filter(|chosen| chosen.directly) {
        let tags: Vec<_> = image.direct_tags().collect();
        comma.before_next(answer);
        answer.push_str("{\"Tags\":");
        answer.push_str(&json(&tags));
        answer.push(',');
        answer.push_str(&entry.json);
        answer.push('}');
    }
    answer.push_str("],\"Lists\":[");
    let mut lists: BTreeMap<&ImageList, Vec<&Entry>> = BTreeMap::new();
    for Chosen { entry, lists: listed, .. } in images {
        for list in listed {
            lists.entry(list).or_default().push(entry);
        }
    }
    let mut comma = Comma::new();
    for (list, entries) in lists {
        comma.before_next(answer);
        answer.push_str("{\"Tags\":");
        answer.push_str(&json(&list.tags));
        answer.push_str(",\"Digest\":");
        answer.push_str(&json(&list.digest));
        answer.push_str(",\"MediaType\":");
        answer.push_str(&json(list.media_type.as_str()));
        answer.push_str(",\"Images\":[");
        let mut inner = Comma::new();
        for entry in entries {
            inner.before_next(answer);
            answer.push('{');
            answer.push_str(&entry.json);
            answer.push('}');
        }
        answer.push_str("]}");
    }
    answer.push_str("]}");
}

impl Entry {
    fn new(image: &Image, token_type: i32, mut found_icon: impl FnMut(Digest, Vec<u8>)) -> Self {
        let mut added: BTreeMap<&'static str, String> = BTreeMap::new();
        added.insert(TOKEN_TYPE_LABEL, Image::token_type_label(token_type));
        added.insert(REF_LABEL, image.name().as_str().to_owned());
        if let Some(delta) = &image.delta {
            added.insert(DELTA_LABEL, format!("v2/{}/manifests/{delta}", image.repository));
        }
        let mut addresses: HashMap<&str, Option<String>> = HashMap::new();
        let labels = image.labels.iter().chain(image.annotations.iter().filter(|(name, _)| is_moved(name)));
        for (name, value) in labels {
            match look(name, value) {
                IconLabel::Stays => {}
                IconLabel::Broken => {
                    addresses.entry(name).or_insert(None);
                }
                IconLabel::Holds(digest, icon) => {
                    addresses.entry(name).or_insert_with(|| Some(address(&digest)));
                    found_icon(digest, icon);
                }
            }
        }
        // A later one of the same name takes the place of an earlier one.
        let moved = image.annotations.iter().filter(|(name, _)| is_moved(name));
        let all = moved.chain(image.labels.iter()).map(|(name, value)| (name.as_str(), value.as_str()));
        let with_icons = |(name, value)| match addresses.get(name) {
            None => Some((name, value)),
            Some(place) => place.as_deref().map(|place| (name, place)),
        };
        let mut labels: BTreeMap<_, _> = all.filter_map(with_icons).collect();
        labels.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
        let stays = |(name, _): &(&String, &String)| !is_moved(name);
        let annotations = image.annotations.iter().filter(stays);
        let wire = WireImage {
            digest: &image.digest,
            media_type: image.media_type.as_str(),
            os: &image.platform.os,
            architecture: &image.platform.architecture,
            annotations: annotations.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            labels,
        };
        let json = json(&wire);
        let members = json.strip_prefix('{').and_then(|json| json.strip_suffix('}')).unwrap_or_default();
        Self { labels_added: added, json: members.into() }
    }

    /// The label as it is in the answer, but for icons.
    fn label<'a>(&'a self, image: &'a Image, name: &str) -> Option<&'a str> {
        let own = || image.labels.get(name);
        let moved = || image.annotations.get(name).filter(|_| is_moved(name));
        self.labels_added.get(name).or_else(own).or_else(moved).map(String::as_str)
    }
}

/// Whether an annotation goes among the labels, because Flatpak reads it there only.
fn is_moved(name: &str) -> bool {
    READ_FROM_LABELS.iter().any(|prefix| name.starts_with(prefix))
}

/// A comma before each but the first.
struct Comma(bool);

impl Comma {
    const fn new() -> Self {
        Self(false)
    }

    fn before_next(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.0, true) {
            out.push(',');
        }
    }
}

/// Texts, numbers and maps with texts as keys cannot fail to become JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
