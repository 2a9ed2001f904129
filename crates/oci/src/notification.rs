//! What a registry tells of changes (docker-registry's notifications, "Events").

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{MediaType, RepositoryName};

/// The largest body that is read, in bytes.
pub const MAX_NOTIFICATION_BYTES: usize = 1024 * 1024;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// Too large.
    #[error("the body has more than {MAX_NOTIFICATION_BYTES} bytes")]
    TooLarge,
    /// Not the JSON that it should be.
    #[error("the body is not what docker-registry sends as a notification: {0}")]
    Json(String),
}

/// The repositories in which manifests or tags came or went, as a notification says. Pulls and layers change nothing that is listed.
///
/// It is a hint about where to look, and no more: what changed there is read from the registry.
///
/// # Errors
/// [`NotificationError`]
pub fn changed_repositories(body: &[u8]) -> Result<BTreeSet<RepositoryName>, NotificationError> {
    #[derive(Deserialize)]
    struct Envelope {
        events: Vec<Event>,
    }
    #[derive(Deserialize)]
    struct Event {
        action: String,
        #[serde(default)]
        target: Target,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Target {
        media_type: Option<String>,
        repository: Option<String>,
    }
    if body.len() > MAX_NOTIFICATION_BYTES {
        return Err(NotificationError::TooLarge);
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| {
        NotificationError::Json(
            error.to_string().chars().filter(|letter| !letter.is_control()).take(200).collect(),
        )
    })?;
    let is_listed = |target: &Target| {
        let said = target.media_type.as_deref().filter(|said| !said.is_empty()).map(MediaType::parse);
        said.is_none_or(|kind| kind.is_some_and(|kind| kind.is_manifest() || kind.is_index()))
    };
    let changes = envelope.events.iter().filter(|event| event.action != "pull" && is_listed(&event.target));
    let names = changes.filter_map(|event| event.target.repository.as_deref());
    Ok(names.filter_map(|name| RepositoryName::parse(name).ok()).collect())
}
