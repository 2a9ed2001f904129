//! A store that sends what it should not, and a disk that is full: the peer keeps nothing wrong and serves on.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flatpass_gate::Clock;
use flatpass_ostree::repo::Repo;
use flatpass_ostree::{Checksum, DirTree, ObjectKind, RepoPath};
use flatpass_peer::{Peer, Settings};
use flatpass_token::{KeySet, SigningKey, UnixTime};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the store does with requests for one path.
#[derive(Clone)]
enum Trick {
    Endless,
    EndlessHead,
    RedirectTo(String),
    Status(u16),
    Truncated,
}

/// A store with one free app, whose answers a test may spoil.
struct Store {
    url: String,
    repo: PathBuf,
    tricks: Arc<Mutex<HashMap<String, Trick>>>,
    asked: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Store {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let (repo, tree) = (folder.path().join("repo"), folder.path().join("tree"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "hello, hello, hello").unwrap();
        let large: Vec<u8> =
            (0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(tree.join("large"), large).unwrap();
        let at = format!("--repo={}", repo.display());
        run(Command::new("ostree").args([&at, "init", "--mode=archive-z2"]));
        let branch = "--branch=app/org.test.Free/x86_64/stable";
        run(Command::new("ostree").args([&at, "commit", branch, "--canonical-permissions"]).arg(&tree));
        run(Command::new("ostree").args([&at, "summary", "--update"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = KeySet::new().with(&SigningKey::generate().unwrap()).to_jwks_json();
        let store = Self { url, repo, tricks: Arc::default(), asked: Arc::default(), _folder: folder };
        let (url, repo) = (store.url.clone(), store.repo.clone());
        let (tricks, asked) = (Arc::clone(&store.tricks), Arc::clone(&store.asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (url, repo, keys) = (url.clone(), repo.clone(), keys.clone());
                let (tricks, asked) = (Arc::clone(&tricks), Arc::clone(&asked));
                tokio::spawn(async move {
                    let _gone = answer(stream, &url, &repo, &keys, &tricks, &asked).await;
                });
            }
        });
        store
    }

    fn head(&self) -> Checksum {
        Repo::open(&self.repo).unwrap().refs().unwrap()[0].checksum
    }

    /// The root directory, its owner and mode, and the two files.
    fn parts(&self) -> [RepoPath; 4] {
        let commit = Repo::open(&self.repo).unwrap().commit(&self.head()).unwrap().unwrap();
        let tree = object(commit.root_tree, ObjectKind::DirTree);
        let read = DirTree::parse(&fs::read(self.repo.join(tree.relative_path())).unwrap()).unwrap();
        let file = |number: usize| object(read.files[number].checksum, ObjectKind::FileZ);
        [tree, object(commit.root_meta, ObjectKind::DirMeta), file(0), file(1)]
    }

    fn spoil(&self, path: &RepoPath, trick: Option<Trick>) {
        let mut tricks = self.tricks.lock().unwrap();
        match trick {
            Some(trick) => tricks.insert(path.relative_path(), trick),
            None => tricks.remove(&path.relative_path()),
        };
    }
}

fn object(checksum: Checksum, kind: ObjectKind) -> RepoPath {
    RepoPath::Object { checksum, kind }
}

async fn answer(
    mut stream: TcpStream,
    url: &str,
    repo: &Path,
    keys: &str,
    tricks: &Mutex<HashMap<String, Trick>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    let body = match path.as_str() {
        "/oauth/jwks" => Some(keys.as_bytes().to_vec()),
        "/api/v1/peers/apps" => Some(
            json!({
                "repo": "apps", "repo_url": format!("{url}/repo/apps"), "issuer": format!("{url}/"),
                "jwks_uri": format!("{url}/oauth/jwks"), "token_endpoint": format!("{url}/t"),
                "ref_tokens_endpoint": format!("{url}/r"), "summary_tokens_endpoint": format!("{url}/s"),
                "sign_in_url": url, "problem_url": url, "tokens": "jwt", "policy": "refs",
                "open_token_types": [0], "guarded_ids": [], "now": 1_790_000_000,
            })
            .to_string()
            .into_bytes(),
        ),
        other => other.strip_prefix("/repo/apps/").and_then(|path| fs::read(repo.join(path)).ok()),
    };
    let trick = path.strip_prefix("/repo/apps/").and_then(|path| tricks.lock().unwrap().get(path).cloned());
    match (trick, body) {
        (Some(Trick::Endless), _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[0x55; 64 << 10]).await?;
            }
        }
        (Some(Trick::EndlessHead), _) => loop {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await?;
            stream.write_all(&[b'x'; 64 << 10]).await?;
        },
        (Some(Trick::RedirectTo(to)), _) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
        (Some(Trick::Status(status)), _) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        (Some(Trick::Truncated), Some(body)) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body[..body.len() / 2]).await
        }
        (_, Some(body)) => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        (_, None) => {
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await
        }
    }
}

