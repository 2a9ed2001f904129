//! The bridge's book: which address of the bridge stands for which repo, and on which port it listens.
//!
//! It is the file `bridge.json` of mode 0600 in the state folder. The bridge reads it to know where a request goes.
//! The authenticator reads it because Flatpak asks for ref tokens under the bridge's address, which the store does
//! not know.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rand::{CryptoRng, RngExt as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::{Host, Url};

use crate::authority::address::{AuthorityUrl, RepoUrl};
use crate::credentials::CredentialError;
use crate::credentials::lock::FileLock;
use crate::credentials::shelf::{make_folder, write};
use crate::peers::PeerUrl;
use crate::secret::SecretText;
use crate::webflow::pkce::random_text;

/// The largest book that is read, in bytes.
const MAX_BOOK_BYTES: u64 = 1024 * 1024;
/// The most remotes that one user's bridge serves.
const MAX_REMOTES: usize = 1000;
/// Where a port is chosen: below those that the system gives to outgoing connections (`ip_local_port_range`), so that
/// none of them sits on it when the bridge starts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The version of the file.
const VERSION: u32 = 1;

/// Why the book cannot be used. `Display` is a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BookError {
    /// The state folder.
    #[error("{0}")]
    Files(#[from] CredentialError),
    /// The file is not a book.
    #[error(
        "{path} is not the list of remotes that the bridge wrote. Move it away, then add your remotes again with `flatpass-authenticator remote-add --bridge`."
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// Too many remotes.
    #[error(
        "The bridge serves {MAX_REMOTES} remotes already. Remove one with `flatpass-authenticator bridge remove`."
    )]
    Full,
}

/// A remote that the bridge serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridged {
    /// The first part of the path of its address: 256 random bits.
    pub key: SecretText,
    /// The store that gives tokens for it.
    pub store: AuthorityUrl,
    /// The repo itself.
    pub repo: RepoUrl,
    /// How peers are used for it, if they are.
    pub peers: Option<BridgedPeers>,
}

/// How the bridge uses peers for a remote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgedPeers {
    /// Peers that a person named: no others are looked for then.
    pub by_hand: Vec<PeerUrl>,
    /// Whether the list of apps may come from a peer while the store cannot be reached: Flatpak checks its signature.
    pub index: bool,
}

/// What the book says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The port of the bridge, once there was a remote.
    pub port: Option<u16>,
    /// The remotes, in the order in which they were added.
    pub remotes: Vec<Bridged>,
}

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Led {
    /// It is not the bridge's.
    Elsewhere,
    /// It is the bridge's, and nothing is known under it.
    Nowhere,
    /// To this remote.
    To(Bridged),
}

impl Page {
    /// The remote with this key. Every key is compared, each in constant time.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Bridged> {
        self.remotes.iter().fold(None, |found, remote| {
            let is_it = verify_slices_are_equal(remote.key.expose().as_bytes(), key.as_bytes()).is_ok();
            if is_it { Some(remote) } else { found }
        })
    }

    /// Where an address of a repo leads that a remote has in its configuration.
    #[must_use]
    pub fn follow(&self, address: &RepoUrl) -> Led {
        let Ok(url) = Url::parse(address.as_str()) else { return Led::Elsewhere };
        let is_here = url.host() == Some(Host::Ipv4(Ipv4Addr::LOCALHOST)) && url.scheme() == "http";
        if !is_here || url.port().is_none() || url.port() != self.port {
            return Led::Elsewhere;
        }
        match self.find(url.path().trim_start_matches('/')) {
            Some(remote) => Led::To(remote.clone()),
            None => Led::Nowhere,
        }
    }

    /// The address under which a remote is reached.
    #[must_use]
    pub fn address(&self, remote: &Bridged) -> Option<String> {
        let port = self.port?;
        Some(format!("http://{}:{port}/{}", Ipv4Addr::LOCALHOST, remote.key.expose()))
    }
}

#[derive(Serialize, Deserialize)]
struct StoredPage {
    version: u32,
    port: Option<u16>,
    remotes: Vec<StoredRemote>,
}

#[derive(Serialize, Deserialize)]
struct StoredRemote {
    key: SecretText,
    store: String,
    repo: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peers: Option<StoredPeers>,
}

#[derive(Serialize, Deserialize)]
struct StoredPeers {
    by_hand: Vec<String>,
    index: bool,
}

