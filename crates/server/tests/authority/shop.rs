//! A store with two repos, served on a free port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use flatpass::config::{Config, Overrides};
use flatpass_gate::Clock;
use flatpass_ostree::Checksum;
use flatpass_ostree::repo::Repo;
use flatpass_store::{Account, NewAccount, NewRepo, Offer, RepoPolicy, RepoSource, Sealer, Store};
use flatpass_token::UnixTime;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::browser::Browser;

pub(crate) const START: UnixTime = UnixTime(1_790_000_000);
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) const FREE: &str = "app/org.test.Free/x86_64/stable";
pub(crate) const PAID: &str = "app/org.test.Paid/x86_64/stable";
pub(crate) const LOCALE: &str = "runtime/org.test.Paid.Locale/x86_64/stable";
/// Another app, whose id only begins like the paid one's.
pub(crate) const PRO: &str = "app/org.test.Paid.Pro/x86_64/stable";
pub(crate) const PRO_LOCALE: &str = "runtime/org.test.Paid.Pro.Locale/x86_64/stable";
/// Whoever is signed in may have it.
pub(crate) const MEMBERS: &str = "app/org.test.Members/x86_64/stable";
/// Must be bought, says its token type; but nobody sells it.
pub(crate) const UNSOLD: &str = "app/org.test.Unsold/x86_64/stable";
/// Its extension is written with `_`.
pub(crate) const DASHED: &str = "app/org.test.My-App/x86_64/stable";
pub(crate) const DASHED_LOCALE: &str = "runtime/org.test.My_App.Locale/x86_64/stable";

const REFS: &[(&str, i32)] = &[
    (FREE, 0),
    (PAID, 2),
    ("app/org.test.Paid/x86_64/beta", 2),
    ("app/org.test.Paid/aarch64/stable", 2),
    (LOCALE, 2),
    (PRO, 2),
    (PRO_LOCALE, 2),
    (MEMBERS, 3),
    (UNSOLD, 2),
    (DASHED, 2),
    (DASHED_LOCALE, 2),
];

pub(crate) struct Shop {
    pub(crate) url: String,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// The same database by another connection, as commands have it.
    pub(crate) store: Store,
    end: watch::Sender<bool>,
    served: Option<JoinHandle<()>>,
    /// Kept while the server is stopped, so that nobody else gets the port.
    listener: TcpListener,
    folder: TempDir,
}

pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with("", |_| ()).await
    }

    /// With more lines in the configuration file (which begins before any table), and a change to what was read from it.
    pub(crate) async fn open_with(lines: &str, change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let text = format!("url = \"{url}/\"\nlisten = \"127.0.0.1:{port}\"\nname = \"Test shop\"\n{lines}");
        let file = folder.path().join("flatpass.toml");
        std::fs::write(&file, text).unwrap();
        let mut config = Config::load(&file, &Overrides::default()).unwrap();
        change(&mut config);
        Sealer::create_key_file(&config.secret_key, &mut rng()).unwrap();
        let clock = Clock::manual(START);
        let store = flatpass::open_store(&config).await.unwrap();
        let template = template();
        for (name, policy) in [("apps", RepoPolicy::Refs), ("inside", RepoPolicy::Private)] {
            let path = folder.path().join(name);
            run(Command::new("cp").arg("-a").args([&template, &path]));
            let new = NewRepo {
                name: name.to_owned(),
                source: RepoSource::Ostree(path),
                policy,
                urls: Vec::new(),
                open_token_types: vec![0, 1],
            };
            store.add_repo(new, START).await.unwrap();
        }
        let mut shop =
            Self { url, config, clock, store, end: watch::channel(false).0, served: None, listener, folder };
        for (repo, app, price) in [
            ("apps", "org.test.Paid", "5.00"),
            ("apps", "org.test.Paid.Pro", "25.00"),
            ("apps", "org.test.My-App", "1.00"),
            ("inside", "org.test.Paid", "7.00"),
        ] {
            shop.set_price(repo, app, price).await;
        }
        shop.start().await;
        shop
    }

    pub(crate) async fn start(&mut self) {
        let (end, shutdown) = watch::channel(false);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        self.served = Some(tokio::spawn(async move {
            let ready = move |_: &Config| ready.send(()).unwrap();
            flatpass::serve_on(listener, config, clock, shutdown, ready).await.unwrap();
        }));
        self.end = end;
        is_ready.await.unwrap();
    }

    pub(crate) async fn stop(&mut self) {
        self.end.send(true).unwrap();
        self.served.take().unwrap().await.unwrap();
    }

    /// Stops for good: nobody listens any more.
    pub(crate) async fn close(mut self) {
        self.stop().await;
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new(&self.url)
    }

    /// A browser in which a new account is signed in.
    pub(crate) async fn signed_up(&self, email: &str) -> Browser {
        let browser = self.browser();
        let page = browser.get("/sign-up").await;
        let done = browser.submit(&page, "/sign-up", &[("email", email), ("password", PASSWORD)]).await;
        assert_eq!(done.status, 303, "{}", done.body);
        browser
    }

    /// A browser in which the account with this address is signed in.
    pub(crate) async fn signed_in(&self, email: &str) -> Browser {
        let browser = self.browser();
        let page = browser.get("/sign-in").await;
        let done = browser.submit(&page, "/sign-in", &[("email", email), ("password", PASSWORD)]).await;
        assert_eq!(done.status, 303, "{}", done.body);
        browser
    }

    /// An account that was made by a command.
    pub(crate) async fn account(&self, email: &str) -> Account {
        let new = NewAccount { email: email.to_owned(), password: PASSWORD.to_owned().into(), name: None };
        self.store.create_account(new, self.now(), &mut rng()).await.unwrap()
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now().unix()
    }

    pub(crate) fn pass_seconds(&self, seconds: i64) {
        self.clock.advance_millis(seconds * 1000);
    }

    pub(crate) fn repo_path(&self, repo: &str) -> PathBuf {
        self.folder.path().join(repo)
    }

    pub(crate) fn repo_url(&self, repo: &str) -> String {
        format!("{}/repo/{repo}", self.url)
    }

    pub(crate) async fn set_price(&self, repo: &str, app: &str, price: &str) {
        let price = flatpass_store::Money::parse(price, "EUR").unwrap();
        let title = app.trim_start_matches("org.test.").to_owned();
        self.store.set_offer(repo, app, Offer { price, title }, self.now()).await.unwrap();
    }

    pub(crate) fn head(&self, repo: &str, name: &str) -> Checksum {
        let refs = Repo::open(self.repo_path(repo)).unwrap().refs().unwrap();
        refs.into_iter().find(|one| one.name == name).unwrap().checksum
    }

    /// What the gate says to a request for the commit that the ref has now.
    pub(crate) async fn fetch(&self, repo: &str, name: &str, token: Option<&str>) -> u16 {
        self.fetch_commit(repo, &self.head(repo, name), token).await
    }

    pub(crate) async fn fetch_commit(&self, repo: &str, commit: &Checksum, token: Option<&str>) -> u16 {
        let hex = commit.to_string();
        let (front, rest) = hex.split_at(2);
        let url = format!("{}/objects/{front}/{rest}.commit", self.repo_url(repo));
        let mut request = reqwest::Client::new().get(url);
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

/// A repo with all the refs, made once and then copied. Tests run in processes of their own, so the first to finish wins.
fn template() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let refs = flatpass_token::SecretHash::of(&format!("{REFS:?}")).to_text();
    let made = folder.join(format!("authority-repo-{}", refs.get(..8).unwrap()));
    if !made.join("summary").exists() {
        let own = TempDir::new_in(folder).unwrap();
        let repo = own.path().join("repo");
        ostree(&repo, &["init", "--mode=archive-z2"]);
        for (name, token_type) in REFS {
            commit(&repo, name, *token_type);
        }
        update_summary(&repo);
        let renamed = std::fs::rename(&repo, &made);
        assert!(renamed.is_ok() || made.join("summary").exists(), "{renamed:?}");
    }
    made
}

/// A new commit of the ref.
pub(crate) fn commit(repo: &Path, name: &str, token_type: i32) {
    commit_at(repo, name, token_type, None);
}

/// A new commit of the ref that says it was made then.
pub(crate) fn commit_at(repo: &Path, name: &str, token_type: i32, at: Option<UnixTime>) {
    let made =
        at.map(|at| format!("--timestamp={}", at.to_string().replace('T', " ").replace('Z', " +0000")));
    let content = repo.with_extension("content");
    std::fs::create_dir_all(&content).unwrap();
    std::fs::write(content.join("file"), name).unwrap();
    let branch = format!("--branch={name}");
    let token_type = format!("--add-metadata=xa.token-type=int32 {token_type}");
    let mut arguments = vec![
        "commit",
        "--fsync=false",
        &branch,
        &token_type,
        "--add-metadata-string=xa.metadata=[Application]\nname=x\n",
        "--subject=test",
    ];
    arguments.extend(made.as_deref());
    arguments.push(content.to_str().unwrap());
    ostree(repo, &arguments);
}

pub(crate) fn update_summary(repo: &Path) {
    run(Command::new("flatpak").args(["build-update-repo", "--no-update-appstream"]).arg(repo));
}

fn ostree(repo: &Path, arguments: &[&str]) {
    run(Command::new("ostree").arg(format!("--repo={}", repo.display())).args(arguments));
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// User and password of an `Authorization` field, with a colon between.
pub(crate) fn basic_of(field: &str) -> String {
    use base64::Engine;
    let encoded = field.strip_prefix("Basic ").unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()).unwrap()
}

/// Tries until it is so; the server takes changes up within a second.
pub(crate) async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
