//! What a person has told container tools of registries: `registries.conf` (containers-registries.conf(5)).
//!
//! Flatpak reads none of it, and downloads from the address that the index names. So of that file counts what is true for whoever pulls
//! from there: that a registry or a part of it is blocked, and which helpers keep credentials. `location` and mirrors lead other
//! programs to other hosts, whose credentials are theirs alone; they are known here only to be named when the registry cannot be reached.
//! `insecure` is for programs that send passwords where a network can read them.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flatpass_oci::{Digest, RepositoryName};
use serde::Deserialize;
use thiserror::Error;

use super::address::RegistryUrl;
use super::files;
use super::helper::Helper;
use super::refusal::RegistryRefusal;

/// In a list of helpers: the files.
const THE_FILES: &str = "containers-auth.json";
/// The most files of a folder that are read.
const MAX_FILES: usize = 1000;

/// Where container tools' configuration is. Nothing of it need exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    /// The file.
    pub file: Option<PathBuf>,
    /// Folders of more files (`*.conf`), each of which goes over what was read before.
    pub folders: Vec<PathBuf>,
}

impl RegistriesConf {
    /// This user's, as container tools choose it: `CONTAINERS_REGISTRIES_CONF` in place of a file; the user's own file in place of the
    /// machine's and of its folder.
    #[must_use]
    pub fn of_environment() -> Self {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let own = absolute("HOME").map(|home| home.join(".config/containers"));
        let own_folder = own.as_ref().map(|own| own.join("registries.conf.d"));
        let machine_folder = PathBuf::from("/etc/containers/registries.conf.d");
        let own_file = own.map(|own| own.join("registries.conf")).filter(|file| file.exists());
        let (file, folders) = match (absolute("CONTAINERS_REGISTRIES_CONF"), own_file) {
            (None, Some(own)) => (own, own_folder.into_iter().collect()),
            (named, _) => {
                let file = named.unwrap_or_else(|| PathBuf::from("/etc/containers/registries.conf"));
                (file, [machine_folder].into_iter().chain(own_folder).collect())
            }
        };
        Self { file: Some(file), folders }
    }

    /// Reads it. Blocks shortly.
    ///
    /// # Errors
    /// [`RulesError`], if something that is there cannot be read: it could be what blocks a registry.
    pub fn read(&self) -> Result<Rules, RulesError> {
        let mut paths: Vec<PathBuf> = self.file.iter().cloned().collect();
        for folder in &self.folders {
            let mut inside = match fs::read_dir(folder) {
                Ok(entries) => entries
                    .take(MAX_FILES)
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| RulesError::new(folder, &error))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(RulesError::new(folder, &error)),
            };
            inside.retain(|path| path.extension() == Some(OsStr::new("conf")) && !path.is_dir());
            inside.sort();
            paths.append(&mut inside);
        }
        let mut rules = Rules::default();
        for path in paths {
            let body = files::read(&path).map_err(|error| RulesError::new(&path, &error))?;
            if let Some(body) = body {
                rules.add(&path, &String::from_utf8_lossy(&body))?;
            }
        }
        Ok(rules)
    }
}

/// A file of the configuration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path} cannot be read ({cause}), and may forbid this registry.")]
pub struct RulesError {
    path: String,
    cause: String,
}

impl RulesError {
    fn new(path: &Path, cause: &impl ToString) -> Self {
        Self { path: path.display().to_string(), cause: cause.to_string() }
    }
}

/// All that was read.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// By prefix.
    tables: BTreeMap<String, Rule>,
    helpers: Vec<String>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The file that it stands in.
    pub path: PathBuf,
    /// Whether nothing may be pulled from there.
    pub blocked: bool,
    /// Where other programs pull from in its place: the mirrors, then the location. Empty for the registry itself.
    pub elsewhere: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    #[serde(default)]
    registry: Vec<Table>,
    #[serde(default)]
    credential_helpers: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Deserialize)]
struct Mirror {
    location: String,
}