impl StoredPage {
    fn of(page: &Page) -> Self {
        let remotes = page.remotes.iter().map(|remote| StoredRemote {
            key: remote.key.clone(),
            store: remote.store.to_string(),
            repo: remote.repo.to_string(),
            peers: remote.peers.as_ref().map(|peers| StoredPeers {
                by_hand: peers.by_hand.iter().map(ToString::to_string).collect(),
                index: peers.index,
            }),
        });
        Self { version: VERSION, port: page.port, remotes: remotes.collect() }
    }

    fn read(body: &[u8]) -> Option<Page> {
        let stored: Self = serde_json::from_slice(body).ok()?;
        let remote = |remote: StoredRemote| {
            let is_long = remote.key.expose().len() >= 32 && remote.key.is_bearer_token();
            let store = AuthorityUrl::parse(&remote.store).ok()?;
            let repo = RepoUrl::parse(&remote.repo).ok()?;
            let peers = match remote.peers {
                None => None,
                Some(peers) => {
                    let by_hand = peers
                        .by_hand
                        .iter()
                        .map(|url| PeerUrl::parse(url, "").ok())
                        .collect::<Option<_>>()?;
                    Some(BridgedPeers { by_hand, index: peers.index })
                }
            };
            is_long.then_some(Bridged { key: remote.key, store, repo, peers })
        };
        let remotes = stored.remotes.into_iter().map(remote).collect::<Option<_>>()?;
        (stored.version == VERSION).then_some(Page { port: stored.port, remotes })
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct Book {
    folder: PathBuf,
}

impl Book {
    /// The book in the state folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join("bridge.json")
    }

    /// What it says now. No file is an empty book. Blocks shortly.
    ///
    /// # Errors
    /// [`BookError::Files`], [`BookError::Damaged`].
    pub fn read(&self) -> Result<Page, BookError> {
        let path = self.path();
        let mut body = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BOOK_BYTES).read_to_end(&mut body)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Page::default()),
            Err(error) => return Err(CredentialError::files(&path, &error).into()),
        }
        StoredPage::read(&body).ok_or_else(|| BookError::Damaged { path: path.display().to_string() })
    }

    /// Adds a remote, or gives the one that leads to the same repo. The first one chooses the port.
    ///
    /// # Errors
    /// [`BookError`].
    pub async fn add<R: CryptoRng + ?Sized>(
        &self,
        store: &AuthorityUrl,
        repo: &RepoUrl,
        rng: &mut R,
    ) -> Result<(Page, Bridged), BookError> {
        let _lock = self.lock().await?;
        let mut page = self.read()?;
        if let Some(known) = page.remotes.iter().find(|known| known.store == *store && known.repo == *repo)
            && page.port.is_some()
        {
            let known = known.clone();
            return Ok((page, known));
        }
        if page.remotes.len() >= MAX_REMOTES {
            return Err(BookError::Full);
        }
        page.port = page.port.or_else(|| Some(choose_port(rng)));
        let remote = Bridged {
            key: SecretText::new(random_text(rng)),
            store: store.clone(),
            repo: repo.clone(),
            peers: None,
        };
        page.remotes.push(remote.clone());
        self.write(&page)?;
        Ok((page, remote))
    }

    /// Sets how peers are used for the remote with this key.
    ///
    /// # Errors
    /// [`BookError`].
    pub async fn set_peers(&self, key: &SecretText, peers: Option<BridgedPeers>) -> Result<(), BookError> {
        let _lock = self.lock().await?;
        let mut page = self.read()?;
        for remote in page.remotes.iter_mut().filter(|remote| remote.key == *key) {
            remote.peers.clone_from(&peers);
        }
        self.write(&page)
    }

    /// Removes the remote with this key. Gives whether there was one. The port stays as long as the address of
    /// another remote names it.
    ///
    /// # Errors [`BookError`].
    pub async fn remove(&self, key: &SecretText) -> Result<bool, BookError> {
        let _lock = self.lock().await?;
        let mut page = self.read()?;
        let before = page.remotes.len();
        page.remotes.retain(|remote| remote.key != *key);
        if page.remotes.len() == before {
            return Ok(false);
        }
        if page.remotes.is_empty() {
            page.port = None;
        }
        self.write(&page)?;
        Ok(true)
    }

    async fn lock(&self) -> Result<FileLock, BookError> {
        make_folder(&self.folder)?;
        Ok(FileLock::take(self.folder.join("bridge.lock"), Duration::from_secs(10)).await?)
    }

    fn write(&self, page: &Page) -> Result<(), BookError> {
        let path = self.path();
        let failed = |error: &io::Error| CredentialError::files(&path, error);
        let body = serde_json::to_vec(&StoredPage::of(page)).map_err(|error| failed(&error.into()))?;
        write(&self.folder, &path, &body).map_err(|error| failed(&error))?;
        Ok(())
    }
}

