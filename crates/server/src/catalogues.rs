//! The images of the repos that are no OSTree repositories, as they were last seen. Who looks at registries and layouts puts them here;
//! the next [`Snapshot`](crate::snapshot::Snapshot) takes them over.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use flatpass_oci::Catalogue;

/// By the repo's name.
#[derive(Debug, Default)]
pub(crate) struct Catalogues {
    table: ArcSwap<BTreeMap<String, Arc<Catalogue>>>,
}

impl Catalogues {
    /// What was last seen of the repo's images; `None` before it was seen for the first time.
    pub(crate) fn get(&self, repo: &str) -> Option<Arc<Catalogue>> {
        self.table.load().get(repo).cloned()
    }

    /// From now on the repo has these images. Gives whether that is news.
    pub(crate) fn put(&self, repo: &str, seen: impl Into<Arc<Catalogue>>) -> bool {
        let seen = seen.into();
        if self.get(repo).is_some_and(|known| known == seen) {
            return false;
        }
        self.table.rcu(|table| {
            let mut table = BTreeMap::clone(table);
            table.insert(repo.to_owned(), Arc::clone(&seen));
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
