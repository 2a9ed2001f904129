//! Site licences: what devices of a site that never gets online may have, and the secrets by which they show that they are of it.
//!
//! A licence stands in `licences/ID.json` with the key that signed it, so that it outlives the rotation of the store's keys. Its devices
//! stand in `licences/ID.devices.json`, by the hashes of their secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flatpass_token::{AccessGrant, AccessTable, KeySet, Secret, SecretHash, SiteLicence, UnixTime, Verb};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::trust::{StoreInfo, Trust};
use crate::{PeerError, durable};

/// What a secret begins with, so that people and scanners know it.
const PREFIX: &str = "fps_";
/// No licence is for more devices.
const MOST_DEVICES: usize = 100_000;

/// A licence as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    licence: String,
    key: Value,
}

/// A device of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The hash of its secret.
    secret: String,
    /// When it was added.
    pub added_at: UnixTime,
}

/// A licence that a peer has, and who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What it says.
    pub licence: SiteLicence,
    /// Its devices by name.
    pub devices: BTreeMap<String, Device>,
}

/// Takes up a licence file that the store's operator made.
///
/// # Errors
/// [`PeerError::Refused`] when it is not a good one for this peer, [`PeerError::File`].
pub fn add_licence(folder: &Path, text: &str, now: UnixTime) -> Result<SiteLicence, PeerError> {
    let trust = Trust::load(folder)?;
    let info = &trust.info;
    let text = text.trim();
    let (licence, key) =
        SiteLicence::verify(text, &trust.keys()?, &info.issuer, &info.repo_url).map_err(|why| {
            PeerError::Refused(format!("this is not a site licence for this peer: {}", why.description()))
        })?;
    if licence.exp <= now {
        return Err(PeerError::Refused(format!(
            "the licence ended at {}: ask whoever runs the store for a new one",
            licence.exp
        )));
    }
    let at = licences(folder);
    std::fs::create_dir_all(&at).map_err(|cause| PeerError::File { path: at.clone(), cause })?;
    let key = serde_json::to_value(key).unwrap_or_default();
    let kept = serde_json::to_vec(&Kept { licence: text.to_owned(), key }).unwrap_or_default();
    let path = at.join(format!("{}.json", file_name(&licence.jti)?));
    durable::write(&path, &kept, true).map_err(|cause| PeerError::File { path, cause })?;
    Ok(licence)
}

/// The licences that the peer has.
///
/// # Errors
/// [`PeerError::File`] or [`PeerError::Settings`]
pub fn sites(folder: &Path) -> Result<Vec<Site>, PeerError> {
    read(folder, &Trust::load(folder)?.info)
}

/// Adds a device to a site, and gives its secret: shown once, kept only as a hash.
///
/// # Errors
/// [`PeerError::Refused`] when there is no such licence, no device left in it, or one of that name.
pub fn add_device(
    folder: &Path,
    site: &str,
    name: &str,
    secret: &Secret,
    now: UnixTime,
) -> Result<Site, PeerError> {
    let mut site = find(folder, site)?;
    if site.devices.contains_key(name) {
        return Err(PeerError::Refused(format!(
            "there is a device {name} already: remove it first, or use another name"
        )));
    }
    if site.devices.len() >= (site.licence.devices as usize).min(MOST_DEVICES) {
        return Err(PeerError::Refused(format!(
            "the licence of {} is for {} devices, and all are in use: remove one, or ask whoever runs the store for more",
            site.licence.sub, site.licence.devices
        )));
    }
    site.devices.insert(name.to_owned(), Device { secret: secret.hash().to_text(), added_at: now });
    save(folder, &site)?;
    Ok(site)
}

/// Removes a device: what it has is refused within half a minute.
///
/// # Errors
/// [`PeerError::Refused`] when there is none of that name.
pub fn remove_device(folder: &Path, site: &str, name: &str) -> Result<Site, PeerError> {
    let mut site = find(folder, site)?;
    if site.devices.remove(name).is_none() {
        return Err(PeerError::Refused(format!(
            "there is no device {name}: see them with flatpass peer licence list"
        )));
    }
    save(folder, &site)?;
    Ok(site)
}

