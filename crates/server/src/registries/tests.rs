//! Looks at a registry that counts what it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use flatpass_oci::client::{Access, HttpLimits, RegistryAddress, RegistryClient};
use flatpass_oci::{Digest, Image, MediaType, RepositoryName};
use flatpass_store::{Registry, RegistryAccess};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::follower::{Look, Wanted};
use super::memory;
use super::seen::Seen;
use super::whole::Whole;

/// A registry in memory.
#[derive(Default)]
struct Held {
    /// By repository: its tags.
    tags: BTreeMap<String, BTreeMap<String, Digest>>,
    /// By digest: media type and content.
    contents: BTreeMap<Digest, (String, Vec<u8>)>,
    /// By digest: what is sent in its place.
    lies: BTreeMap<Digest, Vec<u8>>,
    is_down: bool,
    /// What begins so is answered with a fault.
    broken: Option<String>,
    asked: Vec<String>,
}

impl Held {
    fn put(&mut self, kind: &str, content: &Value) -> Digest {
        let bytes = content.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.contents.insert(digest, (kind.to_owned(), bytes));
        digest
    }

    fn image(&mut self, labels: &Value, architecture: &str, annotations: &Value) -> Digest {
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Labels": labels}});
        let digest = self.put("application/octet-stream", &config);
        let size = self.contents[&digest].1.len();
        let config =
            json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size});
        let manifest = json!({"schemaVersion": 2, "config": config, "annotations": annotations});
        self.put(MediaType::MANIFEST, &manifest)
    }

    fn app(&mut self, number: usize, version: &str) -> Digest {
        let name = format!("app/org.test.A{number}/x86_64/stable");
        self.image(&json!({"org.flatpak.ref": name, "version": version}), "amd64", &json!({}))
    }

    fn tag(&mut self, repository: &str, tag: &str, digest: Digest) {
        self.tags.entry(repository.to_owned()).or_default().insert(tag.to_owned(), digest);
    }

    fn answer(&mut self, method: &str, path: &str) -> (StatusCode, String, Vec<u8>, Option<Digest>) {
        let nothing = (StatusCode::NOT_FOUND, "application/json".to_owned(), Vec::new(), None);
        if self.is_down || self.broken.as_ref().is_some_and(|broken| path.starts_with(broken)) {
            return (StatusCode::BAD_GATEWAY, "text/html".to_owned(), b"down".to_vec(), None);
        }
        self.asked.push(format!("{method} {path}"));
        let json = |value: Value| {
            (StatusCode::OK, "application/json".to_owned(), value.to_string().into_bytes(), None)
        };
        let path = path.trim_start_matches("/v2/");
        if path == "_catalog" {
            return json(json!({"repositories": self.tags.keys().collect::<Vec<_>>()}));
        }
        if let Some(name) = path.strip_suffix("/tags/list") {
            let Some(tags) = self.tags.get(name) else { return nothing };
            return json(json!({"name": name, "tags": tags.keys().collect::<Vec<_>>()}));
        }
        let Some((rest, reference)) = path.rsplit_once('/') else { return nothing };
        let name = rest.trim_end_matches("/manifests").trim_end_matches("/blobs");
        let by_tag = self.tags.get(name).and_then(|tags| tags.get(reference)).copied();
        let Some(digest) = by_tag.or_else(|| Digest::parse(reference).ok()) else { return nothing };
        let Some((kind, content)) = self.contents.get(&digest) else { return nothing };
        let content = self.lies.get(&digest).unwrap_or(content).clone();
        (StatusCode::OK, kind.clone(), content, Some(digest))
    }
}

struct Stage {
    held: Arc<Mutex<Held>>,
    client: RegistryClient,
    registry: Registry,
    seen: Seen,
    whole: Whole,
}

