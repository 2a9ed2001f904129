//! The peers of the local network, as the bridge uses them: for objects, which are compared with their checksums; and for the list of
//! apps while the store cannot be reached, if Flatpak checks its signature.
//!
//! What a peer is sent is the path and a token for peers alone, which names the one commit that it opens; never the client's own token, and
//! never one for the store. A peer that sent wrong bytes is left alone until the bridge ends, one that does not answer for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::book::Bridged;
use super::lies::{Lie, Lies};
use super::object::{Object, Wrong};
use super::sieve::Wanted;
use super::tokens::TokenSource;
use crate::authority::error::{AuthorityError, shown};
use crate::peers::discover::discover;
use crate::peers::{FoundPeer, PeerUrl};
use crate::secret::SecretText;

/// Time to connect, and for the head of an answer.
const CONNECT: Duration = Duration::from_millis(700);
const HEAD: Duration = Duration::from_secs(2);
/// So long is listened for peers: the first request waits for it.
const LISTEN: Duration = Duration::from_secs(1);
/// And so long is that good for.
const FOUND: Duration = Duration::from_secs(120);
/// A peer that does not answer is not asked for so long.
const AWAY: Duration = Duration::from_secs(30);
/// How long a token is used without asking for it again, and how long it is not asked for after there was none.
const KEEP: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(10);
/// The most that is remembered of tokens and of commits.
const MOST: usize = 4096;
/// How many peers are tried for one file.
const TRIES: usize = 2;

/// What is known of a peer.
#[derive(Debug, Clone, Copy)]
enum Standing {
    Lied,
    AwaySince(Instant),
}

/// A token for one commit of a ref, by the remote's key.
type TokenKey = (String, String, Option<Checksum>);

/// The peers.
pub(super) struct Neighbours {
    client: Client,
    source: Arc<dyn TokenSource>,
    lies: Lies,
    found: AsyncMutex<Option<(Instant, Vec<FoundPeer>)>>,
    standing: Mutex<HashMap<PeerUrl, Standing>>,
    tokens: Mutex<HashMap<TokenKey, (Option<SecretText>, Instant)>>,
    /// Which commit of a ref is being pulled, by the remote's key and the ref.
    pulled: Mutex<HashMap<(String, String), Checksum>>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours").finish_non_exhaustive()
    }
}

