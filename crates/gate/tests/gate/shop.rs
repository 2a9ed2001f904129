//! A repository made by the real `flatpak` and `ostree` in a temporary folder, and tokens for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use flatpass_gate::{
    CacheLimits, Clock, FileCache, Gate, GateConfig, Gates, Listing, ObjectIndex, ObjectIndexConfig, Policy,
    Rules, Unmounted,
};
use flatpass_ostree::{Checksum, Commit, DeltaFile, ObjectKind, RepoPath};
use flatpass_token::{
    AccessGrant, AccessTable, Claims, Grant, KeySet, Secret, SigningKey, UnixTime, Verb, Verifier,
    VerifierConfig,
};
use tempfile::TempDir;

pub(crate) const FREE: &str = "app/org.test.Free/x86_64/stable";
pub(crate) const PAID: &str = "app/org.test.Paid/x86_64/stable";
pub(crate) const LOCALE: &str = "runtime/org.test.Paid.Locale/x86_64/stable";
pub(crate) const OTHER: &str = "app/org.test.Other/x86_64/stable";

pub(crate) const ISSUER: &str = "https://shop.example/";
pub(crate) const REPO_URL: &str = "https://shop.example/repo/apps";
pub(crate) const MOUNT: &str = "/repo/apps";
/// The secret of the access token that [`Desk::basic`] makes.
pub(crate) const SECRET: &str = "fpat_0123456789abcdefghijABCDEFGHIJ";
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

/// A repository, and the paths of what is in it.
pub(crate) struct Shop {
    folder: TempDir,
}

impl Shop {
    /// A free app, a paid app with its `.Locale` in two versions, another paid app, deltas, an app list.
    pub(crate) fn build() -> Self {
        let shop = Self::empty();
        shop.export("org.test.Free", 0, false, 1);
        shop.export("org.test.Paid", 2, false, 1);
        shop.export("org.test.Paid.Locale", 2, true, 1);
        shop.export("org.test.Other", 2, false, 1);
        shop.export("org.test.Paid", 2, false, 2);
        shop.update(&["--generate-static-deltas"]);
        shop
    }

    pub(crate) fn empty() -> Self {
        let shop = Self { folder: tempfile::Builder::new().prefix("flatpass-gate-").tempdir().unwrap() };
        shop.run("ostree", &["init", "--repo=repo", "--mode=archive-z2"]);
        shop
    }

    /// Exports one version, made on that day of January 2027. A negative token type leaves it unsaid.
    pub(crate) fn export(&self, id: &str, token_type: i32, runtime: bool, version: u8) {
        let build = self.path("build").join(format!("{id}-{version}"));
        fs::create_dir_all(build.join("files/bin")).unwrap();
        fs::create_dir_all(build.join("export")).unwrap();
        fs::create_dir_all(build.join("usr")).unwrap();
        let group = if runtime { "Runtime" } else { "Application" };
        let metadata = format!(
            "[{group}]\nname={id}\nruntime=org.test.Platform/x86_64/stable\nsdk=org.test.Platform/x86_64/stable\n"
        );
        fs::write(build.join("metadata"), metadata).unwrap();
        let play = format!("#!/bin/sh\necho secret of {id} {version}\n");
        for folder in ["files", "usr"] {
            fs::create_dir_all(build.join(folder).join("bin")).unwrap();
            fs::write(build.join(folder).join("bin/play"), &play).unwrap();
            fs::write(build.join(folder).join("level"), noise(300_000, u64::from(version))).unwrap();
        }
        let build = build.to_str().unwrap().to_owned();
        let token_type = format!("--token-type={token_type}");
        let made = format!("--timestamp=2027-01-{version:02}T00:00:00Z");
        let mut arguments = vec!["build-export", "--disable-sandbox", &made];
        if !token_type.contains("=-") {
            arguments.push(&token_type);
        }
        if runtime {
            arguments.push("--runtime");
        }
        arguments.extend(["repo", &build, "stable"]);
        self.run("flatpak", &arguments);
    }

