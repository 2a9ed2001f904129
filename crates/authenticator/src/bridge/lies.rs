//! Which peers sent wrong bytes: `peers-lied.json` in the state folder, so that a person sees it after the bridge has ended.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::book::Book;
use crate::credentials::shelf::{make_folder, write};

/// The most that is remembered, the newest of each peer.
const MOST: usize = 50;
const MAX_BYTES: u64 = 64 * 1024;

/// A peer that sent something else than it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lie {
    /// The peer's address.
    pub peer: String,
    /// The file, below the repo.
    pub file: String,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Lies(PathBuf);

impl Lies {
    /// The file beside the bridge's book.
    #[must_use]
    pub fn beside(book: &Book) -> Self {
        Self(book.path().with_file_name("peers-lied.json"))
    }

    /// What it says. What cannot be read says nothing: it is told, and not relied on.
    #[must_use]
    pub fn read(&self) -> Vec<Lie> {
        let is_small = std::fs::metadata(&self.0).is_ok_and(|file| file.len() <= MAX_BYTES);
        let body = if is_small { std::fs::read(&self.0).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// Adds one. Blocks shortly.
    pub fn add(&self, lie: &Lie) {
        let mut lies = self.read();
        lies.retain(|known| known.peer != lie.peer);
        lies.push(lie.clone());
        let newest = lies.len().saturating_sub(MOST);
        let (Some(folder), Ok(body)) =
            (self.0.parent(), serde_json::to_vec(lies.get(newest..).unwrap_or_default()))
        else {
            return;
        };
        if let Err(error) = make_folder(folder) {
            tracing::warn!(%error, "it cannot be written down which peer lied");
        } else if let Err(error) = write(folder, &self.0, &body) {
            tracing::warn!(%error, "it cannot be written down which peer lied");
        }
    }
}
