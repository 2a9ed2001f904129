//! The files in which programs keep credentials for registries: Flatpak's, Podman's and Docker's.
//!
//! All have one form (containers-auth.json(5)): `auths` by registry or registry and namespace, `credHelpers` by
//! registry, and `credsStore` for all. Only [`AuthForm::Dockercfg`] is older. What is found is bound to the registry's
//! host and port: nothing else of a request takes part in the choice but the repository's name, below the host.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::address::RegistryUrl;
use super::credential::Credential;
use super::helper::Helper;
use crate::secret::SecretText;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthForm {
    /// With `auths`, `credHelpers` and `credsStore`.
    Current,
    /// `~/.dockercfg`: nothing but what stands in `auths` elsewhere.
    Dockercfg,
}

/// A file of credentials. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFile {
    /// Where.
    pub path: PathBuf,
    /// How it is written.
    pub form: AuthForm,
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// It stands in a file.
    Here(Credential),
    /// A token for the registry itself, which stands in a file.
    Token(SecretText),
    /// A program has it.
    Helper(Helper),
}

/// The files of this user, in the order in which they are looked at: Flatpak's own, then Podman's, then Docker's.
///
/// `REGISTRY_AUTH_FILE` stands for Podman's files, and `DOCKER_CONFIG` for Docker's folder, as it does for these
/// programs.
#[must_use]
pub fn of_environment() -> Vec<AuthFile> {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = folder("HOME");
    let config = folder("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let in_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let in_config = |below: &str| config.as_ref().map(|config| config.join(below));
    let mut paths =
        vec![in_config("flatpak/oci-auth.json"), Some(PathBuf::from("/etc/flatpak/oci-auth.json"))];
    match folder("REGISTRY_AUTH_FILE") {
        Some(file) => paths.push(Some(file)),
        None => paths.extend([
            folder("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json")),
            Some(PathBuf::from(format!("/run/containers/{}/auth.json", rustix::process::getuid().as_raw()))),
            in_config("containers/auth.json"),
        ]),
    }
    paths.push(
        folder("DOCKER_CONFIG").or_else(|| in_home(".docker")).map(|folder| folder.join("config.json")),
    );
    let current = paths.into_iter().flatten().map(|path| AuthFile { path, form: AuthForm::Current });
    let legacy = in_home(".dockercfg").map(|path| AuthFile { path, form: AuthForm::Dockercfg });
    let mut files: Vec<AuthFile> = Vec::new();
    for file in current.chain(legacy) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

impl AuthFile {
    /// What the file has for a repository of a registry, the nearest first. Blocks shortly.
    #[must_use]
    pub fn candidates(&self, registry: &RegistryUrl, repository: &str) -> Vec<Candidate> {
        match read(&self.path) {
            Ok(Some(body)) => match Document::parse(&body, self.form) {
                Ok(document) => document.candidates(registry, repository),
                Err(error) => {
                    // Not the words of the parser, which may quote a secret.
                    let (line, column) = (error.line(), error.column());
                    tracing::warn!(path = %self.path.display(), line, column, "this file of credentials is not right");
                    Vec::new()
                }
            },
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "this file of credentials cannot be read");
                Vec::new()
            }
        }
    }
}

pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES + 1).read_to_end(&mut body)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if body.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than such files are"));
    }
    Ok(Some(body))
}

#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    auth: Option<SecretText>,
    username: Option<String>,
    password: Option<SecretText>,
    identitytoken: Option<SecretText>,
    registrytoken: Option<SecretText>,
}

impl Entry {
    /// The token for the registry, as far as it can be sent.
    fn token(&self) -> Option<SecretText> {
        self.registrytoken.clone().filter(SecretText::is_bearer_token)
    }

    fn credential(&self) -> Option<Credential> {
        let filled = |text: &Option<SecretText>| text.clone().filter(|text| !text.expose().is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Credential::identity_token(token);
        }
        if let Some(auth) = filled(&self.auth) {
            return Credential::from_auth(auth.expose());
        }
        Credential::password(self.username.as_deref()?, filled(&self.password)?)
    }
}

impl Document {
    fn parse(body: &[u8], form: AuthForm) -> serde_json::Result<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match form {
            AuthForm::Current => serde_json::from_slice(body),
            AuthForm::Dockercfg => Ok(Self { auths: serde_json::from_slice(body)?, ..Self::default() }),
        }
    }

    fn candidates(&self, registry: &RegistryUrl, repository: &str) -> Vec<Candidate> {
        let mut found = Vec::new();
        let helper = |name: &String| Helper::new(name, registry.helper_key()).map(Candidate::Helper);
        // Who names a helper for a registry means it instead of what stands beside it.
        found.extend(
            self.helpers
                .iter()
                .filter(|(key, _)| Key::read(key).is_host_of(registry))
                .filter_map(|(_, name)| helper(name)),
        );
        let mut here: Vec<(usize, &Entry)> = self
            .auths
            .iter()
            .filter_map(|(key, entry)| Some((Key::read(key).depth(registry, repository)?, entry)))
            .collect();
        here.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
        for (_, entry) in here {
            found.extend(entry.token().map(Candidate::Token));
            found.extend(entry.credential().map(Candidate::Here));
        }
        found.extend(self.store.iter().filter_map(helper));
        found
    }
}