struct Served {
    url: String,
    folder: PathBuf,
    _end: watch::Sender<bool>,
}

async fn serve(store: &Store, folder: &Path, max_size: u64) -> Served {
    let settings = Settings {
        store: format!("{}/", store.url).parse().unwrap(),
        repo: "apps".to_owned(),
        credentials: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        max_size,
        offline_for_days: 30,
        announce: false,
    };
    let clock = Clock::manual(UnixTime(1_790_000_000));
    flatpass_peer::init(folder, &settings, clock.now().unix()).await.unwrap();
    let peer = Arc::new(Peer::open(folder, clock).unwrap());
    peer.refresh().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/repo/apps", listener.local_addr().unwrap());
    let (end, shutdown) = watch::channel(false);
    tokio::spawn(async move { peer.serve(listener, shutdown).await.unwrap() });
    Served { url, folder: folder.to_owned(), _end: end }
}

impl Served {
    async fn get(&self, path: &RepoPath) -> (u16, Vec<u8>) {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = answer.get(format!("{}/{}", self.url, path.relative_path())).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    fn has(&self, path: &RepoPath) -> bool {
        self.folder.join("repo").join(path.relative_path()).exists()
    }

    fn half_done(&self) -> usize {
        let folders = fs::read_dir(self.folder.join("incoming")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_what_a_hostile_store_sends_is_kept_and_afterwards_all_is_well() {
    let store = Store::open().await;
    let folder = TempDir::new().unwrap();
    let served = serve(&store, folder.path(), 1 << 30).await;
    let [tree, meta, small, large] = store.parts();
    let begun = Instant::now();
    for (path, trick, expected) in [
        (&meta, Trick::Endless, 502),
        (&small, Trick::Endless, 502),
        (&large, Trick::Truncated, 404),
        (&tree, Trick::Status(200), 502),
        (&small, Trick::RedirectTo("http://192.0.2.1/".to_owned()), 404),
        (&small, Trick::RedirectTo(format!("{}/repo/apps/{}", store.url, small.relative_path())), 404),
        (&small, Trick::RedirectTo(format!("{}/repo/apps/{}", store.url, large.relative_path())), 502),
        (&large, Trick::EndlessHead, 404),
    ] {
        store.spoil(path, Some(trick));
        assert_eq!(served.get(path).await.0, expected, "{path}");
        store.spoil(path, None);
        assert!(!served.has(path), "{path}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(served.half_done(), 0);
    // Storage that the store sends to is as good as the store if the bytes are right.
    store.spoil(&tree, Some(Trick::RedirectTo(format!("{}/repo/apps/elsewhere", store.url))));
    fs::copy(store.repo.join(tree.relative_path()), store.repo.join("elsewhere")).unwrap();
    let commit = object(store.head(), ObjectKind::Commit);
    for path in [&commit, &tree, &meta, &small, &large] {
        let good = fs::read(store.repo.join(path.relative_path())).unwrap();
        assert!(served.get(path).await == (200, good), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_the_same_wait_for_one_fetch() {
    let store = Store::open().await;
    let folder = TempDir::new().unwrap();
    let served = serve(&store, folder.path(), 1 << 30).await;
    let [.., large] = store.parts();
    let all = futures_util::future::join_all((0..40).map(|_| served.get(&large))).await;
    assert!(all.iter().all(|(status, body)| *status == 200 && body == &all[0].1));
    let path = format!("/repo/apps/{}", large.relative_path());
    let asked = store.asked.lock().unwrap().iter().filter(|one| **one == path).count();
    assert_eq!(asked, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_what_is_there_is_served_on() {
    let store = Store::open().await;
    let folder = TempDir::new().unwrap();
    // A disk of its own takes the right to mount one; without it there is nothing to see here.
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|done| done.status.success()) {
        eprintln!("no disk can be mounted here: not tested");
        return;
    }
    let peer = disk.join("peer");
    let served = serve(&store, &peer, 1 << 30).await;
    let [tree, meta, small, large] = store.parts();
    for path in [&tree, &meta, &small] {
        assert_eq!(served.get(path).await.0, 200, "{path}");
    }
    let (status, said) = served.get(&large).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status == 404 && said.contains("disk is full"), "{status} {said}");
    assert_eq!((served.half_done(), served.has(&large)), (0, false));
    assert_eq!(served.get(&small).await.0, 200);
    drop(served);
    run(Command::new("umount").arg("--lazy").arg(&disk));
}