impl Stage {
    async fn new() -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&held));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let address = RegistryAddress::parse(&url).unwrap();
        let client = RegistryClient::new(address, Access::Anonymous, &HttpLimits::default()).unwrap();
        let registry = Registry {
            url,
            namespace: None,
            repositories: None,
            access: RegistryAccess::None,
            service: "here".to_owned(),
            robot: None,
            webhook: None,
        };
        Self { held, client, registry, seen: Seen::default(), whole: Whole::default() }
    }

    fn hold<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.lock().unwrap())
    }

    /// Looks; gives whether anything changed, or why not everything was seen.
    async fn look(&mut self, what: Option<&[&str]>) -> Result<bool, String> {
        let names = what.map(|names| {
            names.iter().map(|name| RepositoryName::parse(name).unwrap()).collect::<BTreeSet<_>>()
        });
        let mut changed = false;
        let look = Look { client: &self.client, registry: &self.registry, whole: &self.whole };
        let looked = look.at(&mut self.seen, names, &mut changed).await;
        looked.map(|()| changed).map_err(|error| error.to_string())
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        self.hold(|held| std::mem::take(&mut held.asked))
    }

    /// Whether all of the repository was seen.
    fn is_whole(&self, name: &str) -> bool {
        let name = RepositoryName::parse(name).unwrap();
        self.whole.is_fresh(&name, Duration::ZERO, Instant::now())
    }

    fn refs(&self) -> Vec<String> {
        self.seen.catalogue().images().iter().map(|image| image.name().to_string()).collect()
    }
}

async fn serve(State(held): State<Arc<Mutex<Held>>>, request: Request) -> Response {
    let (status, kind, content, digest) =
        held.lock().unwrap().answer(request.method().as_str(), request.uri().path());
    let response = Response::builder().status(status).header("Content-Type", kind);
    let response = match digest {
        Some(digest) => response.header("Docker-Content-Digest", digest.to_string()),
        None => response,
    };
    response.body(Body::from(content)).unwrap()
}

#[tokio::test]
async fn a_change_among_a_thousand_images_reads_only_what_changed() {
    let mut stage = Stage::new().await;
    stage.hold(|held| {
        for number in 0..1000 {
            let digest = held.app(number, "1");
            held.tag(&format!("shop/a{number}"), "stable", digest);
        }
    });
    assert!(stage.look(None).await.unwrap());
    let count = |asked: &[String], what: &str| asked.iter().filter(|line| line.starts_with(what)).count();
    let reads = |asked: &[String]| {
        let manifests =
            asked.iter().filter(|line| line.starts_with("GET") && line.contains("/manifests/")).count();
        (manifests, asked.iter().filter(|line| line.contains("/blobs/")).count())
    };
    let asked = stage.asked();
    assert_eq!(reads(&asked), (1000, 1000));
    assert_eq!(stage.refs().len(), 1000);

    assert!(!stage.look(None).await.unwrap());
    let asked = stage.asked();
    assert_eq!(reads(&asked), (0, 0));
    assert_eq!((count(&asked, "HEAD"), asked.len()), (1000, 2001));

    stage.hold(|held| {
        let digest = held.app(7, "2");
        held.tag("shop/a7", "stable", digest);
    });
    assert!(stage.look(None).await.unwrap());
    assert_eq!(reads(&stage.asked()), (1, 1));

    // Told where, it looks only there.
    stage.hold(|held| {
        let digest = held.app(8, "2");
        held.tag("shop/a8", "stable", digest);
    });
    assert!(stage.look(Some(&["shop/a8"])).await.unwrap());
    assert_eq!(stage.asked().len(), 4);
    let catalogue = stage.seen.catalogue();
    let newest = catalogue.images().iter().filter(|image| image.labels["version"] == "2").count();
    assert_eq!((catalogue.images().len(), newest), (1000, 2));
}

#[tokio::test]
async fn what_goes_from_the_registry_goes_and_what_only_cannot_be_seen_stays() {
    let mut stage = Stage::new().await;
    stage.hold(|held| {
        for number in 0..3 {
            let digest = held.app(number, "1");
            held.tag(&format!("a{number}"), "stable", digest);
        }
    });
    stage.look(None).await.unwrap();
    stage.hold(|held| held.is_down = true);
    assert!(stage.look(None).await.is_err());
    assert_eq!(stage.refs().len(), 3);
    stage.hold(|held| {
        held.is_down = false;
        held.tags.remove("a1");
        held.tags.get_mut("a2").unwrap().clear();
    });
    assert!(stage.look(None).await.unwrap());
    assert_eq!(stage.refs(), ["app/org.test.A0/x86_64/stable"]);
    stage.hold(|held| held.tags.clear());
    assert!(stage.look(Some(&["a0"])).await.unwrap());
    assert!(stage.refs().is_empty());
}