    /// Makes the app list, deltas and summaries anew.
    pub(crate) fn update(&self, options: &[&str]) {
        let fixed =
            ["build-update-repo", "--title=A shop", "--authenticator-name=org.flatpass.Authenticator"];
        self.run("flatpak", &[&fixed, options, &["repo"]].concat());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// A file of the repository.
    pub(crate) fn read(&self, relative: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.repo().join(relative)).unwrap()
    }

    pub(crate) fn rev(&self, name: &str) -> Checksum {
        Checksum::from_hex(self.run("ostree", &["--repo=repo", "rev-parse", name]).trim()).unwrap()
    }

    /// The path of a ref's newest commit.
    pub(crate) fn commit(&self, name: &str) -> String {
        object(self.rev(name), ObjectKind::Commit)
    }

    /// What the commit of a ref says.
    pub(crate) fn parsed(&self, name: &str) -> Commit {
        Commit::parse(&self.read(self.commit(name))).unwrap()
    }

    /// Every file below `folder` of the repository, as paths from its root.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let (root, mut found) = (self.repo(), Vec::new());
        let mut folders = vec![root.join(folder)];
        while let Some(current) = folders.pop() {
            for entry in fs::read_dir(current).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// The files of all deltas that lead to that commit.
    pub(crate) fn deltas_to(&self, commit: Checksum) -> Vec<String> {
        let leads =
            |path: &String| matches!(RepoPath::parse(path), Some(RepoPath::Delta { to, .. }) if to == commit);
        let found: Vec<_> = self.files("deltas").into_iter().filter(leads).collect();
        assert!(found.iter().any(|path| path.ends_with("/superblock")));
        assert!(found.iter().any(|path| path.ends_with("/0")));
        found
    }

    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

pub(crate) fn object(checksum: Checksum, kind: ObjectKind) -> String {
    RepoPath::Object { checksum, kind }.relative_path()
}

pub(crate) fn superblock(from: Option<Checksum>, to: Checksum) -> String {
    RepoPath::Delta { from, to, file: DeltaFile::Superblock }.relative_path()
}

/// A gate over a repository and the authority that makes tokens for it.
pub(crate) struct Desk {
    pub(crate) gate: Arc<Gate>,
    pub(crate) gates: Arc<Gates>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) clock: Clock,
    pub(crate) key: SigningKey,
    pub(crate) objects: Option<Arc<ObjectIndex>>,
    /// Where the object index keeps its file.
    pub(crate) _state: Option<TempDir>,
}

impl Desk {
    pub(crate) fn open(root: PathBuf, rules: Rules) -> Self {
        Self::open_with(root, rules, CacheLimits::default())
    }

    /// A private repo, beside which there is no other.
    pub(crate) fn private(root: PathBuf, listing: Listing) -> Self {
        Self::make(root, Rules::new(Policy::Private), CacheLimits::default(), listing)
    }

    pub(crate) fn open_with(root: PathBuf, rules: Rules, limits: CacheLimits) -> Self {
        Self::make(root, rules, limits, Listing::Shared)
    }

    fn make(root: PathBuf, rules: Rules, limits: CacheLimits, listing: Listing) -> Self {
        let state = rules.policy().checks_objects().then(|| tempfile::tempdir().unwrap());
        let objects = state.as_ref().map(|state| Self::follow(&root, &state.path().join("objects/apps")));
        Self { _state: state, ..Self::with_all(root, rules, limits, listing, objects) }
    }

    /// With that object index.
    pub(crate) fn open_indexed(
        root: PathBuf,
        rules: Rules,
        limits: CacheLimits,
        objects: Option<Arc<ObjectIndex>>,
    ) -> Self {
        Self::with_all(root, rules, limits, Listing::Shared, objects)
    }