/// What the secrets of devices begin with.
#[must_use]
pub const fn device_secret_prefix() -> &'static str {
    PREFIX
}

/// What all devices may do, each until its licence ends.
pub(crate) fn devices(folder: &Path, info: &StoreInfo) -> Result<AccessTable, PeerError> {
    let mut table = AccessTable::new();
    for site in read(folder, info)? {
        let licence = &site.licence;
        // Somebody may have written more into the file than the licence allows.
        for (name, device) in site.devices.iter().take(licence.devices as usize) {
            let Ok(secret) = device.secret.parse::<SecretHash>() else { continue };
            let grants = licence.authorization_details.clone();
            table.insert(
                secret,
                AccessGrant {
                    id: format!("{}/{name}", licence.jti),
                    subject: format!("site/{}", licence.sub),
                    grants: Vec::new(),
                    ending: grants.into_iter().map(|grant| (grant, licence.exp)).collect(),
                    expires_at: Some(licence.exp),
                },
            );
        }
    }
    Ok(table)
}

fn find(folder: &Path, name: &str) -> Result<Site, PeerError> {
    let mut named: Vec<_> = sites(folder)?
        .into_iter()
        .filter(|site| site.licence.sub == name || site.licence.jti == name)
        .collect();
    // The newest counts: a licence is renewed by a new one.
    named.sort_by_key(|site| site.licence.iat);
    named.pop().ok_or_else(|| {
        PeerError::Refused(format!(
            "there is no licence of a site {name}: see them with flatpass peer licence list"
        ))
    })
}

fn read(folder: &Path, info: &StoreInfo) -> Result<Vec<Site>, PeerError> {
    let at = licences(folder);
    let entries = match std::fs::read_dir(&at) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(PeerError::File { path: at, cause }),
    };
    let mut sites = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.ends_with(".devices.json") || name.starts_with('.') {
            continue;
        }
        match read_one(&path, info) {
            Ok(licence) => {
                let devices = std::fs::read(devices_file(folder, &licence)?).unwrap_or_default();
                sites.push(Site { licence, devices: serde_json::from_slice(&devices).unwrap_or_default() });
            }
            Err(error) => tracing::error!(%error, "a site licence does not count"),
        }
    }
    sites.sort_by(|a, b| a.licence.sub.cmp(&b.licence.sub));
    Ok(sites)
}

fn read_one(path: &Path, info: &StoreInfo) -> Result<SiteLicence, PeerError> {
    let wrong = |what: String| PeerError::Settings { path: path.to_owned(), what };
    let text = std::fs::read(path).map_err(|cause| PeerError::File { path: path.to_owned(), cause })?;
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let keys = serde_json::json!({ "keys": [kept.key] }).to_string();
    let keys = KeySet::from_jwks_json(&keys).map_err(|error| wrong(error.to_string()))?;
    let verified = SiteLicence::verify(&kept.licence, &keys, &info.issuer, &info.repo_url);
    Ok(verified.map_err(|error| wrong(error.description()))?.0)
}

fn save(folder: &Path, site: &Site) -> Result<(), PeerError> {
    let path = devices_file(folder, &site.licence)?;
    let text = serde_json::to_vec_pretty(&site.devices).unwrap_or_default();
    durable::write(&path, &text, true).map_err(|cause| PeerError::File { path, cause })
}

fn licences(folder: &Path) -> PathBuf {
    folder.join("licences")
}

fn devices_file(folder: &Path, licence: &SiteLicence) -> Result<PathBuf, PeerError> {
    Ok(licences(folder).join(format!("{}.devices.json", file_name(&licence.jti)?)))
}

/// The store makes these; whatever it says becomes no path.
fn file_name(id: &str) -> Result<&str, PeerError> {
    let is_name = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_name && !id.is_empty() && id.len() <= 100 {
        Ok(id)
    } else {
        Err(PeerError::Refused("the licence's id is none".to_owned()))
    }
}

/// The verbs that devices of a site have.
pub const SITE_VERBS: [Verb; 3] = [Verb::Download, Verb::Upgrade, Verb::List];