/// A port that is free now; any, if none of those that were tried is.
fn choose_port<R: CryptoRng + ?Sized>(rng: &mut R) -> u16 {
    let mut port = rng.random_range(PORTS);
    for _ in 0..50 {
        if std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            break;
        }
        port = rng.random_range(PORTS);
    }
    port
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn shop() -> (AuthorityUrl, RepoUrl) {
        let store = AuthorityUrl::parse("https://shop.example/").expect("valid");
        (store, RepoUrl::parse("https://shop.example/repo/apps").expect("valid"))
    }

    #[tokio::test]
    async fn an_address_leads_to_its_repo_and_the_port_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::new(folder.path().join("flatpass"));
        let mut rng = StdRng::seed_from_u64(1);
        let (store, repo) = shop();
        let (page, one) = book.add(&store, &repo, &mut rng).await.expect("added");
        let port = page.port.expect("chosen");
        assert!(PORTS.contains(&port) && one.key.expose().len() == 43);
        let (_, again) = book.add(&store, &repo, &mut rng).await.expect("known");
        assert_eq!(again, one);
        let other = RepoUrl::parse("https://shop.example/repo/other").expect("valid");
        let (page, two) = book.add(&store, &other, &mut rng).await.expect("added");
        assert_eq!((page.port, page.remotes.len()), (Some(port), 2));
        assert_ne!(one.key, two.key);
        assert_eq!(book.read().expect("read"), page);
        let mode = std::fs::metadata(book.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let led = |address: &str| page.follow(&RepoUrl::parse(address).expect("valid"));
        let address = page.address(&two).expect("a port");
        assert_eq!(led(&address), Led::To(two.clone()));
        assert_eq!(led(&format!("{address}/")), Led::To(two.clone()));
        for nowhere in [format!("{address}x"), format!("{address}/x"), format!("http://127.0.0.1:{port}")] {
            assert_eq!(led(&nowhere), Led::Nowhere, "{nowhere}");
        }
        let key = two.key.expose();
        for elsewhere in [
            format!("http://127.0.0.1:{}/{key}", port + 1),
            format!("http://localhost:{port}/{key}"),
            format!("http://127.0.0.2:{port}/{key}"),
            format!("https://127.0.0.1:{port}/{key}"),
            "https://shop.example/repo/apps".to_owned(),
        ] {
            assert_eq!(led(&elsewhere), Led::Elsewhere, "{elsewhere}");
        }

        let by_hand = vec![PeerUrl::parse("http://10.0.0.2:8480/repo/other", "").expect("valid")];
        let peers = Some(BridgedPeers { by_hand, index: true });
        book.set_peers(&two.key, peers.clone()).await.expect("set");
        let now = book.read().expect("read");
        assert_eq!((&now.remotes[0].peers, &now.remotes[1].peers), (&None, &peers));
        let (_, again) = book.add(&store, &other, &mut rng).await.expect("known");
        assert_eq!(again.peers, peers, "who adds it again changes nothing");

        assert!(book.remove(&two.key).await.expect("removed"));
        assert!(!book.remove(&two.key).await.expect("gone"));
        let page = book.read().expect("read");
        assert_eq!((page.port, page.remotes.as_slice()), (Some(port), [one.clone()].as_slice()));
        assert!(book.remove(&one.key).await.expect("removed"));
        assert_eq!(book.read(), Ok(Page::default()), "the next one may choose another port");
    }

    #[test]
    fn a_damaged_book_is_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let book = Book::new(folder.path().to_owned());
        assert_eq!(book.read(), Ok(Page::default()));
        let remote =
            r#"{"key":"KEY","store":"https://shop.example/","repo":"https://shop.example/repo/apps"}"#;
        let good =
            format!(r#"{{"version":1,"port":20000,"remotes":[{remote}]}}"#).replace("KEY", &"k".repeat(43));
        std::fs::write(book.path(), &good).expect("written");
        assert_eq!(book.read().expect("read").remotes.len(), 1);
        for bad in [
            String::new(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("https://shop.example/repo", "http://shop.example/repo"),
            good.replace(&"k".repeat(43), "short"),
            good[..good.len() - 1].to_owned(),
        ] {
            std::fs::write(book.path(), &bad).expect("written");
            assert!(matches!(book.read(), Err(BookError::Damaged { .. })), "{bad}");
        }
    }
}
