//! How the images of a layout are called in a registry: what their refs say, and nothing else, so that a name never changes because of
//! another image.

use flatpass_oci::{Digest, NameError, RepositoryName, Tag};
use flatpass_token::RefName;

/// Digits of a digest that stand for an id that is no name.
const DIGITS: usize = 32;

/// The repository of a ref: its id in lower case, below the layout's own name. An id that is none of a repository even so, such as
/// `org.test.App_`, is called by its digest. Ids that differ in case alone share a repository.
pub(super) fn repository(namespace: &str, name: &RefName) -> Result<RepositoryName, NameError> {
    RepositoryName::parse(&format!("{namespace}/{}", name.id().to_ascii_lowercase())).or_else(|_| {
        let hex = Digest::of(name.id().as_bytes()).hex();
        RepositoryName::parse(&format!("{namespace}/id-{}", hex.get(..DIGITS).unwrap_or(&hex)))
    })
}

/// The repository of a layout in a folder of layouts: the folder's name in lower case. `None` when that is no name.
pub(super) fn repository_of_folder(namespace: &str, folder: &str) -> Option<RepositoryName> {
    RepositoryName::parse(&format!("{namespace}/{}", folder.to_ascii_lowercase())).ok()
}

/// The tag of a ref: its branch. `None` for one that is no tag; its image can be had by its digest.
pub(super) fn tag(name: &RefName) -> Option<Tag> {
    Tag::parse(name.branch()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_names_its_repository_and_its_tag() {
        for (name, expected) in [
            ("app/org.test.Paid/x86_64/stable", "apps/org.test.paid"),
            ("runtime/org.test.Paid.Locale/x86_64/23.08", "apps/org.test.paid.locale"),
            ("app/io.git.Some_One.my-App/x86_64/stable", "apps/io.git.some_one.my-app"),
            ("app/org.test.App_/x86_64/stable", "apps/id-"),
            ("app/org.test._App/x86_64/stable", "apps/id-"),
        ] {
            let name = RefName::parse(name).unwrap();
            let found = repository("apps", &name).unwrap();
            if expected.contains("/id-") {
                assert!(found.as_str().starts_with("apps/id-") && found.as_str().len() == 40, "{found}");
            } else {
                assert_eq!(found.as_str(), expected);
            }
            assert_eq!(tag(&name).unwrap().as_str(), name.branch());
        }
    }
}