impl Neighbours {
    pub(super) fn new(source: Arc<dyn TokenSource>, lies: Lies) -> Result<Self, AuthorityError> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .build()
            .map_err(|error| AuthorityError::Tls { cause: shown(&error.to_string()) })?;
        Ok(Self {
            client,
            source,
            lies,
            found: AsyncMutex::default(),
            standing: Mutex::default(),
            tokens: Mutex::default(),
            pulled: Mutex::default(),
        })
    }

    /// The object that is wanted, from a peer. `None`: it is no object, or no peer has it.
    pub(super) async fn object(&self, wanted: &Wanted<'_>, flatpak_ref: Option<&str>) -> Option<Object> {
        let path = RepoPath::parse(wanted.path.as_str())?;
        self.note(wanted.remote, flatpak_ref, &path);
        match path {
            RepoPath::Object { checksum, kind } if kind != ObjectKind::CommitMeta => {
                self.fetch(wanted, flatpak_ref, &checksum, kind).await
            }
            _ => None,
        }
    }

    /// Whether there is no need for deltas to the commit that the client asks about: a peer has it, and so its files.
    pub(super) async fn spares_deltas(&self, wanted: &Wanted<'_>, flatpak_ref: Option<&str>) -> bool {
        let Some(RepoPath::DeltaIndex { to }) = RepoPath::parse(wanted.path.as_str()) else { return false };
        self.note(wanted.remote, flatpak_ref, &RepoPath::DeltaIndex { to });
        self.fetch(wanted, flatpak_ref, &to, ObjectKind::Commit).await.is_some()
    }

    /// A file that only its signature vouches for: for when the store cannot be reached.
    pub(super) async fn unchecked(&self, wanted: &Wanted<'_>, flatpak_ref: Option<&str>) -> Option<Response> {
        if !wanted.remote.peers.as_ref().is_some_and(|peers| peers.index) {
            return None;
        }
        let path = RepoPath::parse(wanted.path.as_str())?;
        let may_be = matches!(
            path,
            RepoPath::Config
                | RepoPath::Summary
                | RepoPath::SummarySig
                | RepoPath::SummaryIdx
                | RepoPath::SummaryIdxSig
                | RepoPath::SummaryIdxSigOf(_)
                | RepoPath::SubSummary(_)
                | RepoPath::Object { kind: ObjectKind::CommitMeta, .. }
        );
        if !may_be {
            return None;
        }
        for peer in self.candidates(wanted.remote).await {
            let answer = self.ask(&peer, wanted, flatpak_ref).await;
            if let Some(answer) = answer.filter(|answer| answer.status() == StatusCode::OK) {
                tracing::info!(%peer, file = wanted.path.as_str(), "the store cannot be reached; a peer answers");
                return Some(answer);
            }
        }
        None
    }

    async fn fetch(
        &self,
        wanted: &Wanted<'_>,
        flatpak_ref: Option<&str>,
        checksum: &Checksum,
        kind: ObjectKind,
    ) -> Option<Object> {
        let path = RepoPath::Object { checksum: *checksum, kind }.relative_path();
        for peer in self.candidates(wanted.remote).await {
            let Some(answer) = self.ask_for(&peer, wanted, flatpak_ref, &path).await else { continue };
            if answer.status() != StatusCode::OK {
                continue;
            }
            match Object::take(answer, checksum, kind).await {
                Ok(object) => return Some(object),
                Err(Wrong::Lie(what)) => self.lied(&peer, &path, what).await,
                Err(error) => {
                    tracing::info!(%peer, file = path, %error, "a peer did not send a file; it comes from the store");
                    self.stand(&peer, Standing::AwaySince(Instant::now()));
                }
            }
        }
        None
    }

    async fn lied(&self, peer: &PeerUrl, file: &str, what: &str) {
        tracing::error!(
            %peer, file, what,
            "a peer sent wrong bytes; they were not used, the file comes from the store, and this peer is left alone from now on"
        );
        self.stand(peer, Standing::Lied);
        let (lies, lie) = (self.lies.clone(), Lie { peer: peer.to_string(), file: file.to_owned() });
        let _written = tokio::task::spawn_blocking(move || lies.add(&lie)).await;
    }

    async fn ask(&self, peer: &PeerUrl, wanted: &Wanted<'_>, flatpak_ref: Option<&str>) -> Option<Response> {
        self.ask_for(peer, wanted, flatpak_ref, wanted.path.as_str()).await
    }

    /// Asks a peer, first as nobody unless the client itself has a token for the file.
    async fn ask_for(
        &self,
        peer: &PeerUrl,
        wanted: &Wanted<'_>,
        flatpak_ref: Option<&str>,
        path: &str,
    ) -> Option<Response> {
        if wanted.bearer.is_none() {
            let answer = self.send(peer, path, None).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Some(answer);
            }
        }
        let token = self.token(wanted.remote, flatpak_ref?).await?;
        self.send(peer, path, Some(&token)).await
    }

    async fn send(&self, peer: &PeerUrl, path: &str, token: Option<&SecretText>) -> Option<Response> {
        let mut request = self.client.get(peer.file(path)?);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        match tokio::time::timeout(HEAD, request.send()).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) | Err(_) => {
                tracing::info!(%peer, "a peer does not answer");
                self.stand(peer, Standing::AwaySince(Instant::now()));
                None
            }
        }
    }

    /// A token for peers, for the commit of the ref that is being pulled.
    async fn token(&self, remote: &Bridged, name: &str) -> Option<SecretText> {
        let commit = locked(&self.pulled).get(&(key(remote), name.to_owned())).copied();
        let entry = (key(remote), name.to_owned(), commit);
        if let Some((token, until)) = locked(&self.tokens).get(&entry)
            && Instant::now() < *until
        {
            return token.clone();
        }
        let commit = commit.map(|commit| commit.to_hex());
        let (token, keep) = match self.source.peers_token(remote, name, commit.as_deref()).await {
            Ok(given) => (given.token, KEEP),
            Err(error) => {
                tracing::debug!(%error, "there is no token for peers");
                (None, PAUSE)
            }
        };
        let mut tokens = locked(&self.tokens);
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(entry, (token.clone(), Instant::now() + keep));
        token
    }

    /// Remembers which commit of a ref is being pulled.
    fn note(&self, remote: &Bridged, flatpak_ref: Option<&str>, path: &RepoPath) {
        let commit = match path {
            RepoPath::DeltaIndex { to } | RepoPath::Delta { to, .. } => *to,
            RepoPath::Object { checksum, kind: ObjectKind::Commit | ObjectKind::CommitMeta } => *checksum,
            _ => return,
        };
        let Some(name) = flatpak_ref else { return };
        let mut pulled = locked(&self.pulled);
        if pulled.len() >= MOST {
            pulled.clear();
        }
        pulled.insert((key(remote), name.to_owned()), commit);
    }

    /// The peers to try, in order.
    async fn candidates(&self, remote: &Bridged) -> Vec<PeerUrl> {
        let Some(peers) = &remote.peers else { return Vec::new() };
        let all = if peers.by_hand.is_empty() { self.announced(remote).await } else { peers.by_hand.clone() };
        let standing = locked(&self.standing);
        all.into_iter()
            .filter(|peer| match standing.get(peer) {
                None => true,
                Some(Standing::Lied) => false,
                Some(Standing::AwaySince(since)) => since.elapsed() >= AWAY,
            })
            .take(TRIES)
            .collect()
    }

    async fn announced(&self, remote: &Bridged) -> Vec<PeerUrl> {
        let mut found = self.found.lock().await;
        if found.as_ref().is_none_or(|(at, _)| at.elapsed() >= FOUND) {
            let peers = discover(LISTEN).await.unwrap_or_else(|error| {
                tracing::debug!(error, "the network cannot be asked for peers");
                Vec::new()
            });
            *found = Some((Instant::now(), peers));
        }
        let peers = found.as_ref().map(|(_, peers)| peers.as_slice()).unwrap_or_default();
        peers
            .iter()
            .filter(|peer| peer.is_of(&remote.repo, Some(&remote.store)))
            .map(|peer| peer.url.clone())
            .collect()
    }

    fn stand(&self, peer: &PeerUrl, how: Standing) {
        let mut standing = locked(&self.standing);
        // Once it lied it stays a liar.
        if !matches!(standing.get(peer), Some(Standing::Lied)) {
            standing.insert(peer.clone(), how);
        }
    }
}

fn key(remote: &Bridged) -> String {
    remote.key.expose().to_owned()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
