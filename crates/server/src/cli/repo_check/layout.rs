//! An OCI image layout: whether it can be read, and what in it is not served.

use std::path::Path;

use flatpass_gate::Layout;
use flatpass_store::Repo;

use super::{Finding, Weight};

/// What is wrong with it.
pub(super) fn findings(repo: &Repo, path: &Path) -> Vec<Finding> {
    let found = |weight, code, what, advice: Option<&str>| Finding {
        weight,
        code,
        what,
        mend: Vec::new(),
        advice: advice.map(str::to_owned),
    };
    let layout = match Layout::read(path, &repo.name) {
        Ok(layout) => layout,
        Err(error) => {
            let advice = "Let the user that runs flatpass read all of the layout.";
            return vec![found(Weight::Problem, "unreadable", format!("{error}."), Some(advice))];
        }
    };
    let notes = layout.notes().iter().map(|note| {
        found(
            Weight::Note,
            "not-served",
            format!("{} is not served: {}.", note.what, note.why.trim_end_matches('.')),
            None,
        )
    });
    let empty = layout.catalogue().images().is_empty().then(|| {
        let advice = "Add one with: flatpak build-bundle --oci REPO DIRECTORY APP";
        found(Weight::Note, "empty", "The layout has no image of Flatpak's.".to_owned(), Some(advice))
    });
    notes.chain(empty).collect()
}
