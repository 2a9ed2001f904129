//! A store, a peer of it, and people who ask both.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use flatpass_gate::Clock;
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use flatpass_peer::{Peer, Settings};
use flatpass_store::{Account, AppPattern, Holder, NewEntitlement, Source, SourceKind, What};
use flatpass_token::Verb;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::browser::form;
use crate::shop::{Shop, rng};

/// A robot: its account, and an access token of it.
pub(crate) struct Client {
    pub(crate) account: Account,
    secret: String,
}

pub(crate) async fn client(shop: &Shop, name: &str) -> Client {
    let account = shop.store.create_robot(name, shop.now(), &mut rng()).await.unwrap();
    let mut random = rng();
    let made = shop.store.create_robot_secret(&account.id, "x", "ref-tokens", None, shop.now(), &mut random);
    let (secret, _) = made.await.unwrap();
    Client { account, secret: secret.expose().to_owned() }
}

impl Client {
    pub(crate) async fn may(&self, shop: &Shop, repo: &str, app: &str, verbs: &[Verb]) {
        let new = NewEntitlement {
            holder: Holder::Account(self.account.id.clone()),
            what: What::Apps { repo: repo.to_owned(), app: app.parse::<AppPattern>().unwrap(), branch: None },
            verbs: verbs.to_vec(),
            starts_at: shop.now(),
            ends_at: None,
            upgrades_until: None,
            source: Source { kind: SourceKind::Grant, id: "test".to_owned() },
        };
        shop.store.grant(new, shop.now(), &mut rng()).await.unwrap();
    }

    /// The answer of `POST /api/v1/ref-tokens`.
    pub(crate) async fn ask(&self, shop: &Shop, repo: &str, refs: &[Value], purpose: Option<&str>) -> Value {
        let browser = shop.browser();
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.account.id.as_str()),
            ("client_secret", &self.secret),
        ];
        let access = browser.send(form(browser.request(Method::POST, "/oauth/token"), &fields)).await.json();
        let mut body = json!({ "repo_url": shop.repo_url(repo), "refs": refs });
        if let Some(purpose) = purpose {
            body["for"] = json!(purpose);
        }
        let access = access["access_token"].as_str().unwrap().to_owned();
        let request = browser.request(Method::POST, "/api/v1/ref-tokens").bearer_auth(access).json(&body);
        browser.send(request).await.json()
    }

    /// A token for the commit that a ref has now.
    pub(crate) async fn token(&self, shop: &Shop, repo: &str, name: &str, purpose: Option<&str>) -> String {
        let commit = shop.head(repo, name).to_hex();
        let answer = self.ask(shop, repo, &[json!({ "ref": name, "commit": commit })], purpose).await;
        let token = answer["tokens"][0]["token"].as_str();
        token.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) fn write_credentials(&self, shop: &Shop, path: &std::path::Path) {
        let text = format!(
            "store = \"{}/\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
            shop.url, self.account.id, self.secret
        );
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A peer that is served.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) peer: Arc<Peer>,
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    end: watch::Sender<bool>,
    served: JoinHandle<()>,
}

/// What an asked server said.
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) challenge: String,
    pub(crate) body: Vec<u8>,
}

impl Said {
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Place {
    pub(crate) async fn open(shop: &Shop, repo: &str, robot: Option<&Client>) -> Self {
        Self::open_with(shop, repo, robot, 1 << 30).await
    }

    pub(crate) async fn open_with(shop: &Shop, repo: &str, robot: Option<&Client>, max_size: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let credentials: Option<PathBuf> = robot.map(|robot| {
            let path = folder.path().join("robot.toml");
            robot.write_credentials(shop, &path);
            path
        });
        let settings = Settings {
            store: format!("{}/", shop.url).parse().unwrap(),
            repo: repo.to_owned(),
            credentials,
            listen: "127.0.0.1:0".parse().unwrap(),
            max_size,
            offline_for_days: 30,
            announce: false,
        };
        flatpass_peer::init(folder.path(), &settings, shop.now()).await.unwrap();
        let peer = Peer::open(folder.path(), shop.clock.clone()).unwrap();
        peer.refresh().await.unwrap();
        Self::serve(folder, peer, shop.clock.clone()).await
    }

    pub(crate) async fn serve(folder: TempDir, peer: Peer, clock: Clock) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/repo/{}", listener.local_addr().unwrap(), peer.settings().repo);
        let (end, shutdown) = watch::channel(false);
        let peer = Arc::new(peer);
        let serving = Arc::clone(&peer);
        let served = tokio::spawn(async move { serving.serve(listener, shutdown).await.unwrap() });
        Self { url, peer, clock, folder, end, served }
    }

    /// As [`Self::restart`], with another size.
    pub(crate) async fn reopen_with(self, max_size: u64) -> Self {
        let settings = Settings { max_size, ..self.peer.settings().clone() };
        settings.save(self.folder.path()).unwrap();
        self.restart().await
    }

    /// Stops it, and opens what is in its folder again.
    pub(crate) async fn restart(self) -> Self {
        self.end.send(true).unwrap();
        self.served.await.unwrap();
        drop(self.peer);
        let peer = Peer::open(self.folder.path(), self.clock.clone()).unwrap();
        Self::serve(self.folder, peer, self.clock).await
    }

    pub(crate) async fn get(&self, path: &RepoPath, token: Option<&str>) -> Said {
        get(&self.url, path, token).await
    }

    pub(crate) async fn commit(&self, commit: &Checksum, token: Option<&str>) -> Said {
        self.get(&object(commit, ObjectKind::Commit), token).await
    }

    pub(crate) fn path(&self, path: &RepoPath) -> PathBuf {
        self.folder.path().join("repo").join(path.relative_path())
    }
}

pub(crate) fn object(checksum: &Checksum, kind: ObjectKind) -> RepoPath {
    RepoPath::Object { checksum: *checksum, kind }
}

pub(crate) async fn get(url: &str, path: &RepoPath, token: Option<&str>) -> Said {
    let mut request = reqwest::Client::new().get(format!("{url}/{}", path.relative_path()));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    Said { status, challenge: challenge.unwrap_or_default(), body: answer.bytes().await.unwrap().to_vec() }
}