/// The key of an entry, taken apart.
struct Key<'a> {
    server: &'a str,
    /// Which repositories it is for; empty for all.
    namespace: &'a str,
}

impl<'a> Key<'a> {
    /// `host`, `host:port`, `host/namespace`; or as older programs wrote it, `https://host/v1/`, which is for all of
    /// the host.
    fn read(key: &'a str) -> Self {
        let (is_url, rest) = match key.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, key),
        };
        let (server, namespace) = rest.split_once('/').unwrap_or((rest, ""));
        let is_version = matches!(namespace.trim_end_matches('/'), "v1" | "v2");
        Self { server, namespace: if is_url || is_version { "" } else { namespace.trim_end_matches('/') } }
    }

    fn is_host_of(&self, registry: &RegistryUrl) -> bool {
        self.namespace.is_empty() && registry.is_called(self.server)
    }

    /// How near it is to a repository: the length of its namespace. `None`: it is for another one.
    fn depth(&self, registry: &RegistryUrl, repository: &str) -> Option<usize> {
        if !registry.is_called(self.server) {
            return None;
        }
        let below = repository.strip_prefix(self.namespace)?;
        let is_above = self.namespace.is_empty() || below.is_empty() || below.starts_with('/');
        is_above.then_some(self.namespace.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(file: &str, form: AuthForm, registry: &str, repository: &str) -> Vec<String> {
        let registry = RegistryUrl::parse(registry).expect("valid");
        let document = Document::parse(file.as_bytes(), form).expect("valid");
        let name = |candidate: Candidate| match candidate {
            Candidate::Here(Credential::Password { user, .. }) => user,
            Candidate::Here(Credential::IdentityToken(token)) => format!("token {}", token.expose()),
            Candidate::Token(token) => format!("ready {}", token.expose()),
            Candidate::Helper(helper) => format!("{} {}", helper.program(), helper.server()),
        };
        document.candidates(&registry, repository).into_iter().map(name).collect()
    }

    // all:x, near:x, nearest:x, other:x, old:x
    const FILE: &str = r#"{"auths":{
        "registry.example":{"auth":"YWxsOng="},
        "registry.example/shop":{"auth":"bmVhcjp4"},
        "registry.example/shop/free":{"auth":"bmVhcmVzdDp4"},
        "registry.example/shop/fre":{"auth":"b3RoZXI6eA=="},
        "registry.example:5000":{"auth":"b3RoZXI6eA=="},
        "other.example":{"username":"other","password":"x"},
        "https://old.example/v1/":{"auth":"b2xkOng="},
        "token.example":{"auth":"b2xkOng=","identitytoken":"eyJ"},
        "ready.example":{"auth":"b2xkOng=","registrytoken":"ey.J"},
        "unfit.example":{"auth":"b2xkOng=","registrytoken":"ey\nJ"},
        "empty.example":{}},
        "credHelpers":{"helped.example":"pass","helped.example/x":"no","registry.example":"../../bin/sh"},
        "credsStore":"desktop","other":1}"#;

    #[test]
    fn the_nearest_entry_of_the_registrys_own_host_comes_first_and_no_other_hosts_at_all() {
        let users = |registry, repository| users(FILE, AuthForm::Current, registry, repository);
        let store = |host: &str| format!("docker-credential-desktop {host}");
        assert_eq!(
            users("https://registry.example/", "shop/free"),
            ["nearest", "near", "all", &store("registry.example")]
        );
        assert_eq!(users("https://registry.example/", "shop/x"), ["near", "all", &store("registry.example")]);
        assert_eq!(users("https://registry.example:5000/", "a"), ["other", &store("registry.example:5000")]);
        assert_eq!(users("https://old.example/", "a"), ["old", &store("old.example")]);
        assert_eq!(users("https://token.example/", "a"), ["token eyJ", &store("token.example")]);
        assert_eq!(users("https://ready.example/", "a"), ["ready ey.J", "old", &store("ready.example")]);
        assert_eq!(users("https://unfit.example/", "a"), ["old", &store("unfit.example")]);
        assert_eq!(users("https://empty.example/", "a"), [store("empty.example")]);
        assert_eq!(
            users("https://helped.example/", "x/y"),
            ["docker-credential-pass helped.example".to_owned(), store("helped.example")]
        );
        assert_eq!(users("https://evil.example/", "registry.example/shop"), [store("evil.example")]);
    }

    #[test]
    fn a_dockercfg_is_the_auths_alone() {
        let file = r#"{"https://old.example/v1/":{"auth":"b2xkOng=","email":"a@b"}}"#;
        assert_eq!(users(file, AuthForm::Dockercfg, "https://old.example/", "a"), ["old"]);
        assert!(users("  \n", AuthForm::Current, "https://old.example/", "a").is_empty());
        assert!(Document::parse(b"[", AuthForm::Current).is_err());
    }
}