    fn with_all(
        root: PathBuf,
        rules: Rules,
        limits: CacheLimits,
        listing: Listing,
        objects: Option<Arc<ObjectIndex>>,
    ) -> Self {
        let key = SigningKey::generate().unwrap();
        let config = VerifierConfig::new(ISSUER, REPO_URL);
        let verifier = Arc::new(Verifier::new(config, KeySet::new().with(&key)));
        let cache = Arc::new(FileCache::new(limits));
        let config = GateConfig {
            name: "apps".to_owned(),
            root,
            rules,
            public_url: REPO_URL.to_owned(),
            sign_in_url: "https://shop.example/sign-in".to_owned(),
            problem_url: "https://shop.example/problems/".to_owned(),
            objects: objects.clone(),
        };
        let gate = Gate::open(config, Arc::clone(&verifier), Arc::clone(&cache)).unwrap();
        let gate = Arc::new(gate.with_listing(listing));
        let unmounted = Unmounted {
            prefix: "/repo".to_owned(),
            public_url: "https://shop.example/repo".to_owned(),
            is_name: |name| name.starts_with("no-"),
            sign_in_url: "https://shop.example/sign-in".to_owned(),
            problem_url: "https://shop.example/problems/".to_owned(),
            verifier: Arc::new(Verifier::new(
                VerifierConfig::new(ISSUER, "https://shop.example/repo/"),
                KeySet::new().with(&key),
            )),
        };
        let gates = Arc::new(Gates::new(cache).with_unmounted(unmounted));
        gates.replace(vec![(MOUNT.to_owned(), Arc::clone(&gate))]);
        Self { gate, gates, verifier, clock: Clock::manual(NOW), key, objects, _state: None }
    }

    /// `Authorization` with a token for an hour that carries these grants.
    pub(crate) fn bearer(&self, grants: &[Grant]) -> String {
        format!("Bearer {}", self.key.sign(&self.claims(grants)).unwrap())
    }

    /// The moment at which that version was made.
    pub(crate) fn made(version: u8) -> UnixTime {
        UnixTime(1_798_761_600 + (i64::from(version) - 1) * 86_400)
    }

    /// `Authorization` with a token for `download` of these ids.
    pub(crate) fn download(&self, ids: &[&str]) -> String {
        self.bearer(&[Grant::for_ids(&[Verb::Download], ids.iter().copied())])
    }

    pub(crate) fn claims(&self, grants: &[Grant]) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            aud: REPO_URL.to_owned(),
            sub: "acc_ann".to_owned(),
            client_id: "flatpass-authenticator".to_owned(),
            sid: None,
            iat: self.clock.now().unix(),
            exp: self.clock.now().unix().plus_seconds(3600),
            nbf: None,
            jti: "tok_1".to_owned(),
            authorization_details: grants.to_vec(),
        }
    }

    /// An index that is kept in that file and follows the repository; requests wait for it as long as it takes.
    pub(crate) fn follow(root: &Path, file: &Path) -> Arc<ObjectIndex> {
        let index = Self::index(root, file, 20);
        index.follow().unwrap();
        index
    }

    /// An index for which requests wait so many seconds.
    pub(crate) fn index(root: &Path, file: &Path, patience: u64) -> Arc<ObjectIndex> {
        ObjectIndex::open(ObjectIndexConfig {
            name: "apps".to_owned(),
            root: root.to_owned(),
            file: file.to_owned(),
            patience: Duration::from_secs(patience),
        })
        .unwrap()
    }

    /// `Authorization` with an access token as Basic password, known from now on beside no other.
    pub(crate) fn basic(&self, grants: &[Grant]) -> String {
        let secret = Secret::from(SECRET.to_owned());
        let grant = AccessGrant {
            id: "pat_1".to_owned(),
            subject: "acc_ann".to_owned(),
            grants: grants.to_vec(),
            ending: Vec::new(),
            expires_at: None,
        };
        self.verifier.set_access_tokens(AccessTable::from_iter([(secret.hash(), grant)]));
        basic("device", secret.expose())
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}
