//! What the disk says of commits that the summary says too little about.

use std::collections::HashMap;
use std::path::Path;

use flatpass_oci::{Catalogue, Digest, TIMESTAMP_LABEL};
use flatpass_ostree::Checksum;
use flatpass_ostree::repo::Repo;
use flatpass_token::{RefName, UnixTime};

use crate::snapshot::RepoView;

/// The commits that one request may have looked up. Usually it is none: the summary says it all.
const MOST_COMMITS: usize = 64;
/// The commits that one request may have walked through in search of a ref's first.
const MOST_STEPS: usize = 2000;

/// A commit to be looked up.
pub(super) struct Question {
    pub(super) commit: Checksum,
    pub(super) name: String,
    /// Look for the ref's first commit too, if none is as old as this.
    pub(super) first_after: Option<UnixTime>,
}

/// What is known of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) token_type: i32,
    pub(super) made_at: UnixTime,
    /// The ref's first commit, if it was asked for and is later than the moment that it was asked for with.
    pub(super) first: Option<Checksum>,
}

/// By commit and ref.
pub(super) type Commits = HashMap<(Checksum, String), Found>;

/// Looks commits up: older ones (`flatpak update --commit=…`), those that were published a moment ago, and those whose age matters.
/// Only commits that were made for the very ref count.
pub(super) async fn look_up(view: &RepoView, mut questions: Vec<Question>) -> Commits {
    questions.truncate(MOST_COMMITS);
    if questions.is_empty() {
        return Commits::new();
    }
    if let Some(images) = &view.images {
        return questions.into_iter().filter_map(|question| of_image(images, question)).collect();
    }
    let Some(root) = view.repo.source.ostree().map(Path::to_owned) else { return Commits::new() };
    let default = view.refs.default_token_type();
    let read = move || {
        let Ok(repo) = Repo::open(root) else { return Commits::new() };
        let mut steps = MOST_STEPS;
        let answer = |question: Question| {
            let found = repo.commit(&question.commit).ok()??;
            if !found.refs.contains(&question.name) {
                return None;
            }
            let first = question.first_after.and_then(|cut| first(&repo, &question.commit, cut, &mut steps));
            let token_type = found.token_type.unwrap_or(default);
            let found = Found { token_type, made_at: moment(found.timestamp), first };
            Some(((question.commit, question.name), found))
        };
        questions.into_iter().filter_map(answer).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// An image says all of itself; there is no history behind it.
fn of_image(images: &Catalogue, question: Question) -> Option<((Checksum, String), Found)> {
    let digest = Digest::from_bytes(*question.commit.as_bytes());
    let name = RefName::parse(&question.name).ok()?;
    let image = images.of_ref(&name).find(|image| image.digest == digest)?;
    let made_at = image.metadata(TIMESTAMP_LABEL)?.parse().ok()?;
    let token_type = image.token_type().unwrap_or_default();
    Some(((question.commit, question.name), Found { token_type, made_at: moment(made_at), first: None }))
}

/// The first commit of the history behind `head`, if all of it is there and all of it is later than `cut`.
fn first(repo: &Repo, head: &Checksum, cut: UnixTime, steps: &mut usize) -> Option<Checksum> {
    let mut at = *head;
    loop {
        *steps = steps.checked_sub(1)?;
        // An operator prunes history from its beginning: then there was something before.
        let commit = repo.commit(&at).ok()??;
        if moment(commit.timestamp) <= cut {
            return None;
        }
        match commit.parent {
            Some(parent) => at = parent,
            None => return Some(at),
        }
    }
}

fn moment(timestamp: u64) -> UnixTime {
    UnixTime(i64::try_from(timestamp).unwrap_or(i64::MAX))
}
