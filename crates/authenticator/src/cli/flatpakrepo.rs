//! `.flatpakrepo` files (flatpak-flatpakrepo(5)): read from a store, and written for `flatpak remote-add --from`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// The one group of the file.
const GROUP: &str = "Flatpak Repo";
/// The keys that are taken over. Not the authenticator's: those are set by us; and not what would redirect the remote
/// or name files of this machine.
const KEYS: [&str; 11] = [
    "Title",
    "Comment",
    "Description",
    "Homepage",
    "Icon",
    "DefaultBranch",
    "GPGKey",
    "CollectionID",
    "DeployCollectionID",
    "NoDeps",
    "Subset",
];

/// Why a file is not a `.flatpakrepo`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FlatpakRepoError {
    /// No `[Flatpak Repo]`.
    #[error("it is not a .flatpakrepo file")]
    NoGroup,
    /// No `Url=`.
    #[error("it does not say where the repository is (Url=)")]
    NoUrl,
}

/// What is taken from a `.flatpakrepo` file.
#[derive(Clone, PartialEq, Eq)]
pub struct FlatpakRepo {
    /// The repository's URL; it may hold a user and a password.
    pub url: String,
    /// Other keys.
    values: BTreeMap<String, String>,
}

impl std::fmt::Debug for FlatpakRepo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlatpakRepo(..)")
    }
}

impl FlatpakRepo {
    /// A file with nothing but a URL.
    #[must_use]
    pub fn with_url(url: String) -> Self {
        Self { url, values: BTreeMap::new() }
    }

    /// The same with another address.
    #[must_use]
    pub fn at(self, url: String) -> Self {
        Self { url, ..self }
    }

    /// The same without a key: for what is not signed.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.values.remove("GPGKey");
        self
    }

    /// The same with the key that signs the repository, as `gpg --export` writes it.
    #[must_use]
    pub fn signed_with(mut self, key: &[u8]) -> Self {
        self.values.insert("GPGKey".to_owned(), STANDARD.encode(key));
        self
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`FlatpakRepoError`].
    pub fn parse(text: &str) -> Result<Self, FlatpakRepoError> {
        let mut in_group = false;
        let mut found = false;
        let mut url = None;
        let mut values = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                in_group = group == GROUP;
                found |= in_group;
            } else if let Some((key, value)) = line.split_once('=')
                && in_group
                && !line.starts_with('#')
            {
                let (key, value) = (key.trim(), value.trim());
                if key == "Url" {
                    url = Some(value.to_owned());
                } else if KEYS.contains(&key) {
                    values.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        if !found {
            return Err(FlatpakRepoError::NoGroup);
        }
        let url = url.filter(|url| !url.is_empty()).ok_or(FlatpakRepoError::NoUrl)?;
        Ok(Self { url, values })
    }

    /// Whether the repository's public key is in it.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.values.get("GPGKey").is_some_and(|key| !key.is_empty())
    }

    /// The same with the key of another file, if that has one.
    #[must_use]
    pub fn with_key_of(mut self, other: &Self) -> Self {
        if let Some(key) = other.values.get("GPGKey").filter(|key| !key.is_empty()) {
            self.values.insert("GPGKey".to_owned(), key.clone());
        }
        self
    }

    /// The text of a file with the same content.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("[{GROUP}]\nUrl={}\n", self.url);
        for (key, value) in &self.values {
            let _infallible = writeln!(text, "{key}={value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flatpakrepo_keeps_its_key_and_loses_what_is_ours_to_set() {
        let text = "# a store\n[Other]\nUrl=https://other.example/\n[Flatpak Repo]\nTitle = A shop\n\
                    Url=https://d:s@shop.example/repo/apps/\nGPGKey=AAAA\nAuthenticatorName=org.evil.Authenticator\n\
                    Filter=/etc/passwd\n";
        let repo = FlatpakRepo::parse(text).expect("valid");
        assert_eq!(repo.url, "https://d:s@shop.example/repo/apps/");
        assert!(repo.has_key());
        let written = repo.to_text();
        assert_eq!(FlatpakRepo::parse(&written), Ok(repo));
        assert!(written.contains("Title=A shop\n"));
        assert!(!written.contains("evil") && !written.contains("passwd"));
        assert_eq!(FlatpakRepo::parse("<html>"), Err(FlatpakRepoError::NoGroup));
        assert_eq!(FlatpakRepo::parse("[Flatpak Repo]\nTitle=x\n"), Err(FlatpakRepoError::NoUrl));
    }
}