#[tokio::test]
async fn a_registry_that_lies_about_one_digest_is_believed_in_the_rest_only() {
    let mut stage = Stage::new().await;
    let lied = stage.hold(|held| {
        let (one, other) = (held.app(1, "1"), held.app(2, "1"));
        held.tag("a1", "stable", one);
        held.tag("a2", "stable", other);
        let evil =
            held.image(&json!({"org.flatpak.ref": "app/org.test.Evil/x86_64/stable"}), "amd64", &json!({}));
        let bytes = held.contents[&evil].1.clone();
        held.lies.insert(one, bytes);
        one
    });
    let told = stage.look(None).await.unwrap_err();
    assert!(told.contains("another content"), "{told}");
    assert_eq!(stage.refs(), ["app/org.test.A2/x86_64/stable"]);
    stage.hold(|held| held.lies.remove(&lied));
    stage.look(None).await.unwrap();
    assert_eq!(stage.refs().len(), 2);
}

#[tokio::test]
async fn lists_and_deltas_are_understood_and_what_is_no_flatpak_is_read_once() {
    let mut stage = Stage::new().await;
    let (amd, delta) = stage.hold(|held| {
        let label = |arch: &str| json!({"org.flatpak.ref": format!("app/org.test.M/{arch}/stable")});
        let amd = held.image(&label("x86_64"), "amd64", &json!({}));
        let arm = held.image(&label("aarch64"), "arm64", &json!({}));
        let entry = |digest: &Digest| json!({"mediaType": MediaType::MANIFEST, "digest": digest, "size": 1});
        let nested = json!({"schemaVersion": 2, "manifests": [entry(&arm)]});
        let nested = held.put(MediaType::INDEX, &nested);
        let nested = json!({"mediaType": MediaType::INDEX, "digest": nested, "size": 1});
        let list = json!({"schemaVersion": 2, "manifests": [entry(&amd), nested]});
        let list = held.put(MediaType::INDEX, &list);
        held.tag("m", "latest", list);
        let target = json!({"io.github.containers.delta.target": amd});
        let delta = held.image(&json!({}), "", &target);
        let mut pointer = entry(&delta);
        pointer["annotations"] = target;
        let deltas = held.put(MediaType::INDEX, &json!({"schemaVersion": 2, "manifests": [pointer]}));
        held.tag("m", "_deltaindex", deltas);
        let plain = held.image(&json!({}), "amd64", &json!({}));
        held.tag("m", "server", plain);
        let damaged = held.put(MediaType::MANIFEST, &json!({"schemaVersion": 1}));
        held.tag("m", "damaged", damaged);
        (amd, delta)
    });
    stage.look(None).await.unwrap();
    let catalogue = stage.seen.catalogue();
    assert_eq!(catalogue.images().len(), 2);
    let image = catalogue.images().iter().find(|image| image.digest == amd).unwrap();
    assert_eq!(image.delta, Some(delta));
    assert_eq!(image.lists.len(), 1);
    assert_eq!(image.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(), ["latest"]);
    assert_eq!(image.direct_tags().count(), 0);
    stage.asked();
    assert!(!stage.look(None).await.unwrap());
    assert!(stage.asked().iter().all(|line| !line.starts_with("GET /v2/m/manifests")));
    // What a registry does not have yet may come.
    let late = stage.hold(|held| {
        let late = held.app(9, "1");
        held.tag("m", "late", late);
        held.contents.remove_entry(&late).unwrap()
    });
    stage.hold(|held| {
        let entry = json!({"mediaType": MediaType::MANIFEST, "digest": late.0, "size": 1});
        let list = held.put(MediaType::INDEX, &json!({"schemaVersion": 2, "manifests": [entry]}));
        held.tag("m", "late", list);
    });
    stage.look(None).await.unwrap();
    assert_eq!(stage.refs().len(), 2);
    stage.hold(|held| held.contents.insert(late.0, late.1));
    assert!(stage.look(None).await.unwrap());
    assert_eq!(stage.refs().len(), 3);
}

