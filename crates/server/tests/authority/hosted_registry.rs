//! A registry as others host them, with its token server: it knows accounts of its own, and its tokens are nobody else's business. It
//! remembers what it was asked, and does what a test tells it to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatpass_oci::{Digest, Image, MediaType};
use flatpass_store::{NewRepo, Registry, RegistryAccess, RegistryRobot, RepoPolicy, RepoSource};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::shop::{Shop, rng};

pub(crate) const USER: &str = "shop+robot";
pub(crate) const PASSWORD: &str = "robots have long secrets";

/// Status, fields and body of an answer.
pub(crate) type Canned = (u16, Vec<(&'static str, String)>, String);

/// What it does.
#[derive(Debug)]
pub(crate) struct Held {
    images: BTreeMap<String, BTreeMap<String, Digest>>,
    contents: BTreeMap<Digest, (String, Vec<u8>)>,
    /// By repository, and the repository of each.
    tokens: BTreeMap<String, String>,
    /// `METHOD PATH?QUERY` of all requests to the token server, with what was sent as Authorization.
    pub(crate) asked: Vec<(String, String)>,
    /// And of all to the registry.
    pub(crate) looked: Vec<String>,
    pub(crate) password: String,
    pub(crate) life: u64,
    /// Where its clients are sent for tokens; else to itself.
    pub(crate) realm: Option<String>,
    /// What its challenge says in the place of a token server.
    pub(crate) challenge: Option<String>,
    /// What all requests to the token server are answered with.
    pub(crate) answer: Option<Canned>,
    /// These repositories are not the account's.
    pub(crate) withheld: Vec<String>,
    pub(crate) is_public: bool,
    /// These repositories are everybody's.
    pub(crate) open: Vec<String>,
    /// Any token opens all that is the account's.
    pub(crate) ignores_scope: bool,
}

pub(crate) struct HostedRegistry {
    pub(crate) url: String,
    held: Arc<Mutex<Held>>,
    is_open: watch::Sender<bool>,
}

impl HostedRegistry {
    pub(crate) async fn start() -> Self {
        let held = Held {
            images: BTreeMap::new(),
            contents: BTreeMap::new(),
            tokens: BTreeMap::new(),
            asked: Vec::new(),
            looked: Vec::new(),
            password: PASSWORD.to_owned(),
            life: 300,
            realm: None,
            challenge: None,
            answer: None,
            withheld: Vec::new(),
            is_public: false,
            open: Vec::new(),
            ignores_scope: false,
        };
        let held = Arc::new(Mutex::new(held));
        let (is_open, opened) = watch::channel(true);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let stand = Stand { url: url.clone(), held: Arc::clone(&held), opened };
        let router = axum::Router::new().fallback(serve).with_state(stand);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, held, is_open }
    }

    pub(crate) fn hold<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.lock().unwrap())
    }

    /// Lets nobody through until it is opened again: all wait.
    pub(crate) fn close(&self) {
        self.is_open.send(false).unwrap();
    }

    pub(crate) fn open(&self) {
        self.is_open.send(true).unwrap();
    }

    /// The scopes that tokens were asked for since the last time.
    pub(crate) fn scopes(&self) -> Vec<String> {
        self.hold(|held| {
            held.looked.clear();
            std::mem::take(&mut held.asked).into_iter().map(|(line, _)| scope_of(&line)).collect()
        })
    }

    /// Puts an image with that ref there.
    pub(crate) fn push(&self, repository: &str, tag: &str, name: &str, token_type: i32) {
        let labels = json!({
            "org.flatpak.ref": name,
            "org.flatpak.commit-metadata.xa.token-type": Image::token_type_label(token_type),
        });
        let config = json!({"architecture": "amd64", "os": "linux", "config": {"Labels": labels}});
        self.hold(|held| {
            let digest = held.put("application/octet-stream", &config);
            let size = held.contents[&digest].1.len();
            let kind = "application/vnd.oci.image.config.v1+json";
            let config = json!({"mediaType": kind, "digest": digest, "size": size});
            let manifest = json!({"schemaVersion": 2, "config": config});
            let digest = held.put(MediaType::MANIFEST, &manifest);
            held.images.entry(repository.to_owned()).or_default().insert(tag.to_owned(), digest);
        });
    }

    /// Has that tag lead to a manifest that comes with another content than its own.
    pub(crate) fn damage(&self, repository: &str, tag: &str) {
        let digest = Digest::of(b"damaged");
        self.hold(|held| {
            held.contents.insert(digest, (MediaType::MANIFEST.to_owned(), b"{}".to_vec()));
            held.images.entry(repository.to_owned()).or_default().insert(tag.to_owned(), digest);
        });
    }

    /// Takes that tag away.
    pub(crate) fn untag(&self, repository: &str, tag: &str) {
        self.hold(|held| held.images.get_mut(repository).unwrap().remove(tag));
    }

    /// Whether somebody with this token gets the manifests of that repository.
    pub(crate) async fn lets_in(&self, token: &str, repository: &str) -> bool {
        let digest = self.hold(|held| *held.images[repository].values().next().unwrap());
        let url = format!("{}v2/{repository}/manifests/{digest}", self.url);
        reqwest::Client::new().get(url).bearer_auth(token).send().await.unwrap().status() == 200
    }

    /// A shop whose repo `hosted` it is.
    pub(crate) async fn shop_with(&self, change: impl FnOnce(&mut flatpass::config::Config)) -> Shop {
        let mut shop = Shop::open_with("", change).await;
        shop.stop().await;
        let registry = Registry {
            url: self.url.clone(),
            namespace: None,
            repositories: None,
            access: RegistryAccess::Broker,
            service: "hosted".to_owned(),
            robot: None,
            webhook: None,
        };
        let new = NewRepo {
            name: "hosted".to_owned(),
            source: RepoSource::Registry(registry),
            policy: RepoPolicy::Refs,
            urls: Vec::new(),
            open_token_types: vec![0, 1],
        };
        shop.store.add_repo(new, shop.now()).await.unwrap();
        set_robot(&shop, PASSWORD).await;
        shop.start().await;
        shop
    }
}

