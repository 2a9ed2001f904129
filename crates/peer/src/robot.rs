//! The account by which a peer fills itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use flatpass_token::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use crate::PeerError;
use crate::wire::Wire;

/// A new access token is asked for so long before the old one ends.
const EARLY: Duration = Duration::from_secs(60);

/// A robot's id and secret, and the access token that it has now.
#[derive(Debug)]
pub(crate) struct Robot {
    id: String,
    secret: Secret,
    access: Mutex<Option<(Secret, Instant)>>,
}

/// As `flatpass robot secret --out` writes it.
#[derive(Deserialize)]
struct Document {
    store: Url,
    client_id: String,
    client_secret: String,
}

#[derive(Deserialize)]
struct Access {
    access_token: String,
    expires_in: u64,
}

impl Robot {
    /// Reads a file of `flatpass robot secret --out`, which nobody else may read.
    ///
    /// # Errors
    /// [`PeerError::File`] or [`PeerError::Settings`], also when it is a robot of another store.
    pub(crate) fn read(path: &Path, store: &Url) -> Result<Self, PeerError> {
        let file = |cause| PeerError::File { path: path.to_owned(), cause };
        let wrong = |what: &str| PeerError::Settings { path: path.to_owned(), what: what.to_owned() };
        let metadata = std::fs::metadata(path).map_err(file)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(wrong("it holds a secret that other users can read: run chmod 600 on it"));
        }
        let text = std::fs::read_to_string(path).map_err(file)?;
        // The parser's own message would quote the secret.
        let document: Document = toml::from_str(&text).map_err(|_| {
            wrong("it is not a robot's credentials: make one with flatpass robot secret NAME --out FILE")
        })?;
        if document.store.origin() != store.origin() {
            return Err(wrong(&format!("it is of a robot of {}, not of {store}", document.store)));
        }
        Ok(Self {
            id: document.client_id,
            secret: Secret::from(document.client_secret),
            access: Mutex::default(),
        })
    }

    /// An access token that lasts a while.
    pub(crate) async fn access(&self, wire: &Wire, token_endpoint: &Url) -> Result<Secret, PeerError> {
        let mut access = self.access.lock().await;
        if let Some((token, until)) = &*access
            && Instant::now() + EARLY < *until
        {
            return Ok(token.clone());
        }
        let got: Access = wire.sign_in(token_endpoint.clone(), &self.id, self.secret.expose()).await?;
        let token = Secret::from(got.access_token);
        *access = Some((token.clone(), Instant::now() + Duration::from_secs(got.expires_in.min(1 << 20))));
        Ok(token)
    }

    /// The access token is not good any more.
    pub(crate) async fn forget_access(&self) {
        *self.access.lock().await = None;
    }
}