#[tokio::test]
async fn only_the_part_of_the_registry_that_is_the_repo_is_seen() {
    let mut stage = Stage::new().await;
    stage.hold(|held| {
        for (number, name) in ["shop/a", "shop/b", "shopping/c", "other/d"].into_iter().enumerate() {
            let digest = held.app(number, "1");
            held.tag(name, "stable", digest);
        }
    });
    let names = |stage: &Stage| -> Vec<String> {
        stage.seen.catalogue().images().iter().map(|image: &Image| image.repository.to_string()).collect()
    };
    stage.registry.namespace = Some("shop".to_owned());
    stage.look(None).await.unwrap();
    assert_eq!(names(&stage), ["shop/a", "shop/b"]);
    assert!(!stage.look(Some(&["other/d"])).await.unwrap());
    stage.registry.repositories = Some(vec!["shop/b".to_owned(), "other/d".to_owned()]);
    stage.asked();
    stage.look(None).await.unwrap();
    assert_eq!(names(&stage), ["shop/b"]);
    assert!(stage.asked().iter().all(|line| !line.contains("_catalog") && !line.contains("other")));
}

#[tokio::test]
async fn what_was_seen_survives_in_a_file_for_the_same_registry_only() {
    let mut stage = Stage::new().await;
    stage.hold(|held| {
        let digest = held.app(1, "1");
        held.tag("a", "stable", digest);
    });
    stage.look(None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = memory::file(&folder.path().join("state"), "apps");
    assert!(memory::read(&file, &stage.registry).unwrap().is_none());
    memory::write(&file, &stage.registry, &stage.seen).unwrap();
    let read = memory::read(&file, &stage.registry).unwrap().unwrap();
    assert_eq!(read.catalogue(), stage.seen.catalogue());
    let other = Registry { url: "https://other.example/".to_owned(), ..stage.registry.clone() };
    assert!(memory::read(&file, &other).unwrap().is_none());
    let part = Registry { namespace: Some("shop".to_owned()), ..stage.registry.clone() };
    assert!(memory::read(&file, &part).unwrap().unwrap().catalogue().images().is_empty());
    std::fs::write(&file, "{").unwrap();
    assert!(memory::read(&file, &stage.registry).is_err());
}

/// A list of these manifests.
fn list(held: &mut Held, kind: &str, listed: impl IntoIterator<Item = Digest>) -> Digest {
    let entry = |digest: Digest| json!({"mediaType": kind, "digest": digest, "size": 1});
    let listed: Vec<_> = listed.into_iter().map(entry).collect();
    held.put(MediaType::INDEX, &json!({"schemaVersion": 2, "manifests": listed}))
}

#[tokio::test]
async fn nothing_that_a_tag_leads_to_is_overlooked_and_what_is_not_seen_is_known_as_such() {
    let mut stage = Stage::new().await;
    stage.hold(|held| {
        let apps: Vec<_> = (0..70).map(|number| held.app(number, "1")).collect();
        let many = list(held, MediaType::MANIFEST, apps);
        held.tag("many", "stable", many);
        // By the names that tags of deltas have, and with other media types than they are of.
        let app = held.app(100, "1");
        held.tag("deltas", "deltas-x", app);
        let app = held.app(101, "1");
        let of_deltas = list(held, "application/x", [app]);
        held.tag("deltas", "_deltaindex", of_deltas);
        let target = json!({"io.github.containers.delta.target": app});
        let label = json!({"org.flatpak.ref": "app/org.test.A102/x86_64/stable"});
        let app = held.image(&label, "amd64", &target);
        held.tag("deltas", "stable", app);
        let mut deep = held.app(103, "1");
        for _ in 0..3 {
            deep = list(held, MediaType::INDEX, [deep]);
        }
        held.tag("deep", "stable", deep);
        let deeper = list(held, MediaType::INDEX, [deep]);
        held.tag("deeper", "stable", deeper);
        let too_many =
            list(held, MediaType::MANIFEST, (0..1001_u32).map(|one| Digest::of(&one.to_be_bytes())));
        held.tag("too-many", "stable", too_many);
        let large = "x".repeat(600 * 1024);
        let label = json!({"org.flatpak.ref": "app/org.test.A104/x86_64/stable", "icon": large});
        let large = held.image(&label, "amd64", &json!({}));
        held.tag("large", "stable", large);
        let damaged = held.put(MediaType::MANIFEST, &json!({"schemaVersion": 1}));
        held.tag("damaged", "stable", damaged);
        let late = held.app(105, "1");
        held.contents.remove(&late);
        let late = list(held, MediaType::MANIFEST, [late]);
        held.tag("late", "stable", late);
    });
    stage.look(None).await.unwrap();
    let catalogue = stage.seen.catalogue();
    let of = |name: &str| catalogue.of_repository(&RepositoryName::parse(name).unwrap()).len();
    assert_eq!((of("many"), of("deltas"), of("deep")), (70, 3, 1));
    for name in ["many", "deltas", "deep"] {
        assert!(stage.is_whole(name), "{name}");
    }
    for name in ["deeper", "too-many", "large", "damaged", "late", "unknown"] {
        assert!(!stage.is_whole(name), "{name}");
    }
    let later = Instant::now() + Duration::from_secs(1000);
    let many = RepositoryName::parse("many").unwrap();
    assert!(stage.whole.is_fresh(&many, Duration::from_secs(400), later));
    assert!(!stage.whole.is_fresh(&many, Duration::from_secs(300), later));
}

#[tokio::test]
async fn what_cannot_be_seen_hides_nothing_beside_it() {
    let mut stage = Stage::new().await;
    let broken = stage.hold(|held| {
        for number in 0..8 {
            let app = held.app(number, "1");
            held.tag(&format!("a{number}"), "stable", app);
        }
        let broken = held.app(10, "1");
        held.tag("a0", "broken", broken);
        held.lies.insert(broken, b"{}".to_vec());
        broken
    });
    stage.look(None).await.unwrap_err();
    assert_eq!(stage.refs().len(), 8);
    assert!(!stage.is_whole("a0") && stage.is_whole("a1"));
    // Beside what is damaged, and behind repositories that give no answer.
    let paid = stage.hold(|held| {
        for name in ["a0", "z"] {
            let app = held.app(20, "1");
            held.tag(name, "paid", app);
        }
        held.lies.remove(&broken);
        for number in 0..4 {
            held.tag(&format!("0{number}"), "stable", broken);
        }
        held.broken = Some("/v2/0".to_owned());
        RepositoryName::parse("z").unwrap()
    });
    // The first look may end with them; the next one begins with the others.
    let first = stage.look(None).await.unwrap_err();
    let second = stage.look(None).await.unwrap_err();
    assert!(first.contains("502") && second.contains("4 of its repositories"), "{first}; {second}");
    assert_eq!(stage.seen.catalogue().of_repository(&paid).len(), 1);
    assert!(stage.is_whole("a0") && stage.is_whole("z") && !stage.is_whole("00"));
    // A repository that was whole is not after a look that failed.
    stage.hold(|held| held.broken = Some("/v2/z".to_owned()));
    stage.look(Some(&["z"])).await.unwrap_err();
    assert!(!stage.is_whole("z"));
    assert_eq!(stage.seen.catalogue().of_repository(&paid).len(), 1);
}

#[tokio::test]
async fn who_tells_of_changes_all_the_time_fills_no_memory_and_is_heeded_once_a_second() {
    let wanted = Wanted::default();
    for round in 0..3 {
        wanted.add((0..700).map(|one| RepositoryName::parse(&format!("a{round}/{one}")).unwrap()));
    }
    assert_eq!(wanted.take().len(), 1000);
    let now = Instant::now();
    assert!(wanted.wake_after(now + Duration::from_secs(1)).now_or_never().is_none());
    wanted.wake_after(now).await;
}