impl Rules {
    /// Puts one file over what is there: a table replaces the one with the same prefix, wholly.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), RulesError> {
        let document: Document =
            toml::from_str(text).map_err(|error| RulesError::new(path, &error.message()))?;
        for table in document.registry {
            let named = |text: &Option<String>| {
                text.as_deref()
                    .map(|text| text.trim_end_matches('/').to_owned())
                    .filter(|text| !text.is_empty())
            };
            let location = named(&table.location);
            let prefix = named(&table.prefix)
                .or_else(|| location.clone())
                .ok_or_else(|| RulesError::new(path, &"a registry without prefix and location"))?;
            if prefix.contains("://") {
                return Err(RulesError::new(path, &format!("a prefix has no scheme: {prefix}")));
            }
            let mirrors = table.mirror.into_iter().map(|mirror| mirror.location);
            let elsewhere = mirrors.chain(location.filter(|location| *location != prefix)).collect();
            let rule = Rule { path: path.to_owned(), blocked: table.blocked, elsewhere };
            self.tables.insert(prefix, rule);
        }
        if !document.credential_helpers.is_empty() {
            self.helpers = document.credential_helpers;
        }
        Ok(())
    }

    /// What is said of an image, or of all that is in a registry: the table with the nearest prefix, and no other.
    #[must_use]
    pub fn of(&self, registry: &RegistryUrl, image: Option<(&RepositoryName, &Digest)>) -> Option<&Rule> {
        let below = image.map(|(repository, digest)| format!("{repository}@{digest}")).unwrap_or_default();
        let nearness = |prefix: &str| nearness(prefix, registry, &below);
        self.tables
            .iter()
            .filter_map(|(prefix, rule)| Some((nearness(prefix)?, rule)))
            .max_by_key(|(nearness, _)| *nearness)
            .map(|(_, rule)| rule)
    }

    /// Whether an image, or what is in a registry at all, may be pulled.
    ///
    /// # Errors
    /// [`RegistryRefusal::Blocked`].
    pub fn allow(
        &self,
        registry: &RegistryUrl,
        image: Option<(&RepositoryName, &Digest)>,
    ) -> Result<(), RegistryRefusal> {
        match self.of(registry, image) {
            Some(rule) if rule.blocked => {
                let what = match image {
                    Some((repository, _)) => format!("{}/{repository}", registry.key()),
                    None => format!("the registry {}", registry.key()),
                };
                Err(RegistryRefusal::Blocked { path: rule.path.display().to_string(), what })
            }
            _ => Ok(()),
        }
    }

    /// The helpers that keep container tools' credentials, beside those that the files of credentials name.
    pub fn helpers(&self, registry: &RegistryUrl) -> impl Iterator<Item = Helper> {
        self.helpers
            .iter()
            .filter(|name| *name != THE_FILES)
            .filter_map(|name| Helper::new(name, registry.key()))
    }
}

