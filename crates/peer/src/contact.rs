//! Reaching the store: its keys, its rules, its list of refs.

use std::path::Path;

use flatpass_token::{PEER_LEEWAY_SECONDS, Secret, UnixTime};
use url::Url;

use crate::PeerError;
use crate::robot::Robot;
use crate::settings::Settings;
use crate::trust::{StoreInfo, Trust};
use crate::wire::{Wire, shown};

/// Asks the store what a peer must know. Whoever answers is the store: it is asked over https, or on this machine.
pub(crate) async fn ask(
    wire: &Wire,
    settings: &Settings,
    robot: Option<&Robot>,
    before: Option<&Trust>,
    now: UnixTime,
) -> Result<Trust, PeerError> {
    let store = &settings.store;
    let at = |path: &str| -> Result<Url, PeerError> {
        let wrong = |_| PeerError::Answer { host: shown(store), what: format!("{path} is no address") };
        store.join(path).map_err(wrong)
    };
    let token_endpoint = match before {
        Some(trust) => trust.info.token_endpoint.clone(),
        None => at("oauth/token")?,
    };
    let url = at(&format!("api/v1/peers/{}", settings.repo))?;
    let mut answer = info(wire, robot, &url, &token_endpoint).await;
    if let (Err(PeerError::Refused(_)), Some(robot)) = (&answer, robot) {
        // The access token may have ended at the store.
        robot.forget_access().await;
        answer = info(wire, Some(robot), &url, &token_endpoint).await;
    }
    let info = answer?;
    info.check(store)?;
    let jwks = wire.text(info.jwks_uri.clone()).await?;
    let trust = Trust { info, jwks, seen_at: now };
    trust.keys()?;
    Ok(trust)
}

async fn info(
    wire: &Wire,
    robot: Option<&Robot>,
    url: &Url,
    token_endpoint: &Url,
) -> Result<StoreInfo, PeerError> {
    let access = match robot {
        Some(robot) => Some(robot.access(wire, token_endpoint).await?),
        None => None,
    };
    wire.get(url.clone(), access.as_ref().map(Secret::expose)).await
}

/// Tells the operator what changed in what the peer believes, and of a clock that is wrong.
pub(crate) fn tell(before: &Trust, after: &Trust) {
    let apart = after.info.now.seconds_until(after.seen_at);
    if apart.unsigned_abs() > u64::from(PEER_LEEWAY_SECONDS) {
        tracing::error!(
            here = %after.seen_at, store = %after.info.now,
            "the clocks of this peer and of its store are more than {PEER_LEEWAY_SECONDS} seconds apart: set this one, or good tokens are refused"
        );
    }
    if before.jwks == after.jwks {
        return;
    }
    let kids = |trust: &Trust| -> Vec<String> {
        trust.keys().map(|keys| keys.iter().map(|key| key.kid().to_owned()).collect()).unwrap_or_default()
    };
    let (old, new) = (kids(before), kids(after));
    let came: Vec<_> = new.iter().filter(|kid| !old.contains(kid)).collect();
    let went: Vec<_> = old.iter().filter(|kid| !new.contains(kid)).collect();
    if new.iter().any(|kid| old.contains(kid)) {
        tracing::info!(?came, ?went, "the store's keys changed");
    } else {
        tracing::warn!(
            ?came,
            ?went,
            "all keys of the store were replaced at once: ask whoever runs it whether that was meant"
        );
    }
}

/// Writes down what the peer believes if it is news, or if it was long ago that it was written down.
pub(crate) fn keep(folder: &Path, before: &Trust, after: &Trust) -> Result<(), PeerError> {
    const SECONDS: i64 = 10 * 60;
    let same = Trust {
        seen_at: before.seen_at,
        info: StoreInfo { now: before.info.now, ..after.info.clone() },
        ..after.clone()
    };
    if same == *before && before.seen_at.seconds_until(after.seen_at) < SECONDS {
        return Ok(());
    }
    after.save(folder)
}