pub(crate) async fn set_robot(shop: &Shop, password: &str) {
    let robot = RegistryRobot { user: USER.to_owned(), password: password.to_owned().into(), realm: None };
    shop.store.set_registry_robot("hosted", Some(&robot), &mut rng()).await.unwrap();
}

fn scope_of(line: &str) -> String {
    let url = url::Url::parse(&format!("http://x{}", line.split_once(' ').unwrap().1)).unwrap();
    url.query_pairs()
        .filter(|(name, _)| name == "scope")
        .map(|(_, value)| value)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Held {
    fn put(&mut self, kind: &str, content: &Value) -> Digest {
        let bytes = content.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.contents.insert(digest, (kind.to_owned(), bytes));
        digest
    }

    fn token(&mut self, line: &str, authorization: &str) -> Said {
        self.asked.push((line.to_owned(), authorization.to_owned()));
        if let Some((status, fields, body)) = self.answer.clone() {
            return Said { status, fields, body: body.into_bytes() };
        }
        let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{}", self.password)));
        if authorization != expected {
            return Said::json(401, &json!({"details": format!("not the password: {authorization}")}));
        }
        // Opaque: a number.
        let token = format!("hosted.{}", self.tokens.len());
        self.tokens.insert(token.clone(), scope_of(line));
        Said::json(200, &json!({"token": token, "expires_in": self.life}))
    }

    fn registry(&mut self, base: &str, method: &str, path: &str, authorization: &str) -> Said {
        self.looked.push(format!("{method} {path}"));
        let path = path.trim_start_matches("/v2/");
        let (repository, rest) = match path.rsplit_once("/manifests/").or_else(|| path.rsplit_once("/blobs/"))
        {
            Some((repository, reference)) => (repository, reference),
            None => (path.trim_end_matches("/tags/list"), ""),
        };
        let scope = match path {
            "_catalog" => "registry:catalog:*".to_owned(),
            _ => format!("repository:{repository}:pull"),
        };
        let token = authorization.trim_start_matches("Bearer ");
        let has = self.tokens.get(token).is_some_and(|opens| *opens == scope || self.ignores_scope);
        let is_open = self.is_public || self.open.iter().any(|name| name == repository);
        if !is_open && (!has || self.withheld.iter().any(|name| name == repository)) {
            let realm = self.realm.clone().unwrap_or_else(|| format!("{base}token"));
            let bearer = format!(
                "Bearer realm=\"{realm}\",service=\"hosted\",scope=\"repository:all:pull,push,delete\""
            );
            let challenge = self.challenge.clone().unwrap_or(bearer);
            return Said { status: 401, fields: vec![("WWW-Authenticate", challenge)], body: Vec::new() };
        }
        if path == "_catalog" {
            return Said::json(200, &json!({"repositories": self.images.keys().collect::<Vec<_>>()}));
        }
        let Some(tags) = self.images.get(repository) else { return Said::json(404, &json!({})) };
        if rest.is_empty() {
            return Said::json(200, &json!({"tags": tags.keys().collect::<Vec<_>>()}));
        }
        let digest = tags.get(rest).copied().or_else(|| Digest::parse(rest).ok());
        let found = digest.and_then(|digest| Some((digest, self.contents.get(&digest)?)));
        let Some((digest, (kind, content))) = found else { return Said::json(404, &json!({})) };
        let fields = vec![("Content-Type", kind.clone()), ("Docker-Content-Digest", digest.to_string())];
        Said { status: 200, fields, body: content.clone() }
    }
}

struct Said {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Said {
    fn json(status: u16, body: &Value) -> Self {
        let fields = vec![("Content-Type", "application/json".to_owned())];
        Self { status, fields, body: body.to_string().into_bytes() }
    }
}

#[derive(Clone)]
struct Stand {
    url: String,
    held: Arc<Mutex<Held>>,
    opened: watch::Receiver<bool>,
}

async fn serve(State(mut stand): State<Stand>, request: Request) -> Response {
    let field = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let authorization = field.unwrap_or_default().to_owned();
    let line = format!("{} {}", request.method(), request.uri());
    let said = {
        let mut held = stand.held.lock().unwrap();
        match request.uri().path() {
            "/token" => held.token(&line, &authorization),
            path => held.registry(&stand.url, request.method().as_str(), path, &authorization),
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(60), stand.opened.wait_for(|open| *open)).await;
    let mut response = Response::builder().status(StatusCode::from_u16(said.status).unwrap());
    for (name, value) in said.fields {
        response = response.header(name, value);
    }
    response.body(Body::from(said.body)).unwrap()
}
