//! The images of the repos that are no OSTree repositories, as they were last seen. Who looks at registries and layouts puts them here;
//! the next [`Snapshot`](crate::snapshot::Snapshot) takes them over.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use flatpass_oci::Catalogue;
use flatpass_store::RepoSource;

/// By the repo's name.
#[derive(Debug, Default)]
pub(crate) struct Catalogues {
    table: ArcSwap<BTreeMap<String, Seen>>,
}

/// Images, and where they were seen. A repo that has become another one, or a smaller part of its registry, has none of them.
#[derive(Clone, Debug)]
struct Seen {
    source: RepoSource,
    images: Arc<Catalogue>,
}

impl Catalogues {
    /// What was last seen of the images of the repo with that source; `None` before it was seen for the first time.
    pub(crate) fn get(&self, repo: &str, source: &RepoSource) -> Option<Arc<Catalogue>> {
        let table = self.table.load();
        let seen = table.get(repo).filter(|seen| are_alike(&seen.source, source))?;
        Some(Arc::clone(&seen.images))
    }

    /// From now on the repo has these images, as long as this is its source. Gives whether that is news.
    pub(crate) fn put(&self, repo: &str, source: &RepoSource, images: impl Into<Arc<Catalogue>>) -> bool {
        let images = images.into();
        if self.get(repo, source).is_some_and(|known| known == images) {
            return false;
        }
        let seen = Seen { source: source.clone(), images };
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.insert(repo.to_owned(), seen.clone());
            table
        });
        true
    }

    /// Forgets the images of all other repos.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.retain(|repo, _| is_there(repo));
            table
        });
    }
}

/// Whether both have the same images: in a registry the same repositories, by whatever right they are read.
fn are_alike(one: &RepoSource, other: &RepoSource) -> bool {
    match (one.registry(), other.registry()) {
        (Some(one), Some(other)) => one.is_same_part(other),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use flatpass_store::{Registry, RegistryAccess};

    use super::*;

    fn registry(change: impl FnOnce(&mut Registry)) -> RepoSource {
        let mut registry = Registry {
            url: "https://registry.example/".to_owned(),
            namespace: Some("shop".to_owned()),
            repositories: None,
            access: RegistryAccess::Realm,
            service: "registry.example".to_owned(),
            robot: None,
            webhook: None,
        };
        change(&mut registry);
        RepoSource::Registry(registry)
    }

    #[test]
    fn what_was_seen_of_one_part_of_a_registry_says_nothing_of_another() {
        let (seen, first) = (Catalogues::default(), registry(|_| ()));
        assert!(seen.get("apps", &first).is_none());
        assert!(seen.put("apps", &first, Catalogue::new(Vec::new())));
        assert!(!seen.put("apps", &first, Catalogue::new(Vec::new())), "that is no news");
        // By another right, under another name at the token server: the same images.
        for same in [
            registry(|other| other.access = RegistryAccess::Broker),
            registry(|other| other.service = "other".to_owned()),
        ] {
            assert!(seen.get("apps", &same).is_some(), "{same:?}");
        }
        for other in [
            registry(|other| other.url = "https://registry.example:444/".to_owned()),
            registry(|other| other.namespace = Some("shop/free".to_owned())),
            registry(|other| other.namespace = None),
            registry(|other| other.repositories = Some(vec!["shop/a".to_owned()])),
            RepoSource::OciLayout("/srv/images".into()),
        ] {
            assert!(seen.get("apps", &other).is_none(), "{other:?}");
            assert!(seen.put("other", &other, Catalogue::new(Vec::new())), "{other:?}");
        }
        assert!(seen.get("apps", &first).is_some());
        let layout = |path: &str| RepoSource::OciLayout(path.into());
        assert!(seen.get("other", &layout("/srv/images")).is_some());
        assert!(seen.get("other", &layout("/srv/others")).is_none());
        assert!(seen.get("other", &RepoSource::Ostree("/srv/images".into())).is_none());
        seen.keep(|repo| repo == "apps");
        assert!(seen.get("other", &layout("/srv/images")).is_none() && seen.get("apps", &first).is_some());
    }
}