/// How near a prefix is: by what it says below the host, then by how much of the host. `None`: it is for something else.
fn nearness(prefix: &str, registry: &RegistryUrl, below: &str) -> Option<(usize, usize)> {
    let (server, namespace) = prefix.split_once('/').unwrap_or((prefix, ""));
    let of_server = match server.strip_prefix('*').filter(|rest| rest.starts_with('.')) {
        Some(rest) => registry.is_below(rest).then_some(rest.len()),
        None => registry.is_called(server).then_some(usize::MAX),
    }?;
    let rest = below.strip_prefix(namespace)?;
    let is_whole = namespace.is_empty() || rest.is_empty() || rest.starts_with(['/', '@']);
    is_whole.then_some((namespace.len(), of_server))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        unqualified-search-registries = ["docker.io"]
        credential-helpers = ["containers-auth.json", "secretservice", "../evil"]
        [aliases]
        "fedora" = "registry.fedoraproject.org/fedora"
        [[registry]]
        location = "registry.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "mirror.example:5000/all"
        pull-from-mirror = "digest-only"
        insecure = true
        [[registry]]
        prefix = "registry.example/shop"
        location = "inside.example/shop"
        blocked = true
        [[registry]]
        prefix = "registry.example/shop/free/"
        [[registry]]
        prefix = "*.blocked.example"
        blocked = true
        [[registry]]
        location = "good.blocked.example"
        [[registry]]
        prefix = "one.example/a@sha256:28a7e1620c7576ef2e839bc0acd419c31ff382044c01446c26f6f94cecd8da16"
        blocked = true
        [[registry]]
        location = "docker.io/library"
        blocked = true
    "#;
    const DIGEST: &str = "sha256:28a7e1620c7576ef2e839bc0acd419c31ff382044c01446c26f6f94cecd8da16";
    const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn the_nearest_prefix_decides_and_stands_for_whole_names_of_one_host() {
        let mut rules = Rules::default();
        rules.add(Path::new("/etc/x.conf"), FILE).expect("right");
        let blocked = |registry: &str, repository: &str, digest: &str| {
            let registry = RegistryUrl::parse(registry).expect("valid");
            let repository = RepositoryName::parse(repository).expect("valid");
            let digest = Digest::parse(digest).expect("valid");
            rules.of(&registry, Some((&repository, &digest))).map(|rule| rule.blocked)
        };
        for (registry, repository, digest, is_blocked) in [
            ("https://registry.example/", "other", DIGEST, Some(false)),
            ("https://registry.example/", "shop", DIGEST, Some(true)),
            ("https://registry.example/", "shop/paid", DIGEST, Some(true)),
            ("https://registry.example/", "shopping", DIGEST, Some(false)),
            ("https://registry.example/", "shop/free", DIGEST, Some(false)),
            ("https://registry.example:443/", "shop/freedom", DIGEST, Some(true)),
            ("https://registry.example:5000/", "shop/paid", DIGEST, None),
            ("https://a.blocked.example/", "x", DIGEST, Some(true)),
            ("https://a.b.blocked.example:5000/", "x", DIGEST, Some(true)),
            ("https://good.blocked.example/", "x", DIGEST, Some(false)),
            ("https://blocked.example/", "x", DIGEST, None),
            ("https://unblocked.example/", "x", DIGEST, None),
            ("https://one.example/", "a", DIGEST, Some(true)),
            ("https://one.example/", "a", OTHER, None),
            ("https://registry-1.docker.io/", "library/alpine", DIGEST, Some(true)),
            ("https://inside.example/", "shop", DIGEST, None),
        ] {
            assert_eq!(blocked(registry, repository, digest), is_blocked, "{registry} {repository} {digest}");
        }
        let registry = RegistryUrl::parse("https://registry.example/").expect("valid");
        let rule = rules.of(&registry, None).expect("known");
        assert_eq!(rule.elsewhere, ["mirror.example:5000/all"]);
        let helpers: Vec<_> = rules.helpers(&registry).collect();
        assert_eq!(helpers, [Helper::new("secretservice", "registry.example").expect("a name")]);
    }

    #[test]
    fn a_later_file_replaces_whole_tables_and_one_that_cannot_be_read_is_no_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("more.d")).expect("a folder");
        fs::write(at("registries.conf"), FILE).expect("written");
        fs::write(at("more.d/20.conf"), "[[registry]]\nlocation = \"registry.example/shop\"\n")
            .expect("written");
        fs::write(
            at("more.d/10.conf"),
            "[[registry]]\nlocation = \"registry.example/shop\"\nblocked = true\n",
        )
        .expect("written");
        fs::write(at("more.d/30.txt"), "not of it").expect("written");
        let conf =
            RegistriesConf { file: Some(at("registries.conf")), folders: vec![at("more.d"), at("absent.d")] };
        let registry = RegistryUrl::parse("https://registry.example/").expect("valid");
        let shop = RepositoryName::parse("shop/paid").expect("valid");
        let digest = Digest::parse(DIGEST).expect("valid");
        let rules = conf.read().expect("right");
        let rule = rules.of(&registry, Some((&shop, &digest))).expect("known");
        assert_eq!((rule.blocked, &rule.path), (false, &at("more.d/20.conf")));
        for bad in [
            "[[registry]",
            "[[registry]]\nblocked = true",
            "[[registry]]\nlocation = \"https://a.example\"\n",
        ] {
            fs::write(at("more.d/30.conf"), bad).expect("written");
            let error = conf.read().expect_err(bad);
            assert!(error.to_string().starts_with(&at("more.d/30.conf").display().to_string()), "{error}");
        }
        assert!(RegistriesConf::default().read().expect("nothing").of(&registry, None).is_none());
    }
}
